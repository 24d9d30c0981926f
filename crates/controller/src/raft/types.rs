//! The types that openraft is instantiated with: ids, members, commands and their outcomes.
//!
//! No logic here; what a command does stands in the state machine.

use std::fmt;

use bytes::Bytes;
use klamm_types::{NodeId, Uuid};

use super::StateMachine;

/// A voter's or learner's number in Raft: one store of one node, never reused.
pub type RaftId = u64;

openraft::declare_raft_types!(
    /// Klamm's instance of openraft.
    pub Types:
        D = Command,
        R = Outcome,
        NodeId = RaftId,
        Node = Member,
);

pub type Raft = openraft::Raft<Types, StateMachine>;
pub type LogId = openraft::type_config::alias::LogIdOf<Types>;
pub type LeaderId = openraft::type_config::alias::CommittedLeaderIdOf<Types>;
pub type Vote = openraft::type_config::alias::VoteOf<Types>;
pub type Entry = openraft::type_config::alias::EntryOf<Types>;
pub type Payload = openraft::type_config::alias::PayloadOf<Types>;
pub type Membership = openraft::Membership<RaftId, Member>;
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<Types>;
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;
pub type Snapshot = openraft::type_config::alias::SnapshotOf<Types, SnapshotData>;
pub type SnapshotData = Bytes;
pub type Metrics = openraft::RaftMetrics<Types>;

/// The identity of one store: drawn when the store is made, gone with it.
pub type StoreId = Uuid;

/// A member of the quorum as its membership entries know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    pub node_id: NodeId,
    pub store_id: StoreId,
    /// Host and port of its gRPC listener, resolved at each dial.
    pub address: String,
}

/// What an entry of the quorum's log asks of the state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Apply a batch of metadata records, encoded once where it was decided.
    Records(Bytes),
    /// Give a store its Raft id; the same store always gets the same one.
    AllocateRaftId { node_id: NodeId, store_id: StoreId },
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Records(bytes) => write!(f, "records of {} bytes", bytes.len()),
            Command::AllocateRaftId { node_id, store_id } => {
                write!(f, "Raft id for store {store_id} of node {node_id}")
            }
        }
    }
}

/// What applying an entry answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Applied,
    Allocated(RaftId),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Applied => f.write_str("applied"),
            Outcome::Allocated(id) => write!(f, "allocated Raft id {id}"),
        }
    }
}
