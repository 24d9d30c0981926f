//! openraft's requests and replies as messages, and back.

use klamm_proto::quorum::v1 as wire;
use klamm_proto::quorum::v1::append_entries_reply::{Partial, Result as AppendResult};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse};
use prost::Message;

use crate::raft::convert::{
    Malformed, entry_from_wire, entry_to_wire, log_id_from_wire, log_id_to_wire, vote_from_wire, vote_to_wire,
};
use crate::raft::types::Types;
use crate::store::codec::ENTRY_BYTES_MAX;

pub fn append_to_wire(request: &AppendEntriesRequest<Types>, envelope: wire::Envelope) -> wire::AppendEntriesRequest {
    wire::AppendEntriesRequest {
        envelope: Some(envelope),
        vote: Some(vote_to_wire(&request.vote)),
        previous: request.prev_log_id.as_ref().map(log_id_to_wire),
        entries: request.entries.iter().map(entry_to_wire).collect(),
        committed: request.leader_commit.as_ref().map(log_id_to_wire),
    }
}

pub fn append_from_wire(request: wire::AppendEntriesRequest) -> Result<AppendEntriesRequest<Types>, Malformed> {
    let mut entries = Vec::with_capacity(request.entries.len());
    let mut due = request.previous.as_ref().map(|id| id.index + 1);
    for entry in request.entries {
        // An entry that the store would refuse must not reach it: a failed append stops the node.
        if entry.encoded_len() > ENTRY_BYTES_MAX {
            return Err(Malformed("entry, which is too large"));
        }
        let entry = entry_from_wire(entry)?;
        if due.is_some_and(|due| due != entry.log_id.index) {
            return Err(Malformed("entries, which do not follow each other"));
        }
        due = Some(entry.log_id.index + 1);
        entries.push(entry);
    }
    Ok(AppendEntriesRequest {
        vote: vote_from_wire(request.vote)?,
        prev_log_id: request.previous.as_ref().map(log_id_from_wire),
        entries,
        leader_commit: request.committed.as_ref().map(log_id_from_wire),
    })
}

pub fn append_reply_to_wire(reply: &AppendEntriesResponse<Types>) -> wire::AppendEntriesReply {
    let result = match reply {
        AppendEntriesResponse::Success => AppendResult::Success(wire::Blank {}),
        AppendEntriesResponse::PartialSuccess(matching) => AppendResult::Partial(Partial {
            matching: matching.as_ref().map(log_id_to_wire),
        }),
        AppendEntriesResponse::Conflict => AppendResult::Conflict(wire::Blank {}),
        AppendEntriesResponse::HigherVote(vote) => AppendResult::HigherVote(vote_to_wire(vote)),
    };
    wire::AppendEntriesReply { result: Some(result) }
}

pub fn append_reply_from_wire(reply: wire::AppendEntriesReply) -> Result<AppendEntriesResponse<Types>, Malformed> {
    Ok(match reply.result.ok_or(Malformed("result"))? {
        AppendResult::Success(_) => AppendEntriesResponse::Success,
        AppendResult::Partial(partial) => {
            AppendEntriesResponse::PartialSuccess(partial.matching.as_ref().map(log_id_from_wire))
        }
        AppendResult::Conflict(_) => AppendEntriesResponse::Conflict,
        AppendResult::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote_from_wire(Some(vote))?),
    })
}

pub fn vote_request_to_wire(request: &VoteRequest<Types>, envelope: wire::Envelope) -> wire::VoteRequest {
    wire::VoteRequest {
        envelope: Some(envelope),
        vote: Some(vote_to_wire(&request.vote)),
        last_log_id: request.last_log_id.as_ref().map(log_id_to_wire),
        // Lost on the wire, a transferred leadership would wait for the lease of the old leader.
        leadership_transfer: request.leadership_transfer,
    }
}

