//! openraft's network: calls from this member to another, each with a deadline.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use futures_util::{StreamExt, stream};
use klamm_proto::quorum::v1 as wire;
use klamm_proto::quorum::v1::quorum_client::QuorumClient;
use klamm_types::{ClusterId, NodeId};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::{RaftNetworkFactory, RaftNetworkV2};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use super::channel::{self, MESSAGE_BYTES_MAX};
use super::messages;
use super::promises::Promises;
use crate::raft::convert::{vote_from_wire, vote_to_wire};
use crate::raft::types::{Member, RaftId, Snapshot, Types, Vote};

/// Snapshots travel in pieces of this size.
const SNAPSHOT_PIECE_BYTES: usize = 64 * 1024;

/// How long a member may take to put entries on its disk; openraft's own limit is meant for heartbeats.
const APPEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Makes the connections of one member to the others.
#[derive(Clone)]
pub struct Peers {
    pub cluster_id: ClusterId,
    pub own: RaftId,
    /// Addresses by configuration; they count over those in the membership, which may be old.
    pub addresses: Arc<BTreeMap<NodeId, String>>,
    /// Where it is noted what the others have promised.
    pub promises: Promises,
}

impl Peers {
    pub fn address<'a>(&'a self, member: &'a Member) -> &'a str {
        self.addresses.get(&member.node_id).unwrap_or(&member.address)
    }

    pub fn envelope(&self, target: RaftId) -> wire::Envelope {
        let cluster_id = Bytes::copy_from_slice(self.cluster_id.as_bytes());
        wire::Envelope {
            cluster_id,
            from_raft_id: self.own,
            to_raft_id: target,
        }
    }
}

pub fn client(channel: Channel) -> QuorumClient<Channel> {
    QuorumClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

impl RaftNetworkFactory<Types> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: RaftId, member: &Member) -> Peer {
        let address = self.address(member);
        let client = channel::lazy(address).map(client);
        if let Err(error) = &client {
            tracing::error!(target, %error, "a member of the quorum cannot be dialled");
        }
        Peer {
            envelope: self.envelope(target),
            client: client.ok(),
            promises: self.promises.clone(),
        }
    }
}

/// The way to one member.
pub struct Peer {
    envelope: wire::Envelope,
    /// None if the member's address is malformed.
    client: Option<QuorumClient<Channel>>,
    promises: Promises,
}

impl Peer {
    fn client(&mut self) -> Result<QuorumClient<Channel>, Status> {
        self.client
            .clone()
            .ok_or_else(|| Status::unavailable("the member's address is malformed"))
    }
}

/// A call that ends in time.
async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, RPCError<Types>> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(rpc_error(&status)),
        Err(_) => Err(NetworkError::from_string(format!("no answer within {limit:?}")).into()),
    }
}

fn rpc_error(status: &Status) -> RPCError<Types> {
    match status.code() {
        // Not there, or another than the one meant: the next attempt waits for the back-off.
        Code::Unavailable | Code::FailedPrecondition | Code::Unimplemented => Unreachable::from_string(status).into(),
        _ => NetworkError::from_string(status).into(),
    }
}

fn malformed(error: impl ToString) -> RPCError<Types> {
    NetworkError::from_string(error).into()
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let message = messages::append_to_wire(&rpc, self.envelope.clone());
        let mut client = self.client().map_err(|status| rpc_error(&status))?;
        let limit = match message.entries.is_empty() {
            true => option.soft_ttl(),
            false => APPEND_TIMEOUT,
        };
        let reply = within(limit, client.append_entries(message)).await?;
        let reply = messages::append_reply_from_wire(reply).map_err(malformed)?;
        self.promises.appended(self.envelope.to_raft_id, &rpc, &reply);
        Ok(reply)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let message = messages::vote_request_to_wire(&rpc, self.envelope.clone());
        let mut client = self.client().map_err(|status| rpc_error(&status))?;
        let reply = within(option.soft_ttl(), client.vote(message)).await?;
        let reply = messages::vote_reply_from_wire(reply).map_err(malformed)?;
        if reply.is_granted_to(&rpc.vote) {
            self.promises.granted(self.envelope.to_raft_id, &rpc.vote);
        }
        Ok(reply)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let message = messages::vote_request_to_wire(&rpc, self.envelope.clone());
        let mut client = self.client().map_err(|status| rpc_error(&status))?;
        let reply = within(option.soft_ttl(), client.pre_vote(message)).await?;
        messages::vote_reply_from_wire(reply).map_err(malformed)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let head = wire::SnapshotHead {
            envelope: Some(self.envelope.clone()),
            vote: Some(vote_to_wire(&vote)),
        };
        let head = wire::SnapshotPart {
            part: Some(wire::snapshot_part::Part::Head(head)),
        };
        let pieces = stream::unfold(snapshot.snapshot, |mut rest| async move {
            if rest.is_empty() {
                return None;
            }
            let piece = rest.split_to(rest.len().min(SNAPSHOT_PIECE_BYTES));
            Some((
                wire::SnapshotPart {
                    part: Some(wire::snapshot_part::Part::Data(piece)),
                },
                rest,
            ))
        });
        let mut client = self.client().map_err(|status| rpc_error(&status))?;
        let call = async move {
            client
                .install_snapshot(stream::once(async { head }).chain(pieces))
                .await
        };
        let limited = within(option.hard_ttl(), call);
        match select(Box::pin(limited), Box::pin(cancel)).await {
            Either::Left((reply, _)) => {
                let vote = vote_from_wire(reply?.vote).map_err(malformed)?;
                Ok(SnapshotResponse::new(vote))
            }
            Either::Right((closed, _)) => Err(closed.into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let message = messages::transfer_to_wire(&req, self.envelope.clone());
        let mut client = self.client().map_err(|status| rpc_error(&status))?;
        let reply = within(option.soft_ttl(), client.transfer_leader(message)).await?;
        match reply.accepted {
            true => Ok(Ok(())),
            false => Err(malformed("the member cannot take the lead now")),
        }
    }
}
