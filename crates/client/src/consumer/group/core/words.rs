//! What the group core hears and says: events, effects, the calls it asks for and their answers. Values only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use klamm_types::{ErrorCode, LeaderEpoch, NodeId, Offset, TopicId};
use regex::Regex;

use crate::consumer::group::config::GroupProtocol;
use crate::consumer::group::error::{CommitError, GroupError};
use crate::consumer::group::listener::CommittedOffset;
use crate::consumer::record::TopicPartition;
use crate::error::RequestError;
use crate::metadata::Cluster;

/// What the core has to know of the settings.
#[derive(Clone, Debug)]
pub(in crate::consumer) struct CoreConfig {
    pub protocol: GroupProtocol,
    pub instance_id: Option<String>,
    /// This member's id under [`GroupProtocol::Consumer`]; drawn once.
    pub member_id: String,
    pub assignors: Vec<crate::consumer::group::assignor::Assignor>,
    pub remote_assignor: Option<String>,
    pub heartbeat_interval: Duration,
    pub max_poll_interval: Duration,
    pub auto_commit_interval: Option<Duration>,
    pub rack: Option<String>,
    pub retry_backoff: Duration,
    pub api_timeout: Duration,
    /// How often topics are looked through for those that match a pattern.
    pub metadata_max_age: Duration,
}

/// What the program wants to read.
#[derive(Clone, Debug)]
pub(in crate::consumer) enum Subscription {
    Topics(BTreeSet<Arc<str>>),
    Pattern { text: String, regex: Regex },
}

/// What happened outside.
#[derive(Debug)]
pub(in crate::consumer) enum Event {
    /// Time has passed.
    Tick,
    Cluster(Arc<Cluster>),
    Answered {
        id: u64,
        outcome: Result<Answer, Arc<RequestError>>,
    },
    Subscribe(Subscription),
    /// The program has given everything up.
    Leave {
        waiter: u64,
        reason: String,
    },
    /// The program has taken a turn. `begun` are those whose start it chose itself.
    TurnDone {
        turn: u64,
        begun: BTreeSet<TopicPartition>,
    },
    Commit {
        waiter: u64,
        offsets: BTreeMap<TopicPartition, CommittedOffset>,
    },
    /// The answer to `CommitProcessed`.
    AutoCommit(BTreeMap<TopicPartition, CommittedOffset>),
    AskCommitted {
        waiter: u64,
        partitions: BTreeSet<TopicPartition>,
    },
}

/// What to do.
#[derive(Clone, Debug)]
pub(in crate::consumer) enum Effect {
    Send(Order),
    /// Begin to read what waits for its committed offset.
    Begin(Vec<(TopicPartition, Begin)>),
    /// Say up to where the program has dealt with its records.
    CommitProcessed,
    /// Somebody's question is answered.
    Settle {
        waiter: u64,
        outcome: Settled,
    },
    /// Include these topics in the picture of the cluster.
    Want(Vec<Arc<str>>),
    /// Ask for a fresh picture of the cluster.
    Refresh,
}

/// One request; its answer comes back under the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::consumer) struct Order {
    pub id: u64,
    /// None: any broker.
    pub node: Option<NodeId>,
    pub call: Call,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::consumer) enum Call {
    FindCoordinator,
    Topics(TopicQuery),
    Join(JoinCall),
    Sync(SyncCall),
    Heartbeat(Identity),
    Leave {
        identity: Identity,
        reason: String,
    },
    ConsumerHeartbeat(ConsumerHeartbeatCall),
    Commit {
        identity: Identity,
        offsets: BTreeMap<TopicPartition, CommittedOffset>,
    },
    Committed {
        identity: Identity,
        partitions: BTreeSet<TopicPartition>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::consumer) enum TopicQuery {
    All,
    Names(BTreeSet<Arc<str>>),
    Ids(BTreeSet<TopicId>),
}

/// As whom a member speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The generation of a classic group, the member's epoch of the other kind; -1 outside of any.
    pub generation: i32,
    pub member_id: String,
    pub instance_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::consumer) struct JoinCall {
    pub identity: Identity,
    /// By the assignor's name.
    pub protocols: Vec<(&'static str, Bytes)>,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::consumer) struct SyncCall {
    pub identity: Identity,
    pub protocol: &'static str,
    /// By member; only from the leader.
    pub assignments: Vec<(String, Bytes)>,
}

/// `None` means unchanged since the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::consumer) struct ConsumerHeartbeatCall {
    pub identity: Identity,
    pub rebalance_timeout: Option<Duration>,
    pub rack: Option<String>,
    pub assignor: Option<String>,
    pub subscription: Option<Told>,
    pub owned: Option<BTreeSet<(TopicId, i32)>>,
}

