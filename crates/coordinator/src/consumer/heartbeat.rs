//! ConsumerGroupHeartbeat: who may speak, what it says anew, and what that leads to.

use std::collections::BTreeSet;
use std::time::Duration;

use klamm_types::{ErrorCode, Moment, Uuid};

use crate::call::{CallId, ConsumerHeartbeat, MemberIdChoice, PartitionsByTopic};
use crate::draft::Draft;
use crate::group::Group as AnyGroup;
use crate::history::{Happened, Removal};
use crate::record::{AssignedPartitions, Record};
use crate::reply::{ConsumerHeartbeatReply, Reply};

use super::apply::Transient;
use super::group::{Group, Timer};
use super::member::{LEFT, LEFT_FOR_A_WHILE, Member, MemberState};
use super::reconcile::without_epochs;
use super::step::{Hearing, Outcome, Step};
use super::{assignor, leave, migration, step};

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub error: ErrorCode,
    pub message: String,
}

impl Refusal {
    pub(super) fn new(error: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal {
            error,
            message: message.into(),
        }
    }
}

/// While a group moves, the interval is this part of the time since it last made a step. Once it rests it is the whole
/// time, for members seldom come alone.
const PATIENCE: u32 = 4;

/// What a member adds to the interval of a resting group.
const SHARE: Duration = Duration::from_millis(5);

/// See the module.
pub fn heartbeat(draft: &mut Draft<'_>, id: CallId, call: &ConsumerHeartbeat) {
    let answer = validate(call).and_then(|()| match call.member_epoch {
        LEFT | LEFT_FOR_A_WHILE => leave::leave(draft, call),
        _ => beat(draft, call),
    });
    let reply = answer.unwrap_or_else(|refusal| {
        draft.abandon();
        refused(refusal)
    });
    draft.reply(id, Reply::ConsumerHeartbeat(Box::new(reply)));
}

/// The answer to a request that is wrong whatever group it is for; `None` if only its coordinator can tell. A broker
/// that is not the coordinator need not send the client there.
pub fn refuse_heartbeat(call: &ConsumerHeartbeat) -> Option<ConsumerHeartbeatReply> {
    validate(call).err().map(refused)
}

fn refused(refusal: Refusal) -> ConsumerHeartbeatReply {
    ConsumerHeartbeatReply {
        error: refusal.error,
        message: Some(refusal.message),
        member: None,
        member_epoch: 0,
        heartbeat_interval_ms: 0,
        assignment: None,
    }
}

/// What can be said of the request without looking at the group.
fn validate(call: &ConsumerHeartbeat) -> Result<(), Refusal> {
    let invalid = |message: &str| Err(Refusal::new(ErrorCode::InvalidRequest, message));
    let is_blank = |text: &str| text.trim().is_empty();
    let names_itself = call.member_id == MemberIdChoice::Client || call.member_epoch > 0 || call.member_epoch == LEFT;
    if names_itself && is_blank(&call.member) {
        return invalid("the member id is empty");
    }
    if is_blank(&call.group) {
        return invalid("the group id is empty");
    }
    if call.instance.as_deref().is_some_and(is_blank) {
        return invalid("the instance id is empty");
    }
    if call.rack.as_deref().is_some_and(is_blank) {
        return invalid("the rack id is empty");
    }
    match call.member_epoch {
        0 if call.rebalance_timeout_ms == -1 => return invalid("a joining member states its rebalance timeout"),
        0 if call.owned.as_ref().is_none_or(|owned| !owned.is_empty()) => {
            return invalid("a joining member owns no partitions, and says so");
        }
        0 if call.subscribed_names.is_none() && call.subscribed_regex.is_none() => {
            return invalid("a joining member states its subscription");
        }
        LEFT_FOR_A_WHILE if call.instance.is_none() => return invalid("only static members leave for a while"),
        epoch if epoch < LEFT_FOR_A_WHILE => return invalid("the member epoch is out of range"),
        _ => {}
    }
    match &call.server_assignor {
        Some(name) if !assignor::NAMES.contains(&name.as_str()) => Err(Refusal::new(
            ErrorCode::UnsupportedAssignor,
            format!("there is no assignor {name}; there are {}", assignor::NAMES.join(", ")),
        )),
        _ => Ok(()),
    }
}

