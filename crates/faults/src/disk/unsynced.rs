//! What of one file the disk does not have yet: enough to know what the file is after a loss of power.
//!
//! The file itself holds everything that was written. Beside it stands, for each page touched since the last sync, what
//! the disk has of it. A sync that fails leaves its pages as Linux does: they count as clean, the disk has the old
//! content, and no later sync writes them unless they are written to again.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::StdRng;

/// What a disk writes at once.
pub const PAGE: u64 = 4096;

/// The difference between a file and what the disk has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsynced {
    synced_size: u64,
    pages: BTreeMap<u64, Page>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Page {
    /// What the disk has of it; shorter than a page at the end of the file, empty behind it.
    on_disk: Vec<u8>,
    /// A sync failed to write it, and it was not touched since.
    forgotten: bool,
}

/// How a file has to be changed to be what the disk has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restore {
    pub size: u64,
    /// By offset; none reaches beyond the size.
    pub pages: Vec<(u64, Vec<u8>)>,
}

impl Unsynced {
    /// A file of this size that the disk has whole.
    pub fn new(size: u64) -> Unsynced {
        Unsynced {
            synced_size: size,
            pages: BTreeMap::new(),
        }
    }

    /// These bytes are about to be overwritten or cut off. `read` gives what stands at an offset, before that happens.
    pub fn touch<E>(
        &mut self,
        offset: u64,
        length: u64,
        mut read: impl FnMut(u64, usize) -> Result<Vec<u8>, E>,
    ) -> Result<(), E> {
        if length == 0 {
            return Ok(());
        }
        for number in offset / PAGE..=(offset + length - 1) / PAGE {
            if let Some(page) = self.pages.get_mut(&number) {
                page.forgotten = false;
                continue;
            }
            let start = number * PAGE;
            let on_disk = match self.synced_size.saturating_sub(start).min(PAGE) {
                0 => Vec::new(),
                bytes => read(start, bytes as usize)?,
            };
            let forgotten = false;
            self.pages.insert(number, Page { on_disk, forgotten });
        }
        Ok(())
    }

    /// The file, which now has this size, was synced. True, if the disk has all of it.
    pub fn synced(&mut self, size: u64) -> bool {
        self.synced_size = size;
        self.pages.retain(|number, page| page.forgotten && number * PAGE < size);
        for (number, page) in &mut self.pages {
            page.on_disk.truncate((size - number * PAGE).min(PAGE) as usize);
        }
        self.pages.is_empty()
    }

    /// A sync failed.
    pub fn sync_failed(&mut self) {
        for page in self.pages.values_mut() {
            page.forgotten = true;
        }
    }

    /// What the file, which now has this size, is after a loss of power. With a source of chance, any of the touched
    /// pages may have reached the disk, and the size too.
    pub fn restore(&self, size_now: u64, mut chance: Option<&mut StdRng>) -> Restore {
        let mut survives = || chance.as_mut().is_some_and(|chance| chance.random());
        let size = if survives() { size_now } else { self.synced_size };
        let mut pages = Vec::new();
        for (number, page) in &self.pages {
            let start = number * PAGE;
            if start >= size {
                break;
            }
            // A cut that did not survive leaves the whole page.
            let is_cut = size_now < size && start + PAGE > size_now;
            if !page.forgotten && !is_cut && survives() {
                continue;
            }
            let mut content = page.on_disk.clone();
            content.resize((size - start).min(PAGE) as usize, 0);
            pages.push((start, content));
        }
        Restore { size, pages }
    }
}

#[cfg(test)]
mod unsynced_test;
