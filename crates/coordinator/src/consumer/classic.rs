//! Members of the classic protocol in a group of this kind: JoinGroup, SyncGroup, Heartbeat, LeaveGroup.
//!
//! Such a member takes each epoch by joining again: Heartbeat says REBALANCE_IN_PROGRESS when there is something to
//! take, JoinGroup makes the member's step and answers with its epoch as the generation and without a leader, so that
//! nobody assigns, and SyncGroup hands out what the coordinator has assigned, in the bytes of the consumer protocol.
//! Nothing waits: every call is answered in the decision that it leads to.

use bytes::Bytes;
use klamm_types::{ErrorCode, Uuid};

use crate::call::{CallId, Heartbeat, Join, Leave, LeavingMember, MemberIdRule, PartitionsByTopic, Sync};
use crate::classic::{CONSUMER_PROTOCOL_TYPE, offered};
use crate::draft::Draft;
use crate::history::{Happened, Removal};
use crate::record::ClassicMemberMetadata;
use crate::reply::{Joined, Left, LeftMember, Reply, Synced};

use super::consumer_protocol::{self, Subscription};
use super::group::{Group, Timer};
use super::heartbeat::{arm, consumer, disarm, replace};
use super::member::{Member, MemberState};
use super::reconcile::without_epochs;
use super::step::{self, Hearing, Step};
use super::{leave, migration};

/// JoinGroup to a group of this kind that has members.
pub fn classic_join(draft: &mut Draft<'_>, id: CallId, call: &Join) {
    let joined = join(draft, call).unwrap_or_else(|(error, member)| {
        if error != ErrorCode::MemberIdRequired {
            draft.abandon();
        }
        Joined {
            error,
            generation: -1,
            protocol_type: None,
            protocol: None,
            leader: String::new(),
            skip_assignment: false,
            member,
            members: Vec::new(),
        }
    });
    draft.reply(id, Reply::Join(Box::new(joined)));
}

fn join(draft: &mut Draft<'_>, call: &Join) -> Result<Joined, (ErrorCode, String)> {
    let refuse = |error| (error, call.member.clone());
    let (limit, topics) = (draft.settings.consumer_members_max, draft.topics);
    let group = consumer(draft).ok_or_else(|| refuse(ErrorCode::UnknownMemberId))?;
    if group.members.len() >= limit && !group.members.contains_key(&call.member) {
        return Err(refuse(ErrorCode::GroupMaxSizeReached));
    }
    if !group.supports(call) {
        return Err(refuse(ErrorCode::InconsistentGroupProtocol));
    }
    // Its first choice speaks for it.
    let subscription = call.protocols.first();
    let subscription = subscription
        .and_then(|(_, metadata)| consumer_protocol::subscription(metadata, topics))
        .ok_or_else(|| refuse(ErrorCode::InconsistentGroupProtocol))?;
    let is_new = call.member.is_empty();
    let member_id = if is_new {
        Uuid::from_u128(draft.at.draw).to_string()
    } else {
        call.member.clone()
    };
    if is_new && call.instance.is_none() && call.member_id_rule == MemberIdRule::Required {
        return Err((ErrorCode::MemberIdRequired, member_id));
    }
    let before = find(draft, call, &member_id).map_err(refuse)?;
    let mut after = before.clone().unwrap_or_default();
    update(&mut after, call, &subscription);
    let taken = step::take(
        draft,
        Step {
            id: &member_id,
            before,
            after,
            owned: Some(&subscription.owned),
            hearing: Hearing::UpToDate,
        },
    );
    let outcome = taken.map_err(|refusal| refuse(refusal.error))?;
    let joined = Joined {
        error: ErrorCode::None,
        generation: outcome.member.epoch,
        protocol_type: Some(CONSUMER_PROTOCOL_TYPE.to_owned()),
        protocol: outcome.member.classic_protocol().map(|(name, _)| name.clone()),
        leader: String::new(),
        skip_assignment: false,
        member: member_id.clone(),
        members: Vec::new(),
    };
    // It may have replaced the last member of the other protocol.
    if migration::only_classic_stay(draft, &std::collections::BTreeSet::new()) {
        let cause = "the last member of the consumer protocol was replaced";
        migration::to_classic(
            draft,
            &std::collections::BTreeSet::new(),
            (!outcome.rests).then_some(cause),
        );
        return Ok(joined);
    }
    disarm(draft, &member_id, Timer::Join);
    arm(draft, &member_id, Timer::Session, call.session_timeout());
    arm(draft, &member_id, Timer::Sync, call.rebalance_timeout());
    Ok(joined)
}

