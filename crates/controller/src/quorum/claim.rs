//! What a store says of itself, held against what others remember of it. Values only.
//!
//! A store that has forgotten a vote must not vote again, and one that has forgotten entries must not count as if it had
//! them: either can lose what the quorum has decided.

use std::collections::BTreeSet;

use klamm_proto::quorum::v1 as wire;

use crate::network::promises::Promise;
use crate::raft::convert::Malformed;
use crate::raft::types::{LogId, Membership, RaftId, Vote};
use crate::store::ages::StoreAge;

/// How far a store says to have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub age: StoreAge,
    pub vote: Option<Vote>,
    /// The end of its log, or of its snapshot if that reaches further.
    pub last: Option<LogId>,
}

/// What one other controller remembers of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recalled {
    pub known: Option<StoreAge>,
    pub promised: Option<Promise>,
}

/// Why a store is an old copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Outdated {
    #[error("member {known} of the quorum has taken its place, as which this node has been seen")]
    Replaced { known: RaftId },
    #[error("its age is {own}, and it has been seen at {known}")]
    Younger { own: u64, known: u64 },
    #[error("it has forgotten a vote of term {term}")]
    Vote { term: u64 },
    #[error("it has forgotten entries up to {index}")]
    Entries { index: u64 },
}

impl Recalled {
    pub fn from_wire(reply: &wire::HelloReply) -> Result<Recalled, Malformed> {
        Ok(Recalled {
            known: reply.known.as_ref().map(StoreAge::from_wire).transpose()?,
            promised: reply.promised.as_ref().map(Promise::from_wire).transpose()?,
        })
    }

    /// Whether this memory shows that the store has forgotten something.
    pub fn refutes(&self, claim: &Claim) -> Result<(), Outdated> {
        let own = claim.age;
        if let Some(known) = self.known {
            if known.raft_id > own.raft_id {
                return Err(Outdated::Replaced { known: known.raft_id });
            }
            // Two runs never have the same age: each raises it before it speaks.
            let other_run = known.incarnation != own.incarnation;
            if known.raft_id == own.raft_id && (known.age > own.age || known.age == own.age && other_run) {
                return Err(Outdated::Younger {
                    own: own.age,
                    known: known.age,
                });
            }
        }
        let Some(promise) = self.promised else { return Ok(()) };
        let led = promise.vote.leader_id;
        let voted = claim.vote.map(|vote| vote.leader_id);
        if voted < Some(led) {
            return Err(Outdated::Vote { term: led.term });
        }
        // Under a later vote entries may have been taken away rightly.
        match promise.last {
            Some(last) if voted == Some(led) && claim.last < Some(last) => Err(Outdated::Entries { index: last.index }),
            _ => Ok(()),
        }
    }
}

/// Whether so many of the others have been heard that the store may take part: a majority, itself among them. With
/// fewer there is nothing to take part in.
///
/// A store without a vote may be a copy of one that has one by now, and does not know who else votes: it has to hear as
/// many members, whoever they are, and at least one. `heard` has 0 for who is in no quorum.
pub fn suffices(membership: &Membership, own: RaftId, heard: &BTreeSet<RaftId>) -> bool {
    let configs = membership.get_joint_config();
    let members = heard.iter().filter(|id| **id != 0).count();
    let is_enough = |voters: &BTreeSet<RaftId>| match voters.contains(&own) {
        true => voters.intersection(heard).filter(|id| **id != own).count() + 1 > voters.len() / 2,
        false => members >= voters.len() / 2,
    };
    let has_vote = configs.iter().any(|voters| voters.contains(&own));
    (has_vote || members > 0) && configs.iter().all(is_enough)
}

#[cfg(test)]
mod tests {
    use klamm_types::Incarnation;
    use openraft::vote::RaftLeaderId;

    use super::*;
    use crate::raft::types::LeaderId;

    fn age(raft_id: RaftId, age: u64, run: u128) -> StoreAge {
        StoreAge {
            raft_id,
            age,
            incarnation: Incarnation::from_u128(run),
        }
    }

