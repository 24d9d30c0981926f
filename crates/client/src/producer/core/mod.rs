//! The producer's decisions, without I/O and without a clock: batching, order, retries, sequences.
//!
//! Records enter by `append`; everything that happens outside enters as an [`Event`]; `poll` says what to do next as
//! [`Effect`]s and when to be called again. The shell around it only carries effects out.
//!
//! # Order and duplicates
//! A partition's batches get consecutive sequences when they are first sent and stay in `flights`, in that order,
//! until they are resolved. A batch whose attempt failed is sent again under the same sequence: brokers recognise a
//! repeated batch and refuse one that comes too early, so several may be on their way at once.
//!
//! When a batch is given up (too old, or refused for good), those after it could never follow it: its sequence would
//! be missing. The partition is then *broken*: nothing new is sent until each of its flights is resolved under the old
//! epoch. What is certain not to be written is put back and goes out under the next producer epoch; what may have been
//! written and can no longer be found out fails, saying so. The epoch fences what is still on its way (KIP-360). Other
//! partitions keep theirs.

mod answers;
mod queue;
mod schedule;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use klamm_record::{BatchBuilder, BatchOptions, BuildError, Compression, CompressionLevel, Header, record_size};
use klamm_types::{Moment, NodeId, Offset, PartitionId, ProducerEpoch, ProducerId, Timestamp, TopicId};

use super::config::{Acks, Guarantee};
use super::error::ProduceError;
use super::partitioner::{Sticky, partition_for_key};
use crate::metadata::{Cluster, Topic};
use crate::net::backoff::Backoff;
pub(super) use answers::PartitionAnswer;
use queue::{Meta, Open, Queue, Sealed};

/// Dials that keep failing are spaced out up to this.
const DIAL_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// A broker forgets a producer that it has not heard of for a day; well before, we count as unknown again.
const KNOWN_FOR: Duration = Duration::from_secs(3600);

/// Names one produce request.
pub(super) type RequestId = u64;

#[derive(Clone, Copy, Debug)]
pub(super) struct CoreConfig {
    pub acks: Acks,
    pub guarantee: Guarantee,
    pub compression: Compression,
    pub level: CompressionLevel,
    pub batch_size: usize,
    pub linger: Duration,
    pub request_size_max: usize,
    pub delivery_timeout: Duration,
    pub retry_backoff: Duration,
    pub in_flight_max: usize,
    /// A request unanswered for so long makes us look for a new leader.
    pub slow_after: Duration,
    /// How long a former leader may still answer once a new one is known.
    pub abandon_after: Duration,
    pub seed: u64,
}

/// Under which name a partition's sequences count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IdentityState {
    /// Not asked for, or not before this moment after a failure.
    Missing {
        retry_at: Moment,
    },
    Asked,
    Known(Identity),
}

/// What happened outside.
#[derive(Debug)]
pub(super) enum Event {
    /// The picture of the cluster changed.
    Cluster(Arc<Cluster>),
    Connected(NodeId),
    DialFailed(NodeId),
    /// A request was answered. `throttle` is how long the broker asks us to wait.
    Answered {
        id: RequestId,
        answers: Vec<PartitionAnswer>,
        throttle: Duration,
    },
    /// A request will not be answered. `sent` says whether it may have reached the broker.
    Lost {
        id: RequestId,
        sent: bool,
    },
    /// A request could not be made; trying again would not help.
    Impossible {
        id: RequestId,
        error: ProduceError,
    },
    Identity(Identity),
    IdentityFailed,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect<T> {
    Dial(NodeId),
    Send(Order),
    /// Close the connection to a broker that leads no more and owes us answers; each of them comes back as lost.
    Disconnect(NodeId),
    /// Ask for a fresh picture of the cluster.
    Refresh,
    AskIdentity,
    Complete(Completed<T>),
}

/// One produce request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub id: RequestId,
    pub node: NodeId,
    pub parts: Vec<Part>,
}

/// One batch of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub topic: Arc<str>,
    pub topic_id: TopicId,
    pub partition: PartitionId,
    pub batch: Bytes,
}

/// A batch's end.
#[derive(Clone, Debug)]
pub(super) struct Completed<T> {
    pub ticket: T,
    /// Bytes of buffer memory that are free again.
    pub reserved: usize,
    pub outcome: Result<Written, ProduceError>,
}

impl<T: PartialEq> PartialEq for Completed<T> {
    /// Errors compare by their text: they carry causes that cannot be compared.
    fn eq(&self, other: &Self) -> bool {
        let outcome = |completed: &Self| completed.outcome.clone().map_err(|error| format!("{error:?}"));
        self.ticket == other.ticket && self.reserved == other.reserved && outcome(self) == outcome(other)
    }
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub base_offset: Offset,
    /// -1: the records keep their own.
    pub append_time: Timestamp,
}

