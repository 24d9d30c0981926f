//! The gRPC services of a controller: what brokers and other controllers call. They check and convert; who decides is
//! the shell behind them, or Raft.

mod brokers;
mod follow;
mod members;
mod raft;
mod session;

use std::sync::Arc;

use klamm_proto::controller::v1::controller_server::ControllerServer;
use klamm_proto::quorum::v1::quorum_server::QuorumServer;
use klamm_types::{ClusterId, ErrorCode, NodeId, Uuid};
use tonic::Status;

use crate::controller::VoterChangeError;
use crate::network::channel::MESSAGE_BYTES_MAX;
use crate::node::Node;
use crate::quorum::voters::VoterChange;
use crate::remote::outcome;

pub use brokers::BrokerService;
pub use raft::QuorumService;

pub fn controller_server(node: Arc<Node>) -> ControllerServer<BrokerService> {
    ControllerServer::new(BrokerService::new(node))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

pub fn quorum_server(node: Arc<Node>) -> QuorumServer<QuorumService> {
    QuorumServer::new(QuorumService::new(node))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// The change of voters for callers in this process.
pub async fn members_change(node: &Node, change: VoterChange) -> Result<(), VoterChangeError> {
    let request = change.to_wire(node.config.identity.cluster_bytes());
    match members::change_voters(node, request).await {
        Ok(reply) => outcome(reply),
        Err(status) => Err(VoterChangeError {
            code: ErrorCode::BrokerNotAvailable,
            message: status.to_string(),
        }),
    }
}

/// The active controller as the wire has it: number and address, or -1 and nothing.
fn controller(active: Option<(NodeId, String)>) -> (i32, String) {
    active.map_or((-1, String::new()), |(node, address)| (node.0, address))
}

/// Refuses a stranger; a caller that knows no cluster yet is none.
fn check_cluster(own: Option<ClusterId>, bytes: &[u8]) -> Result<(), Status> {
    if bytes.is_empty() {
        return Ok(());
    }
    let other = Uuid::from_slice(bytes).ok_or_else(|| Status::invalid_argument("a cluster id has 16 bytes"))?;
    match own {
        Some(own) if own.0 != other => Err(Status::permission_denied(format!(
            "this is cluster {own}, the caller belongs to cluster {other}"
        ))),
        _ => Ok(()),
    }
}
