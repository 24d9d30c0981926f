//! What the kernel asks, answered: each request is judged for trouble, done on the tree, and answered. No decisions.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenAccMode,
    OpenFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
    ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::{FallocateFlags, Mode, OFlags, RenameFlags, fstatvfs};

use super::node::inode_at;
use super::setting::{Changes, change};
use super::tree::Tree;
use super::trouble::{Operation, Troubles, Verdict};

/// How long the kernel may believe what it was told. Short, since the folder behind may be changed by hand.
const BELIEVED: Duration = Duration::from_secs(1);
const GENERATION: Generation = Generation(0);

/// The troubles, and a way to wait for their end.
#[derive(Debug, Default)]
pub struct Controls {
    troubles: Mutex<Troubles>,
    changed: Condvar,
}

/// The file system of one mount.
#[derive(Clone)]
pub struct Shell {
    pub tree: Arc<Tree>,
    pub controls: Arc<Controls>,
    /// Whether this mount's time is over: everything is answered with EIO. Held while anything is done.
    pub is_over: Arc<RwLock<bool>>,
}

impl Controls {
    pub fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn heal(&self) {
        self.troubles().heal();
        self.changed.notify_all();
    }

    /// Waits until a stall is over.
    fn wait(&self, trouble: u64, until: Option<Instant>) {
        let mut troubles = self.troubles();
        while troubles.holds(trouble) {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return;
            }
            let left = left.unwrap_or(Duration::MAX);
            let waited = self.changed.wait_timeout(troubles, left);
            (troubles, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Shell {
    /// Does something on the tree, unless this mount's time is over.
    fn on_tree<T>(&self, work: impl FnOnce(&Tree) -> io::Result<T>) -> io::Result<T> {
        let is_over = self.is_over.read().unwrap_or_else(PoisonError::into_inner);
        if *is_over {
            return Err(rustix::io::Errno::IO.into());
        }
        work(&self.tree)
    }

    /// Does something that may meet trouble: now, later or not at all. A stall waits in a thread of its own, so that
    /// others are answered meanwhile.
    fn judged<T: 'static>(
        &self,
        operation: Operation,
        (inode, name): (INodeNo, Option<&OsStr>),
        work: impl FnOnce(&Tree) -> io::Result<T> + Send + 'static,
        answer: impl FnOnce(io::Result<T>) + Send + 'static,
    ) {
        let path = || self.tree.path(inode, name);
        let verdict = self.controls.troubles().judge(Instant::now(), operation, path);
        match verdict {
            Verdict::Pass => answer(self.on_tree(work)),
            Verdict::Fail => answer(Err(rustix::io::Errno::IO.into())),
            Verdict::Full => answer(Err(rustix::io::Errno::NOSPC.into())),
            Verdict::Stall { trouble, until } => {
                let shell = self.clone();
                let wait = move || {
                    shell.controls.wait(trouble, until);
                    answer(shell.on_tree(work));
                };
                // Without a thread the request is never answered: a stall without an end.
                let _ = std::thread::Builder::new().name("stalled".to_owned()).spawn(wait);
            }
        }
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_i32(error.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error()))
}

fn entry(result: io::Result<FileAttr>, reply: ReplyEntry) {
    match result {
        Ok(attributes) => reply.entry(&BELIEVED, &attributes, GENERATION),
        Err(error) => reply.error(errno(&error)),
    }
}

fn attributes(result: io::Result<FileAttr>, reply: ReplyAttr) {
    match result {
        Ok(attributes) => reply.attr(&BELIEVED, &attributes),
        Err(error) => reply.error(errno(&error)),
    }
}

fn empty(result: io::Result<()>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(&error)),
    }
}

/// Whether a file is opened for writing, and whether each write is to be synced.
fn manner(flags: OpenFlags) -> (bool, bool) {
    let synced = OFlags::DSYNC.bits() | OFlags::SYNC.bits();
    let is_synced = flags.0.cast_unsigned() & synced != 0;
    (flags.acc_mode() != OpenAccMode::O_RDONLY, is_synced)
}

