//! The course of a rebalance: it begins, members join, a generation begins, assignments are handed out.

use std::time::Duration;

use bytes::Bytes;
use klamm_types::ErrorCode;
use klamm_types::planted::{Bug, is_planted};

use super::change::Transient;
use super::group::{Group, InitialDelay, Preparing, State};
use super::member::{Member, Waits};
use super::{classic, put};
use crate::call::CallId;
use crate::draft::Draft;
use crate::history::{Happened, Removal};
use crate::record::{ClassicGroup, ClassicMember, Record};
use crate::reply::{Joined, JoinedMember, Reply, Synced};

/// What a rebalance that a member's wish began is called in the history; `reason` is the member's own word.
pub(super) fn cause(what: &str, member: &str, reason: Option<&str>) -> String {
    /// Clients cut their reasons to this; others are not to fill our history.
    const REASON_CHARS_MAX: usize = 255;
    match reason.filter(|reason| !reason.is_empty()) {
        Some(reason) => {
            let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
            format!("{what} {member}: {reason}")
        }
        None => format!("{what} {member}"),
    }
}

/// The members changed: begins a rebalance, or ends its first phase if this was what it waited for.
pub(super) fn rebalance_or_complete(draft: &mut Draft<'_>, cause: &str) {
    match classic(draft).map(Group::state) {
        Some(State::PreparingRebalance(_)) => complete_if_all_joined(draft),
        Some(_) => rebalance(draft, cause),
        None => {}
    }
}

/// Begins a rebalance.
pub fn rebalance(draft: &mut Draft<'_>, cause: &str) {
    let (at, delay) = (draft.at, draft.settings.initial_rebalance_delay);
    let Some(group) = classic(draft) else {
        return;
    };
    let state = group.state.clone();
    let timeout = group.rebalance_timeout();
    if state == State::CompletingRebalance {
        refuse_syncs(draft);
    }
    draft.history(Happened::RebalanceStarted {
        cause: cause.to_owned(),
    });
    let preparing = if state == State::Empty {
        Preparing {
            deadline: at.moment + delay,
            initial: Some(InitialDelay {
                delay,
                remaining: timeout.saturating_sub(delay),
                member_added: false,
            }),
        }
    } else {
        Preparing {
            deadline: at.moment + timeout,
            initial: None,
        }
    };
    put(draft, Transient::Preparing(preparing));
    complete_if_all_joined(draft);
}

/// Ends the first phase if it waits for nobody, and if it is not one that waits for the unknown.
pub(super) fn complete_if_all_joined(draft: &mut Draft<'_>) {
    if let Some(group) = classic(draft)
        && let State::PreparingRebalance(Preparing { initial: None, .. }) = group.state
        && group.have_all_joined()
    {
        complete(draft);
    }
}

/// Somebody whom the first phase waited for is gone: ends it if nobody is missing now, though more might come.
pub(super) fn complete_if_nobody_missing(draft: &mut Draft<'_>) {
    if let Some(group) = classic(draft)
        && matches!(group.state, State::PreparingRebalance(_))
        && group.have_all_joined()
    {
        complete(draft);
    }
}

/// The deadline of the first phase has come: extends an initial delay if members came, or goes on with who is there.
pub(super) fn join_deadline(draft: &mut Draft<'_>) {
    let now = draft.at.moment;
    let delay_max = draft.settings.initial_rebalance_delay;
    let Some(State::PreparingRebalance(preparing)) = classic(draft).map(Group::state) else {
        return;
    };
    match &preparing.initial {
        Some(initial) if initial.member_added && initial.remaining > Duration::ZERO => {
            let delay = delay_max.min(initial.remaining);
            let extended = Preparing {
                deadline: now + delay,
                initial: Some(InitialDelay {
                    delay,
                    remaining: initial.remaining.saturating_sub(initial.delay),
                    member_added: false,
                }),
            };
            put(draft, Transient::Preparing(extended));
        }
        _ => complete(draft),
    }
}

