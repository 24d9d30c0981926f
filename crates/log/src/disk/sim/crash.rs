//! What a power cut leaves of changes that were not synced: nothing, all, a prefix with a torn end, or any subset of
//! sectors or pages. Directory changes are kept or lost one by one, each whole.

use std::collections::BTreeSet;

use super::tree::{DirectoryNode, FileChange, FileNode, Node, SimState, set_names};

/// What a disk writes as a whole, and what a kernel does.
const SECTOR: usize = 512;
const PAGE: usize = 4096;

impl SimState {
    pub(super) fn crash(&mut self, choose: &mut dyn FnMut(u64) -> u64) {
        for node in self.nodes.values_mut() {
            match node {
                Node::File(file) => crash_file(file, choose),
                Node::Directory(directory) => crash_directory(directory, choose),
            }
        }
        self.faults.clear();
        self.stalled = false;
        self.powered_off = false;
        self.close_handles();
        self.used = self.named_bytes();
    }

    fn named_bytes(&self) -> u64 {
        let mut named: BTreeSet<u64> = BTreeSet::new();
        for node in self.nodes.values() {
            if let Node::Directory(directory) = node {
                named.extend(directory.entries.values());
            }
        }
        let files = named.into_iter().filter_map(|id| self.file(id).ok());
        files.map(|file| file.bytes.len() as u64).sum()
    }
}

fn crash_file(file: &mut FileNode, choose: &mut dyn FnMut(u64) -> u64) {
    let pending = std::mem::take(&mut file.pending);
    if !pending.is_empty() {
        match choose(4) {
            0 => {}
            1 => pending.iter().for_each(|change| change.apply(&mut file.durable)),
            2 => keep_prefix(&mut file.durable, &pending, choose),
            _ => keep_subset(&mut file.durable, &pending, choose),
        }
    }
    file.bytes.clone_from(&file.durable);
}

fn below(choose: &mut dyn FnMut(u64) -> u64, count: usize) -> usize {
    choose(count as u64) as usize
}

/// The first changes, and the beginning of the one after them up to a sector boundary of the file.
fn keep_prefix(durable: &mut Vec<u8>, pending: &[FileChange], choose: &mut dyn FnMut(u64) -> u64) {
    let whole = below(choose, pending.len());
    pending[..whole].iter().for_each(|change| change.apply(durable));
    if let FileChange::Write { position, bytes } = &pending[whole] {
        let sectors = (position % SECTOR + bytes.len()).div_ceil(SECTOR);
        let kept = below(choose, sectors + 1) * SECTOR;
        let kept = kept.saturating_sub(position % SECTOR).min(bytes.len());
        if kept > 0 {
            let bytes = bytes[..kept].to_vec();
            FileChange::Write {
                position: *position,
                bytes,
            }
            .apply(durable);
        }
    }
}

/// Any sectors or pages of the writes, at any length that the file had on the way.
fn keep_subset(durable: &mut Vec<u8>, pending: &[FileChange], choose: &mut dyn FnMut(u64) -> u64) {
    let mut lengths = vec![durable.len()];
    for change in pending {
        let before = lengths[lengths.len() - 1];
        lengths.push(match change {
            FileChange::Size(size) => *size,
            FileChange::Write { position, bytes } => before.max(position + bytes.len()),
        });
    }
    let length = lengths[below(choose, lengths.len())];
    let grain = [SECTOR, PAGE][below(choose, 2)];
    durable.resize(length, 0);
    for change in pending {
        let FileChange::Write { position, bytes } = change else {
            continue;
        };
        let mut at = *position;
        let end = (position + bytes.len()).min(length);
        while at < end {
            let next = (at - at % grain + grain).min(end);
            if choose(2) == 1 {
                durable[at..next].copy_from_slice(&bytes[at - position..next - position]);
            }
            at = next;
        }
    }
}

fn crash_directory(directory: &mut DirectoryNode, choose: &mut dyn FnMut(u64) -> u64) {
    let pending = std::mem::take(&mut directory.pending);
    if !pending.is_empty() {
        let style = choose(4);
        let prefix = below(choose, pending.len() + 1);
        for (index, change) in pending.iter().enumerate() {
            let kept = match style {
                0 => false,
                1 => true,
                2 => index < prefix,
                _ => choose(2) == 1,
            };
            if kept {
                set_names(&mut directory.durable, change);
            }
        }
    }
    directory.entries.clone_from(&directory.durable);
}
