//! What a worker can be told. One closed list: whatever happens to a partition comes through its worker's queue.

use std::collections::VecDeque;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use klamm_log::{BatchBytes, ChangeError, CompactedTo, FlushError, FlushedTo, Log, LogConfig, ReadError};
use klamm_record::Batch;
use klamm_replication::{
    Acks, Event, FlushId, Isolation, Lane, OpenedLog, Origin, PartitionView, ProducerTable, ReadFrom, RequestId,
    SubscriptionNumber,
};
use klamm_types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, Timestamp, TopicPartition};
use tokio::sync::{Notify, oneshot};

use super::inbox::Place;
use super::open::HostError;
use super::push::PushOrder;
use super::steps::Steps;
use crate::api::{
    EpochEnd, EpochEndRequest, FetchPartition, FetchedPartition, ListOffsetRequest, ListedOffset, PartitionError,
    PartitionStatus, ProduceError, Produced,
};
use crate::replica::followers::FollowerPair;

/// Held by everything that an image has asked for; the image is taken up when the last one is dropped.
pub(crate) type Applying = Arc<ApplyingGuard>;

/// Ends its channel when it is dropped, which is the signal; nothing is ever sent.
#[allow(dead_code, reason = "dropping it is the signal")]
pub(crate) enum ApplyingGuard {
    Task(oneshot::Sender<()>),
    Thread(mpsc::Sender<()>),
}

/// A guard, and what fires when its last holder has dropped it.
pub(crate) fn applying() -> (Applying, oneshot::Receiver<()>) {
    let (sender, receiver) = oneshot::channel();
    (Arc::new(ApplyingGuard::Task(sender)), receiver)
}

/// The same for a thread that waits.
pub(crate) fn applying_for_thread() -> (Applying, mpsc::Receiver<()>) {
    let (sender, receiver) = mpsc::channel();
    (Arc::new(ApplyingGuard::Thread(sender)), receiver)
}

pub(crate) enum Command {
    /// Begin to host a partition; its log is opened in the background.
    Host(Box<Host>),
    /// The background has opened the log, or could not.
    Hosted(Box<HostedLog>),
    /// A newer image of one partition.
    View(Box<ViewChange>),
    /// This broker has been registered.
    Registered {
        broker_epoch: BrokerEpoch,
    },
    /// Stop hosting a partition, and put its directory aside.
    Release(Box<Release>),
    /// A log comes back from being cut.
    LogReturned(Box<LogReturned>),
    /// From streams and answers.
    Events(Box<Events>),
    Produce(Box<ProduceCommand>),
    Fetch(Box<FetchCommand>),
    CancelFetch {
        request: RequestId,
        partitions: Vec<TopicPartition>,
    },
    ListOffset(Box<ListOffsetCommand>),
    EpochEnd(Box<EpochEndCommand>),
    Flushed(Box<FlushOutcome>),
    PushRead(Box<PushReadOutcome>),
    Statuses {
        reply: oneshot::Sender<Vec<PartitionStatus>>,
    },
    /// Bring recovery points forward and hand marks to the checkpoint files.
    Checkpoint {
        applying: Applying,
    },
    /// Look for segments past their retention.
    Retain,
    /// Look for logs that are worth a compaction.
    Compact,
    /// A run of compaction has ended, or goes on.
    Compacted(Box<CompactionResult>),
    /// Close every log cleanly, then end.
    Stop {
        stopped: Applying,
    },
}

/// Which partition to host, and from what.
pub(crate) struct Host {
    pub partition: TopicPartition,
    /// Of the directory.
    pub name: Arc<str>,
    pub origin: HostOrigin,
    pub view: Option<ViewChange>,
    pub log_config: LogConfig,
    pub applying: Option<Applying>,
}

pub(crate) enum HostOrigin {
    /// Recovery has opened it.
    Recovered(Box<(Log, OpenedLog)>),
    /// Make the directory.
    New,
}

