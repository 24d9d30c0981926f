//! Members go: for good, for a while, or because the coordinator removes them.

use std::collections::BTreeSet;

use klamm_types::ErrorCode;

use crate::call::ConsumerHeartbeat;
use crate::draft::Draft;
use crate::group::Group as AnyGroup;
use crate::history::Happened;
use crate::record::Record;
use crate::reply::ConsumerHeartbeatReply;

use super::group::Timer;
use super::heartbeat::{Refusal, consumer, disarm, unknown_member};
use super::member::{LEFT_FOR_A_WHILE, Member, MemberState};
use super::{migration, refresh, step, targets};

/// A heartbeat with the epoch -1 or -2.
pub(super) fn leave(draft: &mut Draft<'_>, call: &ConsumerHeartbeat) -> Result<ConsumerHeartbeatReply, Refusal> {
    let Some(AnyGroup::Consumer(group)) = draft.before() else {
        return Err(Refusal::new(
            ErrorCode::GroupIdNotFound,
            "there is no such consumer group",
        ));
    };
    let id = match &call.instance {
        None if group.members.contains_key(&call.member) => call.member.as_str(),
        None => return Err(unknown_member(&call.member)),
        Some(instance) => match group.static_member(instance) {
            None => {
                return Err(Refusal::new(
                    ErrorCode::UnknownMemberId,
                    format!("nobody bears the instance id {instance}"),
                ));
            }
            Some((bearer, _)) if bearer != call.member => {
                return Err(Refusal::new(
                    ErrorCode::FencedInstanceId,
                    format!("member {bearer} bears the instance id {instance} now"),
                ));
            }
            Some((bearer, _)) => bearer,
        },
    };
    draft.history(Happened::MemberLeft {
        member: id.to_owned(),
        reason: (call.member_epoch == LEFT_FOR_A_WHILE).then(|| "for a while".to_owned()),
    });
    if call.member_epoch == LEFT_FOR_A_WHILE && call.instance.is_some() {
        for_a_while(draft, id);
    } else {
        remove(draft, &[id.to_owned()], &format!("member {id} left"));
    }
    Ok(ConsumerHeartbeatReply {
        error: ErrorCode::None,
        message: None,
        member: Some(id.to_owned()),
        member_epoch: call.member_epoch,
        heartbeat_interval_ms: 0,
        assignment: None,
    })
}

/// A static member keeps its partitions until it is back or its session ends; what it was to give up it has given up.
fn for_a_while(draft: &mut Draft<'_>, id: &str) {
    let Some(member) = consumer(draft).and_then(|group| group.members.get(id)) else {
        return;
    };
    let mut away = Member {
        epoch: LEFT_FOR_A_WHILE,
        ..Member::clone(member)
    };
    away.pending.clear();
    for since in away
        .assigned
        .values_mut()
        .flat_map(|partitions| partitions.values_mut())
    {
        *since = 0;
    }
    if away.state == MemberState::Unrevoked {
        away.state = MemberState::Stable;
    }
    draft.record(Record::ConsumerCurrent {
        group: draft.name().to_owned(),
        member: id.to_owned(),
        value: Some(away.current()),
    });
    // It has given up what it was to give up.
    disarm(draft, id, Timer::Revocation);
}

/// Removes members. If only classic ones are left, the group becomes a classic one.
pub(super) fn remove(draft: &mut Draft<'_>, members: &[String], cause: &str) {
    let leaving: BTreeSet<&str> = members.iter().map(String::as_str).collect();
    if migration::only_classic_stay(draft, &leaving) {
        migration::to_classic(draft, &leaving, Some(cause));
        return;
    }
    let rested = consumer(draft).is_some_and(|group| group.at_rest());
    let name = draft.name().to_owned();
    let orphans = step::orphaned_patterns(draft, &leaving);
    for member in members {
        for record in removal(&name, member) {
            draft.record(record);
        }
    }
    for regex in orphans {
        draft.record(Record::ConsumerRegex {
            group: name.clone(),
            regex,
            value: None,
        });
    }
    let topics = draft.topics;
    let hash = consumer(draft).map_or(0, |group| targets::metadata_hash(group, topics));
    let epoch = step::epoch_of(draft);
    refresh::raise(draft, epoch, hash);
    let is_empty = consumer(draft).is_some_and(|group| group.is_empty());
    if rested && !is_empty {
        draft.history(Happened::RebalanceStarted {
            cause: cause.to_owned(),
        });
    }
    if is_empty {
        super::heartbeat::put(draft, super::apply::Transient::Settled);
    }
}

/// The tombstones of a member, as Kafka orders them.
pub(super) fn removal(group: &str, member: &str) -> [Record; 3] {
    let (group, member) = (|| group.to_owned(), || member.to_owned());
    [
        Record::ConsumerCurrent {
            group: group(),
            member: member(),
            value: None,
        },
        Record::ConsumerTarget {
            group: group(),
            member: member(),
            value: None,
        },
        Record::ConsumerMember {
            group: group(),
            member: member(),
            value: None,
        },
    ]
}
