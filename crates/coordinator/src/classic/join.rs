//! JoinGroup: who may join, as whom, and whether that starts a rebalance.
//!
//! A new dynamic member first gets an id (MEMBER_ID_REQUIRED), so that an answer lost on the way leaves no member behind
//! that nobody speaks for. Static members are told apart by their instance id: see [`super::returning`].

use std::time::Duration;

use bytes::Bytes;
use klamm_types::ErrorCode;

use super::change::Transient;
use super::group::{Group, Preparing, State};
use super::member::{Age, Member, Waits};
use super::rebalance::{cause, join_error, joined, rebalance_or_complete, remove, sync_error};
use super::{classic, put, returning};
use crate::call::{CallId, Join, MemberIdRule};
use crate::draft::Draft;
use crate::history::{Happened, Removal};
use crate::record::{ClassicGroup, Record};
use crate::reply::Reply;

/// How long the first JoinGroup of a member may wait. Its client may be long gone, and nothing else would tell.
const NEW_MEMBER_WAIT_MAX: Duration = Duration::from_secs(5 * 60);
/// Protocols that a member may offer. Clients offer one or two, and every one is compared with those of all others.
const PROTOCOLS_MAX: usize = 100;

/// To a classic group, or to one that does not exist yet. Group id and session timeout are checked.
pub(super) fn join(draft: &mut Draft<'_>, id: CallId, call: &Join) {
    if classic(draft).is_none() {
        if !call.member.is_empty() {
            draft.reply(id, join_error(ErrorCode::UnknownMemberId, &call.member));
            return;
        }
        create(draft);
    }
    if !has_room(draft, &call.member) {
        turn_away(draft, id, &call.member);
        return;
    }
    let accepted = classic(draft).is_some_and(|group| {
        let names = call.protocols.iter().map(|(name, _)| name.as_str());
        group.accepts_protocols(&call.protocol_type, names)
    });
    if !accepted || call.protocols.len() > PROTOCOLS_MAX {
        draft.reply(id, join_error(ErrorCode::InconsistentGroupProtocol, &call.member));
    } else if call.member.is_empty() {
        new_member(draft, id, call);
    } else {
        known_member(draft, id, call);
    }
}

/// An empty group is written down before it has a member, as Kafka does.
fn create(draft: &mut Draft<'_>) {
    let value = ClassicGroup {
        protocol_type: String::new(),
        generation: 0,
        protocol: None,
        leader: None,
        state_timestamp: draft.at.wall.0,
        members: Vec::new(),
    };
    draft.record(Record::ClassicGroup {
        group: draft.name().to_owned(),
        value: Some(value),
    });
}

/// While members join, those count that have; so the last to come back are turned away if the limit was lowered.
fn has_room(draft: &mut Draft<'_>, member: &str) -> bool {
    let limit = draft.settings.members_max;
    let Some(group) = classic(draft) else {
        return true;
    };
    let present = group.member(member);
    match group.state {
        State::Empty => true,
        State::PreparingRebalance(_) => present.is_some_and(Member::awaits_join) || group.joined_count() < limit,
        State::CompletingRebalance | State::Stable => present.is_some() || group.members.len() < limit,
    }
}

fn turn_away(draft: &mut Draft<'_>, id: CallId, member: &str) {
    let group = classic(draft);
    if group.is_some_and(|group| group.members.contains_key(member)) {
        remove(draft, member, Removal::GroupFull);
    } else if !member.is_empty() {
        let member = member.to_owned();
        put(draft, Transient::PendingRemoved { member });
    }
    draft.reply(id, join_error(ErrorCode::GroupMaxSizeReached, ""));
}

fn new_member(draft: &mut Draft<'_>, id: CallId, call: &Join) {
    if let Some(instance) = &call.instance {
        let member = member_id(instance, draft.at.draw);
        let holder = classic(draft).and_then(|group| group.static_member(instance));
        match holder.map(str::to_owned) {
            Some(holder) => returning::replace(draft, id, call, returning::Ids { holder, member }),
            None => add(draft, id, call, member),
        }
        return;
    }
    let member = member_id(&call.client.id, draft.at.draw);
    match call.member_id_rule {
        MemberIdRule::Given => add(draft, id, call, member),
        MemberIdRule::Required => {
            draft.reply(id, join_error(ErrorCode::MemberIdRequired, &member));
            let deadline = draft.at.moment + call.session_timeout();
            put(draft, Transient::PendingAdded { member, deadline });
        }
    }
}

