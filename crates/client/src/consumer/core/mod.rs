//! The consumer's decisions, without I/O and without a clock: positions, what to ask whom, what to hand out.
//!
//! What the program wants enters by `assign`, `seek` and the like; everything that happens outside enters as an
//! [`Event`]; `poll` says what to do next as [`Effect`]s and when to be called again. `lease` and `hand_out` give the
//! batches to whoever opens them.
//!
//! # Life of a partition
//! | phase | entered by | left by |
//! |---|---|---|
//! | lookup | assignment, seek, reset of an offset out of range | the offset: fetch |
//! | fetch | an offset, a validated position | a new leader epoch: validate; out of range: lookup or stopped |
//! | validate | a leader epoch above that of what was read (KIP-320) | same log: fetch; a cut: stopped, or on at the cut |
//! | stopped | an error that waiting does not mend | seek |
//! | awaiting | assignment by a group | its committed offset: validate or fetch; none: lookup or stopped; seek |
//!
//! # Never twice, never out of order
//! A partition is part of at most one fetch, which starts where the buffer ends. Seeking, pausing, a new leader and a
//! damaged batch *release* it from that fetch: what the fetch still brings for it is ignored, and a fetch that all are
//! released from is abandoned. The position moves by `hand_out` alone, which names the batch it was leased with. The batch
//! may have been taken back while it was opened: then `hand_out` refuses, and its records are not given to the program.
//!
//! # Memory
//! A fetch reserves what it asks for. Its answer counts as a whole until its last batch is handed out or dropped,
//! because the batches are slices of one frame.

mod admit;
mod answers;
mod buffer;
mod group;
mod leaders;
mod partition;
mod schedule;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use klamm_types::{ErrorCode, HighWatermark, LeaderEpoch, LogStartOffset, Moment, NodeId, Offset, Timestamp, TopicId};

pub(super) use self::admit::Aborted;
pub(super) use self::buffer::Lease;
use self::partition::Partition;
use super::config::{IsolationLevel, OffsetReset, Start};
use super::record::TopicPartition;
use crate::error::RequestError;
use crate::metadata::Cluster;
use crate::net::backoff::Backoff;

/// Attempts that keep failing at one broker are spaced out up to this.
const NODE_BACKOFF_MAX: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub(super) struct CoreConfig {
    pub isolation: IsolationLevel,
    pub offset_reset: OffsetReset,
    pub buffer_memory: usize,
    pub fetch_bytes_max: usize,
    pub partition_fetch_bytes_max: usize,
    pub retry_backoff: Duration,
    /// A partition that cannot be read for so long is reported.
    pub unavailable_after: Duration,
    /// A request unanswered for so long makes us look for a new leader.
    pub slow_after: Duration,
}

/// What happened outside.
#[derive(Debug)]
pub(super) enum Event {
    /// The picture of the cluster changed.
    Cluster(Arc<Cluster>),
    Fetched {
        id: u64,
        outcome: Result<FetchAnswer, Arc<RequestError>>,
    },
    Listed {
        id: u64,
        outcome: Result<Vec<ListedPart>, Arc<RequestError>>,
    },
    Validated {
        id: u64,
        outcome: Result<Vec<EpochPart>, Arc<RequestError>>,
    },
}

/// What a broker answered to a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FetchAnswer {
    /// About the fetch as a whole.
    pub code: ErrorCode,
    /// How long the broker asks us to wait.
    pub throttle: Duration,
    /// What the answer takes in memory.
    pub bytes: usize,
    pub parts: Vec<FetchedPart>,
}

/// One partition of a fetch answer. Offsets are -1 where the broker does not tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FetchedPart {
    pub partition: TopicPartition,
    pub code: ErrorCode,
    pub high_watermark: Offset,
    pub last_stable: Offset,
    pub log_start: Offset,
    pub aborted: Vec<Aborted>,
    pub records: Bytes,
}

