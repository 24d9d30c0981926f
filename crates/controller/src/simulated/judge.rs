//! What must hold of the quorum, looked at after every tick.
//!
//! * Every controller applies a prefix of one sequence of entries, without a hole; images at one index are equal.
//! * A leadership (term and Raft id) belongs to one life of one process.
//! * What was answered has one place in the sequence, after everything that had been answered when it was asked.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use klamm_schema::metadata::MetadataBatch;
use klamm_schema::metadata::metadata_record::Record;
use klamm_types::{Incarnation, NodeId};
use prost::Message;

use super::history::{History, Kind};
use super::node::Shown;
use super::timeline::Timeline;
use crate::raft::Next;
use crate::raft::types::{RaftId, StoreId};

#[derive(Default)]
pub struct Judge {
    /// Term and records of every applied entry.
    entries: BTreeMap<u64, (u64, Bytes)>,
    /// The image after an entry, as one number; for some entries.
    images: BTreeMap<u64, u64>,
    leaders: BTreeMap<(u64, RaftId), (NodeId, u64)>,
    /// The life of each node and what it has applied.
    positions: BTreeMap<NodeId, (u64, u64)>,
    /// The furthest that each store has come in any life.
    furthest: BTreeMap<StoreId, u64>,
    /// Where each registration stands.
    places: BTreeMap<Incarnation, Vec<u64>>,
    pub snapshots_installed: u64,
    timeline: Timeline,
}

impl Judge {
    pub fn new(timeline: Timeline) -> Judge {
        Judge {
            timeline,
            ..Judge::default()
        }
    }

    pub fn leaderships(&self) -> usize {
        self.leaders.len()
    }

    pub fn applied(&self, id: NodeId) -> u64 {
        self.positions.get(&id).map_or(0, |(_, index)| *index)
    }

    pub fn look(&mut self, id: NodeId, shown: &Shown) -> Result<(), String> {
        let Some(controller) = &shown.controller else {
            return Ok(());
        };
        self.look_at_leadership(id, shown)?;
        let store_id = controller.node.stored().store_id;
        let known = self.positions.get(&id).copied();
        let (life, mut position) = known.unwrap_or_default();
        if life != shown.life {
            position = 0;
        }
        let before = position;
        match controller.node.feed.after(position, usize::MAX) {
            Next::Nothing => {}
            Next::Snapshot(image) => {
                position = image.applied_index();
                // The own one is read when a process starts, and brings nothing new.
                if position > self.furthest.get(&store_id).copied().unwrap_or(0) {
                    self.snapshots_installed += 1;
                    self.timeline.say(format!("{id} took a snapshot of entry {position}"));
                }
            }
            Next::Entries(entries) => {
                for entry in entries {
                    if entry.index != position + 1 {
                        return Err(format!("{id} applied entry {} after entry {position}", entry.index));
                    }
                    position = entry.index;
                    self.applied_one(id, entry.index, entry.term, entry.batch)?;
                }
            }
        }
        self.positions.insert(id, (shown.life, position));
        let furthest = self.furthest.entry(store_id).or_default();
        *furthest = position.max(*furthest);
        if position != before && position.is_multiple_of(32) {
            self.compare_images(id, controller)?;
        }
        Ok(())
    }

    fn applied_one(&mut self, id: NodeId, index: u64, term: u64, batch: Bytes) -> Result<(), String> {
        if let Some(first) = self.entries.get(&index) {
            return match *first == (term, batch) {
                true => Ok(()),
                false => Err(format!("{id} applied another entry {index} than another controller")),
            };
        }
        let due = self.entries.last_key_value().map_or(1, |(last, _)| last + 1);
        if index != due {
            return Err(format!("{id} applied entry {index}; nobody applied entry {due}"));
        }
        let decoded = MetadataBatch::decode(batch.clone()).map_err(|error| error.to_string())?;
        for record in decoded.records {
            if let Some(Record::RegisterBroker(registration)) = record.record
                && let Some(incarnation) = Incarnation::from_slice(&registration.incarnation)
            {
                self.places.entry(incarnation).or_default().push(index);
            }
        }
        self.entries.insert(index, (term, batch));
        Ok(())
    }

    fn compare_images(&mut self, id: NodeId, controller: &crate::Controller) -> Result<(), String> {
        let image = controller.image();
        let index = image.applied_index();
        let mut hasher = DefaultHasher::new();
        for part in image.to_snapshot() {
            part.encode_to_vec().hash(&mut hasher);
        }
        let number = hasher.finish();
        match *self.images.entry(index).or_insert(number) == number {
            true => Ok(()),
            false => Err(format!(
                "{id} has another image at entry {index} than another controller"
            )),
        }
    }

    fn look_at_leadership(&mut self, id: NodeId, shown: &Shown) -> Result<(), String> {
        let running = shown
            .controller
            .as_ref()
            .and_then(|controller| controller.node.running());
        let Some(leader) = running.and_then(|running| running.leadership()) else {
            return Ok(());
        };
        let (key, holder) = ((leader.term, leader.node_id), (id, shown.life));
        match self.leaders.get(&key) {
            None => {
                self.timeline.say(format!("{id} leads in term {} as {}", key.0, key.1));
                self.leaders.insert(key, holder);
                Ok(())
            }
            Some(first) if *first == holder => Ok(()),
            Some(first) => Err(format!(
                "{holder:?} leads in term {} as {}, and so did {first:?}",
                key.0, key.1
            )),
        }
    }

    /// At the end: every answered write has its one place.
    pub fn finish(&self, history: &History) -> Result<(), String> {
        for operation in &history.operations {
            let Kind::Write(incarnation) = operation.kind else {
                continue;
            };
            let places = self.places.get(&incarnation).map_or(&[][..], Vec::as_slice);
            match (places, operation.applied) {
                ([], None) => {}
                ([place], applied) => {
                    if *place <= operation.floor || applied.is_some_and(|applied| applied < *place) {
                        return Err(format!("real-time order: {operation:?} stands at entry {place}"));
                    }
                }
                ([], Some(_)) => return Err(format!("{operation:?} was answered, and is lost")),
                (several, _) => return Err(format!("{operation:?} stands at the entries {several:?}")),
            }
        }
        Ok(())
    }
}
