//! What time and other topics do to a group: timers run out, patterns match anew, the group's epoch rises.

use std::collections::BTreeSet;

use klamm_types::Moment;

use crate::draft::Draft;
use crate::history::render::sentence;
use crate::history::{Happened, Removal};
use crate::record::{ConsumerGroup, ConsumerRegex, Record};

use super::apply::Transient;
use super::group::{Group, Timer};
use super::heartbeat::{arm, consumer, disarm, put};
use super::pattern::{Pattern, REFRESH_INTERVAL};
use super::{leave, targets};

/// The topics of the cluster are others now.
pub fn topics_changed(draft: &mut Draft<'_>) {
    let Some(group) = consumer(draft) else {
        return;
    };
    if group.is_empty() {
        return;
    }
    let rested = group.at_rest();
    resolve_patterns(draft);
    refresh(draft, None, rested);
}

/// A timer has run out.
pub fn tick(draft: &mut Draft<'_>) {
    let now = draft.at.moment;
    let Some(group) = consumer(draft) else {
        return;
    };
    let due = due(group, now);
    let mut leaving = Vec::new();
    for (member, timer) in &due {
        match timer {
            Timer::Patterns => {
                resolve_patterns(draft);
                let patterned = consumer(draft).is_some_and(|group| !group.index.patterns.is_empty());
                if patterned {
                    arm(draft, "", Timer::Patterns, REFRESH_INTERVAL);
                } else {
                    disarm(draft, "", Timer::Patterns);
                }
                let rested = consumer(draft).is_some_and(Group::at_rest);
                refresh(draft, None, rested);
            }
            Timer::Session => leaving.push((member.clone(), Removal::SessionExpired)),
            Timer::Revocation => leaving.push((member.clone(), Removal::RevocationTimedOut)),
            Timer::Join => leaving.push((member.clone(), Removal::RebalanceTimedOut)),
            Timer::Sync => leaving.push((member.clone(), Removal::SyncTimedOut)),
        }
    }
    let mut seen = BTreeSet::new();
    leaving.retain(|(member, _)| seen.insert(member.clone()));
    if leaving.is_empty() {
        return;
    }
    let members: Vec<String> = leaving.iter().map(|(member, _)| member.clone()).collect();
    let removals = leaving
        .into_iter()
        .map(|(member, cause)| Happened::MemberRemoved { member, cause });
    let removals: Vec<Happened> = removals.collect();
    let cause = sentence(&removals[0]);
    for removal in removals {
        draft.history(removal);
    }
    leave::remove(draft, &members, &cause);
}

fn due(group: &Group, now: Moment) -> Vec<(String, Timer)> {
    let due = group.timers.in_order().take_while(|(moment, _, _)| *moment <= now);
    due.map(|(_, member, timer)| (member.to_owned(), timer)).collect()
}

/// Raises the group's epoch if a subscription has changed, which `cause` says, or the subscribed topics have.
pub(super) fn refresh(draft: &mut Draft<'_>, cause: Option<String>, rested: bool) {
    let topics = draft.topics;
    let Some(group) = consumer(draft) else {
        return;
    };
    let hash = targets::metadata_hash(group, topics);
    let (epoch, known_hash, checked) = (group.epoch, group.metadata_hash, group.topics_checked);
    if cause.is_some() || hash != known_hash {
        if rested {
            draft.history(Happened::RebalanceStarted {
                cause: cause.unwrap_or_else(|| "the subscribed topics changed".to_owned()),
            });
        }
        raise(draft, epoch, hash);
    }
    if !checked {
        put(draft, Transient::TopicsChecked);
    }
}

/// The next epoch of the group.
pub(super) fn raise(draft: &mut Draft<'_>, epoch: i32, metadata_hash: i64) {
    draft.record(Record::ConsumerGroup {
        group: draft.name().to_owned(),
        value: Some(ConsumerGroup {
            epoch: epoch.saturating_add(1),
            metadata_hash,
        }),
    });
}

pub(super) fn resolved(draft: &Draft<'_>, pattern: &Pattern) -> ConsumerRegex {
    ConsumerRegex {
        topics: pattern.resolve(draft.topics),
        version: draft.topics.version(),
        timestamp: draft.at.wall.0,
    }
}

/// Writes down the patterns that match other topics than they did.
pub(super) fn resolve_patterns(draft: &mut Draft<'_>) {
    let Some(group) = consumer(draft) else {
        return;
    };
    let known: Vec<(String, Vec<String>)> = group
        .patterns
        .iter()
        .map(|(regex, value)| (regex.clone(), value.topics.clone()))
        .collect();
    for (regex, topics) in known {
        // One that no longer compiles was written by another version; it keeps what it had.
        let Some(pattern) = Pattern::new(&regex) else {
            continue;
        };
        let value = resolved(draft, &pattern);
        if value.topics != topics {
            draft.record(Record::ConsumerRegex {
                group: draft.name().to_owned(),
                regex,
                value: Some(value),
            });
        }
    }
}