fn beat(draft: &mut Draft<'_>, call: &ConsumerHeartbeat) -> Result<ConsumerHeartbeatReply, Refusal> {
    if let Some(reply) = nothing_new(draft, call) {
        return Ok(reply);
    }
    find_group(draft, call)?;
    let limit = draft.settings.consumer_members_max;
    let fresh_id = Uuid::from_u128(draft.at.draw).to_string();
    if let Some(group) = consumer(draft)
        && group.members.len() >= limit
        && (call.member.is_empty() || !group.members.contains_key(&call.member))
    {
        return Err(Refusal::new(
            ErrorCode::GroupMaxSizeReached,
            format!("the group has its {limit} members"),
        ));
    }
    let id = if call.member.is_empty() {
        fresh_id
    } else {
        call.member.clone()
    };
    let before = match &call.instance {
        None => find_dynamic(draft, call, &id)?,
        Some(instance) => find_static(draft, call, &id, instance)?,
    };
    let mut after = before.clone().unwrap_or_default();
    update(&mut after, call);
    let was_classic = before.as_ref().is_some_and(Member::is_classic);
    let known = before.clone().unwrap_or_default();
    let hearing = if call.member_epoch == 0 || call.member_epoch == known.epoch {
        Hearing::UpToDate
    } else {
        Hearing::AnAnswerBehind
    };
    let outcome = step::take(
        draft,
        Step {
            id: &id,
            before,
            after,
            owned: call.owned.as_ref(),
            hearing,
        },
    )?;
    if was_classic {
        for timer in [Timer::Join, Timer::Sync] {
            disarm(draft, &id, timer);
        }
    }
    let session = draft.settings.consumer_session_timeout;
    arm(draft, &id, Timer::Session, session);
    Ok(reply(draft, call, &known, id, &outcome))
}

/// The answer to a member that says nothing new, in a group that has nothing new for it. Most heartbeats end here.
fn nothing_new(draft: &mut Draft<'_>, call: &ConsumerHeartbeat) -> Option<ConsumerHeartbeatReply> {
    let Some(AnyGroup::Consumer(group)) = draft.before() else {
        return None;
    };
    let member = group.members.get(&call.member)?;
    let known = call.member_epoch == member.epoch
        && member.is_settled(group.target_epoch)
        && group.epoch <= group.target_epoch
        && group.topics_checked
        && !member.is_classic()
        && says_nothing_new(member, call);
    if !known {
        return None;
    }
    let session = draft.settings.consumer_session_timeout;
    arm(draft, &call.member, Timer::Session, session);
    let tells = is_full(call) || owns_other(call.owned.as_ref(), &member.assigned);
    Some(ConsumerHeartbeatReply {
        error: ErrorCode::None,
        message: None,
        member: Some(call.member.clone()),
        member_epoch: member.epoch,
        heartbeat_interval_ms: interval_ms(draft, group.members.len(), group.at_rest(), group.moved),
        assignment: tells.then(|| without_epochs(&member.assigned)),
    })
}

fn says_nothing_new(member: &Member, call: &ConsumerHeartbeat) -> bool {
    // A name may come twice.
    let names = call.subscribed_names.as_ref().is_none_or(|names| {
        let names: BTreeSet<&String> = names.iter().collect();
        names.into_iter().eq(&member.subscribed_names)
    });
    // A dynamic member that says it is a static one, or the other way round, is another matter.
    call.instance == member.instance
        && call.rack.as_ref().is_none_or(|rack| member.rack.as_ref() == Some(rack))
        && (call.rebalance_timeout_ms == -1 || call.rebalance_timeout_ms == member.rebalance_timeout_ms)
        && call
            .server_assignor
            .as_ref()
            .is_none_or(|assignor| member.server_assignor.as_ref() == Some(assignor))
        && call
            .subscribed_regex
            .as_ref()
            .is_none_or(|regex| *regex == member.subscribed_regex)
        && call.client.id == member.client_id
        && call.client.host == member.client_host
        && names
}

/// The group is a group of this kind from here on, or none that exists yet.
fn find_group(draft: &mut Draft<'_>, call: &ConsumerHeartbeat) -> Result<(), Refusal> {
    match draft.before() {
        Some(AnyGroup::Consumer(_)) => Ok(()),
        Some(AnyGroup::Classic(_)) | None if call.member_epoch != 0 => Err(Refusal::new(
            ErrorCode::GroupIdNotFound,
            "there is no such consumer group",
        )),
        Some(AnyGroup::Classic(group)) => migration::to_consumer(draft, group),
        None => Ok(()),
    }
}