    fn vote(term: u64) -> Vote {
        Vote {
            leader_id: LeaderId::new(term, 1),
            committed: true,
        }
    }

    fn entry(term: u64, index: u64) -> LogId {
        LogId {
            leader_id: LeaderId::new(term, 1),
            index,
        }
    }

    /// A store of age 5 in run 1, with vote 3 and entry 9 of term 3.
    fn claim() -> Claim {
        Claim {
            age: age(2, 5, 1),
            vote: Some(vote(3)),
            last: Some(entry(3, 9)),
        }
    }

    fn known(known: StoreAge) -> Result<(), Outdated> {
        let promised = None;
        Recalled {
            known: Some(known),
            promised,
        }
        .refutes(&claim())
    }

    fn promised(vote: Vote, last: Option<LogId>) -> Result<(), Outdated> {
        let promised = Some(Promise { vote, last });
        Recalled { known: None, promised }.refutes(&claim())
    }

    #[test]
    fn a_copy_is_younger_than_it_has_been_seen() {
        assert_eq!(Recalled::default().refutes(&claim()), Ok(()));
        assert_eq!(known(age(2, 4, 7)), Ok(()));
        assert_eq!(known(age(2, 5, 1)), Ok(()), "it asked twice");
        assert_eq!(known(age(1, 99, 7)), Ok(()), "an earlier store of the node");
        assert_eq!(known(age(2, 5, 7)), Err(Outdated::Younger { own: 5, known: 5 }));
        assert_eq!(known(age(2, 6, 7)), Err(Outdated::Younger { own: 5, known: 6 }));
        assert_eq!(known(age(3, 1, 7)), Err(Outdated::Replaced { known: 3 }));
    }

    #[test]
    fn a_copy_has_forgotten_what_it_promised() {
        assert_eq!(promised(vote(3), Some(entry(3, 9))), Ok(()));
        assert_eq!(promised(vote(3), None), Ok(()));
        assert_eq!(
            promised(vote(2), Some(entry(2, 99))),
            Ok(()),
            "taken away by a later leader"
        );
        assert_eq!(promised(vote(4), None), Err(Outdated::Vote { term: 4 }));
        assert_eq!(
            promised(vote(3), Some(entry(3, 10))),
            Err(Outdated::Entries { index: 10 })
        );
    }

    #[test]
    fn a_majority_is_to_be_heard() {
        let voters = |sets: &[&[RaftId]]| {
            let sets: Vec<BTreeSet<RaftId>> = sets.iter().map(|set| set.iter().copied().collect()).collect();
            let members = sets
                .iter()
                .flatten()
                .map(|id| (*id, crate::raft::types::Member::default()));
            Membership::new(sets.clone(), members.collect::<std::collections::BTreeMap<_, _>>()).unwrap()
        };
        let heard = |ids: &[RaftId]| ids.iter().copied().collect::<BTreeSet<RaftId>>();
        assert!(suffices(&voters(&[&[1]]), 1, &heard(&[])));
        assert!(!suffices(&voters(&[&[1, 2, 3]]), 1, &heard(&[9])));
        assert!(suffices(&voters(&[&[1, 2, 3]]), 1, &heard(&[2])));
        assert!(!suffices(&voters(&[&[1, 2, 3, 4, 5]]), 1, &heard(&[2])));
        let without_vote = voters(&[&[2, 3, 4, 5]]);
        assert!(!suffices(&without_vote, 1, &heard(&[])), "its later life may have one");
        assert!(!suffices(&without_vote, 1, &heard(&[0, 2])));
        assert!(suffices(&without_vote, 1, &heard(&[7, 8])), "others may vote by now");
        let unknown = Membership::default();
        assert!(!suffices(&unknown, 1, &heard(&[0])));
        assert!(suffices(&unknown, 1, &heard(&[2])));
        assert!(!suffices(&voters(&[&[1, 2, 3], &[1, 4, 5]]), 1, &heard(&[2])));
    }
}
