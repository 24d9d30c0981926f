//! The port between a front end and the broker: what the Kafka front end asks, and what the broker must promise it.
//!
//! It is object safe, so that a front end is compiled once and its tests bring a broker of their own. It speaks the
//! words of [`crate::api`] and of the metadata; nothing here knows Kafka's bytes, connections or listeners.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use klamm_coordinator::call::ListGroups;
use klamm_coordinator::reply::ListedGroup;
use klamm_coordinator::{Call, Reply};
use klamm_metadata::Image;
use klamm_schema::requests::{controller_reply, controller_request};
use klamm_trace::Tracer;
use klamm_types::{ClusterId, DirectoryId, ErrorCode, NodeId, Offset, ProducerId, Timestamp, TopicPartition};

use crate::api::{
    EpochEnd, EpochEndRequest, FetchRequest, FetchedPartition, ListOffsetRequest, ListedOffset, PartitionError,
    ProduceError, ProduceRequest, Produced,
};

/// The outcome of one append: it resolves when the batch is acknowledged at the level that was asked for, refused,
/// or out of time. Dropping it takes nothing back.
pub type ProduceTicket = BoxFuture<'static, Result<Produced, ProduceError>>;

/// What a front end needs of a broker.
///
/// ```text
///   produce(a) ─ready─► produce(b) ─ready─►      order of the log: a, b
///        └─ ticket a ········ acknowledged       tickets resolve when they like;
///        └────────────── ticket b ·········      the front end answers in its own order
/// ```
pub trait Backend: Send + Sync + 'static {
    /// This node's number.
    fn node_id(&self) -> NodeId;

    /// The cluster that this node belongs to.
    fn cluster_id(&self) -> ClusterId;

    /// The metadata as this broker has applied it. MUST be cheap, and MUST NOT show a partition's new leader on this
    /// broker before this broker, if it is that leader, accepts writes for it.
    fn image(&self) -> Arc<Image>;

    /// Makes the spans of what is asked here.
    fn tracer(&self) -> Tracer {
        Tracer::off()
    }

    /// The settings of this node's process, in the order of their reference.
    fn node_settings(&self) -> Vec<NodeSetting>;

    /// Where this node's replicas are kept, and how large they are, in order of topic ids and partitions.
    fn describe_data_directory(&self) -> BoxFuture<'static, DataDirectory>;

    /// Hands over a batch. The outer future resolves when the batch has its place in the partition's queue (it waits
    /// while the queue is full); two batches of one partition whose outer futures were awaited one after the other
    /// MUST be appended in that order. The front end has checked only that the topic exists; leadership, the size,
    /// the checksum, the shape, sequences and the in-sync replicas are the broker's to judge. The ticket MUST resolve
    /// within the request's timeout (REQUEST_TIMED_OUT) or when leadership is lost.
    fn produce(&self, request: ProduceRequest) -> BoxFuture<'static, ProduceTicket>;

    /// Reads. MUST answer every partition of the request, in its order; waits up to `max_wait` for `min_bytes`, but
    /// not when a partition has an error, a divergence, or the request names no partition. Dropping the future ends
    /// the wait and frees what it held.
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'static, Vec<FetchedPartition>>;

    /// Looks one offset up.
    fn list_offset(&self, request: ListOffsetRequest) -> BoxFuture<'static, Result<ListedOffset, PartitionError>>;

    /// Where a leader epoch ended.
    fn epoch_end(&self, request: EpochEndRequest) -> BoxFuture<'static, Result<EpochEnd, PartitionError>>;

    /// Hands a request to the active controller, wherever it is, and resolves when the reply is committed and this
    /// broker's image shows it (for a new topic: when its leaders have taken up their partitions). A request whose
    /// outcome is not known when `timeout` is over ends in REQUEST_TIMED_OUT; NOT_CONTROLLER MUST NOT come out of
    /// here, and the reply MUST be of the request's kind. Dropping the future does not take the request back.
    fn submit(
        &self,
        request: controller_request::Request,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<controller_reply::Reply, RequestError>>;

    /// A producer id that the cluster never gave before and never gives again. COORDINATOR_LOAD_IN_PROGRESS while
    /// this broker waits for a block of them.
    fn allocate_producer_id(&self) -> BoxFuture<'static, Result<ProducerId, ErrorCode>>;

    /// The broker that coordinates a group; COORDINATOR_NOT_AVAILABLE while there is none.
    fn locate_group(&self, group: &str) -> Result<NodeId, ErrorCode>;

    /// Hands a call to the group's coordinator; resolves when what it decided is committed. NOT_COORDINATOR if that is
    /// another broker, COORDINATOR_LOAD_IN_PROGRESS while it loads, COORDINATOR_NOT_AVAILABLE when the outcome is not
    /// known. A call that waits for other members resolves when they have come. Dropping the future takes nothing back.
    fn coordinate(&self, call: Call) -> BoxFuture<'static, Result<Reply, ErrorCode>>;

    /// The groups that this broker coordinates, in order of their names.
    fn list_groups(&self, filter: ListGroups) -> BoxFuture<'static, Result<Vec<ListedGroup>, ErrorCode>>;

    /// The controller quorum, as its leader sees it. A retriable code while there is no leader.
    fn describe_quorum(&self) -> BoxFuture<'static, Result<QuorumDescription, RequestError>>;

    /// Adds a voter to the controller quorum, or takes one out; resolves when the new set is committed.
    fn change_voters(&self, change: VoterChange) -> BoxFuture<'static, Result<(), RequestError>>;
}

