//! What time does to a group: sessions end, ids lapse, phases of a rebalance close.

use klamm_types::Moment;

use super::change::Transient;
use super::group::State;
use super::rebalance::{complete_if_nobody_missing, join_deadline, rebalance, rebalance_or_complete, remove};
use super::{classic, put};
use crate::draft::Draft;
use crate::history::Removal;

pub(super) fn tick(draft: &mut Draft<'_>) {
    let now = draft.at.moment;
    if classic(draft).is_some_and(|group| group.alarm.is_some_and(|alarm| alarm <= now)) {
        end_sessions(draft, now);
        put(draft, Transient::AlarmReset);
    }
    let join_is_due = classic(draft).is_some_and(|group| match &group.state {
        State::PreparingRebalance(preparing) => preparing.deadline <= now,
        _ => false,
    });
    if join_is_due {
        join_deadline(draft);
    }
    if classic(draft).is_some_and(|group| group.sync_deadline.is_some_and(|deadline| deadline <= now)) {
        end_waiting_for_syncs(draft);
    }
}

fn end_sessions(draft: &mut Draft<'_>, now: Moment) {
    let Some(group) = classic(draft) else {
        return;
    };
    let pending = group.pending.iter().filter(|(_, deadline)| **deadline <= now);
    let pending: Vec<String> = pending.map(|(member, _)| member.clone()).collect();
    let members = group.members.values();
    let mut members: Vec<(Moment, String)> = members
        .filter_map(|member| Some((member.session?, member.member.clone())))
        .filter(|(session, _)| *session <= now)
        .collect();
    members.sort();
    for (_, member) in &members {
        remove(draft, member, Removal::SessionExpired);
    }
    let lapsed = !pending.is_empty();
    for member in pending {
        put(draft, Transient::PendingRemoved { member });
    }
    // One rebalance for all that went.
    if let Some((_, first)) = members.first() {
        expired(draft, first, members.len());
    } else if lapsed {
        complete_if_nobody_missing(draft);
    }
}

fn expired(draft: &mut Draft<'_>, first: &str, count: usize) {
    let cause = match count {
        1 => format!("session expired: {first}"),
        _ => format!("session expired: {first} and {} more", count - 1),
    };
    match classic(draft).map(|group| group.state.clone()) {
        Some(State::PreparingRebalance(_)) => complete_if_nobody_missing(draft),
        _ => rebalance_or_complete(draft, &cause),
    }
}

fn end_waiting_for_syncs(draft: &mut Draft<'_>) {
    let Some(group) = classic(draft) else {
        return;
    };
    let late: Vec<String> = group.unsynced.iter().cloned().collect();
    for member in &late {
        remove(draft, member, Removal::SyncTimedOut);
    }
    rebalance(draft, &format!("no SyncGroup in time: {}", late.join(", ")));
}
