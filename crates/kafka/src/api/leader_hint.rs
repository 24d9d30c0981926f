//! Leader hints (KIP-951): who leads a partition and where, sent along with the error that this broker does not, so
//! that the client need not ask for the metadata first.

use std::collections::BTreeMap;

use klamm_broker::api::{LeaderHint, PartitionError};
use klamm_broker::metadata::Image;
use klamm_types::{NodeId, TopicPartition};

use crate::context::Client;
use crate::endpoints::{self, Endpoint};

/// Gathers the nodes that an answer names as leaders.
pub(crate) struct Hints<'a> {
    client: &'a Client,
    image: &'a Image,
    nodes: BTreeMap<NodeId, Endpoint<'a>>,
}

/// The leader as the answer names it: id and epoch, -1 where not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leader {
    pub id: i32,
    pub epoch: i32,
}

impl<'a> Hints<'a> {
    pub fn new(client: &'a Client, image: &'a Image) -> Self {
        Self {
            client,
            image,
            nodes: BTreeMap::new(),
        }
    }

    /// The leader to name with an error: what the partition itself knows, else what the metadata says.
    pub fn leader(&mut self, partition: TopicPartition, error: &PartitionError) -> Option<Leader> {
        let hint = error.leader.or_else(|| self.known(partition))?;
        let endpoint = hint
            .leader
            .and_then(|node| endpoints::of(self.client, self.image, node));
        // Without an address the client has to ask anyway.
        let endpoint = endpoint?;
        let leader = Leader {
            id: endpoint.node.0,
            epoch: hint.leader_epoch.0,
        };
        self.nodes.insert(endpoint.node, endpoint);
        Some(leader)
    }

    pub fn nodes(&self) -> impl Iterator<Item = &Endpoint<'a>> {
        self.nodes.values()
    }

    fn known(&self, partition: TopicPartition) -> Option<LeaderHint> {
        let state = self.image.partition(partition.topic, partition.partition)?;
        Some(LeaderHint {
            leader: state.leader,
            leader_epoch: state.leader_epoch,
        })
    }
}
