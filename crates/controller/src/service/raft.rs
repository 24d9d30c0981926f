//! The service between controllers: Raft's calls for this member, the watch on a leader, and the calls that found,
//! join, change and describe the quorum (carried out in `members`).

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use klamm_proto::quorum::v1 as wire;
use klamm_proto::quorum::v1::quorum_server::Quorum;
use openraft::errors::RaftError;
use tonic::{Request, Response, Status, Streaming};

use super::{check_cluster, members};
use crate::network::messages;
use crate::node::{Node, Running};
use crate::quorum::election;
use crate::raft::convert::{Malformed, log_id_to_wire, vote_from_wire, vote_to_wire};
use crate::raft::snapshot::{SNAPSHOT_BYTES_MAX, State};
use crate::raft::types::Snapshot;

pub struct QuorumService {
    node: Arc<Node>,
}

type Answer<T> = Result<Response<T>, Status>;

impl QuorumService {
    pub fn new(node: Arc<Node>) -> QuorumService {
        QuorumService { node }
    }

    /// This member, if the call is for it: the same cluster, and the same store as when the caller learned of it.
    fn member(&self, envelope: Option<&wire::Envelope>) -> Result<Running, Status> {
        let envelope = envelope.ok_or_else(|| Status::invalid_argument("the call does not say whom it is for"))?;
        let running = self
            .node
            .running()
            .ok_or_else(|| Status::unavailable("this node is in no quorum yet"))?;
        check_cluster(Some(running.cluster_id), &envelope.cluster_id)?;
        if envelope.to_raft_id != running.raft_id {
            let (meant, own) = (envelope.to_raft_id, running.raft_id);
            return Err(Status::failed_precondition(format!(
                "the call is for member {meant}, this is member {own}"
            )));
        }
        Ok(running)
    }

    async fn receive_snapshot(&self, mut parts: Streaming<wire::SnapshotPart>) -> Result<wire::SnapshotReply, Status> {
        let Some(wire::SnapshotPart {
            part: Some(wire::snapshot_part::Part::Head(head)),
        }) = parts.message().await?
        else {
            return Err(Status::invalid_argument("a snapshot begins with its head"));
        };
        let running = self.member(head.envelope.as_ref())?;
        let vote = vote_from_wire(head.vote).map_err(malformed)?;
        let mut bytes = Vec::new();
        while let Some(part) = parts.message().await? {
            let Some(wire::snapshot_part::Part::Data(data)) = part.part else {
                return Err(Status::invalid_argument("a snapshot has one head"));
            };
            if bytes.len() + data.len() > SNAPSHOT_BYTES_MAX {
                return Err(Status::resource_exhausted(
                    "the snapshot is larger than this node takes",
                ));
            }
            bytes.extend_from_slice(&data);
        }
        let snapshot = Bytes::from(bytes);
        let state = State::decode(snapshot.clone()).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let snapshot = Snapshot {
            meta: state.meta(),
            snapshot,
        };
        let reply = running.raft.install_full_snapshot(vote, snapshot).await;
        let reply = reply.map_err(|fatal| Status::unavailable(fatal.to_string()))?;
        Ok(wire::SnapshotReply {
            vote: Some(vote_to_wire(&reply.vote)),
        })
    }
}

fn malformed(error: Malformed) -> Status {
    Status::invalid_argument(error.to_string())
}

fn fatal(error: RaftError<crate::raft::types::Types>) -> Status {
    Status::unavailable(error.to_string())
}

#[tonic::async_trait]
impl Quorum for QuorumService {
    async fn append_entries(&self, request: Request<wire::AppendEntriesRequest>) -> Answer<wire::AppendEntriesReply> {
        let request = request.into_inner();
        let running = self.member(request.envelope.as_ref())?;
        let request = messages::append_from_wire(request).map_err(malformed)?;
        let reply = running.raft.append_entries(request).await.map_err(fatal)?;
        Ok(Response::new(messages::append_reply_to_wire(&reply)))
    }

