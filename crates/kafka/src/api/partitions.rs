//! A partition's state as Metadata and DescribeTopicPartitions show it.

use klamm_broker::metadata::Image;
use klamm_broker::metadata::image::PartitionState;
use klamm_types::NodeId;

use crate::context::Client;
use crate::endpoints;

/// Where a client may find the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaderState {
    Reachable(NodeId),
    /// Alive, but without the listener through which the client came in.
    WithoutListener,
    None,
}

pub(crate) fn leader(client: &Client, image: &Image, state: &PartitionState) -> LeaderState {
    match state.leader {
        Some(leader) if endpoints::is_reachable(client, image, leader) => LeaderState::Reachable(leader),
        Some(leader) if image.is_alive(leader) => LeaderState::WithoutListener,
        Some(_) | None => LeaderState::None,
    }
}

impl LeaderState {
    /// The number of the wire.
    pub fn id(self) -> i32 {
        match self {
            LeaderState::Reachable(leader) => leader.0,
            LeaderState::WithoutListener | LeaderState::None => -1,
        }
    }
}

/// Replicas that cannot be reached.
pub(crate) fn offline(client: &Client, image: &Image, state: &PartitionState) -> Vec<i32> {
    let offline = state
        .replicas
        .iter()
        .filter(|&&replica| !endpoints::is_reachable(client, image, replica));
    offline.map(|replica| replica.0).collect()
}

pub(crate) fn ids(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|node| node.0).collect()
}
