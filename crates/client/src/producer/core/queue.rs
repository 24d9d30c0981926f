//! One partition's batches on their way: being filled, waiting, and sent but not resolved.

use std::collections::VecDeque;
use std::sync::Arc;

use klamm_record::{Batch, BatchBuilder, BuildError, ProducerStamp};
use klamm_types::{ErrorCode, LeaderEpoch, Moment, NodeId, PartitionId, ProducerEpoch, ProducerId, Sequence, TopicId};

use super::{Completed, Effect, Identity, RequestId, Written};
use crate::metadata::Cluster;
use crate::producer::error::{self, ProduceError};

/// What belongs to a batch wherever it is.
#[derive(Clone, Debug)]
pub(super) struct Meta<T> {
    pub ticket: T,
    /// When its first record came; the delivery timeout counts from here.
    pub created: Moment,
    /// Buffer memory that it holds.
    pub reserved: usize,
}

impl<T> Meta<T> {
    pub fn complete(self, outcome: Result<Written, ProduceError>) -> Effect<T> {
        Effect::Complete(Completed {
            ticket: self.ticket,
            reserved: self.reserved,
            outcome,
        })
    }
}

/// A batch being filled.
pub(super) struct Open<T> {
    pub builder: BatchBuilder,
    pub meta: Meta<T>,
}

/// A batch that takes no more records and has no sequence.
pub(super) struct Sealed<T> {
    pub content: Content,
    pub meta: Meta<T>,
}

pub(super) enum Content {
    Records(BatchBuilder),
    /// It had a sequence under an identity that is no more, and is certain not to be written.
    Batch(Batch),
}

/// A batch with a sequence that is not resolved.
pub(super) struct Flight<T> {
    pub batch: Batch,
    pub meta: Meta<T>,
    pub place: Place,
    /// An attempt may have been written without our learning of it.
    pub unknown: bool,
    /// What the last attempt met.
    pub last: Option<ErrorCode>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// To be sent, again or for the first time.
    Due,
    /// On its way. `first`: nothing before it was unresolved when it was sent.
    Sent { id: RequestId, first: bool },
    /// Certain not to be written; waits for the flights before it, and then for another identity.
    PutBack,
}

pub(super) struct Queue<T> {
    pub topic: Arc<str>,
    pub topic_id: TopicId,
    pub partition: PartitionId,
    pub leader: Option<NodeId>,
    pub leader_epoch: LeaderEpoch,
    pub flights: VecDeque<Flight<T>>,
    pub sealed: VecDeque<Sealed<T>>,
    pub open: Option<Open<T>>,
    pub identity: Option<Identity>,
    pub next_sequence: Sequence,
    /// When a batch was written last under this identity.
    pub written_at: Option<Moment>,
    /// A sequence is missing; see the core's documentation.
    pub broken: bool,
    /// A broker does not accept the producer id; another is needed.
    pub identity_lost: bool,
    /// Nothing is sent before.
    pub retry_at: Moment,
    /// When the leader changed last.
    pub moved_at: Moment,
    /// Compressed over uncompressed size, as seen lately.
    pub compression_ratio: f32,
}

impl<T> Queue<T> {
    pub fn new(topic: Arc<str>, partition: PartitionId) -> Queue<T> {
        Queue {
            topic,
            topic_id: TopicId::ZERO,
            partition,
            leader: None,
            leader_epoch: LeaderEpoch::NONE,
            flights: VecDeque::new(),
            sealed: VecDeque::new(),
            open: None,
            identity: None,
            next_sequence: Sequence(0),
            written_at: None,
            broken: false,
            identity_lost: false,
            retry_at: Moment(0),
            moved_at: Moment(0),
            compression_ratio: 1.0,
        }
    }

    /// Reads leader and topic id from the picture of the cluster.
    pub fn learn(&mut self, cluster: &Cluster) {
        let found = cluster
            .topic(&self.topic)
            .and_then(|topic| Some((topic, topic.partition(self.partition)?)));
        let Some((topic, partition)) = found else {
            self.leader = None;
            return;
        };
        self.topic_id = topic.id;
        self.leader = partition.leader.filter(|leader| cluster.brokers.contains_key(leader));
        self.leader_epoch = partition.leader_epoch;
    }

    pub fn is_empty(&self) -> bool {
        self.flights.is_empty() && self.sealed.is_empty() && self.open.is_none()
    }

    pub fn seal(&mut self) {
        if let Some(open) = self.open.take() {
            self.sealed.push_back(Sealed {
                content: Content::Records(open.builder),
                meta: open.meta,
            });
        }
    }

