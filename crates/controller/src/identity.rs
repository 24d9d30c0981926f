//! Who this node is, shared by all its parts, and the service that tells others.
//!
//! Every node answers `Identify`, also one without the controller role: that answer is what tells a living process from
//! a dead one and a restarted one.

use std::sync::Arc;

use bytes::Bytes;
use klamm_proto::quorum::v1 as wire;
use klamm_proto::quorum::v1::identity_server::{Identity, IdentityServer};
use klamm_types::{ClusterId, Incarnation, NodeId};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// The node's identity. Clones share the cluster id, which may become known only later.
#[derive(Clone, Debug)]
pub struct NodeIdentity {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    node_id: NodeId,
    incarnation: Incarnation,
    cluster_id: watch::Sender<Option<ClusterId>>,
}

/// The node met another cluster than its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node belongs to cluster {own}, it met cluster {other}")]
pub struct OtherCluster {
    pub own: ClusterId,
    pub other: ClusterId,
}

impl NodeIdentity {
    /// `cluster_id`: what the node's directories or its operator say, if anything.
    pub fn new(node_id: NodeId, incarnation: Incarnation, cluster_id: Option<ClusterId>) -> NodeIdentity {
        let cluster_id = watch::Sender::new(cluster_id);
        NodeIdentity {
            inner: Arc::new(Inner {
                node_id,
                incarnation,
                cluster_id,
            }),
        }
    }

    pub fn node_id(&self) -> NodeId {
        self.inner.node_id
    }

    pub fn incarnation(&self) -> Incarnation {
        self.inner.incarnation
    }

    /// `None` until the node has met its cluster.
    pub fn cluster_id(&self) -> Option<ClusterId> {
        *self.inner.cluster_id.borrow()
    }

    /// Waits until the cluster is known.
    pub async fn wait_for_cluster(&self) -> ClusterId {
        let mut known = self.inner.cluster_id.subscribe();
        loop {
            if let Some(id) = *known.borrow_and_update() {
                return id;
            }
            if known.changed().await.is_err() {
                // Cannot happen while `self` holds the sender.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Takes the first cluster that the node meets; refuses any other from then on.
    pub fn agree(&self, other: ClusterId) -> Result<(), OtherCluster> {
        let mut result = Ok(());
        self.inner.cluster_id.send_if_modified(|known| match *known {
            None => {
                *known = Some(other);
                true
            }
            Some(own) => {
                if own != other {
                    result = Err(OtherCluster { own, other });
                }
                false
            }
        });
        result
    }

    /// The cluster id as messages hold it: empty while unknown.
    pub(crate) fn cluster_bytes(&self) -> Bytes {
        self.cluster_id()
            .map(|id| Bytes::copy_from_slice(id.as_bytes()))
            .unwrap_or_default()
    }

    /// [`NodeIdentity::agree`] for the cluster id in a message; an empty one says nothing.
    pub(crate) fn agree_bytes(&self, bytes: &[u8]) -> Result<(), OtherCluster> {
        match ClusterId::from_slice(bytes) {
            Some(other) => self.agree(other),
            None => Ok(()),
        }
    }
}

/// Answers `Identify`; belongs into the gRPC server of every node.
pub struct IdentityService {
    identity: NodeIdentity,
}

impl IdentityService {
    pub fn server(identity: NodeIdentity) -> IdentityServer<IdentityService> {
        IdentityServer::new(IdentityService { identity })
    }
}

#[tonic::async_trait]
impl Identity for IdentityService {
    async fn identify(&self, _: Request<wire::IdentifyRequest>) -> Result<Response<wire::IdentifyReply>, Status> {
        Ok(Response::new(wire::IdentifyReply {
            cluster_id: self.identity.cluster_bytes(),
            node_id: self.identity.node_id().0,
            incarnation: Bytes::copy_from_slice(self.identity.incarnation().as_bytes()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cluster_stays() {
        let identity = NodeIdentity::new(NodeId(1), Incarnation::from_u128(5), None);
        let (one, two) = (ClusterId::from_u128(1), ClusterId::from_u128(2));
        assert_eq!(identity.agree(one), Ok(()));
        assert_eq!(identity.agree(one), Ok(()));
        assert_eq!(identity.agree(two), Err(OtherCluster { own: one, other: two }));
        assert_eq!(identity.cluster_id(), Some(one));
    }
}
