//! Producer state: which batches of which idempotent producers a log already holds.
//!
//! The table is a function of the log: leader and followers feed it every batch in order, recovery and truncation
//! rebuild it from a snapshot and the batches behind it. Only the leader asks it whether a batch may be appended.
//! It does not know open transactions yet.

mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use klamm_record::BatchHeader;
use klamm_types::{ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

pub use snapshot::SnapshotError;

/// How many batches per producer are remembered; clients keep at most as many in flight.
pub const BATCHES_REMEMBERED: usize = 5;

/// Of how many producers of deleted records a log that begins anew is told: 200 KB at most.
pub(crate) const PRODUCERS_TOLD_MAX: usize = 1000;

const PRODUCER_IDS_MAX: usize = 65_536;

/// One batch in the log, as far as recognising its duplicate needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSeen {
    pub base_sequence: Sequence,
    pub last_sequence: Sequence,
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub max_timestamp: Timestamp,
    pub leader_epoch: LeaderEpoch,
}

/// One producer id in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerEntry {
    pub epoch: ProducerEpoch,
    /// Oldest first, at most [`BATCHES_REMEMBERED`], all of `epoch`.
    pub batches: VecDeque<BatchSeen>,
    /// When the last batch came, by this replica's wall clock. Rebuilding counts as coming.
    pub last_seen: Timestamp,
}

impl ProducerEntry {
    /// The sequence of the last record; [`Sequence::NONE`] before the first one of this epoch.
    pub fn last_sequence(&self) -> Sequence {
        self.batches.back().map_or(Sequence::NONE, |batch| batch.last_sequence)
    }
}

/// What the table says to a batch that a producer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// New: append it.
    Append,
    /// In the log already, here.
    Duplicate(BatchSeen),
    /// Neither: answer this.
    Refuse(ErrorCode),
}

/// All producer ids of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerTable {
    /// Everything below has been taken in.
    end: Offset,
    producers: BTreeMap<ProducerId, ProducerEntry>,
    /// By silence, longest first; holds exactly the keys of `producers`.
    by_last_seen: BTreeSet<(Timestamp, ProducerId)>,
    producer_ids_max: usize,
}

impl Default for ProducerTable {
    fn default() -> ProducerTable {
        ProducerTable::new(Offset(0))
    }
}

impl ProducerTable {
    /// Nothing known, for a log that begins at `end`.
    pub fn new(end: Offset) -> ProducerTable {
        ProducerTable {
            end,
            producers: BTreeMap::new(),
            by_last_seen: BTreeSet::new(),
            producer_ids_max: PRODUCER_IDS_MAX,
        }
    }

    /// Everything below this offset has been taken in: the offset that a snapshot belongs to.
    pub fn end(&self) -> Offset {
        self.end
    }

    pub fn len(&self) -> usize {
        self.producers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &ProducerEntry)> {
        self.producers.iter().map(|(&id, entry)| (id, entry))
    }

    pub fn get(&self, producer: ProducerId) -> Option<&ProducerEntry> {
        self.producers.get(&producer)
    }

    /// Beyond so many producer ids the one silent for longest is forgotten.
    pub fn limit(&mut self, producer_ids_max: usize) {
        self.producer_ids_max = producer_ids_max.max(1);
        self.forget_surplus();
    }

    pub(crate) fn ids_max(&self) -> usize {
        self.producer_ids_max
    }

