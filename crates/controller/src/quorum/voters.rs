//! Changing who belongs to the quorum; carried out by the Raft leader.
//!
//! A store is taken in as a learner under a Raft id of its own. It becomes a voter by an operator's request, or, if its
//! node's voter has lost its store, by itself (in `maintenance`). A Raft id is never used for another store.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use klamm_types::{ErrorCode, NodeId};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{ChangeMembers, Instant};
use tokio::time::timeout;

use crate::node::Running;
use crate::raft::allocations::RAFT_ID_LIMIT;
use crate::raft::types::{Command, Member, Metrics, Outcome, RaftId, StoreId, Types};

/// A member that has answered the leader within this time is alive.
const ALIVE: Duration = Duration::from_secs(1);
/// A learner this close to the leader's log may vote.
const LAG_MAX: u64 = 100;
/// How long adding a voter waits for its store to come that close.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// What an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoterChange {
    pub node_id: NodeId,
    /// The store meant (Kafka's directory id of the voter); any, if none is given.
    pub store_id: Option<StoreId>,
    pub action: VoterAction,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoterAction {
    /// Makes a voter of a store that follows the quorum.
    Add,
    Remove,
}

/// Why the members were not changed.
#[derive(Debug, thiserror::Error)]
pub enum VotersError {
    #[error("this node does not lead the quorum")]
    NotLeader,
    #[error("node {0} has no store that follows the quorum")]
    NotFollowing(NodeId),
    #[error("node {0} is a voter already")]
    Duplicate(NodeId),
    #[error("node {0} is not a voter with that store")]
    NotFound(NodeId),
    #[error("the voter of node {0} is alive with another store")]
    StillAlive(NodeId),
    #[error("node {0} is the last voter")]
    LastVoter(NodeId),
    #[error("the quorum's members are being changed already")]
    InProgress,
    #[error("all Raft ids have been given")]
    Exhausted,
    #[error("changing the quorum's members")]
    Raft(#[source] Box<RaftError<Types, ClientWriteError<Types>>>),
}

impl VotersError {
    /// Kafka's code for it.
    pub fn code(&self) -> ErrorCode {
        match self {
            VotersError::NotLeader => ErrorCode::NotController,
            VotersError::NotFollowing(_) | VotersError::LastVoter(_) => ErrorCode::InvalidRequest,
            VotersError::Duplicate(_) | VotersError::StillAlive(_) => ErrorCode::DuplicateVoter,
            VotersError::NotFound(_) => ErrorCode::VoterNotFound,
            VotersError::InProgress | VotersError::Raft(_) => ErrorCode::RequestTimedOut,
            VotersError::Exhausted => ErrorCode::UnknownServerError,
        }
    }
}

impl From<RaftError<Types, ClientWriteError<Types>>> for VotersError {
    fn from(error: RaftError<Types, ClientWriteError<Types>>) -> Self {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => VotersError::NotLeader,
            RaftError::APIError(ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_))) => {
                VotersError::InProgress
            }
            error => VotersError::Raft(Box::new(error)),
        }
    }
}

/// Gives the store a Raft id and makes it a learner. The same store may ask again.
pub async fn take_in(running: &Running, member: Member) -> Result<RaftId, VotersError> {
    if running.leadership().is_none() {
        return Err(VotersError::NotLeader);
    }
    let metrics = running.raft.metrics().borrow_watched().clone();
    for id in metrics.membership_config.voter_ids() {
        let same_node = metrics
            .membership_config
            .get_node(&id)
            .filter(|voter| voter.node_id == member.node_id);
        if same_node.is_some_and(|voter| voter.store_id != member.store_id) && is_alive(running, &metrics, id) {
            return Err(VotersError::StillAlive(member.node_id));
        }
    }
    let command = Command::AllocateRaftId {
        node_id: member.node_id,
        store_id: member.store_id,
    };
    let Outcome::Allocated(raft_id) = running.raft.client_write(command).await?.data else {
        return Err(VotersError::Exhausted);
    };
    if raft_id >= RAFT_ID_LIMIT {
        return Err(VotersError::Exhausted);
    }
    if metrics.membership_config.get_node(&raft_id) != Some(&member) {
        let members = BTreeMap::from([(raft_id, member.clone())]);
        let change = match metrics.membership_config.get_node(&raft_id) {
            // Known, under another address.
            Some(_) => ChangeMembers::SetNodes(members),
            None => ChangeMembers::AddNodes(members),
        };
        running.raft.change_membership(change, true).await?;
        tracing::info!(node = %member.node_id, raft_id, "took a store into the quorum as a learner");
    }
    Ok(raft_id)
}