    async fn vote(&self, request: Request<wire::VoteRequest>) -> Answer<wire::VoteReply> {
        let request = request.into_inner();
        let running = self.member(request.envelope.as_ref())?;
        let request = messages::vote_request_from_wire(request).map_err(malformed)?;
        let reply = running.raft.vote(request).await.map_err(fatal)?;
        Ok(Response::new(messages::vote_reply_to_wire(&reply)))
    }

    async fn pre_vote(&self, request: Request<wire::VoteRequest>) -> Answer<wire::VoteReply> {
        let request = request.into_inner();
        let running = self.member(request.envelope.as_ref())?;
        let request = messages::vote_request_from_wire(request).map_err(malformed)?;
        let reply = running.raft.pre_vote(request).await.map_err(fatal)?;
        Ok(Response::new(messages::vote_reply_to_wire(&reply)))
    }

    async fn install_snapshot(&self, request: Request<Streaming<wire::SnapshotPart>>) -> Answer<wire::SnapshotReply> {
        self.receive_snapshot(request.into_inner()).await.map(Response::new)
    }

    async fn transfer_leader(
        &self,
        request: Request<wire::TransferLeaderRequest>,
    ) -> Answer<wire::TransferLeaderReply> {
        let request = request.into_inner();
        let running = self.member(request.envelope.as_ref())?;
        let request = messages::transfer_from_wire(request).map_err(malformed)?;
        let reply = running.raft.handle_transfer_leader(request).await;
        let reply = reply.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(wire::TransferLeaderReply {
            accepted: reply.is_ok(),
        }))
    }

    type WatchStream = std::pin::Pin<Box<dyn Stream<Item = Result<wire::WatchMessage, Status>> + Send>>;

    async fn watch(&self, request: Request<wire::WatchRequest>) -> Answer<Self::WatchStream> {
        self.member(request.into_inner().envelope.as_ref())?;
        let incarnation = Bytes::copy_from_slice(self.node.config.identity.incarnation().as_bytes());
        let hello = wire::WatchMessage {
            incarnation: incarnation.clone(),
            goodbye: false,
        };
        let node = self.node.clone();
        let goodbye = async move {
            node.stopped().await;
            Ok(wire::WatchMessage {
                incarnation,
                goodbye: true,
            })
        };
        Ok(Response::new(Box::pin(
            stream::once(async { Ok(hello) }).chain(stream::once(goodbye)),
        )))
    }

    async fn suspect(&self, request: Request<wire::SuspectRequest>) -> Answer<wire::SuspectReply> {
        let request = request.into_inner();
        let running = self.member(request.envelope.as_ref())?;
        // A hint is worth nothing once it had to wait.
        let _ = self.node.hints.try_send(request.suspect_raft_id);
        let last_log_id = election::last_flushed(&running.raft).as_ref().map(log_id_to_wire);
        Ok(Response::new(wire::SuspectReply { last_log_id }))
    }

    async fn hello(&self, request: Request<wire::HelloRequest>) -> Answer<wire::HelloReply> {
        let request = request.into_inner();
        check_cluster(self.node.config.identity.cluster_id(), &request.cluster_id)?;
        members::hello(&self.node, &request).await.map(Response::new)
    }

    async fn found(&self, request: Request<wire::Founding>) -> Answer<wire::FoundReply> {
        members::found(&self.node, &request.into_inner()).await?;
        Ok(Response::new(wire::FoundReply {}))
    }

    async fn join(&self, request: Request<wire::JoinRequest>) -> Answer<wire::JoinReply> {
        members::join(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn change_voters(&self, request: Request<wire::ChangeVotersRequest>) -> Answer<wire::ChangeVotersReply> {
        let request = request.into_inner();
        check_cluster(self.node.config.identity.cluster_id(), &request.cluster_id)?;
        members::change_voters(&self.node, request).await.map(Response::new)
    }

    async fn describe(&self, request: Request<wire::DescribeRequest>) -> Answer<wire::DescribeReply> {
        let request = request.into_inner();
        check_cluster(self.node.config.identity.cluster_id(), &request.cluster_id)?;
        members::describe(&self.node).await.map(Response::new)
    }
}
