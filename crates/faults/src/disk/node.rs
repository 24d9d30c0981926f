//! A file or folder below the mount, held by a handle that follows it through renames and past its last name.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use fuser::{FileAttr, FileType, INodeNo};
use rustix::fs::{AtFlags, Mode, OFlags, Stat, fstat, openat, statat};

/// Held by an `O_PATH` handle: as long as it lives, nothing else gets its inode number.
#[derive(Debug)]
pub struct Node {
    pub inode: u64,
    pub kind: FileType,
    handle: OwnedFd,
}

impl Node {
    /// What a name in a folder stands for.
    pub fn at(folder: impl AsFd, name: &OsStr) -> io::Result<Node> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Node::held(openat(folder, name, flags, Mode::empty())?)
    }

    pub fn held(handle: OwnedFd) -> io::Result<Node> {
        let stat = fstat(&handle)?;
        Ok(Node {
            inode: stat.st_ino,
            kind: kind(&stat),
            handle,
        })
    }

    pub fn is_folder(&self) -> bool {
        self.kind == FileType::Directory
    }

    pub fn stat(&self) -> io::Result<Stat> {
        Ok(fstat(&self.handle)?)
    }

    pub fn size(&self) -> io::Result<u64> {
        Ok(self.stat()?.st_size.cast_unsigned())
    }

    /// Whether no name is left of it, nor one that a loss of power would bring back.
    pub fn is_gone(&self) -> io::Result<bool> {
        Ok(self.stat()?.st_nlink == 0)
    }

    /// A path that leads to it whatever its name is.
    pub fn proc_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.handle.as_raw_fd()))
    }

    /// The path that its name has now.
    pub fn path(&self) -> io::Result<PathBuf> {
        std::fs::read_link(self.proc_path())
    }

    /// Opens the file itself.
    pub fn open(&self, for_writing: bool) -> io::Result<File> {
        // What is written is compared with what was there before, so it is read too.
        File::options().read(true).write(for_writing).open(self.proc_path())
    }
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// The inode number that a name stands for, if any.
pub fn inode_at(folder: impl AsFd, name: &OsStr) -> io::Result<Option<u64>> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat.st_ino)),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub fn kind(stat: &Stat) -> FileType {
    use rustix::fs::FileType as Type;
    match Type::from_raw_mode(stat.st_mode) {
        Type::Directory => FileType::Directory,
        Type::Symlink => FileType::Symlink,
        Type::Fifo => FileType::NamedPipe,
        Type::Socket => FileType::Socket,
        Type::CharacterDevice => FileType::CharDevice,
        Type::BlockDevice => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}

/// What the kernel is told of a file.
pub fn attributes(stat: &Stat, inode: INodeNo) -> FileAttr {
    let time = |seconds: i64, nanoseconds| {
        let since = Duration::new(u64::try_from(seconds).unwrap_or(0), nanoseconds);
        SystemTime::UNIX_EPOCH + since
    };
    let changed = time(stat.st_ctime, stat.st_ctime_nsec as u32);
    FileAttr {
        ino: inode,
        size: stat.st_size.cast_unsigned(),
        blocks: stat.st_blocks.cast_unsigned(),
        atime: time(stat.st_atime, stat.st_atime_nsec as u32),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec as u32),
        ctime: changed,
        crtime: changed,
        kind: kind(stat),
        perm: (stat.st_mode & 0o7777) as u16,
        nlink: stat.st_nlink as u32,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: stat.st_rdev as u32,
        blksize: stat.st_blksize as u32,
        flags: 0,
    }
}
