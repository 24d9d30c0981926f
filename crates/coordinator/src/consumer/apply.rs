//! How records and transients change a group; the only writer.
//!
//! The records of one group may come from a compacted log: each key's last value is right and in the order of the log,
//! but those before it may be missing. So a member comes into being by whichever of its records is first, a tombstone
//! of something unknown is nothing, and two members may hold one partition until the load has ended.

use std::sync::Arc;

use klamm_types::{Moment, Timestamp};

use crate::group::Group as AnyGroup;
use crate::record::Record;
use crate::shard::At;

use super::group::{Group, Timer};
use super::member::{LEFT, Member, MemberState};

/// What does not outlive this coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transient {
    /// The coordinator waits for the member until then.
    Arm {
        member: String,
        timer: Timer,
        until: Moment,
    },
    Disarm {
        member: String,
        timer: Timer,
    },
    /// The hash of the group was compared with the topics of now.
    TopicsChecked,
    /// Everything is where the newest targets want it.
    Settled,
}

/// A record of types 3 to 16.
pub fn apply_record(group: &mut Option<AnyGroup>, at: At, record: &Record) {
    if is_tombstone(record) {
        if let Some(AnyGroup::Consumer(existing)) = group {
            if matches!(record, Record::ConsumerGroup { .. }) {
                *group = None;
            } else {
                existing.remove(at, record);
            }
        }
        return;
    }
    if !matches!(group, Some(AnyGroup::Consumer(_))) {
        *group = Some(AnyGroup::Consumer(Group::default()));
    }
    if let Some(AnyGroup::Consumer(group)) = group {
        group.set(at, record);
    }
}

/// A transient of a group that is no longer of this kind changes nothing.
pub fn apply_transient(group: &mut Option<AnyGroup>, _at: At, change: &Transient) {
    let Some(AnyGroup::Consumer(group)) = group else {
        return;
    };
    match change {
        Transient::Arm { member, timer, until } => {
            if member.is_empty() || group.members.contains_key(member) {
                Arc::make_mut(&mut group.timers).arm(member, *timer, *until);
            }
        }
        Transient::Disarm { member, timer } => Arc::make_mut(&mut group.timers).disarm(member, *timer),
        Transient::TopicsChecked => group.topics_checked = true,
        Transient::Settled => group.restless_since = None,
    }
}

fn is_tombstone(record: &Record) -> bool {
    match record {
        Record::Offset { value, .. } => value.is_none(),
        Record::ClassicGroup { value, .. } => value.is_none(),
        Record::ConsumerGroup { value, .. } => value.is_none(),
        Record::ConsumerMember { value, .. } => value.is_none(),
        Record::ConsumerTargetEpoch { value, .. } => value.is_none(),
        Record::ConsumerTarget { value, .. } => value.is_none(),
        Record::ConsumerCurrent { value, .. } => value.is_none(),
        Record::ConsumerRegex { value, .. } => value.is_none(),
    }
}

impl Group {
    fn set(&mut self, at: At, record: &Record) {
        match record {
            Record::ConsumerGroup { value: Some(value), .. } => {
                self.epoch = value.epoch;
                self.metadata_hash = value.metadata_hash;
                self.moved = at.moment;
                self.restless_since = self.restless_since.or(Some(at.wall));
            }
            Record::ConsumerMember {
                member,
                value: Some(value),
                ..
            } => self.change_member(member, |member| member.set_metadata(value)),
            Record::ConsumerTargetEpoch { value: Some(value), .. } => {
                self.target_timestamp = value.timestamp;
                self.set_target_epoch(value.epoch);
                self.moved = at.moment;
            }
            Record::ConsumerTarget {
                member,
                value: Some(value),
                ..
            } => {
                self.targets.insert(member.clone(), Arc::new(value.clone()));
            }
            Record::ConsumerCurrent {
                member,
                value: Some(value),
                ..
            } => {
                self.change_member(member, |member| member.set_current(value));
                self.moved = at.moment;
            }
            Record::ConsumerRegex {
                regex,
                value: Some(value),
                ..
            } => {
                self.index.count_topics(&value.topics);
                if let Some(former) = self.patterns.insert(regex.clone(), Arc::new(value.clone())) {
                    self.index.discount_topics(&former.topics);
                }
            }
            _ => {}
        }
    }

    fn remove(&mut self, at: At, record: &Record) {
        match record {
            Record::ConsumerMember { member, .. } => {
                if let Some(former) = self.members.remove(member) {
                    self.index.remove(member, &former, self.target_epoch);
                }
                Arc::make_mut(&mut self.timers).forget(member);
                self.moved = at.moment;
            }
            Record::ConsumerTargetEpoch { .. } => self.set_target_epoch(0),
            Record::ConsumerTarget { member, .. } => {
                self.targets.remove(member);
            }
            Record::ConsumerCurrent { member, .. } if self.members.contains_key(member) => {
                self.change_member(member, |member| {
                    *member = Member {
                        epoch: LEFT,
                        previous_epoch: LEFT,
                        state: MemberState::Stable,
                        assigned: Default::default(),
                        pending: Default::default(),
                        ..std::mem::take(member)
                    };
                });
            }
            Record::ConsumerRegex { regex, .. } => {
                if let Some(former) = self.patterns.remove(regex) {
                    self.index.discount_topics(&former.topics);
                }
            }
            _ => {}
        }
    }

    fn change_member(&mut self, id: &str, change: impl FnOnce(&mut Member)) {
        let former = self.members.remove(id);
        if let Some(former) = &former {
            self.index.remove(id, former, self.target_epoch);
        }
        let mut member = former.unwrap_or_default();
        change(Arc::make_mut(&mut member));
        self.index.add(id, &member, self.target_epoch);
        self.members.insert(id.to_owned(), member);
    }

    fn set_target_epoch(&mut self, epoch: i32) {
        self.target_epoch = epoch;
        self.index.settled = self.members.values().filter(|member| member.is_settled(epoch)).count();
    }
}

/// How long ago the group left its rest.
pub(super) fn restless_ms(group: &Group, now: Timestamp) -> i64 {
    group.restless_since.map_or(0, |since| (now.0 - since.0).max(0))
}
