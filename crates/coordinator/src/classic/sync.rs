//! SyncGroup: the leader brings the assignments, everybody fetches its own.

use std::collections::BTreeMap;

use bytes::Bytes;
use klamm_types::ErrorCode;

use super::change::Transient;
use super::group::{Group, State};
use super::rebalance::{end_in_history, record, sync_error, waits_for_sync};
use super::{classic, put};
use crate::call::{CallId, Sync};
use crate::draft::Draft;
use crate::reply::{Reply, Synced};

pub(super) fn sync(draft: &mut Draft<'_>, id: CallId, call: &Sync) {
    let Some(group) = classic(draft) else {
        draft.reply(id, sync_error(ErrorCode::UnknownMemberId));
        return;
    };
    if let Err(error) = check(group, call) {
        draft.reply(id, sync_error(error));
        return;
    }
    let leads = group.is_leader(&call.member);
    match group.state {
        State::Empty => draft.reply(id, sync_error(ErrorCode::UnknownMemberId)),
        State::PreparingRebalance(_) => draft.reply(id, sync_error(ErrorCode::RebalanceInProgress)),
        State::CompletingRebalance => {
            wait(draft, id, &call.member);
            if leads {
                assign(draft, call);
            }
        }
        State::Stable => repeat(draft, id, &call.member),
    }
}

fn check(group: &Group, call: &Sync) -> Result<(), ErrorCode> {
    if group.is_empty() {
        return Err(ErrorCode::UnknownMemberId);
    }
    group.check_member(&call.member, call.instance.as_deref())?;
    if call.generation != group.generation {
        return Err(ErrorCode::IllegalGeneration);
    }
    let differs = |said: Option<&str>, is: Option<&str>| said.is_some() && is.is_some() && said != is;
    if let Some(said) = &call.protocol
        && (differs(said.protocol_type.as_deref(), group.protocol_type())
            || differs(said.name.as_deref(), group.protocol()))
    {
        return Err(ErrorCode::InconsistentGroupProtocol);
    }
    Ok(())
}

fn wait(draft: &mut Draft<'_>, id: CallId, member: &str) {
    // A repeated SyncGroup: its client has given the first one up.
    if let Some(former) = classic(draft)
        .and_then(|group| group.member(member))
        .and_then(waits_for_sync)
    {
        draft.reply(former, sync_error(ErrorCode::RebalanceInProgress));
    }
    put(
        draft,
        Transient::Synced {
            member: member.to_owned(),
            waits: Some(id),
        },
    );
}

/// The leader has spoken. Whom it left out has nothing.
fn assign(draft: &mut Draft<'_>, call: &Sync) {
    let name = draft.name().to_owned();
    let assignments: BTreeMap<&str, &Bytes> = call
        .assignments
        .iter()
        .map(|(member, assignment)| (member.as_str(), assignment))
        .collect();
    let Some(group) = classic(draft) else {
        return;
    };
    let of = |member: &str| assignments.get(member).map(|&bytes| bytes.clone()).unwrap_or_default();
    let stable = record(&name, group, |member| of(&member.member));
    let (protocol_type, protocol) = (group.protocol_type.clone(), group.protocol.clone());
    let waiting = group.members.values();
    let waiting: Vec<(CallId, Bytes)> = waiting
        .filter_map(|member| Some((waits_for_sync(member)?, of(&member.member))))
        .collect();
    end_in_history(draft, call.generation);
    draft.record(stable);
    put(draft, Transient::SyncsAnswered);
    for (call, assignment) in waiting {
        let synced = Synced {
            error: ErrorCode::None,
            protocol_type: protocol_type.clone(),
            protocol: protocol.clone(),
            assignment,
        };
        draft.reply(call, Reply::Sync(synced));
    }
}

/// The assignments are known: a late follower, or a repeated call.
fn repeat(draft: &mut Draft<'_>, id: CallId, member: &str) {
    let Some(group) = classic(draft) else {
        return;
    };
    let synced = Synced {
        error: ErrorCode::None,
        protocol_type: group.protocol_type.clone(),
        protocol: group.protocol.clone(),
        assignment: group
            .member(member)
            .map(|member| member.assignment.clone())
            .unwrap_or_default(),
    };
    if group.unsynced.contains(member) {
        let member = member.to_owned();
        put(draft, Transient::Synced { member, waits: None });
    }
    draft.reply(id, Reply::Sync(synced));
}
