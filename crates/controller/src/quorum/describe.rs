//! What the quorum looks like: its leader, how far everything is committed, and how far each member has come.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use klamm_proto::quorum::v1 as wire;
use klamm_types::{ClusterId, NodeId, Timestamp};
use openraft::Instant;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::timeout;

use crate::network::channel;
use crate::network::peers::client;
use crate::node::{Node, Running};
use crate::raft::convert::{Malformed, member_from_wire, member_to_wire};
use crate::raft::types::{RaftId, StoreId};

const LEADER_TIMEOUT: Duration = Duration::from_millis(500);

/// One member of the quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    pub node_id: NodeId,
    pub store_id: StoreId,
    pub raft_id: RaftId,
    pub address: String,
    /// A voter, or an observer.
    pub is_voter: bool,
    /// -1 when the leader has not heard from the member.
    pub log_end_offset: i64,
    pub last_fetch: Timestamp,
    pub last_caught_up: Timestamp,
}

/// The quorum as its leader sees it; as this node sees it, if no leader answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumDescription {
    pub cluster_id: ClusterId,
    pub leader: Option<NodeId>,
    pub leader_epoch: i64,
    pub high_watermark: i64,
    pub members: Vec<MemberDescription>,
}

/// Why the quorum cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    #[error("this node is in no quorum yet")]
    NoQuorum,
    #[error("the leader's description is malformed")]
    Malformed(#[from] Malformed),
}

/// The leader's description, or this node's own.
pub async fn describe(node: &Arc<Node>) -> Result<QuorumDescription, DescribeError> {
    let running = node.running().ok_or(DescribeError::NoQuorum)?;
    let mut reply = own(node, &running);
    if let Some((_, member)) = running.leader().filter(|(id, _)| *id != running.raft_id)
        && let Ok(channel) = channel::lazy(running.peers.address(&member))
    {
        let cluster_id = node.config.identity.cluster_bytes();
        let asked = timeout(
            LEADER_TIMEOUT,
            client(channel).describe(wire::DescribeRequest { cluster_id }),
        )
        .await;
        if let Ok(Ok(leaders)) = asked {
            reply = leaders.into_inner();
        }
    }
    from_wire(reply).map_err(DescribeError::from)
}

/// This node's own view. On the leader it is the quorum's.
pub fn own(node: &Node, running: &Running) -> wire::DescribeReply {
    let metrics = running.raft.metrics().borrow_watched().clone();
    let now = now_millis();
    let last = metrics.last_log_index.map_or(0, |index| index as i64 + 1);
    let committed = metrics.local_committed.max(metrics.cluster_committed);
    let caught_up = node.caught_up();
    let mut members = Vec::new();
    for (id, member) in metrics.membership_config.nodes() {
        let own = *id == running.raft_id;
        let matched = metrics
            .replication
            .as_ref()
            .and_then(|map| map.get(id).copied().flatten());
        let answered = metrics
            .heartbeat
            .as_ref()
            .and_then(|map| map.get(id).cloned().flatten());
        let answered = answered.map(|at| now - i64::try_from(at.elapsed().as_millis()).unwrap_or(now));
        let end = if own {
            last
        } else {
            matched.map_or(-1, |id| id.index as i64 + 1)
        };
        let fetch = if own { now } else { answered.unwrap_or(-1) };
        let recorded = caught_up.get(id).copied().unwrap_or(-1);
        members.push(wire::MemberState {
            member: Some(member_to_wire(*id, member)),
            voter: metrics.membership_config.voter_ids().any(|voter| voter == *id),
            log_end_offset: end,
            last_fetch_timestamp: fetch,
            last_caught_up_timestamp: if end >= last { fetch } else { recorded },
        });
    }
    wire::DescribeReply {
        cluster_id: Bytes::copy_from_slice(running.cluster_id.as_bytes()),
        leader_node_id: running.leader().map_or(-1, |(_, member)| member.node_id.0),
        leader_epoch: metrics.current_term as i64,
        high_watermark: committed.map_or(0, |id| id.index as i64 + 1),
        members,
    }
}

pub fn now_millis() -> i64 {
    #[cfg(test)]
    if crate::simulated::is_running() {
        return crate::simulated::wall_millis();
    }
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(wall.as_millis()).unwrap_or(i64::MAX)
}

pub fn from_wire(reply: wire::DescribeReply) -> Result<QuorumDescription, Malformed> {
    let mut members = Vec::with_capacity(reply.members.len());
    for state in reply.members {
        let (raft_id, member) = member_from_wire(state.member.as_ref().ok_or(Malformed("member"))?)?;
        members.push(MemberDescription {
            node_id: member.node_id,
            store_id: member.store_id,
            raft_id,
            address: member.address,
            is_voter: state.voter,
            log_end_offset: state.log_end_offset,
            last_fetch: Timestamp(state.last_fetch_timestamp),
            last_caught_up: Timestamp(state.last_caught_up_timestamp),
        });
    }
    Ok(QuorumDescription {
        cluster_id: ClusterId::from_slice(&reply.cluster_id).ok_or(Malformed("cluster id"))?,
        leader: (reply.leader_node_id >= 0).then_some(NodeId(reply.leader_node_id)),
        leader_epoch: reply.leader_epoch,
        high_watermark: reply.high_watermark,
        members,
    })
}