fn find_dynamic(draft: &mut Draft<'_>, call: &ConsumerHeartbeat, id: &str) -> Result<Option<Member>, Refusal> {
    let member = consumer(draft).and_then(|group| group.members.get(id));
    match member {
        Some(member) => {
            check_epoch(member, call)?;
            Ok(Some(Member::clone(member)))
        }
        None if call.member_epoch == 0 => Ok(None),
        None => Err(unknown_member(id)),
    }
}

fn find_static(
    draft: &mut Draft<'_>,
    call: &ConsumerHeartbeat,
    id: &str,
    instance: &str,
) -> Result<Option<Member>, Refusal> {
    let group = consumer(draft);
    let Some((bearer, member)) = group.and_then(|group| group.static_member(instance)) else {
        let same_id = consumer(draft).and_then(|group| group.members.get(id));
        let same_id = same_id.map(|member| Member::clone(member));
        return if call.member_epoch == 0 {
            Ok(same_id)
        } else {
            Err(Refusal::new(
                ErrorCode::UnknownMemberId,
                format!("nobody bears the instance id {instance}"),
            ))
        };
    };
    // A join that is repeated because its answer was lost is no other member.
    if bearer == id {
        check_epoch(member, call)?;
        return Ok(Some(member.clone()));
    }
    if call.member_epoch != 0 {
        return Err(Refusal::new(
            ErrorCode::FencedInstanceId,
            format!("member {bearer} bears the instance id {instance} now"),
        ));
    }
    if !member.is_classic() && member.epoch != LEFT_FOR_A_WHILE {
        return Err(Refusal::new(
            ErrorCode::UnreleasedInstanceId,
            format!("member {bearer} still bears the instance id {instance}"),
        ));
    }
    let bearer = bearer.to_owned();
    Ok(replace(draft, &bearer, id))
}

/// The static member comes back under another id, with what it had.
pub(super) fn replace(draft: &mut Draft<'_>, former: &str, id: &str) -> Option<Member> {
    let name = draft.name().to_owned();
    let group = consumer(draft)?;
    let target = group.targets.get(former).map(|target| PartitionsByTopic::clone(target));
    let was_away = group.members.get(former)?.epoch == LEFT_FOR_A_WHILE;
    let member = Member {
        epoch: 0,
        previous_epoch: 0,
        ..Member::clone(group.members.get(former)?)
    };
    for record in leave::removal(&name, former) {
        draft.record(record);
    }
    draft.record(Record::ConsumerMember {
        group: name.clone(),
        member: id.to_owned(),
        value: Some(member.metadata()),
    });
    draft.record(Record::ConsumerTarget {
        group: name.clone(),
        member: id.to_owned(),
        value: Some(target.unwrap_or_default()),
    });
    draft.record(Record::ConsumerCurrent {
        group: name,
        member: id.to_owned(),
        value: Some(member.current()),
    });
    if !was_away {
        draft.history(Happened::MemberRemoved {
            member: former.to_owned(),
            cause: Removal::Replaced,
        });
    }
    draft.history(Happened::MemberJoined {
        member: id.to_owned(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
    });
    Some(member)
}

/// A member may be one answer behind, for the answer may be lost; unless it says that it owns what it was not given.
/// Kafka asks it to say what it owns, which fences one that repeats its request as it was; we tell it again.
fn check_epoch(member: &Member, call: &ConsumerHeartbeat) -> Result<(), Refusal> {
    let epoch = call.member_epoch;
    let owns_nothing = call.owned.as_ref().is_some_and(|owned| owned.is_empty());
    if matches!(member.state, MemberState::Unknown(_)) && !owns_nothing {
        return Err(Refusal::new(
            ErrorCode::FencedMemberEpoch,
            "the member is in a state that this version does not know: it must give up its partitions and join again",
        ));
    }
    if epoch == 0 || epoch == member.epoch {
        return Ok(());
    }
    let owns_only_its_own = call.owned.as_ref().is_none_or(|owned| {
        owned.iter().all(|(topic, partitions)| {
            let assigned = member.assigned.get(topic);
            partitions
                .iter()
                .all(|partition| assigned.is_some_and(|assigned| assigned.contains_key(partition)))
        })
    });
    if epoch < member.epoch && epoch == member.previous_epoch && owns_only_its_own {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::FencedMemberEpoch,
        format!(
            "the member is at epoch {}, not {epoch}: it must give up its partitions and join again",
            member.epoch
        ),
    ))
}