/// A subscription as the coordinator is told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::consumer) struct Told {
    pub topics: BTreeSet<Arc<str>>,
    /// Empty: none.
    pub regex: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::consumer) enum Answer {
    Coordinator {
        code: ErrorCode,
        node: NodeId,
        message: String,
    },
    Topics(Vec<TopicFacts>),
    Joined(JoinAnswer),
    Synced {
        code: ErrorCode,
        assignment: Bytes,
    },
    Heartbeat(ErrorCode),
    Left(ErrorCode),
    ConsumerHeartbeat(ConsumerHeartbeatAnswer),
    Committed(Vec<(TopicPartition, ErrorCode)>),
    Offsets {
        code: ErrorCode,
        parts: Vec<(TopicPartition, ErrorCode, Option<CommittedOffset>)>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::consumer) struct TopicFacts {
    pub name: Arc<str>,
    pub id: TopicId,
    pub internal: bool,
    /// None: it does not exist, or cannot be told about now.
    pub partitions: Option<i32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::consumer) struct JoinAnswer {
    pub code: ErrorCode,
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol_name: String,
    pub leader: String,
    pub skip_assignment: bool,
    pub member_id: String,
    pub members: Vec<JoinedMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::consumer) struct JoinedMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub metadata: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::consumer) struct ConsumerHeartbeatAnswer {
    pub code: ErrorCode,
    pub message: String,
    pub epoch: i32,
    pub interval: Duration,
    /// None: unchanged.
    pub assignment: Option<BTreeMap<TopicId, BTreeSet<i32>>>,
}

/// Where to begin with a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::consumer) enum Begin {
    At {
        offset: Offset,
        epoch: LeaderEpoch,
    },
    /// Nothing was committed; `offset_reset` decides.
    Nothing,
    Refused(ErrorCode),
}

#[derive(Clone, Debug)]
pub(in crate::consumer) enum Settled {
    Committed(Result<(), CommitError>),
    Offsets(Result<BTreeMap<TopicPartition, CommittedOffset>, CommitError>),
    Left,
}

/// What the program has to do before the group can go on; done inside `poll`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::consumer) struct Turn {
    pub id: u64,
    pub kind: TurnKind,
    pub partitions: BTreeSet<TopicPartition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::consumer) enum TurnKind {
    /// Commit, and give them up.
    Revoke,
    /// They are gone.
    Lose,
    /// They are ours.
    Assign,
}

impl Subscription {
    /// As the coordinator is told of it.
    pub fn told(&self) -> Told {
        match self {
            Subscription::Topics(topics) => Told {
                topics: topics.clone(),
                regex: String::new(),
            },
            Subscription::Pattern { text, .. } => Told {
                topics: BTreeSet::new(),
                regex: text.clone(),
            },
        }
    }
}

/// A refusal in the coordinator's words.
pub(super) fn refused(code: ErrorCode, message: &str) -> GroupError {
    let message = if message.is_empty() { code.sentence() } else { message };
    GroupError::Refused {
        code,
        message: message.to_owned(),
    }
}
