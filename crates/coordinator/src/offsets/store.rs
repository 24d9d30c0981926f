//! The offsets of a shard.
//!
//! Beside the offsets it keeps which groups have offsets of which topic, so that a deleted topic is found without a
//! look at every offset.

use std::collections::BTreeMap;

use klamm_types::TopicId;

use super::pending::Pending;
use crate::change::Change;
use crate::record::{Committed, Record};
use crate::topics::Topics;

/// By topic and partition.
pub type ByTopic = BTreeMap<String, BTreeMap<i32, Committed>>;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    groups: BTreeMap<String, ByTopic>,
    /// How many offsets of a topic each group has. The topic's id belongs to its name: a topic that was deleted and
    /// made again is another.
    users: BTreeMap<(String, TopicId), BTreeMap<String, usize>>,
    pending: Pending,
    count: usize,
}

impl Offsets {
    /// Carries a change out; only records of offsets mean something here.
    pub fn apply(&mut self, change: &Change) {
        let Change::Record(Record::Offset {
            group,
            topic,
            partition,
            value,
        }) = change
        else {
            return;
        };
        match value {
            Some(committed) => self.put(group, topic, *partition, committed.clone()),
            None => self.remove(group, topic, *partition),
        }
    }

    pub fn get(&self, group: &str, topic: &str, partition: i32) -> Option<&Committed> {
        self.groups.get(group)?.get(topic)?.get(&partition)
    }

    /// All offsets of a group, in order.
    pub fn of_group(&self, group: &str) -> impl Iterator<Item = (&str, i32, &Committed)> {
        self.groups
            .get(group)
            .into_iter()
            .flatten()
            .flat_map(|(topic, offsets)| {
                offsets
                    .iter()
                    .map(move |(partition, committed)| (topic.as_str(), *partition, committed))
            })
    }

    /// The offsets of a group by topic; `None` if it has none.
    pub fn by_topic(&self, group: &str) -> Option<&ByTopic> {
        self.groups.get(group)
    }

    /// Whether the group has committed anything, or is about to in a transaction.
    pub fn has_group(&self, group: &str) -> bool {
        self.groups.contains_key(group) || self.pending.has_group(group)
    }

    /// The groups with offsets, in order.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(String::as_str)
    }

    /// How many offsets there are.
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Offsets of transactions that have not ended.
    pub fn pending(&self) -> &Pending {
        &self.pending
    }

    pub fn pending_mut(&mut self) -> &mut Pending {
        &mut self.pending
    }

    /// Whether there are offsets of topics that are gone.
    pub fn has_deleted_topics(&self, topics: &Topics) -> bool {
        self.users.keys().any(|(name, id)| is_deleted(topics, name, *id))
    }

    /// Group, topic and partition of offsets whose topic is gone.
    pub fn of_deleted_topics<'a>(&'a self, topics: &'a Topics) -> impl Iterator<Item = (&'a str, &'a str, i32)> {
        let gone = self
            .users
            .iter()
            .filter(|((name, id), _)| is_deleted(topics, name, *id));
        gone.flat_map(move |(key, groups)| groups.keys().flat_map(move |group| self.of_topic(group, key)))
    }

    /// The offsets that a group has of one topic.
    fn of_topic<'a>(
        &'a self,
        group: &'a str,
        (name, id): &'a (String, TopicId),
    ) -> impl Iterator<Item = (&'a str, &'a str, i32)> {
        let offsets = self.groups.get(group).and_then(|topics| topics.get(name));
        let offsets = offsets
            .into_iter()
            .flatten()
            .filter(|(_, committed)| committed.topic_id == *id);
        offsets.map(move |(partition, _)| (group, name.as_str(), *partition))
    }

    /// What must hold after every change.
    pub fn validate(&self) -> Result<(), String> {
        let mut again = Offsets::default();
        for (group, topics) in &self.groups {
            if topics.is_empty() || topics.values().any(BTreeMap::is_empty) {
                return Err(format!("{group}: an empty map of offsets is kept"));
            }
            for (topic, offsets) in topics {
                for (&partition, committed) in offsets {
                    again.put(group, topic, partition, committed.clone());
                }
            }
        }
        if (&again.users, again.count) != (&self.users, self.count) {
            return Err("the users of topics are not those that have offsets".to_owned());
        }
        Ok(())
    }

    fn put(&mut self, group: &str, topic: &str, partition: i32, committed: Committed) {
        let id = committed.topic_id;
        let topics = entry(&mut self.groups, group);
        let former = entry(topics, topic).insert(partition, committed);
        if former.as_ref().is_some_and(|former| former.topic_id == id) {
            return;
        }
        match former {
            Some(former) => self.forget_user(group, topic, former.topic_id),
            None => self.count += 1,
        }
        let users = self.users.entry((topic.to_owned(), id)).or_default();
        *entry(users, group) += 1;
    }

    fn remove(&mut self, group: &str, topic: &str, partition: i32) {
        // A tombstone is the last word, over what a transaction may still bring, too.
        self.pending.forget(group, topic, partition);
        let Some(topics) = self.groups.get_mut(group) else {
            return;
        };
        let Some(former) = topics.get_mut(topic).and_then(|offsets| offsets.remove(&partition)) else {
            return;
        };
        if topics.get(topic).is_some_and(BTreeMap::is_empty) {
            topics.remove(topic);
        }
        if topics.is_empty() {
            self.groups.remove(group);
        }
        self.count -= 1;
        self.forget_user(group, topic, former.topic_id);
    }

    fn forget_user(&mut self, group: &str, topic: &str, id: TopicId) {
        let key = (topic.to_owned(), id);
        let Some(groups) = self.users.get_mut(&key) else {
            return;
        };
        if let Some(count) = groups.get_mut(group) {
            *count -= 1;
            if *count == 0 {
                groups.remove(group);
            }
        }
        if groups.is_empty() {
            self.users.remove(&key);
        }
    }
}

/// A topic is gone if its name is, or if the name is another topic's now. Offsets without an id go by the name alone.
///
/// An offset in the log was accepted by a coordinator of this partition whose view of the topics was older than the
/// change of leader that ended it, and this coordinator's view is not older than that: so a topic that it does not
/// know was deleted, and not made a moment ago.
fn is_deleted(topics: &Topics, name: &str, id: TopicId) -> bool {
    match topics.by_name(name) {
        Some(topic) => id != TopicId::ZERO && topic.id != id,
        None => true,
    }
}

/// The entry of a name, which is copied only if it is new.
fn entry<'a, V: Default>(map: &'a mut BTreeMap<String, V>, name: &str) -> &'a mut V {
    if !map.contains_key(name) {
        map.insert(name.to_owned(), V::default());
    }
    map.get_mut(name).expect("it was inserted above")
}
