//! Which store was given which Raft id. Part of the state machine: every member gives the same ids in the same order.
//!
//! An id is never given twice, also not to a store that was removed.

use std::collections::BTreeMap;

use klamm_proto::quorum::v1 as wire;
use klamm_types::NodeId;

use super::convert::Malformed;
use super::types::{Membership, RaftId, StoreId};

/// Raft ids stay below this, so that a term and a Raft id fit into one number.
pub const RAFT_ID_LIMIT: RaftId = 1 << 20;
/// Ids that a lost quorum may have given after its last snapshot.
const RECOVERY_MARGIN: RaftId = 100;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocations {
    given: BTreeMap<RaftId, (NodeId, StoreId)>,
}

impl Allocations {
    /// The id of this store: the one it has, or the next one.
    pub fn allocate(&mut self, node_id: NodeId, store_id: StoreId) -> RaftId {
        let owner = (node_id, store_id);
        if let Some((id, _)) = self.given.iter().find(|(_, given)| **given == owner) {
            return *id;
        }
        let next = self.given.last_key_value().map_or(1, |(id, _)| id + 1);
        self.given.insert(next, owner);
        next
    }

    /// An id for a new store, above all that were given and above `floor`.
    pub fn allocate_above(&mut self, node_id: NodeId, store_id: StoreId, floor: RaftId) -> RaftId {
        let next = self.given.last_key_value().map_or(0, |(id, _)| *id).max(floor) + RECOVERY_MARGIN;
        self.given.insert(next, (node_id, store_id));
        next
    }

    /// Members count as given: the founders' ids come from the first membership entry.
    pub fn note(&mut self, membership: &Membership) {
        for (id, member) in membership.nodes() {
            self.given.insert(*id, (member.node_id, member.store_id));
        }
    }

    pub fn to_wire(&self) -> Vec<wire::Allocation> {
        let given = self.given.iter();
        given
            .map(|(id, (node_id, store_id))| wire::Allocation {
                raft_id: *id,
                node_id: node_id.0,
                store_id: store_id.0.to_vec().into(),
            })
            .collect()
    }

    pub fn from_wire(given: &[wire::Allocation]) -> Result<Allocations, Malformed> {
        let mut allocations = Allocations::default();
        for one in given {
            let store_id = StoreId::from_slice(&one.store_id).ok_or(Malformed("store id"))?;
            allocations.given.insert(one.raft_id, (NodeId(one.node_id), store_id));
        }
        Ok(allocations)
    }
}

#[cfg(test)]
mod tests {
    use klamm_types::Uuid;

    use super::*;
    use crate::raft::types::Member;

    #[test]
    fn ids_are_given_once() {
        let mut allocations = Allocations::default();
        let store = Uuid::from_u128;
        let member = Member {
            node_id: NodeId(7),
            store_id: store(70),
            address: String::new(),
        };
        allocations.note(&Membership::from(BTreeMap::from([(3, member)])));
        assert_eq!(allocations.allocate(NodeId(7), store(70)), 3);
        assert_eq!(allocations.allocate(NodeId(7), store(71)), 4);
        assert_eq!(allocations.allocate(NodeId(8), store(71)), 5);
        assert_eq!(allocations.allocate(NodeId(7), store(71)), 4);
        assert_eq!(Allocations::from_wire(&allocations.to_wire()), Ok(allocations));
    }
}