/// One setting of this node, as DescribeConfigs shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSetting {
    pub name: String,
    /// `None` for a value that is not to be shown.
    pub value: Option<String>,
    pub default: Option<String>,
    pub kind: SettingKind,
    pub documentation: String,
}

/// A directory with the replicas in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataDirectory {
    /// The absolute path, for people and tools.
    pub path: String,
    /// The size of the disk on which it lies.
    pub total_bytes: Option<u64>,
    /// What is free there, without the reserve.
    pub usable_bytes: Option<u64>,
    pub replicas: Vec<StoredReplica>,
}

/// One replica on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredReplica {
    pub partition: TopicPartition,
    /// All segments together.
    pub size_bytes: u64,
}

/// The type of a setting, in Kafka's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingKind {
    Boolean,
    String,
    Int,
    Short,
    Long,
    Double,
    List,
    Password,
}

/// The controller quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumDescription {
    pub leader: Option<NodeId>,
    pub leader_epoch: i32,
    /// The end of what is committed in the metadata log.
    pub high_watermark: Offset,
    pub voters: Vec<QuorumReplica>,
    pub observers: Vec<QuorumReplica>,
    pub nodes: Vec<QuorumNode>,
}

/// One copy of the metadata log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuorumReplica {
    pub node: NodeId,
    pub directory: DirectoryId,
    /// `Offset::NONE` if it is not known.
    pub log_end_offset: Offset,
    /// `Timestamp::NONE` for the leader itself and where it is not known.
    pub last_fetch: Timestamp,
    pub last_caught_up: Timestamp,
}

/// Where a controller is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumNode {
    pub node: NodeId,
    pub listeners: Vec<Endpoint>,
}

/// A named address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub name: String,
    pub host: String,
    pub port: u16,
}

/// A change of the set of voters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VoterChange {
    Add {
        node: NodeId,
        directory: DirectoryId,
        listeners: Vec<Endpoint>,
        timeout: Duration,
    },
    Remove {
        node: NodeId,
        directory: DirectoryId,
    },
}

/// Why a request as a whole was not carried out, or is not known to have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("asking the controller quorum: {code}: {message}")]
pub struct RequestError {
    pub code: ErrorCode,
    /// A sentence for people; may be empty where the code says it all.
    pub message: String,
}

impl From<ErrorCode> for RequestError {
    fn from(code: ErrorCode) -> Self {
        Self {
            code,
            message: code.sentence().to_owned(),
        }
    }
}