/// The member as the group knows it; `None` if it is new.
fn find(draft: &mut Draft<'_>, call: &Join, id: &str) -> Result<Option<Member>, ErrorCode> {
    let Some(group) = consumer(draft) else {
        return Err(ErrorCode::UnknownMemberId);
    };
    let Some(instance) = &call.instance else {
        return Ok(group.members.get(id).map(|member| Member::clone(member)));
    };
    match group.static_member(instance) {
        None if call.member.is_empty() => Ok(None),
        None => Err(ErrorCode::UnknownMemberId),
        Some((bearer, member)) if bearer == id => Ok(Some(member.clone())),
        Some((bearer, _)) if call.member.is_empty() => {
            let bearer = bearer.to_owned();
            Ok(replace(draft, &bearer, id))
        }
        Some(_) => Err(ErrorCode::FencedInstanceId),
    }
}

fn update(member: &mut Member, call: &Join, subscription: &Subscription) {
    if call.instance.is_some() {
        member.instance.clone_from(&call.instance);
    }
    if subscription.rack.is_some() {
        member.rack.clone_from(&subscription.rack);
    }
    member.rebalance_timeout_ms = call.rebalance_timeout_ms;
    member.subscribed_names.clone_from(&subscription.topics);
    member.subscribed_regex.clear();
    member.client_id.clone_from(&call.client.id);
    member.client_host.clone_from(&call.client.host);
    member.classic = Some(ClassicMemberMetadata {
        session_timeout_ms: call.session_timeout_ms,
        protocols: offered(call),
    });
}

/// SyncGroup.
pub fn classic_sync(draft: &mut Draft<'_>, id: CallId, call: &Sync) {
    let synced = sync(draft, call).unwrap_or_else(|error| Synced {
        error,
        protocol_type: None,
        protocol: None,
        assignment: Bytes::new(),
    });
    draft.reply(id, Reply::Sync(synced));
}

fn sync(draft: &mut Draft<'_>, call: &Sync) -> Result<Synced, ErrorCode> {
    let (topics, settings) = (draft.topics, draft.settings);
    let group = consumer(draft).ok_or(ErrorCode::UnknownMemberId)?;
    let member = group.classic_member(&call.member, call.instance.as_deref())?;
    if member.epoch != call.generation {
        return Err(ErrorCode::IllegalGeneration);
    }
    let (name, metadata) = member.classic_protocol().ok_or(ErrorCode::UnknownMemberId)?;
    let repeated = call.protocol.as_ref();
    let fits = |repeated: Option<&String>, known: &str| repeated.is_none_or(|repeated| repeated == known);
    if !fits(
        repeated.and_then(|protocol| protocol.protocol_type.as_ref()),
        CONSUMER_PROTOCOL_TYPE,
    ) || !fits(repeated.and_then(|protocol| protocol.name.as_ref()), name)
    {
        return Err(ErrorCode::InconsistentGroupProtocol);
    }
    if group.epoch > member.epoch && member.state != MemberState::Unrevoked {
        let wait = member.rebalance_timeout();
        arm_join(draft, &call.member, wait);
        return Err(ErrorCode::RebalanceInProgress);
    }
    let assignment = consumer_protocol::assignment(&without_epochs(&member.assigned), metadata, topics);
    let session = member.session_timeout(settings);
    disarm(draft, &call.member, Timer::Sync);
    arm(draft, &call.member, Timer::Session, session);
    Ok(Synced {
        error: ErrorCode::None,
        protocol_type: repeated.and_then(|protocol| protocol.protocol_type.clone()),
        protocol: repeated.and_then(|protocol| protocol.name.clone()),
        assignment,
    })
}

/// Heartbeat.
pub fn classic_heartbeat(draft: &mut Draft<'_>, id: CallId, call: &Heartbeat) {
    let error = match beat(draft, call) {
        Ok(()) => ErrorCode::None,
        Err(error) => error,
    };
    draft.reply(id, Reply::Heartbeat(error));
}

fn beat(draft: &mut Draft<'_>, call: &Heartbeat) -> Result<(), ErrorCode> {
    let settings = draft.settings;
    let group = consumer(draft).ok_or(ErrorCode::UnknownMemberId)?;
    let member = group.classic_member(&call.member, call.instance.as_deref())?;
    if member.epoch != call.generation {
        return Err(ErrorCode::IllegalGeneration);
    }
    let has_news = member.epoch < group.epoch
        || member.state == MemberState::Unrevoked
        || (member.state == MemberState::Unreleased && !group.waits_for_others(&call.member, member));
    let (session, rebalance) = (member.session_timeout(settings), member.rebalance_timeout());
    arm(draft, &call.member, Timer::Session, session);
    if has_news {
        arm_join(draft, &call.member, rebalance);
        return Err(ErrorCode::RebalanceInProgress);
    }
    Ok(())
}

