//! The record beside a dumb twin that keeps a whole disk.

use std::collections::BTreeSet;
use std::convert::Infallible;

use rand::SeedableRng;

use super::*;

const LIVES: u64 = 500;
const STEPS: usize = 60;
const SIZE_MAX: u64 = 6 * PAGE;

/// A file with its record, as the file system keeps it.
struct Real {
    file: Vec<u8>,
    unsynced: Unsynced,
}

impl Real {
    fn new() -> Real {
        Real {
            file: Vec::new(),
            unsynced: Unsynced::new(0),
        }
    }

    fn touch(&mut self, offset: u64, length: u64) {
        let file = &self.file;
        let read = |start: u64, bytes: usize| Ok::<_, Infallible>(file[start as usize..][..bytes].to_vec());
        self.unsynced.touch(offset, length, read).unwrap();
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.touch(offset, bytes.len() as u64);
        write(&mut self.file, offset, bytes);
    }

    fn cut(&mut self, size: u64) {
        let length = self.file.len() as u64;
        self.touch(size, length.saturating_sub(size));
        self.file.resize(size as usize, 0);
    }

    fn lose_power(mut self, chance: Option<&mut StdRng>) -> Vec<u8> {
        let restore = self.unsynced.restore(self.file.len() as u64, chance);
        self.file.resize(restore.size as usize, 0);
        for (offset, content) in restore.pages {
            self.file[offset as usize..][..content.len()].copy_from_slice(&content);
        }
        self.file
    }
}

/// The page cache and the disk, both whole.
#[derive(Default)]
struct Twin {
    cache: Vec<u8>,
    disk: Vec<u8>,
    dirty: BTreeSet<u64>,
}

impl Twin {
    fn soil(&mut self, offset: u64, length: u64) {
        if length > 0 {
            self.dirty.extend(offset / PAGE..=(offset + length - 1) / PAGE);
        }
    }

    fn sync(&mut self, works: bool) {
        let dirty = std::mem::take(&mut self.dirty);
        if !works {
            return;
        }
        self.disk.resize(self.cache.len(), 0);
        for page in dirty {
            let start = (page * PAGE) as usize;
            let end = self.cache.len().min(start + PAGE as usize);
            if start < end {
                self.disk[start..end].copy_from_slice(&self.cache[start..end]);
            }
        }
    }
}

fn write(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let (start, end) = (offset as usize, offset as usize + bytes.len());
    if file.len() < end {
        file.resize(end, 0);
    }
    file[start..end].copy_from_slice(bytes);
}

/// Random steps; returns the file and what the disk must have of it.
fn random_life(seed: u64) -> (Real, Twin) {
    let mut chance = StdRng::seed_from_u64(seed);
    let (mut real, mut twin) = (Real::new(), Twin::default());
    for _ in 0..chance.random_range(0..STEPS) {
        let offset = chance.random_range(0..SIZE_MAX);
        match chance.random_range(0..10) {
            0..6 => {
                let bytes = vec![chance.random(); chance.random_range(0..2 * PAGE as usize)];
                real.write(offset, &bytes);
                write(&mut twin.cache, offset, &bytes);
                twin.soil(offset, bytes.len() as u64);
            }
            6 => {
                twin.soil(offset, (twin.cache.len() as u64).saturating_sub(offset));
                twin.cache.resize(offset as usize, 0);
                real.cut(offset);
            }
            7 => {
                real.unsynced.sync_failed();
                twin.sync(false);
            }
            _ => {
                real.unsynced.synced(real.file.len() as u64);
                twin.sync(true);
            }
        }
        assert_eq!(real.file, twin.cache);
    }
    (real, twin)
}

#[test]
fn a_loss_of_power_leaves_what_was_synced() {
    let first: u64 = rand::random();
    for seed in first..first + LIVES {
        let (real, twin) = random_life(seed);
        let file = real.lose_power(None);
        assert!(file == twin.disk, "seed {seed}");
    }
}

#[test]
fn a_torn_loss_leaves_each_page_old_or_new() {
    let first: u64 = rand::random();
    for seed in first..first + LIVES {
        let (real, twin) = random_life(seed);
        let file = real.lose_power(Some(&mut StdRng::seed_from_u64(seed)));
        assert!([twin.cache.len(), twin.disk.len()].contains(&file.len()), "seed {seed}");
        let page = |of: &[u8], start: usize| {
            let mut page = of
                .get(start..of.len().min(start + PAGE as usize))
                .unwrap_or_default()
                .to_vec();
            page.resize((file.len() - start).min(PAGE as usize), 0);
            page
        };
        for start in (0..file.len()).step_by(PAGE as usize) {
            let is = page(&file, start);
            let known = is == page(&twin.cache, start) || is == page(&twin.disk, start);
            assert!(known, "seed {seed}, page at {start}");
        }
    }
}

#[test]
fn a_torn_loss_tears() {
    let mut real = Real::new();
    real.write(0, &[1; 64 * PAGE as usize]);
    real.unsynced.synced(64 * PAGE);
    real.write(0, &[2; 64 * PAGE as usize]);
    let file = real.lose_power(Some(&mut StdRng::seed_from_u64(7)));
    let old = file.chunks(PAGE as usize).filter(|page| page[0] == 1).count();
    assert!((10..54).contains(&old), "{old} of 64 pages are old");
}

#[test]
fn what_a_failed_sync_did_not_write_no_later_one_does() {
    let mut real = Real::new();
    real.write(0, b"old");
    assert!(real.unsynced.synced(3));
    real.write(0, b"new");
    real.unsynced.sync_failed();
    assert!(!real.unsynced.synced(3));
    assert_eq!(real.lose_power(None), b"old");
}