pub fn vote_request_from_wire(request: wire::VoteRequest) -> Result<VoteRequest<Types>, Malformed> {
    let last_log_id = request.last_log_id.as_ref().map(log_id_from_wire);
    let mut vote = VoteRequest::new(vote_from_wire(request.vote)?, last_log_id);
    vote.leadership_transfer = request.leadership_transfer;
    Ok(vote)
}

pub fn vote_reply_to_wire(reply: &VoteResponse<Types>) -> wire::VoteReply {
    wire::VoteReply {
        vote: Some(vote_to_wire(&reply.vote)),
        granted: reply.vote_granted,
        last_log_id: reply.last_log_id.as_ref().map(log_id_to_wire),
    }
}

pub fn vote_reply_from_wire(reply: wire::VoteReply) -> Result<VoteResponse<Types>, Malformed> {
    let last_log_id = reply.last_log_id.as_ref().map(log_id_from_wire);
    Ok(VoteResponse::new(
        vote_from_wire(reply.vote)?,
        last_log_id,
        reply.granted,
    ))
}

pub fn transfer_to_wire(
    request: &TransferLeaderRequest<Types>,
    envelope: wire::Envelope,
) -> wire::TransferLeaderRequest {
    wire::TransferLeaderRequest {
        envelope: Some(envelope),
        from: Some(vote_to_wire(request.from_leader())),
        to_raft_id: *request.to_node_id(),
        last_log_id: request.last_log_id().map(log_id_to_wire),
    }
}

pub fn transfer_from_wire(request: wire::TransferLeaderRequest) -> Result<TransferLeaderRequest<Types>, Malformed> {
    let last_log_id = request.last_log_id.as_ref().map(log_id_from_wire);
    Ok(TransferLeaderRequest::new(
        vote_from_wire(request.from)?,
        request.to_raft_id,
        last_log_id,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::{Entry, LeaderId, LogId, Payload, Vote};
    use openraft::vote::RaftLeaderId;

    fn id(index: u64) -> LogId {
        LogId {
            leader_id: LeaderId::new(2, 1),
            index,
        }
    }

    fn vote() -> Vote {
        Vote {
            leader_id: LeaderId::new(2, 1),
            committed: true,
        }
    }

    #[test]
    fn the_transfer_flag_survives_the_wire() {
        let mut request = VoteRequest::new(vote(), Some(id(9)));
        request.leadership_transfer = true;
        let message = vote_request_to_wire(&request, wire::Envelope::default());
        assert_eq!(vote_request_from_wire(message), Ok(request));
    }

    #[test]
    fn replies_survive_the_wire() {
        let replies = [
            AppendEntriesResponse::Success,
            AppendEntriesResponse::PartialSuccess(Some(id(3))),
            AppendEntriesResponse::PartialSuccess(None),
            AppendEntriesResponse::Conflict,
            AppendEntriesResponse::HigherVote(vote()),
        ];
        for reply in replies {
            assert_eq!(append_reply_from_wire(append_reply_to_wire(&reply)), Ok(reply));
        }
        let reply = VoteResponse::new(vote(), Some(id(1)), true);
        assert_eq!(vote_reply_from_wire(vote_reply_to_wire(&reply)), Ok(reply));
        let request = TransferLeaderRequest::new(vote(), 3, Some(id(1)));
        assert_eq!(
            transfer_from_wire(transfer_to_wire(&request, wire::Envelope::default())),
            Ok(request)
        );
    }

    #[test]
    fn entries_with_a_hole_are_refused() {
        let request = |indexes: &[u64]| AppendEntriesRequest::<Types> {
            vote: vote(),
            prev_log_id: Some(id(4)),
            entries: indexes
                .iter()
                .map(|index| Entry {
                    log_id: id(*index),
                    payload: Payload::Blank,
                })
                .collect(),
            leader_commit: None,
        };
        let over_the_wire = |indexes| append_from_wire(append_to_wire(&request(indexes), wire::Envelope::default()));
        assert_eq!(over_the_wire(&[5, 6]).map(|request| request.entries.len()), Ok(2));
        assert!(over_the_wire(&[6]).is_err());
        assert!(over_the_wire(&[5, 7]).is_err());
    }
}