/// From the first time that it is told; being told again gives no more time.
fn arm_join(draft: &mut Draft<'_>, member: &str, wait: std::time::Duration) {
    if !consumer(draft).is_some_and(|group| group.timers.armed(member, Timer::Join)) {
        arm(draft, member, Timer::Join, wait);
    }
}

/// LeaveGroup.
pub fn classic_leave(draft: &mut Draft<'_>, id: CallId, call: &Leave) {
    let mut leaving: Vec<String> = Vec::new();
    let mut members = Vec::new();
    for member in &call.members {
        let found = consumer(draft).ok_or(ErrorCode::UnknownMemberId);
        let found = found.and_then(|group| group.leaving(member));
        let found = found.map(str::to_owned).and_then(|found| {
            // Named twice, it is gone the second time.
            let again = leaving.contains(&found);
            (!again).then_some(found).ok_or(ErrorCode::UnknownMemberId)
        });
        members.push(LeftMember {
            member: found.as_ref().unwrap_or(&member.member).clone(),
            instance: member.instance.clone(),
            error: found.as_ref().err().copied().unwrap_or(ErrorCode::None),
        });
        if let Ok(found) = found {
            draft.history(if member.member.is_empty() {
                Happened::MemberRemoved {
                    member: found.clone(),
                    cause: Removal::Administered,
                }
            } else {
                Happened::MemberLeft {
                    member: found.clone(),
                    reason: member.reason.clone(),
                }
            });
            leaving.push(found);
        }
    }
    if let Some(first) = leaving.first() {
        let cause = format!("member {first} left");
        leave::remove(draft, &leaving, &cause);
    }
    let left = Left {
        error: ErrorCode::None,
        members,
    };
    draft.reply(id, Reply::Leave(left));
}

impl Group {
    /// Whether a classic member can come in: it is a consumer, and all classic members support one of its protocols.
    fn supports(&self, call: &Join) -> bool {
        let common = |name: &str| {
            let supporters = self.index.protocols.get(name).copied().unwrap_or_default();
            supporters == self.index.classic_members
        };
        call.protocol_type == CONSUMER_PROTOCOL_TYPE && call.protocols.iter().any(|(name, _)| common(name))
    }

    fn either_member(&self, id: &str, instance: Option<&str>) -> Result<&Member, ErrorCode> {
        match instance {
            None => Ok(self.members.get(id).ok_or(ErrorCode::UnknownMemberId)?),
            Some(instance) => {
                let (bearer, member) = self.static_member(instance).ok_or(ErrorCode::UnknownMemberId)?;
                if bearer == id {
                    Ok(member)
                } else {
                    Err(ErrorCode::FencedInstanceId)
                }
            }
        }
    }

    fn classic_member(&self, id: &str, instance: Option<&str>) -> Result<&Member, ErrorCode> {
        let member = self.either_member(id, instance)?;
        if member.is_classic() {
            Ok(member)
        } else {
            Err(ErrorCode::UnknownMemberId)
        }
    }

    /// An operator names a static member by its instance id alone, and takes members of either protocol out.
    fn leaving(&self, leaving: &LeavingMember) -> Result<&str, ErrorCode> {
        let instance = leaving.instance.as_deref();
        let id = match instance.and_then(|instance| self.index.instances.get(instance)) {
            Some(bearer) if leaving.member.is_empty() => bearer,
            _ => &leaving.member,
        };
        self.either_member(id, instance)?;
        let (id, _) = self.members.get_key_value(id).ok_or(ErrorCode::UnknownMemberId)?;
        Ok(id)
    }

    /// Whether something of the member's target is still held by another.
    fn waits_for_others(&self, id: &str, member: &Member) -> bool {
        let none = PartitionsByTopic::new();
        let target = self.targets.get(id).map_or(&none, |target| target);
        target.iter().any(|(topic, partitions)| {
            let assigned = member.assigned.get(topic);
            partitions.iter().any(|partition| {
                let is_missing = assigned.is_none_or(|assigned| !assigned.contains_key(partition));
                is_missing && self.owner(*topic, *partition).is_some()
            })
        })
    }
}