pub(crate) struct HostedLog {
    pub partition: TopicPartition,
    pub name: Arc<str>,
    pub opened: Result<(Log, OpenedLog), HostError>,
    pub applying: Option<Applying>,
}

pub(crate) struct ViewChange {
    pub partition: TopicPartition,
    pub view: Box<PartitionView>,
    pub log_config: LogConfig,
    #[allow(dead_code, reason = "dropping it is the signal")]
    pub applying: Option<Applying>,
}

pub(crate) struct Release {
    pub partition: TopicPartition,
    pub aside: Aside,
    pub applying: Option<Applying>,
}

/// What becomes of the directory of a partition that is hosted no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aside {
    /// A delete record was seen: removed after `file.delete.delay.ms`.
    Delete,
    /// The metadata does not know it: kept under another name.
    Stray,
}

pub(crate) struct LogReturned {
    pub partition: TopicPartition,
    pub log: Log,
    pub outcome: Result<ProducerTable, CutError>,
}

/// Why a log could not be cut.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CutError {
    #[error("lowering the marks of a log to be cut")]
    Checkpoint(#[from] klamm_log::DiskError),
    #[error("cutting the log")]
    Change(#[from] ChangeError),
    #[error("reading the producer state after a cut")]
    Read(#[from] ReadError),
}

pub(crate) struct Events {
    pub events: VecDeque<(TopicPartition, Event)>,
    /// Where subscriptions among them came from.
    pub pair: Option<Arc<FollowerPair>>,
    #[allow(dead_code, reason = "held until the events are handled")]
    pub place: Option<Place>,
}

pub(crate) struct ProduceCommand {
    pub partition: TopicPartition,
    pub batch: Batch,
    pub acks: Acks,
    pub timeout: Duration,
    pub origin: Origin,
    pub log_append_time: Timestamp,
    pub reply: ProduceReply,
    /// Of a sampled request.
    pub steps: Option<Box<Steps>>,
    #[allow(dead_code, reason = "held until the batch is handled")]
    pub place: Place,
}

pub(crate) struct ProduceReply {
    /// For coordinators: told the place at once.
    pub accepted: Option<oneshot::Sender<AcceptedAt>>,
    pub done: oneshot::Sender<Result<Produced, ProduceError>>,
}

/// The place that a coordinator's batch was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedAt {
    pub base_offset: Offset,
    /// Exclusive.
    pub next_offset: Offset,
}

pub(crate) struct FetchCommand {
    /// With the place of each in the request.
    pub parts: Vec<(usize, FetchPartition)>,
    pub isolation: Isolation,
    pub from: ReadFrom,
    pub min_bytes: usize,
    pub max_bytes: usize,
    /// Where to wait if fewer than `min_bytes` are found.
    pub park: Option<Park>,
    pub reply: oneshot::Sender<Vec<(usize, FetchedPartition)>>,
}

#[derive(Clone)]
pub(crate) struct Park {
    pub request: RequestId,
    pub wake: Arc<Notify>,
}

pub(crate) struct ListOffsetCommand {
    pub request: ListOffsetRequest,
    pub reply: oneshot::Sender<Result<ListedOffset, PartitionError>>,
}

pub(crate) struct EpochEndCommand {
    pub request: EpochEndRequest,
    pub reply: oneshot::Sender<Result<EpochEnd, PartitionError>>,
}

pub(crate) struct FlushOutcome {
    pub partition: TopicPartition,
    pub flush: FlushId,
    pub result: Result<FlushedTo, FlushError>,
}

pub(crate) struct CompactionResult {
    pub partition: TopicPartition,
    pub result: Result<CompactedTo, ReadError>,
}

pub(crate) struct PushReadOutcome {
    pub partition: TopicPartition,
    pub order: PushOrder,
    pub result: Result<BatchBytes, ReadError>,
}

/// Names a follower's subscription in effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ToFollowerKey {
    pub follower: NodeId,
    pub subscription: SubscriptionNumber,
    pub leader_epoch: LeaderEpoch,
    pub lane: Lane,
}
