//! Settings of the topic that change while it is written, and which faults a seed may still take after that.
//!
//! What a promise is worth depends on the settings in force when a record was committed: with a minimum of one it
//! lies on one disk, at the level `replicated` in one machine's memory. A fault that nobody could survive proves
//! nothing, so those are left out, and only those.

use klamm_metadata::image::Resource;
use klamm_types::Offset;

use crate::chance::Chance;
use crate::metadata::{BEAT, TOPIC, set_topic};
use crate::plan::MS;
use crate::world::{CONTROLLER, World};

/// A kind of change to the topic's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// `min.insync.replicas`, up and down.
    Minimum,
    /// `klamm.durability`, between its two levels.
    Durability,
    /// `unclean.leader.election.enable`. Once an election was unclean, records may be missing.
    Unclean,
}

impl Change {
    const ALL: [Change; 3] = [Change::Minimum, Change::Durability, Change::Unclean];

    pub fn name(self) -> &'static str {
        match self {
            Change::Minimum => "minimum",
            Change::Durability => "durability",
            Change::Unclean => "unclean",
        }
    }

    pub fn from_name(name: &str) -> Option<Change> {
        Change::ALL.into_iter().find(|change| change.name() == name)
    }
}

impl World {
    /// Somebody changes one of the settings that may change in this seed.
    pub(super) fn change_setting(&mut self, chance: &mut Chance) {
        let changes = &self.plan.setup.changes;
        if changes.is_empty() || self.controller_silent() {
            return;
        }
        let chosen = changes[chance.below(changes.len() as u64) as usize];
        let (name, value) = match chosen {
            Change::Minimum => ("min.insync.replicas", chance.between(1, 3).to_string()),
            Change::Durability => {
                let level = ["fsync", "replicated"][chance.below(2) as usize];
                ("klamm.durability", level.to_owned())
            }
            Change::Unclean => ("unclean.leader.election.enable", chance.per_mille(500).to_string()),
        };
        self.set_topic(name, &value);
    }

    fn set_topic(&mut self, name: &str, value: &str) {
        let resource = Resource::Topic(TOPIC.into());
        if self.controller.image().config(&resource, name) != Some(value) {
            self.counts.setting_changes += 1;
            self.say(format_args!("somebody"), format_args!("sets {name} to {value}"));
            self.ask_as_person(set_topic(TOPIC, name, value));
        }
    }

    /// For the end: with these settings everything can become whole.
    pub fn settle_settings(&mut self) {
        if self.plan.setup.changes.contains(&Change::Minimum) {
            self.set_topic("min.insync.replicas", "2");
        }
        if self.plan.setup.changes.contains(&Change::Unclean) {
            // Whoever was elected without holding everything may have lost even that: then an operator must decide.
            self.set_topic("unclean.leader.election.enable", "true");
        }
    }

    /// Whether a broker holds records that its machine's death may take: committed ones, or others that will be when its
    /// acknowledgement has arrived.
    pub fn holds_unflushed(&self, broker: usize) -> bool {
        let mut partitions = self.brokers[broker].files.keys();
        partitions.any(|&partition| self.may_lose(broker, partition))
    }

    fn may_lose(&self, broker: usize, partition: usize) -> bool {
        let broker = &self.brokers[broker];
        let own = broker
            .process
            .as_ref()
            .and_then(|process| process.hosted.get(&partition));
        let written = own.map_or(Offset(0), |own| own.log.log_end_offset());
        let due = written.max(self.ledgers[partition].committed_end());
        broker.files.get(&partition).is_some_and(|files| files.flushed < due)
    }

    /// Whether everything committed outlives the loss of these machines' memory: they have flushed it, or another
    /// replica that may be elected holds it and runs.
    pub fn survives_power_cut(&self, victims: &[usize]) -> bool {
        (0..self.ledgers.len()).all(|partition| self.partition_survives(partition, victims))
    }

    /// Whether nothing is under way that takes a broker out of an ISR.
    pub(super) fn is_safe(&self, index: usize) -> bool {
        let broker = &self.brokers[index];
        // A broker whose heartbeats were lost for a while may be fenced the next moment.
        let is_fresh = self.now <= self.heard_at[index] + 3 * BEAT;
        let is_heard = self.is_link_up(index, CONTROLLER) && self.sessions[index].is_some() && is_fresh;
        let is_trusted = self.now >= self.held_until[index] + 40 * MS;
        broker.acts() && is_heard && is_trusted && self.controller.image().is_alive(broker.node)
    }

    fn partition_survives(&self, partition: usize, victims: &[usize]) -> bool {
        let Some(state) = self.controller.state(partition) else {
            return false;
        };
        // Whoever is a victim may be on the way into the ISR: the request may be under way.
        if !victims.iter().any(|&victim| self.may_lose(victim, partition)) {
            return true;
        }
        let committed = self.ledgers[partition].committed_end();
        let runs = |index: usize| {
            let process = self.brokers[index].process.as_ref();
            let own = process.and_then(|process| process.hosted.get(&partition));
            let end = own.map_or(Offset(-1), |own| own.log.log_end_offset());
            !victims.contains(&index) && self.is_safe(index) && end >= committed
        };
        let counts = state
            .isr
            .iter()
            .chain(&state.elr)
            .filter_map(|&node| self.broker_index(node));
        !self.controller_silent() && counts.into_iter().any(runs)
    }
}
