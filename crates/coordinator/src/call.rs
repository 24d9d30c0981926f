//! What clients ask of a group coordinator, in owned words: one variant per API.
//!
//! Versions of the protocol end at the front end, but for the few whose meaning differs by version: those fields say so.
//! Nothing here is checked; checks are decisions.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use klamm_types::TopicId;

/// Names a call from its arrival to its answer; the runtime gives each one once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Who calls, as members are described.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    pub id: String,
    /// `/127.0.0.1`
    pub host: String,
}

/// One request to the coordinator of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    Join(Box<Join>),
    Sync(Box<Sync>),
    Heartbeat(Heartbeat),
    Leave(Leave),
    ConsumerHeartbeat(Box<ConsumerHeartbeat>),
    CommitOffsets(Box<CommitOffsets>),
    FetchOffsets(FetchOffsets),
    DeleteOffsets(DeleteOffsets),
    ListGroups(ListGroups),
    /// DescribeGroups; the front end asks for one group at a time.
    DescribeGroup {
        group: String,
    },
    /// ConsumerGroupDescribe.
    DescribeConsumerGroup {
        group: String,
    },
    DeleteGroup {
        group: String,
    },
}

/// JoinGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    pub group: String,
    /// Empty: a new member.
    pub member: String,
    pub instance: Option<String>,
    pub client: Client,
    pub session_timeout_ms: i32,
    /// Version 0 lacks it: the session timeout then.
    pub rebalance_timeout_ms: i32,
    pub protocol_type: String,
    /// In the member's order of preference; a name and its opaque metadata.
    pub protocols: Vec<(String, Bytes)>,
    pub reason: Option<String>,
    pub member_id_rule: MemberIdRule,
    pub skip_assignment: SkipAssignment,
}

/// What a new dynamic member is told first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberIdRule {
    /// From version 4 on: MEMBER_ID_REQUIRED with an id, and the member joins again with it.
    Required,
    /// Before: accepted at once.
    Given,
}

/// Whether the answer can tell a returning static leader not to assign (version 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipAssignment {
    Supported,
    Unsupported,
}

/// SyncGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    pub group: String,
    pub generation: i32,
    pub member: String,
    pub instance: Option<String>,
    /// `None` before version 5, which is not checked.
    pub protocol: Option<SyncProtocol>,
    /// By member; only the leader sends them.
    pub assignments: Vec<(String, Bytes)>,
}

/// What version 5 of SyncGroup repeats for the coordinator to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncProtocol {
    pub protocol_type: Option<String>,
    pub name: Option<String>,
}

/// Heartbeat, of a classic member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    pub group: String,
    pub generation: i32,
    pub member: String,
    pub instance: Option<String>,
}

/// LeaveGroup, for one or more members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leave {
    pub group: String,
    pub members: Vec<LeavingMember>,
}

/// With an empty `member`, an operator removes the static member `instance`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeavingMember {
    pub member: String,
    pub instance: Option<String>,
    pub reason: Option<String>,
}

/// Partitions by topic id, each once and in order.
pub type PartitionsByTopic = BTreeMap<TopicId, std::collections::BTreeSet<i32>>;

/// ConsumerGroupHeartbeat. `None` means "as in the last heartbeat".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerHeartbeat {
    pub group: String,
    /// Empty: only version 0 may leave the choice to the coordinator.
    pub member: String,
    pub member_id: MemberIdChoice,
    /// 0 joins, -1 leaves, -2 leaves for a while (static members).
    pub member_epoch: i32,
    pub instance: Option<String>,
    pub rack: Option<String>,
    pub client: Client,
    /// -1: as before.
    pub rebalance_timeout_ms: i32,
    pub subscribed_names: Option<Vec<String>>,
    /// Empty: no pattern.
    pub subscribed_regex: Option<String>,
    pub server_assignor: Option<String>,
    pub owned: Option<PartitionsByTopic>,
}

/// Who makes a KIP-848 member id: version 0 lets the coordinator, version 1 asks the client to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberIdChoice {
    Client,
    Coordinator,
}

/// OffsetCommit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitOffsets {
    pub group: String,
    /// The generation, or the member epoch; -1 of a client without membership.
    pub generation: i32,
    pub member: String,
    pub instance: Option<String>,
    /// Of versions 2 to 4; negative for the coordinator's own rule.
    pub retention_ms: i64,
    /// KIP-848 groups accept commits from version 9 on; the code for a generation of no group differs by it, too.
    pub version: i16,
    pub topics: Vec<CommitTopic>,
}

/// One topic's offsets to commit. From version 10 on topics come by id; the front end has looked the name up and
/// answers unknown ids itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitTopic {
    pub name: String,
    pub id: TopicId,
    pub partitions: Vec<CommitPartition>,
}

/// One partition's offset to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitPartition {
    pub partition: i32,
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: Option<String>,
}

/// OffsetFetch, for one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchOffsets {
    pub group: String,
    /// Version 9, KIP-848 members only.
    pub member: Option<String>,
    /// -1: not given.
    pub member_epoch: i32,
    /// `None`: all that the group has committed.
    pub topics: Option<Vec<FetchTopic>>,
    pub stability: Stability,
}

/// One topic whose offsets are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchTopic {
    pub name: String,
    pub id: TopicId,
    pub partitions: Vec<i32>,
}

/// Whether offsets of transactions that have not ended hold the answer up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stability {
    Required,
    Any,
}

/// OffsetDelete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteOffsets {
    pub group: String,
    pub topics: Vec<(String, Vec<i32>)>,
}

/// ListGroups: the groups of this shard that pass both filters; an empty filter lets all pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListGroups {
    pub states: Vec<String>,
    pub types: Vec<String>,
}

impl Call {
    /// The group that decides where the call belongs; `None` for calls to every shard.
    pub fn group(&self) -> Option<&str> {
        match self {
            Call::Join(call) => Some(&call.group),
            Call::Sync(call) => Some(&call.group),
            Call::Heartbeat(call) => Some(&call.group),
            Call::Leave(call) => Some(&call.group),
            Call::ConsumerHeartbeat(call) => Some(&call.group),
            Call::CommitOffsets(call) => Some(&call.group),
            Call::FetchOffsets(call) => Some(&call.group),
            Call::DeleteOffsets(call) => Some(&call.group),
            Call::ListGroups(_) => None,
            Call::DescribeGroup { group } | Call::DescribeConsumerGroup { group } | Call::DeleteGroup { group } => {
                Some(group)
            }
        }
    }
}

impl Join {
    pub fn session_timeout(&self) -> Duration {
        milliseconds(self.session_timeout_ms)
    }

    pub fn rebalance_timeout(&self) -> Duration {
        milliseconds(self.rebalance_timeout_ms)
    }
}

fn milliseconds(number: i32) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap_or(0))
}
