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
use klamm_types::{ClusterId, Uuid};
use tonic::Status;

use crate::network::channel::MESSAGE_BYTES_MAX;
use crate::node::Node;

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

/// Refuses a stranger; a caller that knows no cluster yet is none.
fn check_cluster(own: Option<ClusterId>, bytes: &[u8]) -> Result<(), Status> {
    if bytes.is_empty() {
        return Ok(());
    }
    let other = Uuid::from_slice(bytes).ok_or_else(|| Status::invalid_argument("a cluster id has 16 bytes"))?;
    match own {
        Some(own) if own.0 != other => {
            Err(Status::permission_denied(format!("this is cluster {own}, the caller belongs to cluster {other}")))
        }
        _ => Ok(()),
    }
}
