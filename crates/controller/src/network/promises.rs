//! What other stores have said to be on their disks: votes that they granted and entries that they acknowledged to this
//! process. A store that comes back without them has forgotten.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use klamm_proto::quorum::v1 as wire;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};

use crate::raft::convert::{Malformed, log_id_from_wire, log_id_to_wire, vote_from_wire, vote_to_wire};
use crate::raft::types::{LogId, RaftId, Types, Vote};

/// What one store has promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The highest vote that it granted or followed.
    pub vote: Vote,
    /// The furthest entry that it acknowledged under that vote; a later leader may have taken others away again.
    pub last: Option<LogId>,
}

impl Promise {
    /// Both in one.
    pub fn and(self, other: Promise) -> Promise {
        if self.vote.leader_id == other.vote.leader_id {
            return Promise {
                vote: self.vote,
                last: self.last.max(other.last),
            };
        }
        match self.vote.leader_id > other.vote.leader_id {
            true => self,
            false => other,
        }
    }

    pub fn to_wire(self) -> wire::Promise {
        wire::Promise {
            vote: Some(vote_to_wire(&self.vote)),
            last: self.last.as_ref().map(log_id_to_wire),
        }
    }

    pub fn from_wire(message: &wire::Promise) -> Result<Promise, Malformed> {
        Ok(Promise {
            vote: vote_from_wire(message.vote)?,
            last: message.last.as_ref().map(log_id_from_wire),
        })
    }
}

/// The promises of all stores that this process has talked to. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Promises {
    given: Arc<Mutex<BTreeMap<RaftId, Promise>>>,
}

impl Promises {
    fn given(&self) -> MutexGuard<'_, BTreeMap<RaftId, Promise>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, store: RaftId) -> Option<Promise> {
        self.given().get(&store).copied()
    }

    fn note(&self, store: RaftId, promise: Promise) {
        let mut given = self.given();
        let all = given.get(&store).map_or(promise, |known| known.and(promise));
        given.insert(store, all);
    }

    pub fn granted(&self, store: RaftId, vote: &Vote) {
        self.note(
            store,
            Promise {
                vote: *vote,
                last: None,
            },
        );
    }

    pub fn appended(&self, store: RaftId, request: &AppendEntriesRequest<Types>, reply: &AppendEntriesResponse<Types>) {
        let last = match reply {
            AppendEntriesResponse::Success => request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id),
            AppendEntriesResponse::PartialSuccess(matching) => *matching,
            AppendEntriesResponse::Conflict | AppendEntriesResponse::HigherVote(_) => return,
        };
        self.note(
            store,
            Promise {
                vote: request.vote,
                last,
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use openraft::vote::RaftLeaderId;

    use super::*;
    use crate::raft::types::LeaderId;

    fn promise(term: u64, index: Option<u64>) -> Promise {
        let leader_id = LeaderId::new(term, 1);
        let last = index.map(|index| LogId { leader_id, index });
        let vote = Vote {
            leader_id,
            committed: true,
        };
        Promise { vote, last }
    }

    #[test]
    fn the_highest_vote_counts_and_under_it_the_furthest_entry() {
        assert_eq!(promise(1, Some(9)).and(promise(1, Some(4))), promise(1, Some(9)));
        assert_eq!(promise(1, None).and(promise(1, Some(4))), promise(1, Some(4)));
        assert_eq!(promise(1, Some(9)).and(promise(2, Some(4))), promise(2, Some(4)));
        assert_eq!(promise(2, None).and(promise(1, Some(9))), promise(2, None));
        assert_eq!(
            Promise::from_wire(&promise(2, Some(4)).to_wire()),
            Ok(promise(2, Some(4)))
        );
    }
}