/// Ends the first phase: dynamic members that have not joined are removed, and the next generation begins.
pub(super) fn complete(draft: &mut Draft<'_>) {
    let Some(group) = classic(draft) else {
        return;
    };
    let missing = group
        .members
        .values()
        .filter(|member| !member.awaits_join() && !member.is_static());
    let missing: Vec<String> = missing.map(|member| member.member.clone()).collect();
    for member in missing {
        remove(draft, &member, Removal::RebalanceTimedOut);
    }
    let Some(group) = classic(draft) else {
        return;
    };
    if group.members.is_empty() {
        become_empty(draft);
    } else if let Some(leader) = joined_leader(group) {
        begin_generation(draft, leader);
    } else {
        // Only static members are left, and none has come back. Their sessions decide.
        wait_again(draft);
    }
}

/// A rebalance timeout of nothing is allowed; looking again without a pause is not.
const WAIT_MIN: Duration = Duration::from_secs(1);

fn wait_again(draft: &mut Draft<'_>) {
    let now = draft.at.moment;
    let Some(group) = classic(draft) else {
        return;
    };
    let State::PreparingRebalance(preparing) = &group.state else {
        return;
    };
    let again = Preparing {
        deadline: now + group.rebalance_timeout().max(WAIT_MIN),
        initial: preparing.initial.clone(),
    };
    put(draft, Transient::Preparing(again));
}

/// The leader if it has joined, else the first that has.
fn joined_leader(group: &Group) -> Option<String> {
    let leader = group.leader.as_ref().and_then(|leader| group.members.get(leader));
    let mut candidates = leader.into_iter().chain(group.members.values());
    candidates
        .find(|member| member.awaits_join())
        .map(|member| member.member.clone())
}

fn become_empty(draft: &mut Draft<'_>) {
    let at = draft.at;
    let name = draft.name().to_owned();
    let Some(group) = classic(draft) else {
        return;
    };
    let value = ClassicGroup {
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        generation: next_generation(group),
        protocol: None,
        leader: None,
        state_timestamp: at.wall.0,
        members: Vec::new(),
    };
    end_in_history(draft, value.generation);
    draft.record(Record::ClassicGroup {
        group: name,
        value: Some(value),
    });
}

/// Generations count to the largest number and then begin anew, as Kafka's do not; no group lives that long.
fn next_generation(group: &Group) -> i32 {
    if is_planted(Bug::KeepGeneration) {
        return group.generation.max(1);
    }
    group.generation.checked_add(1).unwrap_or(1)
}

fn begin_generation(draft: &mut Draft<'_>, leader: String) {
    let now = draft.at.moment;
    if classic(draft).is_some_and(|group| !group.is_leader(&leader)) {
        put(draft, Transient::LeaderChosen { member: leader });
    }
    let Some(group) = classic(draft) else {
        return;
    };
    let Some(protocol) = group.choose_protocol() else {
        return;
    };
    let waiting: Vec<(String, CallId)> = group.members.values().filter_map(waits_for_join).collect();
    let begun = Transient::GenerationBegun {
        generation: next_generation(group),
        protocol,
        sync_deadline: now + group.rebalance_timeout(),
    };
    put(draft, begun);
    for (member, call) in waiting {
        if let Some(group) = classic(draft) {
            let joined = joined(group, &member);
            draft.reply(call, Reply::Join(Box::new(joined)));
        }
    }
}

fn waits_for_join(member: &Member) -> Option<(String, CallId)> {
    match member.waits {
        Waits::Join(call) => Some((member.member.clone(), call)),
        Waits::Sync(_) | Waits::Nothing => None,
    }
}

/// What a member of the present generation is told; the leader is told of all.
pub(super) fn joined(group: &Group, member: &str) -> Joined {
    Joined {
        error: ErrorCode::None,
        generation: group.generation,
        protocol_type: group.protocol_type.clone(),
        protocol: group.protocol.clone(),
        leader: group.leader.clone().unwrap_or_default(),
        skip_assignment: false,
        member: member.to_owned(),
        members: if group.is_leader(member) {
            joined_members(group)
        } else {
            Vec::new()
        },
    }
}

fn joined_members(group: &Group) -> Vec<JoinedMember> {
    let protocol = group.protocol.as_deref().unwrap_or_default();
    let member = |member: &Member| JoinedMember {
        member: member.member.clone(),
        instance: member.instance.clone(),
        metadata: member.metadata(protocol).cloned().unwrap_or_default(),
    };
    group.members.values().map(member).collect()
}