/// An offset that was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListedPart {
    pub partition: TopicPartition,
    pub code: ErrorCode,
    /// -1: there is none.
    pub offset: Offset,
}

/// Where the log of an epoch ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EpochPart {
    pub partition: TopicPartition,
    pub code: ErrorCode,
    /// The epoch asked for, or the largest below it that the leader knows; -1: none.
    pub epoch: LeaderEpoch,
    pub end: Offset,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Fetch(FetchOrder),
    /// The answer to this fetch is of no use any more.
    Abandon(u64),
    List(ListOrder),
    Validate(ValidateOrder),
    /// Ask for a fresh picture of the cluster.
    Refresh,
}

/// One fetch request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FetchOrder {
    pub id: u64,
    pub node: NodeId,
    pub bytes_max: usize,
    pub partition_bytes_max: usize,
    pub parts: Vec<FetchPart>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FetchPart {
    pub partition: TopicPartition,
    pub topic_id: TopicId,
    pub leader_epoch: LeaderEpoch,
    pub offset: Offset,
}

/// One ListOffsets request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListOrder {
    pub id: u64,
    pub node: NodeId,
    pub parts: Vec<ListPart>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListPart {
    pub partition: TopicPartition,
    pub leader_epoch: LeaderEpoch,
    /// -1 is the end of the log, -2 its start.
    pub timestamp: Timestamp,
}

/// One OffsetForLeaderEpoch request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ValidateOrder {
    pub id: u64,
    pub node: NodeId,
    pub parts: Vec<ValidatePart>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ValidatePart {
    pub partition: TopicPartition,
    pub leader_epoch: LeaderEpoch,
    /// Under which leader epoch the position was read.
    pub epoch: LeaderEpoch,
}

/// A fetch that is under way.
#[derive(Clone, Debug)]
struct Fetch {
    node: NodeId,
    sent: Moment,
    reserved: usize,
    /// The partitions that still wait for it.
    parts: BTreeSet<TopicPartition>,
}

/// A lookup or validation that is under way.
#[derive(Clone, Debug)]
struct Query {
    node: NodeId,
    sent: Moment,
    parts: BTreeSet<TopicPartition>,
}

/// A broker, as far as asking it is concerned.
#[derive(Clone, Debug)]
struct Node {
    backoff: Backoff,
    /// Nothing is asked of it before this.
    retry_at: Moment,
    /// The last fetch sent to it; whoever was asked longest ago comes first.
    asked: u64,
}

/// Memory that the answer to a fetch takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Charge {
    bytes: usize,
    /// How many of its batches are buffered.
    batches: usize,
}

/// All of a consumer's state.
pub(super) struct Core {
    config: CoreConfig,
    cluster: Arc<Cluster>,
    partitions: BTreeMap<TopicPartition, Partition>,
    nodes: BTreeMap<NodeId, Node>,
    fetches: BTreeMap<u64, Fetch>,
    queries: BTreeMap<u64, Query>,
    charges: BTreeMap<u64, Charge>,
    /// The sum of all charges.
    buffered: usize,
    /// The sum of what the fetches under way may bring.
    reserved: usize,
    /// Numbers fetches, queries and buffered batches.
    last_id: u64,
    abandoned: Vec<u64>,
    /// Where handing out goes on.
    turn: Option<TopicPartition>,
    /// A position became known, or moved past something hidden, since it was last asked.
    moved: bool,
    refreshed: Option<Moment>,
    /// Something just failed that a fresh picture may explain.
    stale: bool,
    /// A partition has not been told yet what the picture says of it.
    unadopted: bool,
}

impl Core {
    pub fn new(config: CoreConfig, cluster: Arc<Cluster>) -> Core {
        Core {
            config,
            cluster,
            partitions: BTreeMap::new(),
            nodes: BTreeMap::new(),
            fetches: BTreeMap::new(),
            queries: BTreeMap::new(),
            charges: BTreeMap::new(),
            buffered: 0,
            reserved: 0,
            last_id: 0,
            abandoned: Vec::new(),
            turn: None,
            moved: false,
            refreshed: None,
            stale: false,
            unadopted: false,
        }
    }

