//! A small disk for a node's data: a tmpfs, mounted where the data are to be. Needs root.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// Enough for what a run writes, and for the reserve of a node.
const OPTIONS: &std::ffi::CStr = c"size=600m,mode=0755";
const FILLER: &str = "filler";
const PIECE_MAX: u64 = 64 << 20;
const PIECE_MIN: u64 = 4 << 10;
/// A node may make room while its disk is filled.
const LEFT_MAX: u64 = 1 << 20;

/// Unmounted when it is dropped.
pub struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    pub fn mount(at: &Path) -> anyhow::Result<SmallDisk> {
        std::fs::create_dir_all(at).with_context(|| format!("creating {}", at.display()))?;
        mount("tmpfs", at, "tmpfs", MountFlags::empty(), OPTIONS)
            .with_context(|| format!("mounting a small disk at {} (root is needed)", at.display()))?;
        Ok(SmallDisk { at: at.to_owned() })
    }

    /// Takes all the room there is, in pieces: others write meanwhile, and a piece is given whole or not at all.
    pub fn fill(&self) -> anyhow::Result<()> {
        let path = self.at.join(FILLER);
        let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        let (mut length, mut piece) = (0, PIECE_MAX);
        while piece >= PIECE_MIN {
            if fallocate(&file, FallocateFlags::empty(), length, piece).is_ok() {
                length += piece;
            } else {
                piece /= 2;
            }
        }
        let room = statvfs(&self.at)?;
        let left = room.f_bavail * room.f_frsize;
        ensure!(left < LEFT_MAX, "{left} bytes are left on {}", self.at.display());
        Ok(())
    }

    pub fn free(&self) -> anyhow::Result<()> {
        std::fs::remove_file(self.at.join(FILLER)).context("making room")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A process may hold a file for a moment longer.
        if let Err(error) = unmount(&self.at, UnmountFlags::DETACH) {
            tracing::warn!(at = %self.at.display(), %error, "a small disk stays mounted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_is_filled_and_emptied() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root can mount a disk");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("data");
        let disk = SmallDisk::mount(&at).unwrap();
        disk.fill().unwrap();
        let full = std::fs::write(at.join("more"), vec![0; 1 << 20]);
        assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
        disk.free().unwrap();
        std::fs::write(at.join("more"), vec![0; 1 << 20]).unwrap();
        drop(disk);
        assert!(!at.join("more").exists());
    }
}
