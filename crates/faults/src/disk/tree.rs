//! The folder behind the mount: `tree` is what programs see, `kept` what has no name any more but would have one again
//! after a loss of power. Changes of names and their record.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::{FileAttr, INodeNo};
use rustix::fs::{AtFlags, CWD, Mode, RenameFlags, linkat, mkdirat, renameat_with, symlinkat, unlinkat};
use rustix::io::Errno;

use super::files::Files;
use super::folders::{Listed, OpenFolders};
use super::names::Names;
use super::node::{Node, attributes, inode_at};

/// When the disk has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamesLast {
    /// When its folder was synced: what POSIX promises, and no more.
    WithTheirFolder,
    /// When any file or folder was synced after it: what a file system with one journal (ext4, xfs) does.
    WithAnySync,
}

/// All files and folders, and what the disk does not have of them.
#[derive(Debug)]
pub struct Tree {
    pub root: Arc<Node>,
    root_path: PathBuf,
    pub kept: Node,
    last: NamesLast,
    /// What the kernel knows, with how often it asked.
    known: Mutex<HashMap<u64, (Arc<Node>, u64)>>,
    names: Mutex<NameRecord>,
    folders: Mutex<OpenFolders>,
    pub files: Files,
}

/// The record of names, and a handle of each folder in it.
#[derive(Debug, Default)]
pub struct NameRecord {
    pub names: Names,
    pub folders: HashMap<u64, Arc<Node>>,
}

impl Tree {
    /// Opens the folder behind a mount. What an earlier life kept is gone: it ended without a loss of power.
    pub fn open(backing: &Path, last: NamesLast) -> io::Result<Tree> {
        let (tree, kept) = (backing.join("tree"), backing.join("kept"));
        std::fs::create_dir_all(&tree)?;
        if kept.exists() {
            std::fs::remove_dir_all(&kept)?;
        }
        std::fs::create_dir(&kept)?;
        Ok(Tree {
            root: Arc::new(Node::at(CWD, tree.as_os_str())?),
            root_path: tree.canonicalize()?,
            kept: Node::at(CWD, kept.as_os_str())?,
            last,
            known: Mutex::default(),
            names: Mutex::default(),
            folders: Mutex::default(),
            files: Files::default(),
        })
    }

    pub fn node(&self, inode: INodeNo) -> io::Result<Arc<Node>> {
        if inode == INodeNo::ROOT {
            return Ok(self.root.clone());
        }
        let known = self.known();
        let (node, _) = known.get(&inode.0).ok_or(Errno::STALE)?;
        Ok(node.clone())
    }

    /// The path below the mount, with a name in that folder if one is given.
    pub fn path(&self, inode: INodeNo, name: Option<&OsStr>) -> String {
        let node = self.node(inode);
        node.map(|node| self.path_of(&node, name)).unwrap_or_default()
    }

    pub fn path_of(&self, node: &Node, name: Option<&OsStr>) -> String {
        let path = node.path().unwrap_or_default();
        let path = path.strip_prefix(&self.root_path).unwrap_or(&path);
        let path = name.map_or(path.to_owned(), |name| path.join(name));
        path.to_string_lossy().into_owned()
    }

    /// The kernel asks for a name and knows the inode from then on.
    pub fn look_up(&self, folder: INodeNo, name: &OsStr) -> io::Result<FileAttr> {
        let node = Node::at(&*self.node(folder)?, name)?;
        let attributes = self.attributes(&node)?;
        let mut known = self.known();
        let (_, count) = known.entry(node.inode).or_insert_with(|| (Arc::new(node), 0));
        *count += 1;
        Ok(attributes)
    }

    pub fn forget(&self, inode: INodeNo, times: u64) {
        let mut known = self.known();
        let Some((node, count)) = known.get_mut(&inode.0) else {
            return;
        };
        *count = count.saturating_sub(times);
        if *count == 0 {
            if node.is_gone().unwrap_or(true) {
                self.files.drop_record(node.inode);
            }
            known.remove(&inode.0);
        }
    }

    pub fn attributes(&self, node: &Node) -> io::Result<FileAttr> {
        let inode = if node.inode == self.root.inode {
            INodeNo::ROOT
        } else {
            INodeNo(node.inode)
        };
        let mut attributes = attributes(&node.stat()?, inode);
        // The name among the kept is not one that programs know of.
        if !node.is_folder() && self.names().names.needs(node.inode) {
            attributes.nlink = attributes.nlink.saturating_sub(1);
        }
        Ok(attributes)
    }

    pub fn open_folder(&self, folder: INodeNo) -> io::Result<u64> {
        let node = self.node(folder)?;
        Ok(self.folders().open(node))
    }

    /// The entries of an open folder from a place on. They are read when the first is asked for, so that places stay.
    pub fn list(&self, handle: u64, place: u64) -> io::Result<Vec<Listed>> {
        self.folders().list(handle, place)
    }

    pub fn close_folder(&self, handle: u64) {
        self.folders().close(handle);
    }

    /// Makes a name by `make`, which does nothing if the name is there.
    pub fn create(
        &self,
        folder: INodeNo,
        name: &OsStr,
        make: impl FnOnce(&Node) -> Result<(), Errno>,
    ) -> io::Result<FileAttr> {
        let node = self.node(folder)?;
        {
            let mut record = self.names();
            make(&node)?;
            record.change(&node, name, None);
        }
        self.look_up(folder, name)
    }

    pub fn make_folder(&self, folder: INodeNo, name: &OsStr, mode: u32) -> io::Result<FileAttr> {
        self.create(folder, name, |at| mkdirat(at, name, Mode::from_raw_mode(mode)))
    }