/// A record on its way in.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewRecord<'a> {
    pub partition: Option<PartitionId>,
    pub timestamp: Timestamp,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [Header],
}

/// Where a record was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Appended<T> {
    pub ticket: T,
    pub partition: PartitionId,
    /// Its place in the batch.
    pub index: i32,
    /// Whether `poll` has something new to look at.
    pub wake: bool,
}

/// A record that could not be put anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AppendError {
    UnknownPartition(PartitionId),
    Build(BuildError),
}

struct TopicEntry {
    /// Index into `queues` by partition.
    slots: Vec<usize>,
    sticky: Sticky,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Down { retry_at: Moment },
    Dialing,
    Up,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    link: Link,
    backoff: Backoff,
    in_flight: usize,
    /// The broker asked us to wait.
    resume_at: Moment,
}

struct InFlight {
    node: NodeId,
    slots: Vec<usize>,
    /// When to look for a new leader next, if there is no answer.
    doubt_at: Moment,
}

/// All state of a producer. `T` is whatever the shell uses to tell the senders of a batch.
pub(super) struct Core<T> {
    config: CoreConfig,
    cluster: Arc<Cluster>,
    topics: BTreeMap<Arc<str>, TopicEntry>,
    queues: Vec<Queue<T>>,
    /// The queues that hold anything.
    active: BTreeSet<usize>,
    nodes: BTreeMap<NodeId, Node>,
    requests: BTreeMap<RequestId, InFlight>,
    identity: IdentityState,
    next_request: RequestId,
    next_refresh: Moment,
    /// Where the last request began, so that all partitions get their turn.
    cursor: usize,
    /// Somebody waits for buffer memory: nothing lingers.
    pub hurry: bool,
}

impl<T: Clone> Core<T> {
    pub fn new(config: CoreConfig, cluster: Arc<Cluster>) -> Core<T> {
        Core {
            config,
            cluster,
            topics: BTreeMap::new(),
            queues: Vec::new(),
            active: BTreeSet::new(),
            nodes: BTreeMap::new(),
            requests: BTreeMap::new(),
            identity: IdentityState::Missing { retry_at: Moment(0) },
            next_request: 0,
            next_refresh: Moment(0),
            cursor: 0,
            hurry: false,
        }
    }

    /// Puts a record into a batch of its partition. `ticket` makes the ticket of a new batch.
    pub fn append(
        &mut self,
        now: Moment,
        topic: &Topic,
        record: NewRecord<'_>,
        ticket: impl FnOnce() -> T,
    ) -> Result<Appended<T>, AppendError> {
        let size = record_size(record.key, record.value, record.headers);
        let (slot, partition) = self.place(topic, &record, size)?;
        let queue = &mut self.queues[slot];
        let mut wake = false;
        let full = |open: &Open<T>| {
            let builder = &open.builder;
            !builder.has_room(size, self.config.batch_size)
                || builder.uncompressed_size() + size > self.config.request_size_max
        };
        if queue.open.as_ref().is_some_and(full) {
            queue.seal();
            wake = true;
        }
        let (config, ratio) = (&self.config, queue.compression_ratio);
        let open = queue.open.get_or_insert_with(|| {
            wake = true;
            Open {
                builder: config.builder(ratio),
                meta: Meta {
                    ticket: ticket(),
                    created: now,
                    reserved: 0,
                },
            }
        });
        let added = open
            .builder
            .append(record.timestamp, record.key, record.value, record.headers);
        let index = match added {
            Ok(index) => index,
            Err(error) => {
                if open.builder.is_empty() {
                    queue.open = None;
                }
                return Err(AppendError::Build(error));
            }
        };
        open.meta.reserved += size;
        let ticket = open.meta.ticket.clone();
        self.active.insert(slot);
        Ok(Appended {
            ticket,
            partition,
            index,
            wake,
        })
    }

    /// The queue that a record belongs to.
    fn place(
        &mut self,
        topic: &Topic,
        record: &NewRecord<'_>,
        size: usize,
    ) -> Result<(usize, PartitionId), AppendError> {
        let count = topic.partitions.len();
        self.add_queues(topic);
        let unknown = || AppendError::UnknownPartition(record.partition.unwrap_or_default());
        let entry = self.topics.get_mut(&topic.name).ok_or_else(unknown)?;
        let index = match (record.partition, record.key) {
            (Some(partition), _) => {
                let index = usize::try_from(partition.0).map_err(|_| unknown())?;
                if index >= count {
                    return Err(unknown());
                }
                index
            }
            (None, _) if count == 0 => return Err(unknown()),
            (None, Some(key)) => partition_for_key(key, count),
            (None, None) => {
                let (queues, slots) = (&self.queues, &entry.slots);
                let led = |index: usize| queues[slots[index]].leader.is_some();
                let index = entry.sticky.choose(count, self.config.batch_size, led);
                entry.sticky.count(size);
                index
            }
        };
        Ok((entry.slots[index], PartitionId(index as i32)))
    }

