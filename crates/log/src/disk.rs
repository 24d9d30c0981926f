//! The port to a disk: files, directories and what makes them durable.
//!
//! Everything that this crate does to a disk goes through [`Disk`] and [`DiskFile`], so that the same log runs on a
//! real file system ([`RealDisk`]) and on a simulated one ([`SimDisk`]). Calls
//! block; which thread may wait is the caller's business. Nothing here knows what is stored.
//!
//! ```text
//!   write_at ──► written (seen by every reader of this machine; a power cut may lose or tear it)
//!                   │ sync_data returned Ok
//!                   ▼
//!                flushed (survives a power cut, if the directory entry does)
//!   open(New) ──► entry ── sync_dir(parent) returned Ok ──► the entry survives a power cut
//! ```

use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

mod real;
pub mod sim;

pub use real::RealDisk;
pub use sim::SimDisk;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// It must exist; writes are refused.
    Read,
    /// It must exist.
    Write,
    /// It is made if it does not exist, and keeps its bytes if it does.
    Create,
    /// It is made; a file of that name is an error (`AlreadyExists`).
    New,
}

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    File,
    Directory,
}

/// How large a file system is, and how much of it an ordinary user can still write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub capacity: u64,
    pub available: u64,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirectoryEntry {
    pub name: String,
    pub kind: EntryKind,
}

/// A file system. Paths are taken as they are given.
///
/// An error says that the operation may or may not have happened, except `NotFound` and `AlreadyExists`.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens a file. MUST NOT truncate it. A file that was made is durable only after [`Disk::sync_dir`] of its parent.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives an entry another name, atomically replacing a file of that name. MUST NOT be seen half done, also not
    /// after a power cut; durable only after `sync_dir` of the parents.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Handles that are open go on working. Durable only after `sync_dir` of the parent.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Whether the bytes of a file are nobody else's: it is no symbolic link, and has no other name (as backups by hard
    /// links give it).
    fn is_sole_name(&self, path: &Path) -> io::Result<bool>;

    /// Removes an empty directory. MUST fail if something is in it.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes a directory whose parent exists; one that is there already is an error (`AlreadyExists`).
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The entries of a directory, sorted by name. Names that are no UTF-8 are left out: none of them is ours.
    fn list(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>>;

    /// Makes the entries of a directory durable. MUST NOT return before they are.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// The space of the file system on which `path` lies, in bytes.
    fn space(&self, path: &Path) -> io::Result<Space>;
}

/// An open file. Shared by threads; no method moves a common position.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Writes all buffers, one after another, from `position` on, in one system call where the system allows.
    /// After an error any part may have been written. MUST NOT report `Interrupted`.
    fn write_at(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<()>;

    /// Fills `buffer` from `position` on and returns the bytes read; fewer than asked for only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// As [`DiskFile::read_at`], but MUST NOT wait for the device: `None` if that were needed. May read less than asked
    /// for when only the first part is at hand.
    fn read_at_nowait(&self, buffer: &mut [u8], position: u64) -> io::Result<Option<usize>>;

    /// The length in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Cuts the file or extends it with zeros. Durable only after [`DiskFile::sync_data`].
    fn set_size(&self, size: u64) -> io::Result<()>;

    /// Extends the file to `size` with zeros that have their place on the disk: writing over them never finds it full.
    fn allocate(&self, size: u64) -> io::Result<()>;

    /// Makes the bytes and the length durable. MUST NOT return before they are. After an error the caller MUST NOT
    /// try again and take a success for the truth: the system may have dropped the unwritten pages.
    fn sync_data(&self) -> io::Result<()>;

    /// The descriptor, for `sendfile`; `None` where there is none.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
}

/// Puts `bytes` in the place of the file at `path`, so that after a power cut the old or the new bytes are there,
/// never a mixture. Durable when it returns.
pub fn write_atomically(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(disk, path, bytes, Durability::Flushed)?;
    match path.parent() {
        Some(parent) => disk.sync_dir(parent),
        None => Ok(()),
    }
}

/// As [`write_atomically`] for caches that carry a checksum: nothing is flushed, a power cut may leave the old bytes,
/// the new ones or rubbish.
pub fn write_cache(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(disk, path, bytes, Durability::Written)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Durability {
    Written,
    Flushed,
}

fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY_SUFFIX);
    let temporary = Path::new(&name);
    let file = disk.open(temporary, OpenMode::Create)?;
    file.set_size(0)?;
    file.write_at(&[IoSlice::new(bytes)], 0)?;
    if durability == Durability::Flushed {
        file.sync_data()?;
    }
    disk.rename(temporary, path)
}

