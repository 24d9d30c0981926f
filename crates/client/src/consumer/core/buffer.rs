//! Batches between the fetch and the program: what they take in memory, who is next, how positions move.

use klamm_record::{Batch, BatchError};
use klamm_types::{Moment, Offset};

use super::admit::Visibility;
use super::partition::{Buffered, Partition, Phase, Position};
use super::{Charge, Core};
use crate::consumer::error::ConsumeError;
use crate::consumer::record::TopicPartition;

/// The batch to hand out next. It stays buffered until the position has passed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::consumer) struct Lease {
    /// Names this batch, as it was fetched this time.
    pub id: u64,
    pub partition: TopicPartition,
    /// Records below were handed out, or never asked for.
    pub position: Offset,
    pub batch: Batch,
}

impl Core {
    /// Appends the batches of a fetch answer that takes `bytes` as a whole.
    pub(super) fn fill(&mut self, key: &TopicPartition, fetch: u64, bytes: usize, batches: Vec<(Batch, Visibility)>) {
        let mut id = self.last_id;
        let Some(partition) = self.partitions.get_mut(key) else {
            return;
        };
        if batches.is_empty() {
            return;
        }
        let charge = self.charges.entry(fetch).or_insert_with(|| {
            self.buffered += bytes;
            Charge { bytes, batches: 0 }
        });
        charge.batches += batches.len();
        for (batch, visibility) in batches {
            id += 1;
            partition.buffered_bytes += batch.size();
            partition.buffer.push_back(Buffered {
                id,
                batch,
                visibility,
                fetch,
            });
        }
        partition.served = fetch;
        self.last_id = id;
    }

    /// Forgets what was fetched ahead, and what is being fetched.
    pub(super) fn drop_buffer(&mut self, key: &TopicPartition) {
        self.release(key);
        let Some(partition) = self.partitions.get_mut(key) else {
            return;
        };
        partition.fault = None;
        while self.pop(key).is_some() {}
    }

    /// Takes the first batch out of the buffer.
    fn pop(&mut self, key: &TopicPartition) -> Option<Buffered> {
        let partition = self.partitions.get_mut(key)?;
        let first = partition.buffer.pop_front()?;
        partition.buffered_bytes -= first.batch.size();
        if let Some(charge) = self.charges.get_mut(&first.fetch) {
            charge.batches -= 1;
            if charge.batches == 0 {
                self.buffered -= charge.bytes;
                self.charges.remove(&first.fetch);
            }
        }
        Some(first)
    }

    /// What keeps the program from reading on; those that stop a partition stay until the program acts.
    pub fn failure(&mut self, now: Moment) -> Option<ConsumeError> {
        let unavailable_after = self.config.unavailable_after;
        let failing = |partition: &Partition| {
            let waits = partition
                .failing
                .as_ref()
                .is_some_and(|f| now.since(f.since) >= unavailable_after);
            let broken = partition.fault.is_some() || matches!(partition.phase, Phase::Stopped(_));
            !partition.paused && partition.buffer.is_empty() && (waits || broken)
        };
        let (key, partition) = self.partitions.iter_mut().find(|(_, partition)| failing(partition))?;
        if let Phase::Stopped(failure) = &partition.phase {
            return Some(failure.clone());
        }
        if let Some(cause) = partition.fault.take() {
            partition.retry_at = now + self.config.retry_backoff;
            let position = partition.position.map_or(Offset::NONE, |position| position.offset);
            return Some(ConsumeError::Damaged {
                partition: key.clone(),
                position,
                next_offset: None,
                cause,
            });
        }
        let failing = partition.failing.as_mut()?;
        let waited = now.since(failing.since);
        failing.since = now;
        Some(ConsumeError::Unavailable {
            partition: key.clone(),
            waited,
            cause: failing.obstacle.clone(),
        })
    }

    /// The next batch with records to hand out. Hidden ones on the way are passed over. Partitions take turns, batch
    /// by batch.
    pub fn lease(&mut self) -> Option<Lease> {
        loop {
            let ready = |(_, partition): &(&TopicPartition, &Partition)| partition.has_ready();
            let from_turn = self
                .turn
                .as_ref()
                .and_then(|turn| self.partitions.range(turn..).find(ready));
            let (key, partition) = from_turn.or_else(|| self.partitions.iter().find(ready))?;
            let (key, first, position) = (key.clone(), partition.buffer.front()?, partition.position?);
            if first.visibility == Visibility::Shown && first.batch.next_offset() > position.offset {
                let lease = Lease {
                    id: first.id,
                    partition: key.clone(),
                    position: position.offset,
                    batch: first.batch.clone(),
                };
                self.turn = Some(key);
                return Some(lease);
            }
            self.pass(&key);
            self.moved = true;
        }
    }

    /// The records of the leased batch below `to` become the program's. False if they do not: the batch was taken back
    /// since it was leased, for a new leader, say, and nothing of it may be handed out.
    #[must_use]
    pub fn hand_out(&mut self, lease: &Lease, to: Offset) -> bool {
        let key = &lease.partition;
        let Some(partition) = self.leased(lease) else {
            return false;
        };
        if to < lease.batch.next_offset() {
            partition.position = Some(Position {
                offset: to,
                epoch: lease.batch.leader_epoch(),
            });
            return true;
        }
        self.pass(key);
        // Another partition's turn: the first key after this one.
        let after = (std::ops::Bound::Excluded(key.clone()), std::ops::Bound::Unbounded);
        self.turn = self.partitions.range(after).next().map(|(key, _)| key.clone());
        true
    }

    /// The partition of a lease whose batch still is the next to hand out.
    fn leased(&mut self, lease: &Lease) -> Option<&mut Partition> {
        let partition = self.partitions.get_mut(&lease.partition)?;
        let is_next = partition.buffer.front().is_some_and(|first| first.id == lease.id);
        is_next.then_some(partition)
    }

    /// Moves the position past the first batch of the buffer.
    fn pass(&mut self, key: &TopicPartition) {
        let Some(first) = self.pop(key) else { return };
        let Some(partition) = self.partitions.get_mut(key) else {
            return;
        };
        let offset = partition
            .position
            .map_or(Offset(0), |position| position.offset)
            .max(first.batch.next_offset());
        partition.position = Some(Position {
            offset,
            epoch: first.batch.leader_epoch(),
        });
    }

    /// The leased batch cannot be read at the position. It is dropped with all that follows, and fetched again. None if
    /// it was taken back meanwhile.
    pub fn damaged(&mut self, now: Moment, lease: &Lease, cause: BatchError) -> Option<ConsumeError> {
        self.leased(lease)?.retry_at = now + self.config.retry_backoff;
        self.drop_buffer(&lease.partition);
        Some(ConsumeError::Damaged {
            partition: lease.partition.clone(),
            position: lease.position,
            next_offset: Some(lease.batch.next_offset()),
            cause,
        })
    }

    /// Whether a position became known, or moved without a record, since this was last asked.
    pub fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Whether the program has something to take.
    pub fn has_news(&self, now: Moment) -> bool {
        let waits = |partition: &Partition| {
            let failing = partition.failing.as_ref();
            failing.is_some_and(|failing| now.since(failing.since) >= self.config.unavailable_after)
        };
        let news = |partition: &Partition| {
            let broken = partition.fault.is_some() || matches!(partition.phase, Phase::Stopped(_)) || waits(partition);
            partition.has_ready() || (!partition.paused && broken)
        };
        self.moved || self.partitions.values().any(news)
    }
}