fn known_member(draft: &mut Draft<'_>, id: CallId, call: &Join) {
    let Some(group) = classic(draft) else {
        return;
    };
    if group.pending.contains_key(&call.member) {
        match call.instance {
            None => add(draft, id, call, call.member.clone()),
            // Ids are given out to dynamic members only; Kafka has no better word for this.
            Some(_) => draft.reply(id, join_error(ErrorCode::UnknownServerError, "")),
        }
        return;
    }
    if let Err(error) = group.check_member(&call.member, call.instance.as_deref()) {
        draft.reply(id, join_error(error, &call.member));
        return;
    }
    let same = group
        .member(&call.member)
        .is_some_and(|member| member.protocols == offered(call));
    let leads = group.is_leader(&call.member);
    let answered = match group.state {
        State::Empty => {
            draft.reply(id, join_error(ErrorCode::UnknownMemberId, &call.member));
            return;
        }
        State::PreparingRebalance(_) => false,
        // It may not have received the first answer.
        State::CompletingRebalance => same,
        // A leader may know of changes that its metadata does not show, of topics for example.
        State::Stable => same && !leads,
    };
    if answered {
        let joined = joined(group, &call.member);
        draft.reply(id, Reply::Join(Box::new(joined)));
        return;
    }
    let what = match group.state {
        State::Stable if leads && same => "the leader joins again:",
        _ => "changed:",
    };
    let cause = cause(what, &call.member, call.reason.as_deref());
    update(draft, id, call, &call.member);
    rebalance_or_complete(draft, &cause);
}

fn add(draft: &mut Draft<'_>, id: CallId, call: &Join, member: String) {
    let Some(group) = classic(draft) else {
        return;
    };
    let is_first = group.members.is_empty();
    extend_initial_delay(draft);
    if is_first {
        let protocol_type = call.protocol_type.clone();
        put(draft, Transient::ProtocolTypeSet { protocol_type });
    }
    draft.history(Happened::MemberJoined {
        member: member.clone(),
        client_id: call.client.id.clone(),
        client_host: call.client.host.clone(),
    });
    let cause = cause("joined:", &member, call.reason.as_deref());
    let added = Member {
        member,
        instance: call.instance.clone(),
        client_id: call.client.id.clone(),
        client_host: call.client.host.clone(),
        rebalance_timeout_ms: call.rebalance_timeout_ms,
        session_timeout_ms: call.session_timeout_ms,
        protocols: offered(call),
        assignment: Bytes::new(),
        waits: Waits::Join(id),
        age: Age::New,
        session: Some(draft.at.moment + NEW_MEMBER_WAIT_MAX),
    };
    put(draft, Transient::MemberSet(Box::new(added)));
    rebalance_or_complete(draft, &cause);
}

fn extend_initial_delay(draft: &mut Draft<'_>) {
    if let Some(State::PreparingRebalance(Preparing {
        deadline,
        initial: Some(initial),
    })) = classic(draft).map(Group::state)
        && !initial.member_added
    {
        let (deadline, mut initial) = (*deadline, initial.clone());
        initial.member_added = true;
        let initial = Some(initial);
        put(draft, Transient::Preparing(Preparing { deadline, initial }));
    }
}

/// The member is as it says now, and waits.
pub(super) fn update(draft: &mut Draft<'_>, id: CallId, call: &Join, member: &str) {
    let Some(present) = classic(draft).and_then(|group| group.member(member)) else {
        return;
    };
    let mut updated = present.clone();
    updated.protocols = offered(call);
    updated.rebalance_timeout_ms = call.rebalance_timeout_ms;
    updated.session_timeout_ms = call.session_timeout_ms;
    match std::mem::replace(&mut updated.waits, Waits::Join(id)) {
        Waits::Nothing => {}
        // Its client has given the former call up, else it would not have asked again.
        Waits::Join(former) => draft.reply(former, join_error(ErrorCode::RebalanceInProgress, member)),
        Waits::Sync(former) => draft.reply(former, sync_error(ErrorCode::RebalanceInProgress)),
    }
    if updated.age == Age::Known {
        updated.session = None;
    }
    put(draft, Transient::MemberSet(Box::new(updated)));
}

/// The member's protocols, the first of each name.
pub(crate) fn offered(call: &Join) -> Vec<(String, Bytes)> {
    let mut names = std::collections::BTreeSet::new();
    let first = |(name, _): &&(String, Bytes)| names.insert(name.clone());
    call.protocols.iter().filter(first).cloned().collect()
}

/// `<prefix>-<random uuid>`. Of a prefix only the beginning: an id has to fit into records and answers.
fn member_id(prefix: &str, draw: u128) -> String {
    const PREFIX_BYTES_MAX: usize = 1024;
    let prefix = &prefix[..prefix.floor_char_boundary(PREFIX_BYTES_MAX)];
    const VERSION_4: u128 = 0x4 << 76;
    const VERSION_BITS: u128 = 0xf << 76;
    const VARIANT: u128 = 0x2 << 62;
    const VARIANT_BITS: u128 = 0x3 << 62;
    let bits = draw & !VERSION_BITS & !VARIANT_BITS | VERSION_4 | VARIANT;
    let hex = format!("{bits:032x}");
    format!(
        "{prefix}-{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}