    /// Oldest first.
    pub fn tickets(&self) -> impl Iterator<Item = &T> {
        let flights = self.flights.iter().map(|flight| &flight.meta.ticket);
        flights
            .chain(self.sealed.iter().map(|sealed| &sealed.meta.ticket))
            .chain(self.open.iter().map(|o| &o.meta.ticket))
    }

    /// When the oldest batch came. Each of the three parts is in the order in which its batches were begun.
    pub fn oldest(&self) -> Option<Moment> {
        let flight = self.flights.front().map(|flight| flight.meta.created);
        let sealed = self.sealed.front().map(|sealed| sealed.meta.created);
        let open = self.open.as_ref().map(|open| open.meta.created);
        [flight, sealed, open].into_iter().flatten().min()
    }

    pub fn abort(&mut self, effects: &mut Vec<Effect<T>>) {
        for flight in std::mem::take(&mut self.flights) {
            let effect = flight.effect();
            effects.push(flight.meta.complete(Err(ProduceError::Closed { effect })));
        }
        self.seal();
        for sealed in std::mem::take(&mut self.sealed) {
            effects.push(sealed.meta.complete(Err(ProduceError::Closed {
                effect: error::Effect::None,
            })));
        }
    }

    /// Takes a flight out that will never be written, as far as we know. Its sequence is free again if no other flight
    /// follows and nothing is in doubt; otherwise the partition is broken.
    pub fn give_up(&mut self, index: usize) -> Option<Flight<T>> {
        let flight = self.flights.remove(index)?;
        let certain = flight.effect() == error::Effect::None;
        if self.identity.is_none() {
            return Some(flight);
        }
        if certain && index == self.flights.len() && !self.broken {
            self.next_sequence = flight.batch.header().base_sequence;
        } else {
            self.broken = true;
        }
        Some(flight)
    }

    /// Ends the broken state once every flight is resolved or put back: goes on under the next epoch of the same
    /// producer, so that whatever is still on its way under the old one comes too late. Gives the producer id if it is
    /// used up.
    pub fn mend(&mut self) -> Option<ProducerId> {
        if !self.broken || self.flights.iter().any(|flight| flight.place != Place::PutBack) {
            return None;
        }
        while let Some(flight) = self.flights.pop_back() {
            self.sealed.push_front(Sealed {
                content: Content::Batch(flight.batch),
                meta: flight.meta,
            });
        }
        self.broken = false;
        self.next_sequence = Sequence(0);
        self.written_at = None;
        let identity = self.identity.take()?;
        if self.identity_lost || identity.producer_epoch.0 == i16::MAX {
            self.identity_lost = false;
            return Some(identity.producer_id);
        }
        let producer_epoch = ProducerEpoch(identity.producer_epoch.0 + 1);
        self.identity = Some(Identity {
            producer_epoch,
            ..identity
        });
        None
    }

    /// Gives the next waiting batch a sequence and makes it a flight; the caller has seen that there is one.
    pub fn launch(&mut self, sealed: Sealed<T>) -> Result<(), (Meta<T>, BuildError)> {
        let stamp = match self.identity {
            None => ProducerStamp::NONE,
            Some(identity) => ProducerStamp {
                producer_id: identity.producer_id,
                producer_epoch: identity.producer_epoch,
                base_sequence: self.next_sequence,
            },
        };
        let batch = match sealed.content {
            Content::Batch(batch) => batch.with_producer(stamp),
            Content::Records(mut builder) => {
                builder.set_producer(stamp);
                let uncompressed = builder.uncompressed_size();
                match builder.build() {
                    Ok(batch) => {
                        self.learn_ratio(batch.size(), uncompressed);
                        batch
                    }
                    Err(error) => return Err((sealed.meta, error)),
                }
            }
        };
        if self.identity.is_some() {
            self.next_sequence = self.next_sequence.plus(batch.records_count());
        }
        let flight = Flight {
            batch,
            meta: sealed.meta,
            place: Place::Due,
            unknown: false,
            last: None,
        };
        self.flights.push_back(flight);
        Ok(())
    }

    /// Follows the compression achieved, quickly upwards and slowly downwards: a batch that turns out too large is
    /// worse than one that could have taken more.
    fn learn_ratio(&mut self, size: usize, uncompressed: usize) {
        let seen = (size as f32 / uncompressed as f32).clamp(0.01, 1.5);
        let known = self.compression_ratio;
        self.compression_ratio = if seen > known { seen } else { known * 0.9 + seen * 0.1 };
    }
}

impl<T> Flight<T> {
    /// Whether it may be in the log.
    pub fn effect(&self) -> error::Effect {
        match (self.unknown, self.place) {
            (false, Place::Due | Place::PutBack) => error::Effect::None,
            _ => error::Effect::Possible,
        }
    }
}