    /// Whether a batch that a producer sends may be appended.
    pub fn check(&self, header: &BatchHeader) -> Verdict {
        if !header.has_producer_id() {
            return Verdict::Append;
        }
        let Some(entry) = self.producers.get(&header.producer_id) else {
            // Never seen, or forgotten: no sequence can be called wrong.
            return Verdict::Append;
        };
        if header.producer_epoch < entry.epoch {
            return Verdict::Refuse(ErrorCode::InvalidProducerEpoch);
        }
        if header.producer_epoch > entry.epoch {
            return match header.base_sequence {
                Sequence(0) => Verdict::Append,
                _ => Verdict::Refuse(ErrorCode::OutOfOrderSequenceNumber),
            };
        }
        let (first, last) = (header.base_sequence, header.last_sequence());
        let same = |batch: &&BatchSeen| batch.base_sequence == first && batch.last_sequence == last;
        if let Some(original) = entry.batches.iter().find(same) {
            return Verdict::Duplicate(*original);
        }
        if first == entry.last_sequence().plus(1) {
            return Verdict::Append;
        }
        Verdict::Refuse(ErrorCode::OutOfOrderSequenceNumber)
    }

    /// Takes in a batch that is in the log, or is about to be. Batches below [`ProducerTable::end`] are passed over,
    /// so a snapshot may lie behind the point from which the log is replayed.
    pub fn replay(&mut self, header: &BatchHeader, wall: Timestamp) {
        if header.base_offset < self.end {
            return;
        }
        self.end = header.next_offset();
        if !header.has_producer_id() {
            return;
        }
        let mut entry = match self.producers.remove(&header.producer_id) {
            Some(entry) => {
                self.by_last_seen.remove(&(entry.last_seen, header.producer_id));
                entry
            }
            None => ProducerEntry {
                epoch: header.producer_epoch,
                batches: VecDeque::new(),
                last_seen: wall,
            },
        };
        if header.producer_epoch != entry.epoch {
            entry.batches.clear();
            entry.epoch = header.producer_epoch;
        }
        entry.last_seen = entry.last_seen.max(wall);
        // A marker has no sequence: it can only raise the epoch.
        if header.base_sequence.0 >= 0 {
            entry.batches.push_back(BatchSeen {
                base_sequence: header.base_sequence,
                last_sequence: header.last_sequence(),
                base_offset: header.base_offset,
                last_offset: header.last_offset(),
                max_timestamp: header.max_timestamp,
                leader_epoch: header.partition_leader_epoch,
            });
            if entry.batches.len() > BATCHES_REMEMBERED {
                entry.batches.pop_front();
            }
        }
        self.put(header.producer_id, entry);
        self.forget_surplus();
    }

    /// Forgets whom nothing was heard of for `expiration`. Called now and then; the exact moment means nothing.
    pub fn expire(&mut self, wall: Timestamp, expiration: Duration) {
        let silent_since = wall
            .0
            .saturating_sub(i64::try_from(expiration.as_millis()).unwrap_or(i64::MAX));
        while let Some(&(last_seen, producer)) = self.by_last_seen.first() {
            if last_seen.0 > silent_since {
                break;
            }
            self.by_last_seen.pop_first();
            self.producers.remove(&producer);
        }
    }

    /// What is known of the records below `at`, for a log that begins there: of the producers heard of last, at most
    /// `count`.
    pub fn below(&self, at: Offset, count: usize) -> ProducerTable {
        let mut table = ProducerTable::new(at);
        table.producer_ids_max = self.producer_ids_max;
        let newest_first = self.by_last_seen.iter().rev().map(|&(_, producer)| producer);
        let is_below = |entry: &&ProducerEntry| entry.batches.front().is_some_and(|oldest| oldest.last_offset < at);
        let known = newest_first.filter_map(|id| Some((id, self.producers.get(&id).filter(is_below)?)));
        for (producer, entry) in known.take(count) {
            let mut entry = entry.clone();
            entry.batches.retain(|batch| batch.last_offset < at);
            table.put(producer, entry);
        }
        table
    }

    fn put(&mut self, producer: ProducerId, entry: ProducerEntry) {
        self.by_last_seen.insert((entry.last_seen, producer));
        self.producers.insert(producer, entry);
    }

    fn forget_surplus(&mut self) {
        while self.producers.len() > self.producer_ids_max {
            if let Some((_, producer)) = self.by_last_seen.pop_first() {
                self.producers.remove(&producer);
            }
        }
    }
}