fn update(member: &mut Member, call: &ConsumerHeartbeat) {
    if call.instance.is_some() {
        member.instance.clone_from(&call.instance);
    }
    if call.rack.is_some() {
        member.rack.clone_from(&call.rack);
    }
    if call.rebalance_timeout_ms != -1 {
        member.rebalance_timeout_ms = call.rebalance_timeout_ms;
    }
    if call.server_assignor.is_some() {
        member.server_assignor.clone_from(&call.server_assignor);
    }
    if let Some(names) = &call.subscribed_names {
        member.subscribed_names = names.iter().cloned().collect();
    }
    if let Some(regex) = &call.subscribed_regex {
        member.subscribed_regex.clone_from(regex);
    }
    member.client_id.clone_from(&call.client.id);
    member.client_host.clone_from(&call.client.host);
    member.classic = None;
}

fn reply(
    draft: &Draft<'_>,
    call: &ConsumerHeartbeat,
    before: &Member,
    id: String,
    outcome: &Outcome,
) -> ConsumerHeartbeatReply {
    let member = &outcome.member;
    // A member that is an answer behind, or does not have what it was given, may have missed the answer that said so.
    let tells = is_full(call)
        || member.assigned != before.assigned
        || call.member_epoch != before.epoch
        || owns_other(call.owned.as_ref(), &member.assigned);
    ConsumerHeartbeatReply {
        error: ErrorCode::None,
        message: None,
        member: Some(id),
        member_epoch: member.epoch,
        heartbeat_interval_ms: interval_ms(draft, outcome.members, outcome.rests, outcome.moved),
        assignment: tells.then(|| without_epochs(&member.assigned)),
    }
}

/// It joins, or repeats everything: then it is told everything.
fn is_full(call: &ConsumerHeartbeat) -> bool {
    let subscribes = call.subscribed_names.is_some() || call.subscribed_regex.is_some();
    call.member_epoch == 0 || (call.rebalance_timeout_ms != -1 && subscribes && call.owned.is_some())
}

fn owns_other(owned: Option<&PartitionsByTopic>, assigned: &AssignedPartitions) -> bool {
    owned.is_some_and(|owned| {
        owned.len() != assigned.len()
            || owned
                .iter()
                .zip(assigned)
                .any(|((topic, owned), (other, assigned))| topic != other || !owned.iter().eq(assigned.keys()))
    })
}

/// Short after the group has made a step, and the longer the longer no step follows; soonest so if it rests. A large
/// group is told more than a small one, so that all its members together call no oftener than 200 times in a second.
fn interval_ms(draft: &Draft<'_>, members: usize, rests: bool, moved: Moment) -> i32 {
    let fair = SHARE.saturating_mul(u32::try_from(members).unwrap_or(u32::MAX));
    let long = fair
        .max(draft.settings.consumer_resting_interval)
        .min(draft.settings.consumer_heartbeat_interval);
    let short = draft.settings.consumer_reconcile_interval.min(long);
    let since = draft.at.moment.since(moved);
    let interval = if rests { since } else { since / PATIENCE }.clamp(short, long);
    i32::try_from(interval.as_millis()).unwrap_or(i32::MAX)
}

pub(super) fn unknown_member(id: &str) -> Refusal {
    Refusal::new(ErrorCode::UnknownMemberId, format!("the group has no member {id}"))
}

/// The group with the changes so far, if it is of this kind.
pub(super) fn consumer<'d>(draft: &'d mut Draft<'_>) -> Option<&'d Group> {
    match draft.group()? {
        AnyGroup::Consumer(group) => Some(group),
        AnyGroup::Classic(_) => None,
    }
}

pub(super) fn arm(draft: &mut Draft<'_>, member: &str, timer: Timer, wait: Duration) {
    let until = draft.at.moment + wait;
    put(
        draft,
        Transient::Arm {
            member: member.to_owned(),
            timer,
            until,
        },
    );
}

pub(super) fn disarm(draft: &mut Draft<'_>, member: &str, timer: Timer) {
    put(
        draft,
        Transient::Disarm {
            member: member.to_owned(),
            timer,
        },
    );
}

pub(super) fn put(draft: &mut Draft<'_>, change: Transient) {
    draft.transient(crate::change::Transient::Consumer(change));
}
