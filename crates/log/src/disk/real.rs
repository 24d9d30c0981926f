//! The disk port on the machine's own file system. Holds no state and caches nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::{Errno, ReadWriteFlags};

use super::{DirectoryEntry, Disk, DiskFile, EntryKind, OpenMode, Space};

/// How many buffers the system takes in one call (IOV_MAX).
const BUFFERS_MAX: usize = 1024;

const ZEROS_BYTES: usize = 1 << 20;

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => &mut options,
            OpenMode::Write => options.write(true),
            OpenMode::Create => options.write(true).create(true).truncate(false),
            OpenMode::New => options.write(true).create_new(true),
        };
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn is_sole_name(&self, path: &Path) -> io::Result<bool> {
        let found = fs::symlink_metadata(path)?;
        Ok(found.is_file() && found.nlink() == 1)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let kind = match entry.file_type()? {
                kind if kind.is_dir() => EntryKind::Directory,
                _ => EntryKind::File,
            };
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(DirectoryEntry { name, kind });
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let found = statvfs(path)?;
        Ok(Space {
            capacity: found.f_blocks.saturating_mul(found.f_frsize),
            available: found.f_bavail.saturating_mul(found.f_frsize),
        })
    }
}

#[derive(Debug)]
struct RealFile(File);

impl RealFile {
    /// Writes the rest after the kernel took only `written` bytes of the buffers, which is rare.
    fn write_rest(&self, buffers: &[IoSlice<'_>], mut skip: usize, mut position: u64) -> io::Result<()> {
        for buffer in buffers {
            let rest = &buffer[skip.min(buffer.len())..];
            skip -= buffer.len() - rest.len();
            self.0.write_all_at(rest, position)?;
            position += rest.len() as u64;
        }
        Ok(())
    }
}

impl DiskFile for RealFile {
    fn write_at(&self, buffers: &[IoSlice<'_>], mut position: u64) -> io::Result<()> {
        for group in buffers.chunks(BUFFERS_MAX) {
            let size: usize = group.iter().map(|buffer| buffer.len()).sum();
            let written = loop {
                match rustix::io::pwritev(&self.0, group, position) {
                    Err(Errno::INTR) => {}
                    other => break other?,
                }
            };
            if written < size {
                self.write_rest(group, written, position + written as u64)?;
            }
            position += size as u64;
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read_at(&mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn read_at_nowait(&self, buffer: &mut [u8], position: u64) -> io::Result<Option<usize>> {
        loop {
            let mut buffers = [IoSliceMut::new(buffer)];
            match rustix::io::preadv2(&self.0, &mut buffers, position, ReadWriteFlags::NOWAIT) {
                Ok(count) => return Ok(Some(count)),
                // File systems without support say so; the caller then reads where waiting is allowed.
                Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.0.set_len(size)
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        match fallocate(&self.0, FallocateFlags::empty(), 0, size) {
            Ok(()) => Ok(()),
            // File systems that cannot do it without writing are written to.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                let zeros = vec![0; ZEROS_BYTES];
                for position in (self.size()?..size).step_by(ZEROS_BYTES) {
                    let length = (size - position).min(ZEROS_BYTES as u64) as usize;
                    self.0.write_all_at(&zeros[..length], position)?;
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}
