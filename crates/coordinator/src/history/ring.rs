//! Which slot an entry takes. Knows when entries were written, not what they say.
//!
//! ```text
//!  new ── replay* ── serving: append, outdated …
//! ```

use std::collections::{BTreeMap, BTreeSet};

use ::bytes::Bytes;
use klamm_types::Timestamp;

use super::Entry;
use super::bytes::{Numbered, Unreadable, key, read_key};

/// The slots of the groups that one coordinator writes for. Loaded from the topic, then ahead of it.
#[derive(Clone, Debug)]
pub struct History {
    /// How many entries a group keeps.
    slots: u32,
    groups: BTreeMap<String, Slots>,
}

/// By slot: the entry's number and when it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Slots {
    taken: BTreeMap<u32, (u64, Timestamp)>,
}

impl History {
    /// `slots` is how many entries each group keeps; at least one.
    pub fn new(slots: u32) -> History {
        History {
            slots: slots.max(1),
            groups: BTreeMap::new(),
        }
    }

    /// Loading: a record of the topic, in the order of the log.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Unreadable> {
        match value {
            Some(value) => {
                let read = Numbered::from_bytes(key, value)?;
                let slots = self.groups.entry(read.entry.group).or_default();
                slots.taken.insert(read.slot, (read.number, read.entry.at));
            }
            None => {
                let (slot, group) = read_key(key).ok_or(Unreadable::Key)?;
                self.free(&group, slot);
            }
        }
        Ok(())
    }

    /// The record of a new entry. It takes the slot of the group's oldest one if all are taken.
    pub fn append(&mut self, entry: &Entry) -> (Bytes, Bytes) {
        let slots = self.groups.entry(entry.group.clone()).or_default();
        let last = slots.taken.values().map(|(number, _)| *number).max();
        let number = last.map_or(0, |last| last.saturating_add(1));
        let slot = u32::try_from(number % u64::from(self.slots)).expect("the rest is less than a number of 32 bits");
        slots.taken.insert(slot, (number, entry.at));
        let numbered = Numbered {
            number,
            slot,
            entry: entry.clone(),
        };
        numbered.to_bytes()
    }

    /// The keys of at most `limit` entries that have had their time, which are free from now on: those written before
    /// `oldest`, and those of slots that are no more, because groups keep fewer entries than they did. A tombstone
    /// belongs to each.
    pub fn outdated(&mut self, oldest: Timestamp, limit: usize) -> Vec<Bytes> {
        let slots = self.slots;
        let over = self.groups.iter().flat_map(|(group, of_group)| {
            let taken = of_group.taken.iter();
            let over = taken.filter(move |(slot, (_, at))| **slot >= slots || *at < oldest);
            over.map(move |(slot, _)| (group.clone(), *slot))
        });
        let over: BTreeSet<(String, u32)> = over.take(limit).collect();
        for (group, slot) in &over {
            self.free(group, *slot);
        }
        over.iter().map(|(group, slot)| key(group, *slot)).collect()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.groups.values().map(|slots| slots.taken.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    fn free(&mut self, group: &str, slot: u32) {
        if let Some(slots) = self.groups.get_mut(group) {
            slots.taken.remove(&slot);
            if slots.taken.is_empty() {
                self.groups.remove(group);
            }
        }
    }
}
