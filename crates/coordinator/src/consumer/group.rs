//! A KIP-848 group: its members, their targets, what each holds, and until when the coordinator waits for whom.
//!
//! State only: how records and transients change it is in `apply.rs`, what requests do to it in the handlers.
//! The indexes here (owners, subscriptions, counts) follow from the members; `validate` says how. What is large is
//! shared, for a draft that reads what it has changed works on a copy of the group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use klamm_types::{Moment, Timestamp, TopicId};

use crate::call::PartitionsByTopic;
use crate::record::{ConsumerRegex, Record};
use crate::settings::Settings;
use crate::shard::At;

use super::member::{Member, MemberState};

/// The epoch of a group before its first member has joined; Kafka's groups begin with it, too.
pub const FIRST_GROUP_EPOCH: i32 = 1;

/// What the coordinator waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A sign of life.
    Session,
    /// The member gives partitions up.
    Revocation,
    /// A classic member joins again.
    Join,
    /// A classic member fetches its assignment.
    Sync,
    /// Patterns are resolved again. Of the group: its member is the empty string.
    Patterns,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub(super) epoch: i32,
    pub(super) metadata_hash: i64,
    /// The epoch of the targets; 0 before the first.
    pub(super) target_epoch: i32,
    pub(super) target_timestamp: i64,
    pub(super) members: BTreeMap<String, Arc<Member>>,
    pub(super) targets: BTreeMap<String, Arc<PartitionsByTopic>>,
    /// Patterns and the topics that they match.
    pub(super) patterns: BTreeMap<String, Arc<ConsumerRegex>>,
    pub(super) index: Index,
    pub(super) timers: Arc<Timers>,
    /// Whether `metadata_hash` has been compared with the topics that this coordinator sees.
    pub(super) topics_checked: bool,
    /// When a record last moved the group.
    pub(super) moved: Moment,
    /// When the group left its rest.
    pub(super) restless_since: Option<Timestamp>,
}

/// What follows from the members and patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// Who holds a partition: it is assigned to that member, or the member has yet to give it up.
    pub(super) owners: BTreeMap<TopicId, Arc<BTreeMap<i32, Arc<str>>>>,
    /// Instance id to member id.
    pub(super) instances: BTreeMap<String, String>,
    /// How many members name a topic, plus one for each pattern that matches it.
    pub(super) topics: Arc<BTreeMap<String, usize>>,
    /// How many members subscribe by a pattern.
    pub(super) patterns: BTreeMap<String, usize>,
    /// How many members vote for an assignor.
    pub(super) assignors: BTreeMap<String, usize>,
    /// How many classic members support a protocol.
    pub(super) protocols: BTreeMap<String, usize>,
    pub(super) classic_members: usize,
    /// Members that are where their targets want them.
    pub(super) settled: usize,
}

/// Deadlines, by member and in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timers {
    by_member: BTreeMap<(String, Timer), Moment>,
    in_order: BTreeSet<(Moment, String, Timer)>,
}

impl Default for Group {
    fn default() -> Self {
        Self {
            epoch: FIRST_GROUP_EPOCH,
            metadata_hash: 0,
            target_epoch: 0,
            target_timestamp: 0,
            members: BTreeMap::new(),
            targets: BTreeMap::new(),
            patterns: BTreeMap::new(),
            index: Index::default(),
            timers: Arc::default(),
            topics_checked: false,
            moved: Moment(0),
            restless_since: None,
        }
    }
}

impl Group {
    /// Loading has ended: indexes are made anew, for a compacted log may have shown the records in an order in which
    /// two members held one partition for a moment; sessions and revocations get their whole time.
    pub fn start(&mut self, at: At, settings: &Settings) {
        self.rebuild_index();
        self.topics_checked = false;
        let mut timers = Timers::default();
        for (id, member) in &self.members {
            let session = member.session_timeout(settings);
            timers.arm(id, Timer::Session, at.moment + session);
            if member.state == MemberState::Unrevoked && !member.is_classic() {
                timers.arm(id, Timer::Revocation, at.moment + member.rebalance_timeout());
            }
        }
        if !self.index.patterns.is_empty() {
            timers.arm("", Timer::Patterns, at.moment + super::pattern::REFRESH_INTERVAL);
        }
        self.timers = Arc::new(timers);
        self.moved = at.moment;
        self.restless_since = (!self.at_rest()).then_some(at.wall);
    }

