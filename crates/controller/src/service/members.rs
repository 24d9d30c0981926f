//! The calls about the quorum's members: checks here, the work in `quorum`. A call that only the leader can carry out
//! is passed on once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use klamm_proto::quorum::v1 as wire;
use klamm_proto::quorum::v1::quorum_client::QuorumClient;
use klamm_types::{ErrorCode, NodeId, Uuid};
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::network::channel;
use crate::network::peers::client;
use crate::node::{Node, Running};
use crate::quorum::bootstrap::{self, FoundError};
use crate::quorum::describe;
use crate::quorum::recall;
use crate::quorum::voters::{self, VoterAction, VoterChange};

const HOPS_MAX: u32 = 1;
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(1);

pub async fn hello(node: &Node, request: &wire::HelloRequest) -> Result<wire::HelloReply, Status> {
    let recalled = recall::remember(node, request).await;
    let recalled = recalled.map_err(|error| Status::unavailable(format!("remembering the store's age: {error}")))?;
    let lost = node.has_lost_its_store();
    let stored = node.stored();
    Ok(wire::HelloReply {
        node_id: stored.node_id.0,
        store_id: Bytes::copy_from_slice(&stored.store_id.0),
        cluster_id: node.config.identity.cluster_bytes(),
        initialized: node.is_initialized(),
        raft_id: stored.raft_id.unwrap_or(0),
        address: node.config.own_address.clone(),
        lost,
        known: recalled.known.map(|known| known.to_wire()),
        promised: recalled.promised.map(|promise| promise.to_wire()),
    })
}

pub async fn found(node: &Arc<Node>, founding: &wire::Founding) -> Result<(), Status> {
    bootstrap::accept(node, founding).await.map_err(|error| match error {
        FoundError::Malformed(_) => Status::invalid_argument(error.to_string()),
        FoundError::Member | FoundError::NotFor => Status::failed_precondition(error.to_string()),
        FoundError::OtherCluster(_) => Status::permission_denied(error.to_string()),
        FoundError::Store(_) | FoundError::Raft(_) => Status::internal(error.to_string()),
    })
}

fn running(node: &Node) -> Result<Running, Status> {
    node.running()
        .ok_or_else(|| Status::unavailable("this node is in no quorum yet"))
}

/// The leader may be a controller that the caller has never heard of.
pub async fn join(node: &Node, mut request: wire::JoinRequest) -> Result<wire::JoinReply, Status> {
    super::check_cluster(node.config.identity.cluster_id(), &request.cluster_id)?;
    let running = running(node)?;
    if let Some(mut leader) = elsewhere(&running, request.hops)? {
        request.hops += 1;
        return match tokio::time::timeout(CHANGE_TIMEOUT, leader.join(request)).await {
            Ok(answer) => answer.map(Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded(
                "the active controller did not answer in time",
            )),
        };
    }
    let store_id = Uuid::from_slice(&request.store_id);
    let store_id = store_id.ok_or_else(|| Status::invalid_argument("a store id has 16 bytes"))?;
    let member = crate::raft::types::Member {
        node_id: NodeId(request.node_id),
        store_id,
        address: request.address,
    };
    let work = voters::take_in(&running, member);
    let raft_id = match tokio::time::timeout(CHANGE_TIMEOUT, work).await {
        Ok(Ok(raft_id)) => raft_id,
        Ok(Err(error)) => return Err(Status::failed_precondition(error.to_string())),
        Err(_) => {
            return Err(Status::deadline_exceeded(
                "the quorum did not take the store in in time",
            ));
        }
    };
    Ok(wire::JoinReply {
        cluster_id: Bytes::copy_from_slice(running.cluster_id.as_bytes()),
        raft_id,
    })
}

pub async fn change_voters(
    node: &Node,
    mut request: wire::ChangeVotersRequest,
) -> Result<wire::ChangeVotersReply, Status> {
    let running = running(node)?;
    if running.leadership().is_some() {
        let change = VoterChange {
            node_id: NodeId(request.node_id),
            store_id: Uuid::from_slice(&request.store_id),
            action: if request.remove {
                VoterAction::Remove
            } else {
                VoterAction::Add
            },
        };
        let result = tokio::time::timeout(CHANGE_TIMEOUT, voters::change(&running, change)).await;
        return Ok(match result {
            Ok(Ok(())) => wire::ChangeVotersReply::default(),
            Ok(Err(error)) => reply(error.code(), error.to_string()),
            Err(_) => reply(ErrorCode::RequestTimedOut, "the voters were not changed in time".into()),
        });
    }
    let Some(mut leader) = elsewhere(&running, request.hops)? else {
        return Ok(reply(
            ErrorCode::NotController,
            "no controller is known to be active".into(),
        ));
    };
    request.hops += 1;
    match tokio::time::timeout(CHANGE_TIMEOUT, leader.change_voters(request)).await {
        Ok(answer) => answer.map(Response::into_inner),
        Err(_) => Ok(reply(
            ErrorCode::RequestTimedOut,
            "the active controller did not answer in time".into(),
        )),
    }
}

/// The leader, if it is another, for a call that may still be passed on.
fn elsewhere(running: &Running, hops: u32) -> Result<Option<QuorumClient<Channel>>, Status> {
    let leader = running
        .leader()
        .filter(|(id, _)| *id != running.raft_id && hops < HOPS_MAX);
    let Some((_, member)) = leader else { return Ok(None) };
    let channel = channel::lazy(running.peers.address(&member));
    let channel = channel.map_err(|error| Status::unavailable(error.to_string()))?;
    Ok(Some(client(channel)))
}

fn reply(code: ErrorCode, message: String) -> wire::ChangeVotersReply {
    wire::ChangeVotersReply {
        error_code: i32::from(code.code()),
        message,
    }
}

/// The quorum as this node knows it; asked by another node only of the leader.
pub async fn describe(node: &Node) -> Result<wire::DescribeReply, Status> {
    let running = running(node)?;
    let described = tokio::time::timeout(DESCRIBE_TIMEOUT, async { describe::own(node, &running) }).await;
    described.map_err(|_| Status::deadline_exceeded("the quorum was not described in time"))
}
