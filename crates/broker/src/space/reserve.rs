//! A file that keeps some room on the disk for the moment at which there is none.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use klamm_log::disk::remove_if_present;
use klamm_log::{Disk, OpenMode};

/// Its name in the data directory.
pub const NAME: &str = "reserve";

#[derive(Debug)]
pub struct Reserve {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    bytes: u64,
    held: bool,
}

impl Reserve {
    /// Of a data directory; nothing is held yet.
    pub fn new(disk: Arc<dyn Disk>, data_dir: &std::path::Path, bytes: u64) -> Reserve {
        Reserve {
            disk,
            path: data_dir.join(NAME),
            bytes,
            held: false,
        }
    }

    /// Bytes that are not held although they should be.
    pub fn missing(&self) -> u64 {
        if self.held { 0 } else { self.bytes }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes the room, unless it is held.
    pub fn take(&mut self) -> io::Result<()> {
        if self.held || self.bytes == 0 {
            return Ok(());
        }
        let file = self.disk.open(&self.path, OpenMode::Create)?;
        if file.size()? != self.bytes {
            file.set_size(0)?;
            let allocated = file.allocate(self.bytes);
            if allocated.is_err() {
                // Half of it would only be in the way.
                drop(file);
                let _ = remove_if_present(self.disk.as_ref(), &self.path);
            }
            allocated?;
        }
        self.held = true;
        Ok(())
    }

    /// Gives the room back.
    pub fn release(&mut self) -> io::Result<()> {
        self.held = false;
        // Also what an earlier run has left.
        remove_if_present(self.disk.as_ref(), &self.path)
    }
}