    /// See [`crate::group::Group::restart_waits`].
    pub fn restart_waits(&mut self, at: At, settings: &Settings) {
        let mut timers = Timers::default();
        for (until, id, timer) in self.timers.in_order() {
            let whole = match (timer, self.members.get(id)) {
                (Timer::Session, Some(member)) => member.session_timeout(settings),
                (Timer::Revocation | Timer::Join | Timer::Sync, Some(member)) => member.rebalance_timeout(),
                (Timer::Patterns, _) | (_, None) => Duration::ZERO,
            };
            timers.arm(id, timer, until.max(at.moment + whole));
        }
        self.timers = Arc::new(timers);
    }

    pub fn next_deadline(&self) -> Option<Moment> {
        self.timers.first().map(|(moment, _, _)| moment)
    }

    /// `Empty`, `Assigning`, `Reconciling` or `Stable`.
    pub fn state(&self) -> &'static str {
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch > self.target_epoch {
            "Assigning"
        } else if self.index.settled < self.members.len() {
            "Reconciling"
        } else {
            "Stable"
        }
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    pub fn members(&self) -> impl Iterator<Item = (&str, &Member)> {
        self.members.iter().map(|(id, member)| (id.as_str(), &**member))
    }

    /// Whether a member names the topic, or a member's pattern matches it.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        self.index.topics.contains_key(topic)
    }

    /// In order of their names.
    pub fn subscribed_topics(&self) -> impl Iterator<Item = &str> {
        self.index.topics.keys().map(String::as_str)
    }

    /// The member that holds the partition.
    pub fn owner(&self, topic: TopicId, partition: i32) -> Option<&str> {
        self.index.owners.get(&topic)?.get(&partition).map(|owner| &**owner)
    }

    /// The assignor with most votes, the default without any; among equals the first by name.
    pub fn assignor(&self) -> &str {
        preferred(&self.index.assignors)
    }

    /// Everything is where the newest targets want it.
    pub(super) fn at_rest(&self) -> bool {
        self.epoch <= self.target_epoch && self.index.settled == self.members.len()
    }

    pub(super) fn static_member(&self, instance: &str) -> Option<(&str, &Member)> {
        let id = self.index.instances.get(instance)?;
        let (id, member) = self.members.get_key_value(id)?;
        Some((id, &**member))
    }

    /// The records that remove the group and everything in it, as Kafka orders them.
    pub fn tombstones(&self, group: &str) -> Vec<Record> {
        let mut records = Vec::new();
        let name = || group.to_owned();
        for member in self.members.keys() {
            records.push(Record::ConsumerCurrent {
                group: name(),
                member: member.clone(),
                value: None,
            });
        }
        let targeted: BTreeSet<&String> = self.members.keys().chain(self.targets.keys()).collect();
        for member in targeted {
            records.push(Record::ConsumerTarget {
                group: name(),
                member: member.clone(),
                value: None,
            });
        }
        records.push(Record::ConsumerTargetEpoch {
            group: name(),
            value: None,
        });
        for member in self.members.keys() {
            records.push(Record::ConsumerMember {
                group: name(),
                member: member.clone(),
                value: None,
            });
        }
        for regex in self.patterns.keys() {
            records.push(Record::ConsumerRegex {
                group: name(),
                regex: regex.clone(),
                value: None,
            });
        }
        records.push(Record::ConsumerGroup {
            group: name(),
            value: None,
        });
        records
    }

    /// What must hold after every change of a live group.
    pub fn validate(&self) -> Result<(), String> {
        let mut again = self.clone();
        again.rebuild_index();
        if again.index != self.index {
            return Err(format!(
                "the index {:?} is not that of the members {:?}",
                self.index, again.index
            ));
        }
        let mut held = BTreeSet::new();
        for (id, member) in &self.members {
            for (topic, partition) in member.held() {
                if !held.insert((topic, partition)) {
                    return Err(format!("{topic:?}-{partition} is held twice, by {id} among others"));
                }
            }
            if member.epoch > self.epoch {
                return Err(format!("{id} is at {}, the group at {}", member.epoch, self.epoch));
            }
            if (member.state == MemberState::Unrevoked) == member.pending.is_empty() {
                return Err(format!(
                    "{id} is {:?} with {:?} to revoke",
                    member.state, member.pending
                ));
            }
        }
        if self.target_epoch > self.epoch {
            return Err(format!("targets of {} in epoch {}", self.target_epoch, self.epoch));
        }
        self.timers.validate()
    }

    pub(super) fn rebuild_index(&mut self) {
        let members = std::mem::take(&mut self.members);
        self.index = Index::default();
        for regex in self.patterns.values() {
            self.index.count_topics(&regex.topics);
        }
        for (id, member) in &members {
            self.index.add(id, member, self.target_epoch);
        }
        self.members = members;
    }
}

