//! Heartbeat: a sign of life, answered with what the member should do.

use klamm_types::ErrorCode;

use super::change::Transient;
use super::group::State;
use super::{classic, put};
use crate::call::{CallId, Heartbeat};
use crate::draft::Draft;
use crate::reply::Reply;

pub(super) fn heartbeat(draft: &mut Draft<'_>, id: CallId, call: &Heartbeat) {
    let answer = answer(draft, call);
    if matches!(answer, ErrorCode::None | ErrorCode::RebalanceInProgress) {
        let member = call.member.clone();
        put(draft, Transient::Seen { member });
    }
    draft.reply(id, Reply::Heartbeat(answer));
}

fn answer(draft: &mut Draft<'_>, call: &Heartbeat) -> ErrorCode {
    let Some(group) = classic(draft) else {
        return ErrorCode::UnknownMemberId;
    };
    if let Err(error) = group.check_member(&call.member, call.instance.as_deref()) {
        return error;
    }
    if call.generation != group.generation {
        return ErrorCode::IllegalGeneration;
    }
    match group.state {
        State::Empty => ErrorCode::UnknownMemberId,
        State::PreparingRebalance(_) => ErrorCode::RebalanceInProgress,
        State::CompletingRebalance | State::Stable => ErrorCode::None,
    }
}

/// A commit of a member is a sign of life, too, but while it should be asking for its assignment.
pub fn seen_in_commit(draft: &mut Draft<'_>, member: &str) {
    if let Some(group) = classic(draft)
        && matches!(group.state, State::Stable | State::PreparingRebalance(_))
        && group.members.contains_key(member)
    {
        let member = member.to_owned();
        put(draft, Transient::Seen { member });
    }
}
