//! What a coordinator answers, in owned words: one variant per [`crate::Call`].

use bytes::Bytes;
use klamm_types::{ErrorCode, TopicId};

use crate::call::PartitionsByTopic;

/// The answer to one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Join(Box<Joined>),
    Sync(Synced),
    Heartbeat(ErrorCode),
    Leave(Left),
    ConsumerHeartbeat(Box<ConsumerHeartbeatReply>),
    CommitOffsets(Vec<CommittedTopic>),
    FetchOffsets(FetchedOffsets),
    DeleteOffsets(DeletedOffsets),
    ListGroups(Vec<ListedGroup>),
    DescribeGroup(Box<DescribedGroup>),
    DescribeConsumerGroup(Box<DescribedConsumerGroup>),
    DeleteGroup(ErrorCode),
}

/// JoinGroup. On an error: generation -1, no protocol, no leader, no members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub error: ErrorCode,
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub leader: String,
    pub skip_assignment: bool,
    pub member: String,
    /// For the leader only.
    pub members: Vec<JoinedMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    pub member: String,
    pub instance: Option<String>,
    pub metadata: Bytes,
}

/// SyncGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    pub error: ErrorCode,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub assignment: Bytes,
}

/// LeaveGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    pub error: ErrorCode,
    pub members: Vec<LeftMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftMember {
    pub member: String,
    pub instance: Option<String>,
    pub error: ErrorCode,
}

/// ConsumerGroupHeartbeat. On an error: no member, epoch 0, interval 0, no assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerHeartbeatReply {
    pub error: ErrorCode,
    pub message: Option<String>,
    pub member: Option<String>,
    pub member_epoch: i32,
    pub heartbeat_interval_ms: i32,
    /// `None`: as in the last answer.
    pub assignment: Option<PartitionsByTopic>,
}

/// One topic of OffsetCommit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedTopic {
    pub name: String,
    pub id: TopicId,
    pub partitions: Vec<(i32, ErrorCode)>,
}

/// OffsetFetch of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedOffsets {
    pub error: ErrorCode,
    pub topics: Vec<FetchedTopic>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedTopic {
    pub name: String,
    pub id: TopicId,
    pub partitions: Vec<FetchedPartition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedPartition {
    pub partition: i32,
    /// -1 if there is none.
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
    pub error: ErrorCode,
}

/// OffsetDelete: an error for the whole, or one per partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedOffsets {
    pub error: ErrorCode,
    pub topics: Vec<(String, Vec<(i32, ErrorCode)>)>,
}

/// One group of ListGroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    pub group: String,
    pub protocol_type: String,
    pub state: String,
    /// `classic` or `consumer`.
    pub kind: String,
}

/// DescribeGroups of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    /// GROUP_ID_NOT_FOUND with state `Dead`; versions before 6 show it as no error.
    pub error: ErrorCode,
    pub message: Option<String>,
    pub group: String,
    pub state: String,
    pub protocol_type: String,
    pub protocol: String,
    pub members: Vec<DescribedMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    pub member: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// ConsumerGroupDescribe of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConsumerGroup {
    pub error: ErrorCode,
    pub message: Option<String>,
    pub group: String,
    pub state: String,
    pub group_epoch: i32,
    pub assignment_epoch: i32,
    pub assignor: String,
    pub members: Vec<DescribedConsumerMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConsumerMember {
    pub member: String,
    pub instance: Option<String>,
    pub rack: Option<String>,
    pub member_epoch: i32,
    pub client_id: String,
    pub client_host: String,
    pub subscribed_names: Vec<String>,
    pub subscribed_regex: Option<String>,
    pub assignment: NamedPartitions,
    pub target: NamedPartitions,
    /// Whether the member speaks the classic protocol.
    pub kind: MemberKind,
}

/// By which protocol a member of a KIP-848 group is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberKind {
    Classic,
    Consumer,
}

/// Partitions with the names of their topics, in order of the topic ids.
pub type NamedPartitions = Vec<(TopicId, String, Vec<i32>)>;