/// What [`write_atomically`] puts behind a name while the file is not whole yet. Such files can be removed at a start.
pub const TEMPORARY_SUFFIX: &str = ".tmp";

/// The largest small file that [`read_small`] takes; anything larger is no file of ours.
const SMALL_FILE_BYTES_MAX: u64 = 64 << 20;

/// The whole of a small file; `None` if there is none.
pub fn read_small(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let size = file.size()?;
    if size > SMALL_FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is too large"));
    }
    let mut bytes = vec![0; size as usize];
    let count = file.read_at(&mut bytes, 0)?;
    bytes.truncate(count);
    Ok(Some(bytes))
}

/// Removes a file, if it is there.
pub fn remove_if_present(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    or_absent(disk.remove_file(path))
}

/// The same, piece by piece if it is large; nobody may read it any more. `rest` is called after each piece.
pub(crate) fn remove_if_present_in_pieces(
    disk: &dyn Disk,
    path: &Path,
    piece: u64,
    rest: &mut dyn FnMut(),
) -> io::Result<()> {
    or_absent(remove_in_pieces(disk, path, piece, rest))
}

fn or_absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A larger file is removed in pieces of so many bytes.
pub(crate) const PIECE_BYTES: u64 = 64 << 20;

/// Removes a file piece by piece, from its end, and calls `rest` after each piece. What a file system does to free the
/// gigabytes of a file at once (telling a device that discards them, above all) holds up every sync meanwhile. Handles
/// that are open see the file shrink.
fn remove_in_pieces(disk: &dyn Disk, path: &Path, piece: u64, rest: &mut dyn FnMut()) -> io::Result<()> {
    // A file that cannot be cut can still be removed; one that has another name must not be cut.
    if disk.is_sole_name(path).unwrap_or(false)
        && let Ok(file) = disk.open(path, OpenMode::Write)
    {
        let mut size = file.size().unwrap_or(0);
        while size > piece {
            size -= piece;
            if file.set_size(size).and_then(|()| file.sync_data()).is_err() {
                break;
            }
            rest();
        }
    }
    disk.remove_file(path)
}

/// Removes a directory with everything in it. The entry in the parent is durable after a `sync_dir` there. `rest` is
/// called after each piece of a large file: whoever calls leaves the disk to others there.
pub fn remove_dir_all(disk: &dyn Disk, path: &Path, rest: &mut dyn FnMut()) -> io::Result<()> {
    // A worklist, because how deep the tree goes is not ours to trust.
    let mut pending = vec![(path.to_owned(), false)];
    while let Some((directory, emptied)) = pending.pop() {
        if emptied {
            disk.remove_dir(&directory)?;
            continue;
        }
        pending.push((directory.clone(), true));
        for entry in disk.list(&directory)? {
            let inner = directory.join(&entry.name);
            match entry.kind {
                EntryKind::File => remove_in_pieces(disk, &inner, PIECE_BYTES, rest)?,
                EntryKind::Directory => pending.push((inner, false)),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_is_removed_in_pieces() {
        let disk = SimDisk::new();
        let path = Path::new("/large");
        let file = disk.open(path, OpenMode::New).unwrap();
        file.set_size(35).unwrap();
        let mut sizes = Vec::new();
        remove_in_pieces(&disk, path, 10, &mut || sizes.push(file.size().unwrap())).unwrap();
        assert_eq!(sizes, [25, 15, 5]);
        let gone = disk.open(path, OpenMode::Read).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_has_another_name_keeps_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let [file, backup, link] = ["file", "backup", "link"].map(|name| dir.path().join(name));
        let keeps = |removed: &Path| {
            remove_in_pieces(&RealDisk, removed, 10, &mut || panic!("nothing is cut")).unwrap();
            assert_eq!(std::fs::read(&backup).unwrap(), [7; 35]);
        };
        std::fs::write(&file, [7; 35]).unwrap();
        std::fs::hard_link(&file, &backup).unwrap();
        keeps(&file);
        std::os::unix::fs::symlink(&backup, &link).unwrap();
        keeps(&link);
        let mut cuts = 0;
        remove_in_pieces(&RealDisk, &backup, 10, &mut || cuts += 1).unwrap();
        assert_eq!((cuts, std::fs::read_dir(dir.path()).unwrap().count()), (3, 0));
    }
}
