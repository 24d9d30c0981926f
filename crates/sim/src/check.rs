//! What must hold, whatever happens. Every check compares with what was seen before; none asks the code under test
//! whether it is right.
//!
//! * Below the high watermark all logs agree, for ever ("log matching", "what was read never disappears").
//! * A new leader holds everything committed.
//! * One batch per leader epoch and offset.
//! * An acknowledged batch (acks=all) is committed at the offset that was told.
//! * An idempotent producer's records are committed once each and in order.
//! * A high watermark rests on every member of the ISR, and on enough flushed copies.
//! * What clients are told never goes back with newer epochs.
//! * Records are deleted from the front only as far as somebody asked for it.
//!
//! Once an election was unclean, by permission, only what still must hold is checked: one batch per leader epoch and
//! offset, the cores' own orderings, and that everything becomes whole again.

use std::collections::BTreeMap;

use klamm_record::Batch;
use klamm_types::{LeaderEpoch, Offset, ProducerId};

/// A batch as every replica must hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    pub next_offset: Offset,
    pub epoch: LeaderEpoch,
    /// Over everything but offset and epoch.
    pub crc: u32,
}

#[derive(Debug, Default)]
pub struct Checker {
    /// By base offset, without gaps.
    committed: BTreeMap<Offset, Committed>,
    committed_end: Offset,
    /// By the epoch of the leader that committed: up to which offset.
    ends: BTreeMap<LeaderEpoch, Offset>,
    /// By leader epoch and base offset: every batch that a log was given.
    assigned: BTreeMap<(LeaderEpoch, Offset), (Offset, u32)>,
    /// The next sequence of each idempotent producer in the committed log.
    sequences: BTreeMap<ProducerId, i32>,
    /// Where each committed batch of an idempotent producer begins, by its first sequence.
    places: BTreeMap<(ProducerId, i32), Offset>,
    /// The largest *latest* offset told to a client, per leader epoch of the answer.
    told: BTreeMap<LeaderEpoch, Offset>,
    /// Records below it may be deleted: somebody asked for that.
    deletable: Offset,
    pub acknowledged: u64,
}

impl Checker {
    pub fn committed_end(&self) -> Offset {
        self.committed_end
    }

    pub fn committed_at(&self, base: Offset) -> Option<&Committed> {
        self.committed.get(&base)
    }

    pub fn batches_committed(&self) -> usize {
        self.committed.len()
    }

    /// Somebody deletes records up to here.
    pub fn may_delete(&mut self, to: Offset) {
        self.deletable = self.deletable.max(to);
    }

    /// A log begins here.
    pub fn begins(&self, log_start: Offset) -> Result<(), String> {
        if log_start > self.deletable {
            return Err(format!(
                "a log begins at {log_start}, but only records below {} were deleted",
                self.deletable
            ));
        }
        Ok(())
    }

    /// A batch is given to a log.
    pub fn given(&mut self, batch: &Batch) -> Result<(), String> {
        let key = (batch.leader_epoch(), batch.base_offset());
        let value = (batch.next_offset(), batch.header().crc);
        match self.assigned.insert(key, value) {
            Some(before) if before != value => Err(format!(
                "two batches for offset {} of leader epoch {}: {before:?} and {value:?}",
                key.1, key.0
            )),
            _ => Ok(()),
        }
    }

    /// The high watermark of a replica in this leader epoch covers this batch of its log.
    pub fn covered(&mut self, batch: &Batch, leader_epoch: LeaderEpoch) -> Result<(), String> {
        let found = Committed {
            next_offset: batch.next_offset(),
            epoch: batch.leader_epoch(),
            crc: batch.header().crc,
        };
        let base = batch.base_offset();
        if base < self.committed_end {
            return match self.committed.get(&base) {
                Some(known) if *known == found => Ok(()),
                known => Err(format!(
                    "offset {base} was committed as {known:?}, here it is {found:?}"
                )),
            };
        }
        if base != self.committed_end {
            return Err(format!(
                "committed up to {}, the next batch begins at {base}",
                self.committed_end
            ));
        }
        self.check_sequence(batch)?;
        self.committed.insert(base, found);
        self.committed_end = found.next_offset;
        self.ends.insert(leader_epoch, found.next_offset);
        Ok(())
    }

    fn check_sequence(&mut self, batch: &Batch) -> Result<(), String> {
        let header = batch.header();
        if !header.has_producer_id() {
            return Ok(());
        }
        let expected = self.sequences.entry(header.producer_id).or_insert(0);
        if header.base_sequence.0 != *expected {
            return Err(format!(
                "producer {}: sequence {} committed at offset {} where {expected} was due",
                header.producer_id,
                header.base_sequence,
                batch.base_offset()
            ));
        }
        *expected = header.last_sequence().0 + 1;
        let place = (header.producer_id, header.base_sequence.0);
        self.places.insert(place, batch.base_offset());
        Ok(())
    }

    /// Where the batch that begins with this sequence was committed.
    pub fn place_of(&self, producer: ProducerId, sequence: i32) -> Option<Offset> {
        self.places.get(&(producer, sequence)).copied()
    }

    /// A producer was told that its batch is committed.
    pub fn acknowledged(&mut self, base: Offset, batch: &Batch) -> Result<(), String> {
        self.acknowledged += 1;
        match self.committed.get(&base) {
            Some(committed) if committed.crc == batch.header().crc => Ok(()),
            found => Err(format!(
                "acknowledged at offset {base} with checksum {:08x}, committed is {found:?} (up to {})",
                batch.header().crc,
                self.committed_end
            )),
        }
    }

    /// A reader was given this batch.
    pub fn read(&self, batch: &Batch) -> Result<(), String> {
        match self.committed.get(&batch.base_offset()) {
            Some(committed) if committed.crc == batch.header().crc => Ok(()),
            found => Err(format!("a reader got {:?}, committed is {found:?}", batch.header())),
        }
    }

    /// A client was told the latest offset.
    pub fn told_latest(&mut self, epoch: LeaderEpoch, offset: Offset) -> Result<(), String> {
        let before = self.told.range(..=epoch).map(|(_, &offset)| offset).max();
        if let Some(before) = before.filter(|&before| before > offset) {
            return Err(format!(
                "latest offset {offset} told in leader epoch {epoch}, after {before}"
            ));
        }
        self.told.insert(epoch, offset);
        Ok(())
    }

    /// A leader takes up its epoch with this log.
    pub fn leads(&self, epoch: LeaderEpoch, log_end: Offset) -> Result<(), String> {
        // A leader that learns late of its election may find that later ones have gone on without it.
        let due = self.ends.range(..epoch).map(|(_, &end)| end).max().unwrap_or_default();
        if log_end < due {
            return Err(format!(
                "the leader of epoch {epoch} holds records up to {log_end}, committed are {due}"
            ));
        }
        Ok(())
    }
}