impl Filesystem for Shell {
    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(self.on_tree(|tree| tree.look_up(parent, name)), reply);
    }

    fn forget(&self, _req: &Request, ino: INodeNo, nlookup: u64) {
        self.tree.forget(ino, nlookup);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        attributes(self.on_tree(|tree| tree.attributes(&*tree.node(ino)?)), reply);
    }

    fn setattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changes = Changes {
            mode,
            uid,
            gid,
            size,
            accessed: atime,
            modified: mtime,
        };
        let work = move |tree: &Tree| change(tree, ino, &changes);
        let Some(size) = size else {
            return attributes(self.on_tree(work), reply);
        };
        let size_now = self.tree.node(ino).and_then(|node| node.size());
        let is_cut = size_now.is_ok_and(|now| size < now);
        let operation = if is_cut { Operation::Cut } else { Operation::Write };
        self.judged(operation, (ino, None), work, |result| attributes(result, reply));
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        let target = self.on_tree(|tree| Ok(rustix::fs::readlinkat(&*tree.node(ino)?, "", Vec::new())?));
        match target {
            Ok(target) => reply.data(target.as_bytes()),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn mkdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, mode: u32, _umask: u32, reply: ReplyEntry) {
        let made = name.to_owned();
        let work = move |tree: &Tree| tree.make_folder(parent, &made, mode);
        self.judged(Operation::Create, (parent, Some(name)), work, |result| {
            entry(result, reply)
        });
    }

    fn symlink(&self, _req: &Request, parent: INodeNo, link_name: &OsStr, target: &Path, reply: ReplyEntry) {
        let (made, target) = (link_name.to_owned(), target.to_owned());
        let work = move |tree: &Tree| tree.make_symlink(parent, &made, &target);
        self.judged(Operation::Create, (parent, Some(link_name)), work, |result| {
            entry(result, reply)
        });
    }

    fn link(&self, _req: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        let made = newname.to_owned();
        let work = move |tree: &Tree| tree.link(ino, newparent, &made);
        self.judged(Operation::Create, (newparent, Some(newname)), work, |result| {
            entry(result, reply)
        });
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.on_tree(|tree| tree.unlink(parent, name)), reply);
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.on_tree(|tree| tree.remove_folder(parent, name)), reply);
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: fuser::RenameFlags,
        reply: ReplyEmpty,
    ) {
        let flags = RenameFlags::from_bits_retain(flags.bits());
        let renamed = self.on_tree(|tree| tree.rename((parent, name), (newparent, newname), flags));
        empty(renamed, reply);
    }

    fn open(&self, _req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let (for_writing, is_synced) = manner(flags);
        let opened = self.on_tree(|tree| tree.files.open(tree.node(ino)?, for_writing, is_synced));
        match opened {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn create(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let made = name.to_owned();
        let work = move |tree: &Tree| create(tree, (parent, &made), mode, OpenFlags(flags));
        let answer = |result: io::Result<(FileAttr, u64)>| match result {
            Ok((attributes, handle)) => {
                let handle = FileHandle(handle);
                reply.created(&BELIEVED, &attributes, GENERATION, handle, FopenFlags::empty());
            }
            Err(error) => reply.error(errno(&error)),
        };
        self.judged(Operation::Create, (parent, Some(name)), work, answer);
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.on_tree(|tree| tree.files.read(fh.0, offset, size as usize)) {
            Ok(content) => reply.data(&content),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn write(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let (content, length) = (data.to_vec(), data.len() as u32);
        let work = move |tree: &Tree| tree.files.write(fh.0, offset, &content);
        self.judged(Operation::Write, (ino, None), work, move |result| match result {
            Ok(()) => reply.written(length),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn fallocate(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let mode = FallocateFlags::from_bits_retain(mode.cast_unsigned());
        let work = move |tree: &Tree| tree.files.allocate(fh.0, offset, length, mode);
        self.judged(Operation::Write, (ino, None), work, |result| empty(result, reply));
    }

    fn fsync(&self, _req: &Request, ino: INodeNo, fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let work = move |tree: &Tree| {
            tree.files.sync(fh.0)?;
            tree.file_synced();
            Ok(())
        };
        let shell = self.clone();
        self.judged(Operation::Sync, (ino, None), work, move |result| {
            if result.is_err() {
                // A handle that is gone has nothing left to sync.
                let _ = shell.on_tree(|tree| tree.files.sync_failed(fh.0));
            }
            empty(result, reply);
        });
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.tree.files.close(fh.0);
        reply.ok();
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.on_tree(|tree| tree.open_folder(ino)) {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn readdir(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        match self.on_tree(|tree| tree.list(fh.0, offset)) {
            Ok(listed) => {
                for (place, (inode, kind, name)) in (offset + 1..).zip(listed) {
                    if reply.add(inode, place, kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn releasedir(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        self.tree.close_folder(fh.0);
        reply.ok();
    }

    fn fsyncdir(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let work = move |tree: &Tree| tree.folder_synced(ino);
        self.judged(Operation::Sync, (ino, None), work, |result| empty(result, reply));
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let is_full = self.controls.troubles().is_full();
        match self.on_tree(|tree| Ok(fstatvfs(&tree.root)?)) {
            Ok(of) => {
                let free = |blocks| if is_full { 0 } else { blocks };
                reply.statfs(
                    of.f_blocks,
                    free(of.f_bfree),
                    free(of.f_bavail),
                    of.f_files,
                    of.f_ffree,
                    of.f_bsize as u32,
                    of.f_namemax as u32,
                    of.f_frsize as u32,
                );
            }
            Err(error) => reply.error(errno(&error)),
        }
    }
}

/// Makes a file, if it is not there, and opens it.
fn create(tree: &Tree, (folder, name): (INodeNo, &OsStr), mode: u32, flags: OpenFlags) -> io::Result<(FileAttr, u64)> {
    let is_there = inode_at(&*tree.node(folder)?, name)?.is_some();
    let excludes = flags.0.cast_unsigned() & OFlags::EXCL.bits() != 0;
    let attributes = if is_there && !excludes {
        tree.look_up(folder, name)?
    } else {
        let make = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        tree.create(folder, name, |at| rustix::fs::openat(at, name, make, mode).map(drop))?
    };
    let (for_writing, is_synced) = manner(flags);
    let handle = tree.files.open(tree.node(attributes.ino)?, for_writing, is_synced)?;
    Ok((attributes, handle))
}
