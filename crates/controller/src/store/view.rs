//! What the store has accepted, in memory: the pointers, and the tail of the log that may not be in sled yet.
//!
//! Invariant: an entry that is not in the tail is in sled. So nothing leaves the tail before it is written.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::log_store::Recovered;
use crate::raft::types::{Entry, LogId, Vote};

/// Entries kept in memory for readers, beyond those that are not written yet.
const TAIL_ENTRIES_MAX: usize = 512;
const TAIL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// An entry and its stored size.
pub type Kept = (Arc<Entry>, usize);

pub struct View {
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
    /// The last entry's id, or the purged one if the log is empty.
    pub last: Option<LogId>,
    first_index: u64,
    tail: VecDeque<Kept>,
    tail_bytes: usize,
    /// The log's next index in sled.
    written: Arc<AtomicU64>,
}

impl View {
    pub fn new(recovered: Recovered, written: Arc<AtomicU64>) -> View {
        View {
            vote: recovered.vote,
            committed: recovered.committed,
            purged: recovered.purged,
            last: recovered.last,
            first_index: recovered.first_index,
            tail: VecDeque::new(),
            tail_bytes: 0,
            written,
        }
    }

    fn next_index(&self) -> u64 {
        self.last.map_or(0, |id| id.index + 1)
    }

    /// Takes entries that follow the log without a hole; says the next index.
    pub fn accept(&mut self, entries: Vec<Kept>) -> io::Result<u64> {
        for (entry, size) in entries {
            let (next, index) = (self.next_index(), entry.log_id.index);
            // A log that was never written to may start anywhere: its first entry decides.
            if index != next && self.last.is_some() {
                return Err(io::Error::other(format!(
                    "appending entry {index} where entry {next} was due"
                )));
            }
            if self.last.is_none() {
                self.first_index = index;
            }
            self.last = Some(entry.log_id);
            self.tail_bytes += size;
            self.tail.push_back((entry, size));
        }
        self.trim();
        Ok(self.next_index())
    }

    /// Forgets what follows `last`; says which entries have to go from sled.
    pub fn truncate_after(&mut self, last: Option<LogId>) -> Range<u64> {
        let keep = last.map_or(0, |id| id.index + 1);
        let removed = keep..self.next_index();
        if removed.is_empty() {
            return removed;
        }
        while let Some((_, size)) = self.tail.pop_back_if(|(entry, _)| entry.log_id.index >= keep) {
            self.tail_bytes -= size;
        }
        self.last = last;
        self.first_index = self.first_index.min(keep);
        removed
    }

    /// Forgets everything up to `upto`; says which entries have to go from sled.
    pub fn purge(&mut self, upto: LogId) -> Range<u64> {
        let next = upto.index + 1;
        let removed = self.first_index..next.min(self.next_index()).max(self.first_index);
        while let Some((_, size)) = self.tail.pop_front_if(|(entry, _)| entry.log_id.index < next) {
            self.tail_bytes -= size;
        }
        self.purged = self.purged.max(Some(upto));
        self.last = self.last.max(Some(upto));
        self.first_index = self.first_index.max(next);
        removed
    }

    /// Which part of `range` is to be read from sled, and the entries of the rest.
    pub fn split(&self, range: Range<u64>) -> (Range<u64>, Vec<Kept>) {
        let start = range.start.max(self.first_index);
        let end = range.end.min(self.next_index());
        if start >= end {
            return (start..start, Vec::new());
        }
        let tail_start = self
            .tail
            .front()
            .map_or(end, |(entry, _)| entry.log_id.index)
            .clamp(start, end);
        let wanted = |entry: &&Kept| (tail_start..end).contains(&entry.0.log_id.index);
        (start..tail_start, self.tail.iter().filter(wanted).cloned().collect())
    }

    fn trim(&mut self) {
        let written = self.written.load(Ordering::Acquire);
        while self.tail.len() > TAIL_ENTRIES_MAX || self.tail_bytes > TAIL_BYTES_MAX {
            let Some((_, size)) = self.tail.pop_front_if(|(entry, _)| entry.log_id.index < written) else {
                return;
            };
            self.tail_bytes -= size;
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft::vote::RaftLeaderId;

    use super::*;
    use crate::raft::types::{LeaderId, Payload};

    fn id(index: u64) -> LogId {
        LogId {
            leader_id: LeaderId::new(1, 1),
            index,
        }
    }

    fn entries(range: Range<u64>) -> Vec<Kept> {
        range
            .map(|index| {
                (
                    Arc::new(Entry {
                        log_id: id(index),
                        payload: Payload::Blank,
                    }),
                    10,
                )
            })
            .collect()
    }

    fn indexes(list: &[Kept]) -> Vec<u64> {
        list.iter().map(|(entry, _)| entry.log_id.index).collect()
    }

    #[test]
    fn unwritten_entries_stay_in_the_tail() {
        let written = Arc::new(AtomicU64::new(0));
        let mut view = View::new(Recovered::default(), written.clone());
        assert_eq!(view.accept(entries(0..600)).unwrap(), 600);
        assert_eq!(view.split(0..3).0, 0..0);
        assert_eq!(indexes(&view.split(0..3).1), [0, 1, 2]);
        written.store(600, Ordering::Release);
        view.accept(entries(600..601)).unwrap();
        let (on_disk, tail) = view.split(0..u64::MAX);
        assert_eq!((on_disk, tail.len()), (0..89, 512));
    }

    #[test]
    fn a_hole_is_refused_and_the_ends_move() {
        let mut view = View::new(Recovered::default(), Arc::new(AtomicU64::new(0)));
        view.accept(entries(0..10)).unwrap();
        assert!(view.accept(entries(11..12)).is_err());
        assert_eq!(view.truncate_after(Some(id(6))), 7..10);
        assert_eq!(view.last, Some(id(6)));
        assert_eq!(view.purge(id(3)), 0..4);
        assert_eq!(indexes(&view.split(0..99).1), [4, 5, 6]);
        assert_eq!(view.purge(id(20)), 4..7);
        assert_eq!((view.last, view.split(0..99).1.len()), (Some(id(20)), 0));
        view.accept(entries(21..22)).unwrap();
        assert_eq!(indexes(&view.split(0..99).1), [21]);
    }
}