/// The record of the group as it is, with the assignments that `assignment` gives.
pub(super) fn record(name: &str, group: &Group, assignment: impl Fn(&Member) -> Bytes) -> Record {
    let protocol = group.protocol.as_deref().unwrap_or_default();
    let member = |member: &Member| ClassicMember {
        member: member.member.clone(),
        instance: member.instance.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        session_timeout_ms: member.session_timeout_ms,
        subscription: member.metadata(protocol).cloned().unwrap_or_default(),
        assignment: assignment(member),
    };
    Record::ClassicGroup {
        group: name.to_owned(),
        value: Some(ClassicGroup {
            protocol_type: group.protocol_type.clone().unwrap_or_default(),
            generation: group.generation,
            protocol: group.protocol.clone(),
            leader: group.leader.clone(),
            state_timestamp: group.state_since.0,
            members: group.members.values().map(member).collect(),
        }),
    }
}

/// Removes a member. If its JoinGroup waits, it is told to begin anew.
pub(super) fn remove(draft: &mut Draft<'_>, member: &str, removal: Removal) {
    drop_member(draft, member);
    draft.history(Happened::MemberRemoved {
        member: member.to_owned(),
        cause: removal,
    });
}

/// The part of a removal that tells nobody why.
pub(super) fn drop_member(draft: &mut Draft<'_>, member: &str) {
    match classic(draft)
        .and_then(|group| group.member(member))
        .map(|member| member.waits)
    {
        Some(Waits::Join(call)) => draft.reply(call, join_error(ErrorCode::UnknownMemberId, "")),
        Some(Waits::Sync(call)) => draft.reply(call, sync_error(ErrorCode::UnknownMemberId)),
        Some(Waits::Nothing) | None => {}
    }
    let member = member.to_owned();
    put(draft, Transient::MemberRemoved { member });
}

/// A rebalance begins while assignments were awaited: who waits for one must join again.
fn refuse_syncs(draft: &mut Draft<'_>) {
    let Some(group) = classic(draft) else {
        return;
    };
    let calls: Vec<CallId> = group.members.values().filter_map(waits_for_sync).collect();
    for call in calls {
        draft.reply(call, sync_error(ErrorCode::RebalanceInProgress));
    }
    put(draft, Transient::SyncsAnswered);
    put(draft, Transient::AssignmentsDropped);
}

pub(super) fn waits_for_sync(member: &Member) -> Option<CallId> {
    match member.waits {
        Waits::Sync(call) => Some(call),
        Waits::Join(_) | Waits::Nothing => None,
    }
}

/// The group has assignments, or nobody to give them to.
pub(super) fn end_in_history(draft: &mut Draft<'_>, generation: i32) {
    let now = draft.at.moment;
    let Some(group) = classic(draft) else {
        return;
    };
    if let Some(since) = group.rebalancing_since {
        let members = group.members.len();
        draft.history(Happened::RebalanceEnded {
            generation,
            members,
            took_ms: i64::try_from(now.since(since).as_millis()).unwrap_or(i64::MAX),
        });
    }
}

pub(super) fn join_error(error: ErrorCode, member: &str) -> Reply {
    Reply::Join(Box::new(Joined {
        error,
        generation: -1,
        protocol_type: None,
        protocol: None,
        leader: String::new(),
        skip_assignment: false,
        member: member.to_owned(),
        members: Vec::new(),
    }))
}

pub(super) fn sync_error(error: ErrorCode) -> Reply {
    Reply::Sync(Synced {
        error,
        protocol_type: None,
        protocol: None,
        assignment: Bytes::new(),
    })
}

/// Answers every call that waits, with an error.
pub(super) fn answer_all(draft: &mut Draft<'_>, error: ErrorCode) {
    let Some(group) = classic(draft) else {
        return;
    };
    let joins: Vec<(String, CallId)> = group.members.values().filter_map(waits_for_join).collect();
    let syncs: Vec<CallId> = group.members.values().filter_map(waits_for_sync).collect();
    for (member, call) in joins {
        draft.reply(call, join_error(error, &member));
        put(draft, Transient::JoinAnswered { member });
    }
    for call in syncs {
        draft.reply(call, sync_error(error));
    }
    put(draft, Transient::SyncsAnswered);
}
