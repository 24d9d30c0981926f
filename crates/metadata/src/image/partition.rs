//! A topic and the state of one partition, in strong types, with the way to and from messages.

use std::sync::Arc;

use klamm_schema::metadata as schema;
use klamm_schema::{Bytes, id_bytes, node_ids};
use klamm_types::{DirectoryId, LeaderEpoch, LogEndOffset, NodeId, PartitionEpoch, PartitionId, TopicId};

/// A topic and its partitions, numbered from 0 without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub id: TopicId,
    pub name: Arc<str>,
    pub partitions: Vec<Arc<PartitionState>>,
}

impl Topic {
    pub fn partition(&self, partition: PartitionId) -> Option<&Arc<PartitionState>> {
        self.partitions.get(usize::try_from(partition.0).ok()?)
    }
}

/// Who holds a partition, who leads it and who may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionState {
    /// In order of preference; the first is the preferred leader.
    pub replicas: Vec<NodeId>,
    /// One per replica, in the same order.
    pub directories: Vec<DirectoryId>,
    /// Every member holds all committed records, and the high watermark waits for it.
    pub isr: Vec<NodeId>,
    /// Eligible leader replicas (KIP-966): left an ISR that fell under the minimum, so they hold all committed
    /// records as well.
    pub elr: Vec<NodeId>,
    /// Left ISR or ELR without proof that their logs are whole.
    pub last_known_elr: Vec<LastKnown>,
    pub leader: Option<NodeId>,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: PartitionEpoch,
}

/// A member of the last ISR and ELR that is no candidate for a clean election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastKnown {
    pub broker: NodeId,
    /// Where its log ended when it registered; `None` if nothing of its log may count (damaged, new, restored).
    pub log_end: Option<LogEnd>,
}

/// Where a log ends. Ordered as elections compare: first the epoch of the last record, then the offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogEnd {
    pub last_epoch: LeaderEpoch,
    pub end_offset: LogEndOffset,
}

impl PartitionState {
    pub fn directory_of(&self, broker: NodeId) -> Option<DirectoryId> {
        let position = self.replicas.iter().position(|&replica| replica == broker)?;
        self.directories.get(position).copied()
    }

    pub fn to_leadership(&self) -> schema::Leadership {
        schema::Leadership {
            leader: self.leader.map_or(-1, |leader| leader.0),
            isr: ids(&self.isr),
            elr: ids(&self.elr),
            last_known_elr: self.last_known_elr.iter().copied().map(LastKnown::to_message).collect(),
            leader_epoch: self.leader_epoch.0,
            partition_epoch: self.partition_epoch.0,
        }
    }

    /// Takes over what a record says about the leadership; replicas and directories stay.
    pub fn set_leadership(&mut self, message: &schema::Leadership) {
        self.leader = (message.leader >= 0).then_some(NodeId(message.leader));
        self.isr = node_ids(&message.isr);
        self.elr = node_ids(&message.elr);
        self.last_known_elr = message.last_known_elr.iter().map(LastKnown::from_message).collect();
        self.leader_epoch = LeaderEpoch(message.leader_epoch);
        self.partition_epoch = PartitionEpoch(message.partition_epoch);
    }
}

impl LastKnown {
    fn to_message(self) -> schema::LastKnownReplica {
        schema::LastKnownReplica {
            broker: self.broker.0,
            log_end: self.log_end.map(|end| schema::LogEnd {
                last_epoch: end.last_epoch.0,
                end_offset: end.end_offset.0,
            }),
        }
    }

    fn from_message(message: &schema::LastKnownReplica) -> LastKnown {
        LastKnown {
            broker: NodeId(message.broker),
            log_end: message.log_end.map(|end| LogEnd {
                last_epoch: LeaderEpoch(end.last_epoch),
                end_offset: LogEndOffset(end.end_offset),
            }),
        }
    }
}

pub(crate) fn ids(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|node| node.0).collect()
}

pub(crate) fn directory_bytes(directories: &[DirectoryId]) -> Vec<Bytes> {
    directories.iter().map(|id| id_bytes(id.as_bytes())).collect()
}
