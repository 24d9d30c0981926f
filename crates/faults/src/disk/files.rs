//! The content of files: everything goes through to the files behind the mount, and into the record of what was not
//! synced.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::node::Node;
use super::unsynced::Unsynced;

/// What is open, and what of which file the disk does not have.
#[derive(Debug, Default)]
pub struct Files {
    open: RwLock<HashMap<u64, Arc<OpenFile>>>,
    last: AtomicU64,
    records: Mutex<HashMap<u64, FileRecord>>,
}

/// The record of one file, and a handle of it.
#[derive(Debug)]
pub struct FileRecord {
    pub node: Arc<Node>,
    pub unsynced: Unsynced,
}

#[derive(Debug)]
pub struct OpenFile {
    pub node: Arc<Node>,
    file: File,
    /// O_SYNC or O_DSYNC: every write is synced before it is answered.
    syncs_writes: bool,
}

impl Files {
    /// Opens a file; returns the handle that the kernel will name.
    pub fn open(&self, node: Arc<Node>, for_writing: bool, syncs_writes: bool) -> io::Result<u64> {
        let file = node.open(for_writing)?;
        let open = OpenFile {
            node,
            file,
            syncs_writes,
        };
        let handle = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let mut all = self.open.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(handle, Arc::new(open));
        Ok(handle)
    }

    pub fn close(&self, handle: u64) {
        self.open
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&handle);
    }

    pub fn get(&self, handle: u64) -> io::Result<Arc<OpenFile>> {
        let all = self.open.read().unwrap_or_else(PoisonError::into_inner);
        Ok(all.get(&handle).ok_or(Errno::BADF)?.clone())
    }

    pub fn read(&self, handle: u64, offset: u64, size: usize) -> io::Result<Vec<u8>> {
        let open = self.get(handle)?;
        let mut content = vec![0; size];
        let mut filled = 0;
        while filled < size {
            match open.file.read_at(&mut content[filled..], offset + filled as u64)? {
                0 => break,
                bytes => filled += bytes,
            }
        }
        content.truncate(filled);
        Ok(content)
    }

    pub fn write(&self, handle: u64, offset: u64, content: &[u8]) -> io::Result<()> {
        let open = self.get(handle)?;
        self.touch(&open.node, &open.file, offset, content.len() as u64)?;
        open.file.write_all_at(content, offset)?;
        if open.syncs_writes {
            self.sync(handle)?;
        }
        Ok(())
    }

    /// Sets a file's size.
    pub fn resize(&self, node: &Arc<Node>, size: u64) -> io::Result<()> {
        let file = node.open(true)?;
        let cut = file.metadata()?.len().saturating_sub(size);
        self.touch(node, &file, size, cut)?;
        file.set_len(size)
    }

    /// Reserves or frees room.
    pub fn allocate(&self, handle: u64, offset: u64, length: u64, mode: FallocateFlags) -> io::Result<()> {
        let open = self.get(handle)?;
        let known = FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE | FallocateFlags::ZERO_RANGE;
        if !known.contains(mode) {
            return Err(Errno::OPNOTSUPP.into());
        }
        let keeps_content = (mode - FallocateFlags::KEEP_SIZE).is_empty();
        let touched = if keeps_content { 0 } else { length };
        self.touch(&open.node, &open.file, offset, touched)?;
        Ok(fallocate(&open.file, mode, offset, length)?)
    }

    /// The disk has all of the file.
    pub fn sync(&self, handle: u64) -> io::Result<()> {
        let open = self.get(handle)?;
        {
            // The kernel lets no write of this file run beside a sync of it.
            let mut records = self.records();
            let size = open.file.metadata()?.len();
            let record = records.get_mut(&open.node.inode);
            if record.is_some_and(|record| record.unsynced.synced(size)) {
                records.remove(&open.node.inode);
            }
        }
        open.file.sync_data()
    }

    /// A sync failed: what was not synced by then will not be.
    pub fn sync_failed(&self, handle: u64) -> io::Result<()> {
        let open = self.get(handle)?;
        if let Some(record) = self.records().get_mut(&open.node.inode) {
            record.unsynced.sync_failed();
        }
        Ok(())
    }

    /// A file is no more.
    pub fn drop_record(&self, inode: u64) {
        self.records().remove(&inode);
    }

    pub fn take_records(&self) -> Vec<FileRecord> {
        self.records().drain().map(|(_, record)| record).collect()
    }

    pub fn is_any_open(&self) -> bool {
        !self.open.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Puts what stands in a range into the record, before it changes or the size does.
    fn touch(&self, node: &Arc<Node>, file: &File, offset: u64, length: u64) -> io::Result<()> {
        let mut records = self.records();
        if !records.contains_key(&node.inode) {
            let unsynced = Unsynced::new(file.metadata()?.len());
            let node = node.clone();
            records.insert(node.inode, FileRecord { node, unsynced });
        }
        let Some(record) = records.get_mut(&node.inode) else {
            return Ok(());
        };
        record.unsynced.touch(offset, length, |start, bytes| {
            let mut content = vec![0; bytes];
            file.read_exact_at(&mut content, start)?;
            Ok(content)
        })
    }

    fn records(&self) -> MutexGuard<'_, HashMap<u64, FileRecord>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
