//! What every heartbeat and every JoinGroup of a member leads to: its record, the group's epoch, targets, its next step.

use std::collections::BTreeSet;

use klamm_types::{ErrorCode, Moment};

use crate::call::PartitionsByTopic;
use crate::draft::Draft;
use crate::history::Happened;
use crate::record::Record;

use super::apply::{Transient, restless_ms};
use super::group::{FIRST_GROUP_EPOCH, Timer};
use super::heartbeat::{Refusal, arm, consumer, disarm, put};
use super::member::{Member, MemberState};
use super::pattern::{self, Pattern};
use super::reconcile::{self, Situation, Subscription};
use super::{refresh, targets};

/// What a member asks for.
pub struct Step<'a> {
    pub id: &'a str,
    /// As the group knows it; `None` if it is new.
    pub before: Option<Member>,
    /// With what it says of itself now.
    pub after: Member,
    pub owned: Option<&'a PartitionsByTopic>,
    pub hearing: Hearing,
}

/// Whether the member has heard what it was last told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    UpToDate,
    /// It is at its previous epoch still. It is told again and makes no step, so it is never two answers behind.
    AnAnswerBehind,
}

/// What comes of it.
pub struct Outcome {
    pub member: Member,
    /// Whether the group rests afterwards.
    pub rests: bool,
    /// How many members it has then.
    pub members: usize,
    pub moved: Moment,
}

/// See the module.
pub fn take(draft: &mut Draft<'_>, step: Step<'_>) -> Result<Outcome, Refusal> {
    let before = step.before.clone().unwrap_or_default();
    let names_changed = step.after.subscribed_names != before.subscribed_names;
    let pattern_changed = step.after.subscribed_regex != before.subscribed_regex;
    let rested = consumer(draft).is_none_or(|group| group.is_empty() || group.at_rest());
    let tombstone = pattern_changed.then(|| tombstone_of_pattern(draft, &before)).flatten();
    if step.before.as_ref() != Some(&step.after) {
        draft.record(Record::ConsumerMember {
            group: draft.name().to_owned(),
            member: step.id.to_owned(),
            value: Some(step.after.metadata()),
        });
    }
    if step.before.is_none() {
        draft.history(Happened::MemberJoined {
            member: step.id.to_owned(),
            client_id: step.after.client_id.clone(),
            client_host: step.after.client_host.clone(),
        });
    }
    if let Some(tombstone) = tombstone {
        draft.record(tombstone);
    }
    if pattern_changed && let Some(text) = step.after.pattern() {
        add_pattern(draft, text)?;
    }
    let subscription = if names_changed || pattern_changed {
        Subscription::Changed
    } else {
        Subscription::Same
    };
    let cause = || match step.before {
        None => format!("member {} joined", step.id),
        Some(_) => format!("member {} subscribed anew", step.id),
    };
    let unchecked = consumer(draft).is_some_and(|group| !group.topics_checked);
    if unchecked {
        refresh::resolve_patterns(draft);
    }
    if unchecked || subscription == Subscription::Changed {
        refresh::refresh(draft, (subscription == Subscription::Changed).then(cause), rested);
    }
    targets::update(draft);
    Ok(reconcile(draft, &step, subscription))
}

