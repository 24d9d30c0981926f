//! The classic protocol: members join, one of them leads, assigns for all, and the coordinator hands out.
//!
//! * [`group`], [`member`]: what a group is; [`change`]: how it changes;
//! * `join`, `returning`, `sync`, `heartbeat`, `leave`: one file per call; `tick`: what time does;
//! * `rebalance`: what they have in common;
//! * [`subscription`]: the one thing that the coordinator reads of what members tell each other.
//!
//! Here is which of them a call goes to. What does not depend on the group is checked first, in Kafka's order.

pub mod change;
pub mod group;
mod heartbeat;
mod join;
mod leave;
pub mod member;
mod rebalance;
mod returning;
pub mod subscription;
mod sync;
#[cfg(test)]
mod tests;
mod tick;
mod validate;

use klamm_types::ErrorCode;

use crate::call::{CallId, Heartbeat, Join, Leave, Sync, SyncProtocol};
use crate::consumer;
use crate::draft::Draft;
use crate::group::Group as AnyGroup;
use crate::reply::{Left, Reply};

pub use change::{Transient, apply_record, apply_transient};
pub use group::{CONSUMER_PROTOCOL_TYPE, Group, State};
pub use heartbeat::seen_in_commit;
pub(crate) use join::offered;
pub use member::Member;
pub use rebalance::rebalance;

/// JoinGroup.
pub fn join(draft: &mut Draft<'_>, id: CallId, call: &Join) {
    let settings = draft.settings;
    let timeouts = settings.session_timeout_min..=settings.session_timeout_max;
    if call.group.is_empty() {
        draft.reply(id, rebalance::join_error(ErrorCode::InvalidGroupId, &call.member));
    } else if call.session_timeout_ms < 0 || !timeouts.contains(&call.session_timeout()) {
        draft.reply(
            id,
            rebalance::join_error(ErrorCode::InvalidSessionTimeout, &call.member),
        );
    } else {
        match draft.group() {
            Some(AnyGroup::Consumer(group)) if !group.is_empty() => consumer::classic_join(draft, id, call),
            // Nobody is in it: it becomes a classic group, and keeps its offsets.
            Some(AnyGroup::Consumer(_)) if call.member.is_empty() => {
                consumer::remove_empty(draft);
                join::join(draft, id, call);
            }
            Some(AnyGroup::Classic(_) | AnyGroup::Consumer(_)) | None => join::join(draft, id, call),
        }
    }
}

/// SyncGroup.
pub fn sync(draft: &mut Draft<'_>, id: CallId, call: &Sync) {
    if let Some(SyncProtocol { protocol_type, name }) = &call.protocol
        && (protocol_type.is_none() || name.is_none())
    {
        draft.reply(id, rebalance::sync_error(ErrorCode::InconsistentGroupProtocol));
    } else if call.group.is_empty() {
        draft.reply(id, rebalance::sync_error(ErrorCode::InvalidGroupId));
    } else {
        match draft.group() {
            Some(AnyGroup::Consumer(group)) if !group.is_empty() => consumer::classic_sync(draft, id, call),
            Some(AnyGroup::Classic(_) | AnyGroup::Consumer(_)) | None => sync::sync(draft, id, call),
        }
    }
}

/// Heartbeat.
pub fn heartbeat(draft: &mut Draft<'_>, id: CallId, call: &Heartbeat) {
    if call.group.is_empty() {
        draft.reply(id, Reply::Heartbeat(ErrorCode::InvalidGroupId));
    } else {
        match draft.group() {
            Some(AnyGroup::Consumer(_)) => consumer::classic_heartbeat(draft, id, call),
            Some(AnyGroup::Classic(_)) | None => heartbeat::heartbeat(draft, id, call),
        }
    }
}

/// LeaveGroup.
pub fn leave(draft: &mut Draft<'_>, id: CallId, call: &Leave) {
    if call.group.is_empty() {
        let left = Left {
            error: ErrorCode::InvalidGroupId,
            members: Vec::new(),
        };
        draft.reply(id, Reply::Leave(left));
    } else {
        match draft.group() {
            Some(AnyGroup::Consumer(_)) => consumer::classic_leave(draft, id, call),
            Some(AnyGroup::Classic(_)) | None => leave::leave(draft, id, call),
        }
    }
}

/// The time that [`Group::next_deadline`] named has come.
pub fn tick(draft: &mut Draft<'_>) {
    tick::tick(draft);
}

/// Answers every call that waits, with an error: the group will not be a classic one any more.
pub fn answer_all(draft: &mut Draft<'_>, error: ErrorCode) {
    rebalance::answer_all(draft, error);
}

/// The group with the changes so far, if it is a classic one.
fn classic<'d>(draft: &'d mut Draft<'_>) -> Option<&'d Group> {
    match draft.group()? {
        AnyGroup::Classic(group) => Some(group),
        AnyGroup::Consumer(_) => None,
    }
}

fn put(draft: &mut Draft<'_>, change: Transient) {
    draft.transient(crate::change::Transient::Classic(change));
}