    pub fn make_symlink(&self, folder: INodeNo, name: &OsStr, target: &Path) -> io::Result<FileAttr> {
        self.create(folder, name, |at| symlinkat(target, at, name))
    }

    pub fn link(&self, inode: INodeNo, folder: INodeNo, name: &OsStr) -> io::Result<FileAttr> {
        let node = self.node(inode)?;
        self.create(folder, name, |at| {
            linkat(CWD, node.proc_path(), at, name, AtFlags::SYMLINK_FOLLOW)
        })
    }

    /// Takes a file's name away.
    pub fn unlink(&self, folder: INodeNo, name: &OsStr) -> io::Result<()> {
        let at = self.node(folder)?;
        let file = Node::at(&*at, name)?;
        if file.is_folder() {
            return Err(Errno::ISDIR.into());
        }
        let mut record = self.names();
        self.about_to_lose(&mut record, &at, name, &file)?;
        unlinkat(&*at, name, AtFlags::empty())?;
        drop(record);
        if file.is_gone()? {
            self.files.drop_record(file.inode);
        }
        Ok(())
    }

    /// Takes an empty folder away.
    pub fn remove_folder(&self, folder: INodeNo, name: &OsStr) -> io::Result<()> {
        let at = self.node(folder)?;
        let gone = Node::at(&*at, name)?;
        let mut record = self.names();
        self.about_to_lose(&mut record, &at, name, &gone)?;
        self.take_folder_away(&mut record, &at, name, &gone)
    }

    pub fn rename(&self, from: (INodeNo, &OsStr), to: (INodeNo, &OsStr), flags: RenameFlags) -> io::Result<()> {
        if flags.intersects(RenameFlags::EXCHANGE | RenameFlags::WHITEOUT) {
            return Err(Errno::INVAL.into());
        }
        let (old, new) = (self.node(from.0)?, self.node(to.0)?);
        let moved = Node::at(&*old, from.1)?;
        let mut record = self.names();
        let replaced = inode_at(&*new, to.1)?;
        if replaced == Some(moved.inode) && flags.is_empty() {
            // Two names of one file: nothing happens, says POSIX.
            return Ok(());
        }
        if replaced.is_some() && flags.contains(RenameFlags::NOREPLACE) {
            return Err(Errno::EXIST.into());
        }
        self.about_to_lose(&mut record, &old, from.1, &moved)?;
        if replaced.is_some() {
            let replaced = Node::at(&*new, to.1)?;
            self.about_to_lose(&mut record, &new, to.1, &replaced)?;
            if replaced.is_folder() && moved.is_folder() {
                self.take_folder_away(&mut record, &new, to.1, &replaced)?;
            }
        } else {
            record.change(&new, to.1, None);
        }
        renameat_with(&*old, from.1, &*new, to.1, RenameFlags::empty())?;
        Ok(())
    }

    /// A name is about to stand for something else or nothing: what it stands for is kept, if the disk has that.
    fn about_to_lose(&self, record: &mut NameRecord, at: &Arc<Node>, name: &OsStr, now: &Node) -> io::Result<()> {
        record.change(at, name, Some(now.inode));
        if now.is_folder() || !record.names.needs(now.inode) {
            return Ok(());
        }
        match linkat(&**at, name, &self.kept, kept_name(now.inode), AtFlags::empty()) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A folder cannot have a second name: it is moved among the kept if it may come back.
    fn take_folder_away(&self, record: &mut NameRecord, at: &Node, name: &OsStr, gone: &Node) -> io::Result<()> {
        if record.names.needs(gone.inode) {
            if std::fs::read_dir(gone.proc_path())?.next().is_some() {
                return Err(Errno::NOTEMPTY.into());
            }
            renameat_with(at, name, &self.kept, kept_name(gone.inode), RenameFlags::empty())?;
            return Ok(());
        }
        unlinkat(at, name, AtFlags::REMOVEDIR)?;
        // Its own record speaks of names that nothing leads to any more.
        self.settle(record, gone.inode);
        Ok(())
    }

    /// A folder was synced.
    pub fn folder_synced(&self, folder: INodeNo) -> io::Result<()> {
        let node = self.node(folder)?;
        let mut record = self.names();
        self.settle(&mut record, node.inode);
        self.anything_synced(&mut record);
        Ok(())
    }

    /// A file was synced.
    pub fn file_synced(&self) {
        self.anything_synced(&mut self.names());
    }

    fn anything_synced(&self, record: &mut NameRecord) {
        if self.last == NamesLast::WithAnySync {
            for folder in record.names.folders() {
                self.settle(record, folder);
            }
        }
    }

    /// The names of a folder are as the disk has them: what was kept for it can go.
    fn settle(&self, record: &mut NameRecord, folder: u64) {
        let mut settled = vec![folder];
        while let Some(folder) = settled.pop() {
            record.folders.remove(&folder);
            for inode in record.names.synced(folder) {
                // It is there only if it has lost its last name, or a name at all.
                let name = kept_name(inode);
                if unlinkat(&self.kept, &name, AtFlags::empty()).is_err()
                    && unlinkat(&self.kept, &name, AtFlags::REMOVEDIR).is_ok()
                {
                    settled.push(inode);
                }
            }
        }
    }

    fn folders(&self) -> MutexGuard<'_, OpenFolders> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn names(&self) -> MutexGuard<'_, NameRecord> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<u64, (Arc<Node>, u64)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NameRecord {
    pub fn change(&mut self, folder: &Arc<Node>, name: &OsStr, now: Option<u64>) {
        self.names.change(folder.inode, name, now);
        self.folders.entry(folder.inode).or_insert_with(|| folder.clone());
    }
}

/// The name among the kept.
pub fn kept_name(inode: u64) -> OsString {
    inode.to_string().into()
}
