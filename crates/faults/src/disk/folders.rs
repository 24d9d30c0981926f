//! Folders that are open, each with the list that its reader goes through.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use fuser::{FileType, INodeNo};
use rustix::fs::Dir;
use rustix::io::Errno;

use super::node::Node;

/// An entry of a folder, as `readdir` gives it.
pub type Listed = (INodeNo, FileType, OsString);

#[derive(Debug, Default)]
pub struct OpenFolders {
    all: HashMap<u64, (Arc<Node>, Vec<Listed>)>,
    last: u64,
}

impl OpenFolders {
    pub fn open(&mut self, folder: Arc<Node>) -> u64 {
        self.last += 1;
        self.all.insert(self.last, (folder, Vec::new()));
        self.last
    }

    /// The entries from a place on; from the first, they are read anew.
    pub fn list(&mut self, handle: u64, place: u64) -> io::Result<Vec<Listed>> {
        let (folder, listed) = self.all.get_mut(&handle).ok_or(Errno::BADF)?;
        if place == 0 {
            *listed = read(folder)?;
        }
        Ok(listed.iter().skip(place as usize).cloned().collect())
    }

    pub fn close(&mut self, handle: u64) {
        self.all.remove(&handle);
    }
}

fn read(folder: &Node) -> io::Result<Vec<Listed>> {
    let mut listed = Vec::new();
    for entry in Dir::new(folder.open(false)?)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
        let kind = match entry.file_type() {
            rustix::fs::FileType::Directory => FileType::Directory,
            rustix::fs::FileType::Symlink => FileType::Symlink,
            _ => FileType::RegularFile,
        };
        listed.push((INodeNo(entry.ino()), kind, name));
    }
    Ok(listed)
}