/// Adds or removes a voter.
pub async fn change(running: &Running, change: VoterChange) -> Result<(), VotersError> {
    match change.action {
        VoterAction::Add => add(running, change).await,
        VoterAction::Remove => remove(running, change).await,
    }
}

async fn add(running: &Running, change: VoterChange) -> Result<(), VotersError> {
    let metrics = running.raft.metrics().borrow_watched().clone();
    let voters: BTreeSet<RaftId> = metrics.membership_config.voter_ids().collect();
    let fits = |member: &Member| {
        member.node_id == change.node_id && change.store_id.is_none_or(|store_id| store_id == member.store_id)
    };
    let mut learner = None;
    for (id, member) in metrics.membership_config.nodes() {
        if voters.contains(id) && member.node_id == change.node_id {
            return Err(VotersError::Duplicate(change.node_id));
        }
        // The youngest store, if there are several.
        learner = if fits(member) { learner.max(Some(*id)) } else { learner };
    }
    let learner = learner.ok_or(VotersError::NotFollowing(change.node_id))?;
    if timeout(CATCH_UP_TIMEOUT, caught_up(running, learner)).await.is_err() {
        return Err(VotersError::NotFollowing(change.node_id));
    }
    running
        .raft
        .change_membership(ChangeMembers::AddVoterIds(BTreeSet::from([learner])), true)
        .await?;
    tracing::info!(node = %change.node_id, raft_id = learner, "added a voter");
    Ok(())
}

/// Waits until the learner answers and is close to the end of the log.
async fn caught_up(running: &Running, learner: RaftId) {
    let mut changes = running.raft.metrics();
    loop {
        let metrics = changes.borrow_watched().clone();
        if is_alive(running, &metrics, learner) && is_near(&metrics, learner) {
            return;
        }
        if changes.changed().await.is_err() {
            // Raft has stopped; the caller's time-out ends the wait.
            std::future::pending::<()>().await;
        }
    }
}

/// Whether the member lacks only a few of the leader's entries.
pub fn is_near(metrics: &Metrics, id: RaftId) -> bool {
    let matched = metrics
        .replication
        .as_ref()
        .and_then(|map| map.get(&id).copied().flatten());
    matched.is_some_and(|id| id.index + LAG_MAX >= metrics.last_log_index.unwrap_or(0))
}

async fn remove(running: &Running, change: VoterChange) -> Result<(), VotersError> {
    let metrics = running.raft.metrics().borrow_watched().clone();
    let voters: BTreeSet<RaftId> = metrics.membership_config.voter_ids().collect();
    let found = voters.iter().copied().find(|id| {
        metrics.membership_config.get_node(id).is_some_and(|member| {
            member.node_id == change.node_id && change.store_id.is_none_or(|store_id| store_id == member.store_id)
        })
    });
    let voter = found.ok_or(VotersError::NotFound(change.node_id))?;
    if voters.len() == 1 {
        return Err(VotersError::LastVoter(change.node_id));
    }
    // A node that is alive goes on as a learner, as a removed voter does in Kafka; a dead one is forgotten.
    let retain = is_alive(running, &metrics, voter);
    running
        .raft
        .change_membership(ChangeMembers::RemoveVoters(BTreeSet::from([voter])), retain)
        .await?;
    tracing::info!(node = %change.node_id, raft_id = voter, retain, "removed a voter");
    Ok(())
}

/// Puts a caught-up learner in the place of the lost store of its node.
pub async fn replace(running: &Running, lost: RaftId, fresh: RaftId) -> Result<(), VotersError> {
    let change = ChangeMembers::Batch(vec![
        ChangeMembers::AddVoterIds(BTreeSet::from([fresh])),
        ChangeMembers::RemoveVoters(BTreeSet::from([lost])),
    ]);
    running.raft.change_membership(change, false).await?;
    Ok(())
}

/// Whether the member has answered the leader lately.
pub fn is_alive(running: &Running, metrics: &Metrics, id: RaftId) -> bool {
    if id == running.raft_id {
        return true;
    }
    let answered = metrics
        .heartbeat
        .as_ref()
        .and_then(|heartbeat| heartbeat.get(&id).cloned().flatten());
    answered.is_some_and(|at| at.elapsed() <= ALIVE)
}