    /// Makes queues for the partitions that have none yet.
    fn add_queues(&mut self, topic: &Topic) {
        let known = self.topics.get(&topic.name).map_or(0, |entry| entry.slots.len());
        if known >= topic.partitions.len() && known > 0 {
            return;
        }
        let seed = self.config.seed ^ self.queues.len() as u64;
        let entry = self
            .topics
            .entry(Arc::clone(&topic.name))
            .or_insert_with(|| TopicEntry {
                slots: Vec::new(),
                sticky: Sticky::new(seed),
            });
        for partition in known..topic.partitions.len() {
            let mut queue = Queue::new(Arc::clone(&topic.name), PartitionId(partition as i32));
            queue.learn(&self.cluster);
            entry.slots.push(self.queues.len());
            self.queues.push(queue);
        }
    }

    /// Takes note of what happened. What follows from it comes with the next `poll`, except ends of batches.
    pub fn handle(&mut self, now: Moment, event: Event, effects: &mut Vec<Effect<T>>) {
        match event {
            Event::Cluster(cluster) => self.learn(now, cluster),
            Event::Connected(id) => {
                let node = self.node(id);
                node.link = Link::Up;
                node.backoff.reset();
                node.resume_at = now;
            }
            Event::DialFailed(id) => {
                let node = self.node(id);
                node.link = Link::Down {
                    retry_at: now + node.backoff.next(),
                };
                self.refresh(now, effects);
            }
            Event::Answered { id, answers, throttle } => self.answered(now, id, answers, throttle, effects),
            Event::Lost { id, sent } => self.lost(now, id, sent, effects),
            Event::Impossible { id, error } => self.impossible(id, &error, effects),
            Event::Identity(identity) => self.identity = IdentityState::Known(identity),
            Event::IdentityFailed => {
                self.identity = IdentityState::Missing {
                    retry_at: now + self.config.retry_backoff,
                };
            }
        }
    }

    fn learn(&mut self, now: Moment, cluster: Arc<Cluster>) {
        for queue in &mut self.queues {
            let before = (queue.leader, queue.leader_epoch);
            queue.learn(&cluster);
            if before != (queue.leader, queue.leader_epoch) {
                // A new leader is tried at once.
                queue.retry_at = now;
                queue.moved_at = now;
            }
        }
        self.cluster = cluster;
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        let backoff = Backoff::new(self.config.retry_backoff, DIAL_BACKOFF_MAX);
        let link = Link::Down { retry_at: Moment(0) };
        self.nodes.entry(id).or_insert(Node {
            link,
            backoff,
            in_flight: 0,
            resume_at: Moment(0),
        })
    }

    /// Closes all batches that are being filled, so that they are sent at once, and gives the tickets of everything
    /// that is not delivered yet.
    pub fn flush(&mut self) -> Vec<T> {
        let mut tickets = Vec::new();
        for &slot in &self.active {
            self.queues[slot].seal();
            tickets.extend(self.queues[slot].tickets().cloned());
        }
        tickets
    }

    /// Whether everything is delivered or failed.
    #[cfg(test)]
    pub fn is_idle(&self) -> bool {
        self.active.is_empty()
    }

    /// Ends every batch: the producer is closing and will not be polled again.
    pub fn abort(&mut self, effects: &mut Vec<Effect<T>>) {
        for slot in std::mem::take(&mut self.active) {
            self.queues[slot].abort(effects);
        }
    }

    fn is_idempotent(&self) -> bool {
        self.config.guarantee == Guarantee::Idempotent
    }

    /// How many batches of a partition may be unresolved. Without sequences only one, or they might overtake. Also
    /// only one until the broker has seen our identity: one that it does not know it lets begin with any sequence, so
    /// the second batch would be taken even if the first was not.
    fn flights_max(&self, queue: &Queue<T>, now: Moment) -> usize {
        let known = queue.written_at.is_some_and(|at| now.since(at) < KNOWN_FOR);
        if self.is_idempotent() && known {
            self.config.in_flight_max
        } else {
            1
        }
    }
}

impl CoreConfig {
    fn builder(&self, compression_ratio: f32) -> BatchBuilder {
        BatchBuilder::new(BatchOptions {
            compression: self.compression,
            level: self.level,
            compression_ratio,
            ..BatchOptions::default()
        })
    }
}

impl<T> Sealed<T> {
    fn created(&self) -> Moment {
        self.meta.created
    }
}
