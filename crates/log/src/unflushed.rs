//! `unflushed`: the mark that a partition directory's log may hold records that counted before they were flushed.
//!
//! It is an empty file beside `partition.metadata`, and only its presence says anything. While it is there, a power
//! cut may have taken acknowledged records with it, whatever the topic's durability is now. When it is set and removed
//! is decided by the replica; a log does not know it.

use std::path::Path;

use crate::disk::{Disk, OpenMode, remove_if_present};
use crate::error::DiskError;

const FILE: &str = "unflushed";

/// The mark of a partition directory.
#[derive(Clone, Copy, Debug)]
pub struct UnflushedMark;

impl UnflushedMark {
    /// Whether the mark is set in a partition directory.
    ///
    /// # Errors
    /// The disk failed.
    pub fn is_set(disk: &dyn Disk, dir: &Path) -> Result<bool, DiskError> {
        let path = dir.join(FILE);
        match disk.open(&path, OpenMode::Read) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(DiskError::at("reading", &path)(error)),
        }
    }

    /// Sets it; durable when it returns.
    ///
    /// # Errors
    /// The disk failed.
    pub fn set(disk: &dyn Disk, dir: &Path) -> Result<(), DiskError> {
        let path = dir.join(FILE);
        let written = disk
            .open(&path, OpenMode::Create)
            .and_then(|file| file.sync_data())
            .and_then(|()| disk.sync_dir(dir));
        written.map_err(DiskError::at("writing", &path))
    }

    /// Removes it; durable when it returns. The whole log must have been flushed before.
    ///
    /// # Errors
    /// The disk failed.
    pub fn remove(disk: &dyn Disk, dir: &Path) -> Result<(), DiskError> {
        let path = dir.join(FILE);
        let removed = remove_if_present(disk, &path).and_then(|()| disk.sync_dir(dir));
        removed.map_err(DiskError::at("removing", &path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SimDisk;

    #[test]
    fn both_changes_survive_a_power_cut() {
        let disk = SimDisk::new();
        let dir = Path::new("/topic-0");
        disk.create_dir(dir).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        assert!(!UnflushedMark::is_set(&disk, dir).unwrap());
        UnflushedMark::set(&disk, dir).unwrap();
        disk.crash(&mut |_| 0);
        assert!(UnflushedMark::is_set(&disk, dir).unwrap());
        UnflushedMark::set(&disk, dir).unwrap();
        UnflushedMark::remove(&disk, dir).unwrap();
        disk.crash(&mut |_| 0);
        assert!(!UnflushedMark::is_set(&disk, dir).unwrap());
        UnflushedMark::remove(&disk, dir).unwrap();
    }
}