fn reconcile(draft: &mut Draft<'_>, step: &Step<'_>, subscription: Subscription) -> Outcome {
    let (topics, now, moment) = (draft.topics, draft.at.wall, draft.at.moment);
    let none = PartitionsByTopic::new();
    // A group of which nothing is written yet is one with this member, which has just been recorded.
    let Some(group) = consumer(draft) else {
        return Outcome {
            member: step.after.clone(),
            rests: true,
            members: 1,
            moved: moment,
        };
    };
    let target_epoch = group.target_epoch;
    let settled_before = step.after.is_settled(target_epoch);
    let nothing_to_do = settled_before && subscription == Subscription::Same;
    let after = if nothing_to_do || step.hearing == Hearing::AnAnswerBehind {
        None
    } else {
        reconcile::next(
            &step.after,
            &Situation {
                target_epoch,
                target: group.targets.get(step.id).map_or(&none, |target| target),
                subscribed: &targets::subscribed_ids(group, &step.after, topics),
                owned: step.owned,
                held_by_other: &|topic, partition| group.owner(topic, partition).is_some_and(|owner| owner != step.id),
                subscription,
            },
        )
    };
    let moved = if after.is_some() { moment } else { group.moved };
    let member = after.clone().unwrap_or_else(|| step.after.clone());
    let was = usize::from(
        group
            .members
            .get(step.id)
            .is_some_and(|member| member.is_settled(target_epoch)),
    );
    let settled = group.index.settled - was + usize::from(member.is_settled(target_epoch));
    let members = group.members.len();
    let rests = group.epoch <= target_epoch && settled == members;
    let ended = (rests && group.restless_since.is_some()).then(|| Happened::RebalanceEnded {
        generation: group.epoch,
        members,
        took_ms: restless_ms(group, now),
    });
    let revocation_armed = group.timers.armed(step.id, Timer::Revocation);
    if after.is_some() {
        draft.record(Record::ConsumerCurrent {
            group: draft.name().to_owned(),
            member: step.id.to_owned(),
            value: Some(member.current()),
        });
    }
    if after.is_some() && member.state == MemberState::Unrevoked && !member.is_classic() {
        arm(draft, step.id, Timer::Revocation, member.rebalance_timeout());
    } else if revocation_armed && (after.is_some() || member.is_classic()) {
        disarm(draft, step.id, Timer::Revocation);
    }
    if let Some(ended) = ended {
        draft.history(ended);
        put(draft, Transient::Settled);
    }
    Outcome {
        member,
        rests,
        members,
        moved,
    }
}

/// The member was the last to subscribe by its pattern.
fn tombstone_of_pattern(draft: &mut Draft<'_>, member: &Member) -> Option<Record> {
    let pattern = member.pattern()?;
    let name = draft.name().to_owned();
    let group = consumer(draft)?;
    let last = group.index.patterns.get(pattern).is_none_or(|members| *members <= 1);
    (last && group.patterns.contains_key(pattern)).then(|| Record::ConsumerRegex {
        group: name,
        regex: pattern.to_owned(),
        value: None,
    })
}

/// Resolves a pattern that is new to the group.
fn add_pattern(draft: &mut Draft<'_>, text: &str) -> Result<(), Refusal> {
    let is_known = consumer(draft).is_some_and(|group| group.patterns.contains_key(text));
    if is_known {
        return Ok(());
    }
    let Some(pattern) = Pattern::new(text) else {
        return Err(Refusal::new(
            ErrorCode::InvalidRegularExpression,
            "the pattern is not valid, or too large",
        ));
    };
    let value = refresh::resolved(draft, &pattern);
    draft.record(Record::ConsumerRegex {
        group: draft.name().to_owned(),
        regex: text.to_owned(),
        value: Some(value),
    });
    if !consumer(draft).is_some_and(|group| group.timers.armed("", Timer::Patterns)) {
        arm(draft, "", Timer::Patterns, pattern::REFRESH_INTERVAL);
    }
    Ok(())
}

/// What the group calls its first epoch once something is written.
pub(super) fn epoch_of(draft: &mut Draft<'_>) -> i32 {
    consumer(draft).map_or(FIRST_GROUP_EPOCH, |group| group.epoch)
}

/// The patterns that nobody subscribes by when these members are gone.
pub(super) fn orphaned_patterns(draft: &mut Draft<'_>, leaving: &BTreeSet<&str>) -> Vec<String> {
    let Some(group) = consumer(draft) else {
        return Vec::new();
    };
    let stay = group.members.iter().filter(|(id, _)| !leaving.contains(id.as_str()));
    let used: BTreeSet<&str> = stay.filter_map(|(_, member)| member.pattern()).collect();
    let unused = group.patterns.keys().filter(|pattern| !used.contains(pattern.as_str()));
    unused.cloned().collect()
}
