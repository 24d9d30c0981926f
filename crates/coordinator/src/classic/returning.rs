//! A static member that comes back without its member id, after a restart: it gets a new one and fences the old.
//!
//! In a stable group whose protocol does not change by it, it gets its partitions back without a rebalance.

use klamm_types::ErrorCode;

use super::change::Transient;
use super::group::{Group, State};
use super::join::update;
use super::member::Waits;
use super::rebalance::{cause, complete_if_all_joined, join_error, joined, rebalance, record, sync_error};
use super::{classic, put};
use crate::call::{CallId, Join, SkipAssignment};
use crate::draft::Draft;
use crate::history::{Happened, Removal};
use crate::reply::Reply;

/// Both of one static member.
pub(super) struct Ids {
    /// Who held the instance id so far.
    pub holder: String,
    /// Who holds it from now on.
    pub member: String,
}

pub(super) fn replace(draft: &mut Draft<'_>, id: CallId, call: &Join, ids: Ids) {
    fence(draft, call, &ids);
    let Some(group) = classic(draft) else {
        return;
    };
    let (state, former_leader) = (group.state.clone(), group.leader.clone());
    put(
        draft,
        Transient::MemberRenamed {
            from: ids.holder.clone(),
            to: ids.member.clone(),
        },
    );
    update(draft, id, call, &ids.member);
    let chosen = classic(draft).and_then(Group::choose_protocol);
    let changes = classic(draft).is_some_and(|group| group.protocol != chosen);
    let cause = cause("returned:", &ids.member, call.reason.as_deref());
    match state {
        State::Stable if !changes => {
            let former_leader = former_leader.unwrap_or_default();
            go_on(draft, id, call, Return { ids, former_leader });
        }
        // The leader may already be assigning to the old id.
        State::Stable | State::CompletingRebalance => rebalance(draft, &cause),
        State::PreparingRebalance(_) => complete_if_all_joined(draft),
        // An empty group has no static members.
        State::Empty => {}
    }
}

/// Whoever still waits as the old member hears that it is replaced.
fn fence(draft: &mut Draft<'_>, call: &Join, ids: &Ids) {
    let holder = classic(draft).and_then(|group| group.member(&ids.holder));
    match holder.map(|holder| holder.waits) {
        Some(Waits::Join(waiting)) => draft.reply(waiting, join_error(ErrorCode::FencedInstanceId, &ids.holder)),
        Some(Waits::Sync(waiting)) => draft.reply(waiting, sync_error(ErrorCode::FencedInstanceId)),
        Some(Waits::Nothing) | None => {}
    }
    draft.history(Happened::MemberRemoved {
        member: ids.holder.clone(),
        cause: Removal::Replaced,
    });
    draft.history(Happened::MemberJoined {
        member: ids.member.clone(),
        client_id: call.client.id.clone(),
        client_host: call.client.host.clone(),
    });
}

struct Return {
    ids: Ids,
    former_leader: String,
}

/// No rebalance: the generation goes on with the new id in place of the old.
fn go_on(draft: &mut Draft<'_>, id: CallId, call: &Join, Return { ids, former_leader }: Return) {
    let name = draft.name().to_owned();
    let member = ids.member;
    let Some(group) = classic(draft) else {
        return;
    };
    let record = record(&name, group, |member| member.assignment.clone());
    let mut joined = joined(group, &member);
    match call.skip_assignment {
        // It leads still, but its followers have their assignments (KIP-814).
        SkipAssignment::Supported => joined.skip_assignment = group.is_leader(&member),
        // It cannot be told so; if it took itself for the leader it would assign, to members that do not ask.
        SkipAssignment::Unsupported => {
            joined.leader = former_leader;
            joined.members.clear();
        }
    }
    draft.record(record);
    put(draft, Transient::JoinAnswered { member });
    draft.reply(id, Reply::Join(Box::new(joined)));
}
