//! How a node becomes a member: its store knows the quorum already, or the quorum is founded, or it is joined.
//!
//! A quorum is founded only when every configured voter is there and none of them has a quorum: then the lowest of
//! them names the members and the cluster. A fresh store that finds a quorum asks to be taken in; that is also the way
//! back for a store that was lost. A fresh store never founds while anyone may remember an older quorum, nor where one of
//! the founders has lost his store: what the quorum had decided would be gone without a word. That is left to people.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use klamm_proto::quorum::v1 as wire;
use klamm_types::{ClusterId, NodeId, Uuid};
use tokio::time::{Instant, sleep, timeout};

use super::recall::{self, Standing};
use crate::identity::OtherCluster;
use crate::network::channel;
use crate::network::peers::{Peers, client};
use crate::node::{Node, Running};
use crate::raft::StateMachine;
use crate::raft::convert::{Malformed, member_from_wire, member_to_wire};
use crate::raft::types::{Member, Raft, RaftId};

const ASK_TIMEOUT: Duration = Duration::from_millis(500);
const JOIN_TIMEOUT: Duration = Duration::from_secs(12);
const RETRY_PAUSE: Duration = Duration::from_millis(50);
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);
const MEMBERS_MAX: usize = 1_000;

/// Why a founding is refused.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    #[error("the founding message is malformed")]
    Malformed(#[from] Malformed),
    #[error("this node is a member of a quorum already")]
    Member,
    #[error("the founding does not name this node's store")]
    NotFor,
    #[error("the quorum is founded for another cluster")]
    OtherCluster(#[from] OtherCluster),
    #[error("writing down the founded quorum")]
    Store(#[source] std::io::Error),
    #[error("starting Raft: {0}")]
    Raft(String),
}

/// Makes the node a member, however long that takes.
pub async fn run(node: Arc<Node>) {
    let known = node.stored().raft_id.zip(node.config.identity.cluster_id());
    if let Some((raft_id, cluster_id)) = known
        && node.is_initialized()
        && let Err(error) = take_part(&node, raft_id, cluster_id).await
    {
        return node.fail(error);
    }
    become_member(node).await;
}

/// Starts Raft, unless the store is found to be an old copy: then a fresh one is in its place, which joins like any other.
///
/// A store in which nothing has been written yet can be one, too: it joins under the Raft id that it has already.
async fn take_part(node: &Arc<Node>, raft_id: RaftId, cluster_id: ClusterId) -> Result<(), String> {
    match recall::confirm(node, raft_id).await {
        Ok(Standing::Current) => start(node, raft_id, cluster_id)
            .await
            .map_err(|error| error.to_string()),
        Ok(Standing::Outdated | Standing::Stopping) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// For a store that belongs to no quorum yet. Returns at once where Raft runs.
async fn become_member(node: Arc<Node>) {
    let mut told = None;
    // Another node may found the quorum with this one in the meantime.
    while node.running().is_none() && !*node.stopping.borrow() {
        attempt(&node, &mut told).await;
        tokio::select! {
            () = node.stopped() => return,
            _ = node.wait_running() => return,
            () = sleep(RETRY_PAUSE) => {}
        }
    }
}

/// `told`: when it was last said that stores are lost.
async fn attempt(node: &Arc<Node>, told: &mut Option<Instant>) {
    let replies = ask_all(node).await;
    let quorums: Vec<&wire::HelloReply> = replies.values().filter(|reply| reply.initialized).collect();
    if !quorums.is_empty() {
        return join_one(node, &quorums).await;
    }
    let own = node.node_id();
    let voters = &node.config.voters;
    let lowest = voters.keys().next() == Some(&own);
    let all_there = voters
        .keys()
        .filter(|id| **id != own)
        .all(|id| replies.contains_key(id));
    if !all_there {
        return;
    }
    let lost = replies.iter().filter(|(_, reply)| reply.lost).map(|(id, _)| id.0);
    let lost: Vec<i32> = lost.chain(node.has_lost_its_store().then_some(own.0)).collect();
    if !lost.is_empty() {
        if told.is_none_or(|told| told.elapsed() > COMPLAINT_INTERVAL) {
            *told = Some(Instant::now());
            tracing::error!(
                ?lost,
                "no controller knows the metadata any more, and these have lost their stores: no quorum is founded, it would be \
                 an empty one; `klamm quorum recover` rebuilds the last"
            );
        }
        return;
    }
    if lowest {
        match found(node, &replies).await {
            Ok(()) => tracing::info!("founded the quorum"),
            Err(error) => tracing::info!(error, "the quorum could not be founded yet"),
        }
    }
}

/// What every other controller's store holds.
async fn ask_all(node: &Node) -> BTreeMap<NodeId, wire::HelloReply> {
    let others = node.config.voters.iter().filter(|(id, _)| **id != node.node_id());
    let asked = others.map(|(id, address)| async move {
        let channel = channel::lazy(address).ok()?;
        let cluster_id = node.config.identity.cluster_bytes();
        let request = wire::HelloRequest {
            node_id: node.node_id().0,
            cluster_id,
            store: None,
        };
        match timeout(ASK_TIMEOUT, client(channel).hello(request)).await {
            Ok(Ok(reply)) => Some((*id, reply.into_inner())).filter(|(id, reply)| reply.node_id == id.0),
            Ok(Err(status)) => {
                if status.code() == tonic::Code::PermissionDenied {
                    tracing::warn!(node = %id, %status, "a configured controller is a stranger");
                }
                None
            }
            Err(_) => None,
        }
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Names the members, tells them all, then starts the log with them.
async fn found(node: &Arc<Node>, replies: &BTreeMap<NodeId, wire::HelloReply>) -> Result<(), String> {
    let founding = plan(node, replies)?;
    for (id, address) in &node.config.voters {
        if *id == node.node_id() {
            continue;
        }
        let channel = channel::lazy(address).map_err(|error| error.to_string())?;
        let told = timeout(ASK_TIMEOUT, client(channel).found(founding.clone())).await;
        told.map_err(|_| format!("node {id} did not answer"))?
            .map_err(|status| format!("node {id}: {status}"))?;
    }
    accept(node, &founding).await.map_err(|error| error.to_string())?;
    let members: Result<BTreeMap<RaftId, Member>, _> = founding.voters.iter().map(member_from_wire).collect();
    let running = node.wait_running().await;
    running
        .raft
        .initialize(members.map_err(|error| error.to_string())?)
        .await
        .map_err(|error| error.to_string())
}

/// Who would found the quorum: every configured voter with the store that it has now.
fn plan(node: &Node, replies: &BTreeMap<NodeId, wire::HelloReply>) -> Result<wire::Founding, String> {
    let mut voters = Vec::new();
    let mut cluster = node.config.identity.cluster_id();
    for (number, (id, address)) in (1..).zip(&node.config.voters) {
        let store_id = match replies.get(id) {
            Some(reply) => {
                if let Some(theirs) = ClusterId::from_slice(&reply.cluster_id) {
                    let own = *cluster.get_or_insert(theirs);
                    if own != theirs {
                        return Err(format!("node {id} belongs to cluster {theirs}, others to {own}"));
                    }
                }
                Uuid::from_slice(&reply.store_id).ok_or(format!("node {id} names no store"))?
            }
            None => node.stored().store_id,
        };
        voters.push(member_to_wire(
            number,
            &Member {
                node_id: *id,
                store_id,
                address: address.clone(),
            },
        ));
    }
    let cluster_id = cluster.unwrap_or_else(|| ClusterId::from_u128(crate::random::number()));
    Ok(wire::Founding {
        cluster_id: Bytes::copy_from_slice(cluster_id.as_bytes()),
        voters,
    })
}

/// Takes the place that a founding gives to this node. The same founding may come again.
pub async fn accept(node: &Arc<Node>, founding: &wire::Founding) -> Result<(), FoundError> {
    let cluster_id = ClusterId::from_slice(&founding.cluster_id).ok_or(Malformed("cluster id"))?;
    if founding.voters.len() > MEMBERS_MAX {
        return Err(Malformed("list of voters").into());
    }
    let voters = founding
        .voters
        .iter()
        .map(member_from_wire)
        .collect::<Result<Vec<_>, _>>()?;
    let raft_id = {
        let stored = node.stored();
        let own = voters
            .iter()
            .find(|(_, member)| member.node_id == stored.node_id && member.store_id == stored.store_id);
        own.map(|(id, _)| *id).ok_or(FoundError::NotFor)?
    };
    if node.running().is_none() && node.is_initialized() {
        return Err(FoundError::Member);
    }
    node.config.identity.agree(cluster_id)?;
    start(node, raft_id, cluster_id).await
}

/// Asks the members of a quorum that exists to take this store in.
async fn join_one(node: &Arc<Node>, quorums: &[&wire::HelloReply]) {
    for reply in quorums {
        let Some(address) = node.config.voters.get(&NodeId(reply.node_id)) else {
            continue;
        };
        match ask_to_join(node, address).await {
            Ok((raft_id, cluster_id)) => {
                tracing::info!(raft_id, "taken into the quorum");
                if let Err(error) = take_part(node, raft_id, cluster_id).await {
                    node.fail(error);
                }
                return;
            }
            Err(error) => tracing::debug!(node = reply.node_id, error, "not taken into the quorum yet"),
        }
    }
}

/// One controller's answer to the wish to be taken in: the Raft id and the cluster.
pub async fn ask_to_join(node: &Node, address: &str) -> Result<(RaftId, ClusterId), String> {
    let request = wire::JoinRequest {
        node_id: node.node_id().0,
        store_id: Bytes::copy_from_slice(&node.stored().store_id.0),
        address: node.config.own_address.clone(),
        cluster_id: node.config.identity.cluster_bytes(),
        hops: 0,
    };
    let channel = channel::lazy(address).map_err(|error| error.to_string())?;
    let reply = timeout(JOIN_TIMEOUT, client(channel).join(request)).await;
    let reply = reply
        .map_err(|_| "no answer".to_owned())?
        .map_err(|status| status.to_string())?
        .into_inner();
    let cluster_id = ClusterId::from_slice(&reply.cluster_id).ok_or("the answer names no cluster")?;
    node.config
        .identity
        .agree(cluster_id)
        .map_err(|error| error.to_string())?;
    Ok((reply.raft_id, cluster_id))
}

/// Writes down who this node is in the quorum, then starts Raft.
async fn start(node: &Arc<Node>, raft_id: RaftId, cluster_id: ClusterId) -> Result<(), FoundError> {
    let _starting = node.starting.lock().await;
    if let Some(running) = node.running() {
        // Repeated by a founder that has not heard the answer.
        let same = running.raft_id == raft_id && running.cluster_id == cluster_id;
        return if same { Ok(()) } else { Err(FoundError::Member) };
    }
    {
        let mut stored = node.stored();
        if stored.raft_id != Some(raft_id) || stored.cluster_id != Some(cluster_id) {
            stored.raft_id = Some(raft_id);
            stored.cluster_id = Some(cluster_id);
            stored.write(&node.config.folder).map_err(FoundError::Store)?;
        }
    }
    let failed = |error: String| FoundError::Raft(error);
    let config = node.config.timing.to_openraft(cluster_id.to_string());
    let config = Arc::new(config.validate().map_err(|error| failed(error.to_string()))?);
    let peers = Peers {
        cluster_id,
        own: raft_id,
        addresses: Arc::new(node.config.voters.clone()),
        promises: node.promises.clone(),
    };
    let machine = StateMachine::new(node.feed.clone(), node.config.folder.clone());
    let log = node.log().ok_or_else(|| failed("the store is closed".into()))?;
    let raft = Raft::new(raft_id, config, peers.clone(), log, machine).await;
    let raft = raft.map_err(|error| failed(error.to_string()))?;
    node.set_running(Running {
        raft,
        raft_id,
        cluster_id,
        peers,
    });
    Ok(())
}
