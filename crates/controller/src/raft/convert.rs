//! Between openraft's types and the messages of `proto/klamm/quorum.proto`, which travel between controllers and are
//! the stored form of the log. Bytes from outside may hold anything: every way in is checked.

use std::collections::{BTreeMap, BTreeSet};

use klamm_proto::quorum::v1 as wire;
use klamm_types::NodeId;
use openraft::vote::RaftLeaderId;

use super::types::{
    Command, Entry, LeaderId, LogId, Member, Membership, Payload, RaftId, StoreId, StoredMembership, Vote,
};

/// A message that no correct peer or store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message lacks or garbles its {0}")]
pub struct Malformed(pub &'static str);

pub fn vote_to_wire(vote: &Vote) -> wire::Vote {
    wire::Vote {
        term: vote.leader_id.term,
        raft_id: vote.leader_id.node_id,
        committed: vote.committed,
    }
}

pub fn vote_from_wire(vote: Option<wire::Vote>) -> Result<Vote, Malformed> {
    let vote = vote.ok_or(Malformed("vote"))?;
    Ok(Vote {
        leader_id: RaftLeaderId::new(vote.term, vote.raft_id),
        committed: vote.committed,
    })
}

pub fn log_id_to_wire(id: &LogId) -> wire::LogId {
    wire::LogId {
        term: id.leader_id.term,
        raft_id: id.leader_id.node_id,
        index: id.index,
    }
}

pub fn log_id_from_wire(id: &wire::LogId) -> LogId {
    LogId {
        leader_id: LeaderId::new(id.term, id.raft_id),
        index: id.index,
    }
}

pub fn member_to_wire(raft_id: RaftId, member: &Member) -> wire::Member {
    wire::Member {
        raft_id,
        node_id: member.node_id.0,
        store_id: member.store_id.0.to_vec().into(),
        address: member.address.clone(),
    }
}

pub fn member_from_wire(member: &wire::Member) -> Result<(RaftId, Member), Malformed> {
    let store_id = StoreId::from_slice(&member.store_id).ok_or(Malformed("store id"))?;
    let node_id = NodeId(member.node_id);
    Ok((
        member.raft_id,
        Member {
            node_id,
            store_id,
            address: member.address.clone(),
        },
    ))
}

pub fn membership_to_wire(membership: &Membership) -> wire::Membership {
    let configs = membership.get_joint_config().iter();
    wire::Membership {
        configs: configs
            .map(|set| wire::VoterSet {
                raft_ids: set.iter().copied().collect(),
            })
            .collect(),
        members: membership
            .nodes()
            .map(|(id, member)| member_to_wire(*id, member))
            .collect(),
    }
}

pub fn membership_from_wire(membership: &wire::Membership) -> Result<Membership, Malformed> {
    if membership.configs.is_empty() && membership.members.is_empty() {
        return Ok(Membership::default());
    }
    let configs = membership.configs.iter();
    let configs = configs
        .map(|set| set.raft_ids.iter().copied().collect::<BTreeSet<RaftId>>())
        .collect();
    let mut members = BTreeMap::new();
    for member in &membership.members {
        let (id, member) = member_from_wire(member)?;
        members.insert(id, member);
    }
    Membership::new(configs, members).map_err(|_| Malformed("membership"))
}

pub fn stored_membership_to_wire(stored: &StoredMembership) -> wire::StoredMembership {
    wire::StoredMembership {
        log_id: stored.log_id().as_ref().map(log_id_to_wire),
        membership: Some(membership_to_wire(stored.membership())),
    }
}

pub fn stored_membership_from_wire(stored: Option<&wire::StoredMembership>) -> Result<StoredMembership, Malformed> {
    let stored = stored.ok_or(Malformed("stored membership"))?;
    let membership = stored.membership.as_ref().ok_or(Malformed("membership"))?;
    Ok(StoredMembership::new(
        stored.log_id.as_ref().map(log_id_from_wire),
        membership_from_wire(membership)?,
    ))
}

pub fn entry_to_wire(entry: &Entry) -> wire::Entry {
    let payload = match &entry.payload {
        Payload::Blank => wire::entry::Payload::Blank(wire::Blank {}),
        Payload::Membership(membership) => wire::entry::Payload::Membership(membership_to_wire(membership)),
        Payload::Normal(Command::Records(records)) => wire::entry::Payload::Records(records.clone()),
        Payload::Normal(Command::AllocateRaftId { node_id, store_id }) => {
            wire::entry::Payload::Allocate(wire::AllocateRaftId {
                node_id: node_id.0,
                store_id: store_id.0.to_vec().into(),
            })
        }
    };
    wire::Entry {
        log_id: Some(log_id_to_wire(&entry.log_id)),
        payload: Some(payload),
    }
}

pub fn entry_from_wire(entry: wire::Entry) -> Result<Entry, Malformed> {
    let log_id = log_id_from_wire(entry.log_id.as_ref().ok_or(Malformed("log id"))?);
    let payload = match entry.payload.ok_or(Malformed("payload"))? {
        wire::entry::Payload::Blank(_) => Payload::Blank,
        wire::entry::Payload::Membership(membership) => Payload::Membership(membership_from_wire(&membership)?),
        wire::entry::Payload::Records(records) => Payload::Normal(Command::Records(records)),
        wire::entry::Payload::Allocate(allocate) => Payload::Normal(Command::AllocateRaftId {
            node_id: NodeId(allocate.node_id),
            store_id: StoreId::from_slice(&allocate.store_id).ok_or(Malformed("store id"))?,
        }),
    };
    Ok(Entry { log_id, payload })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use klamm_types::Uuid;
    use prost::Message;

    use super::*;

    #[test]
    fn entries_survive_the_wire() {
        let log_id = LogId {
            leader_id: LeaderId::new(3, 2),
            index: 77,
        };
        let member = |node: i32| Member {
            node_id: NodeId(node),
            store_id: Uuid::from_u128(node as u128 + 100),
            address: format!("host{node}:9190"),
        };
        let nodes: BTreeMap<RaftId, Member> = [(1, member(1)), (2, member(2)), (9, member(3))].into();
        let configs = vec![BTreeSet::from([1, 2]), BTreeSet::from([1, 9])];
        let payloads = [
            Payload::Blank,
            Payload::Membership(Membership::new(configs, nodes).unwrap()),
            Payload::Normal(Command::Records(Bytes::from_static(b"records"))),
            Payload::Normal(Command::AllocateRaftId {
                node_id: NodeId(4),
                store_id: Uuid::from_u128(5),
            }),
        ];
        for payload in payloads {
            let entry = Entry { log_id, payload };
            let bytes = entry_to_wire(&entry).encode_to_vec();
            assert_eq!(entry_from_wire(wire::Entry::decode(&bytes[..]).unwrap()), Ok(entry));
        }
    }

    #[test]
    fn garbled_messages_are_refused() {
        assert_eq!(entry_from_wire(wire::Entry::default()), Err(Malformed("log id")));
        let membership = wire::Membership {
            configs: vec![wire::VoterSet { raft_ids: vec![1] }],
            members: vec![],
        };
        assert_eq!(membership_from_wire(&membership), Err(Malformed("membership")));
        assert_eq!(vote_from_wire(None), Err(Malformed("vote")));
    }
}