    /// Adds partitions, or starts them anew.
    pub fn assign(&mut self, partitions: Vec<(TopicPartition, Start)>) {
        for (key, start) in partitions {
            self.unassign(&key);
            self.partitions.insert(key, Partition::new(start));
        }
        self.unadopted = true;
    }

    pub fn unassign(&mut self, key: &TopicPartition) {
        self.drop_buffer(key);
        self.partitions.remove(key);
    }

    /// Goes on from another place. False if the partition is not assigned.
    pub fn seek(&mut self, key: &TopicPartition, start: Start) -> bool {
        self.drop_buffer(key);
        let Some(partition) = self.partitions.get_mut(key) else {
            return false;
        };
        partition.begin(start);
        self.unadopted = true;
        true
    }

    /// Hands out nothing until resumed, and keeps nothing in memory. False if the partition is not assigned.
    pub fn pause(&mut self, key: &TopicPartition) -> bool {
        self.drop_buffer(key);
        let Some(partition) = self.partitions.get_mut(key) else {
            return false;
        };
        partition.paused = true;
        partition.failing = None;
        true
    }

    /// False if the partition is not assigned.
    pub fn resume(&mut self, key: &TopicPartition) -> bool {
        let Some(partition) = self.partitions.get_mut(key) else {
            return false;
        };
        partition.paused = false;
        self.unadopted = true;
        true
    }

    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.partitions.keys().cloned().collect()
    }

    pub fn is_assigned(&self, key: &TopicPartition) -> bool {
        self.partitions.contains_key(key)
    }

    pub fn paused(&self) -> Vec<TopicPartition> {
        let paused = self.partitions.iter().filter(|(_, partition)| partition.paused);
        paused.map(|(key, _)| key.clone()).collect()
    }

    pub fn position(&self, key: &TopicPartition) -> Option<Offset> {
        Some(self.partitions.get(key)?.position?.offset)
    }

    pub fn high_watermark(&self, key: &TopicPartition) -> Option<HighWatermark> {
        self.partitions.get(key)?.high_watermark
    }

    pub fn log_start_offset(&self, key: &TopicPartition) -> Option<LogStartOffset> {
        self.partitions.get(key)?.log_start
    }

    pub fn lag(&self, key: &TopicPartition) -> Option<u64> {
        let partition = self.partitions.get(key)?;
        let behind = partition.readable_end?.0.saturating_sub(partition.position?.offset.0);
        Some(u64::try_from(behind).unwrap_or(0))
    }

    pub fn handle(&mut self, now: Moment, event: Event) {
        match event {
            Event::Cluster(cluster) => {
                self.cluster = cluster;
                self.adopt_leaders(now);
            }
            Event::Fetched { id, outcome } => self.fetched(now, id, outcome),
            Event::Listed { id, outcome } => self.listed(now, id, outcome),
            Event::Validated { id, outcome } => self.validated(now, id, outcome),
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        let backoff = Backoff::new(self.config.retry_backoff, NODE_BACKOFF_MAX);
        self.nodes.entry(id).or_insert(Node {
            backoff,
            retry_at: Moment::default(),
            asked: 0,
        })
    }

    /// Takes a partition out of the fetch it waits for; a fetch that nobody waits for any more is abandoned.
    fn release(&mut self, key: &TopicPartition) {
        let Some(partition) = self.partitions.get_mut(key) else {
            return;
        };
        let Some(id) = partition.fetching.take() else { return };
        let Some(fetch) = self.fetches.get_mut(&id) else { return };
        fetch.parts.remove(key);
        if fetch.parts.is_empty() {
            self.reserved -= fetch.reserved;
            self.fetches.remove(&id);
            self.abandoned.push(id);
        }
    }
}