/// Most votes win; among equals the first by name.
pub(super) fn preferred(votes: &BTreeMap<String, usize>) -> &str {
    let most = votes.values().max();
    votes
        .iter()
        .find(|(_, count)| Some(*count) == most)
        .map_or(super::assignor::DEFAULT, |(name, _)| name)
}

impl Index {
    pub(super) fn add(&mut self, id: &str, member: &Member, target_epoch: i32) {
        let owner: Arc<str> = Arc::from(id);
        for (topic, partition) in member.held() {
            Arc::make_mut(self.owners.entry(topic).or_default()).insert(partition, owner.clone());
        }
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), id.to_owned());
        }
        self.count_topics(member.subscribed_names.iter());
        if let Some(pattern) = member.pattern() {
            *self.patterns.entry(pattern.to_owned()).or_default() += 1;
        }
        if let Some(assignor) = &member.server_assignor {
            *self.assignors.entry(assignor.clone()).or_default() += 1;
        }
        if let Some(classic) = &member.classic {
            self.classic_members += 1;
            for (protocol, _) in &classic.protocols {
                *self.protocols.entry(protocol.clone()).or_default() += 1;
            }
        }
        self.settled += usize::from(member.is_settled(target_epoch));
    }

    pub(super) fn remove(&mut self, id: &str, member: &Member, target_epoch: i32) {
        for (topic, partition) in member.held() {
            if let Some(owners) = self.owners.get_mut(&topic) {
                let owners = Arc::make_mut(owners);
                if owners.get(&partition).is_some_and(|owner| **owner == *id) {
                    owners.remove(&partition);
                }
                if owners.is_empty() {
                    self.owners.remove(&topic);
                }
            }
        }
        if let Some(instance) = &member.instance
            && self.instances.get(instance).is_some_and(|owner| owner == id)
        {
            self.instances.remove(instance);
        }
        self.discount_topics(member.subscribed_names.iter());
        if let Some(pattern) = member.pattern() {
            discount(&mut self.patterns, pattern);
        }
        if let Some(assignor) = &member.server_assignor {
            discount(&mut self.assignors, assignor);
        }
        if let Some(classic) = &member.classic {
            self.classic_members -= 1;
            for (protocol, _) in &classic.protocols {
                discount(&mut self.protocols, protocol);
            }
        }
        self.settled -= usize::from(member.is_settled(target_epoch));
    }

    pub(super) fn count_topics<'a>(&mut self, topics: impl IntoIterator<Item = &'a String>) {
        let counts = Arc::make_mut(&mut self.topics);
        for topic in topics {
            *counts.entry(topic.clone()).or_default() += 1;
        }
    }

    pub(super) fn discount_topics<'a>(&mut self, topics: impl IntoIterator<Item = &'a String>) {
        let counts = Arc::make_mut(&mut self.topics);
        for topic in topics {
            discount(counts, topic);
        }
    }
}

fn discount(counts: &mut BTreeMap<String, usize>, key: &str) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Timers {
    pub(super) fn arm(&mut self, member: &str, timer: Timer, until: Moment) {
        if let Some(former) = self.by_member.insert((member.to_owned(), timer), until) {
            self.in_order.remove(&(former, member.to_owned(), timer));
        }
        self.in_order.insert((until, member.to_owned(), timer));
    }

    pub(super) fn disarm(&mut self, member: &str, timer: Timer) {
        let key = (member.to_owned(), timer);
        if let Some(former) = self.by_member.remove(&key) {
            self.in_order.remove(&(former, key.0, timer));
        }
    }

    pub(super) fn forget(&mut self, member: &str) {
        for timer in [Timer::Session, Timer::Revocation, Timer::Join, Timer::Sync] {
            self.disarm(member, timer);
        }
    }

    pub(super) fn armed(&self, member: &str, timer: Timer) -> bool {
        self.by_member.contains_key(&(member.to_owned(), timer))
    }

    pub(super) fn first(&self) -> Option<(Moment, &str, Timer)> {
        let (moment, member, timer) = self.in_order.first()?;
        Some((*moment, member, *timer))
    }

    /// In the order in which they run out.
    pub(super) fn in_order(&self) -> impl Iterator<Item = (Moment, &str, Timer)> {
        let all = self.in_order.iter();
        all.map(|(moment, member, timer)| (*moment, member.as_str(), *timer))
    }

    fn validate(&self) -> Result<(), String> {
        let there = |((member, timer), until): (&(String, Timer), &Moment)| {
            self.in_order.contains(&(*until, member.clone(), *timer))
        };
        if self.by_member.len() != self.in_order.len() || !self.by_member.iter().all(there) {
            return Err(format!("the timers differ: {self:?}"));
        }
        Ok(())
    }
}
