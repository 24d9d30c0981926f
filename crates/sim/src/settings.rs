//! Settings of the topic that change while it is written, and which faults a seed may still take after that.
//!
//! What a promise is worth depends on the settings in force when a record was committed: with a minimum of one it
//! lies on one disk, at the level `replicated` in one machine's memory. A fault that nobody could survive proves
//! nothing, so those are left out, and only those.

use klamm_schema::metadata::Cause;
use klamm_types::Offset;

use crate::controller::PARTITION;
use crate::plan::BROKERS;
use crate::world::World;

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

impl World {
    /// Somebody changes one of the settings that may change in this seed.
    pub fn change_setting(&mut self) {
        if self.plan.changes.is_empty() || self.controller_silent {
            return;
        }
        let chosen = self.chance.below(self.plan.changes.len() as u64) as usize;
        let (name, value) = match self.plan.changes[chosen] {
            Change::Minimum => ("min.insync.replicas", self.chance.between(1, 3).to_string()),
            Change::Durability => {
                let level = if self.chance.per_mille(500) {
                    "fsync"
                } else {
                    "replicated"
                };
                ("klamm.durability", level.to_owned())
            }
            Change::Unclean => ("unclean.leader.election.enable", self.chance.per_mille(500).to_string()),
        };
        self.set_topic(name, &value);
    }

    fn set_topic(&mut self, name: &str, value: &str) {
        let before = self.controller.entries_count();
        let changed = self.controller.alter_setting(name, value);
        self.hold(changed);
        if self.controller.entries_count() > before {
            self.counts.setting_changes += 1;
            self.say(format_args!("controller"), format_args!("sets {name} to {value}"));
        }
    }

    /// For the end: with these settings everything can become whole.
    pub fn settle_settings(&mut self) {
        if self.plan.changes.contains(&Change::Minimum) {
            self.set_topic("min.insync.replicas", "2");
        }
        if self.plan.changes.contains(&Change::Unclean) {
            // Whoever was elected without holding everything may have lost even that: then an operator must decide.
            self.set_topic("unclean.leader.election.enable", "true");
        }
    }

    /// Whether a broker holds committed records that its machine's death may take.
    pub fn holds_unflushed(&self, broker: usize) -> bool {
        self.brokers[broker].flushed < self.checker.committed_end()
    }

    /// Whether everything committed outlives the loss of these machines' memory: they have flushed it, or another
    /// replica that may be elected holds it and runs.
    pub fn survives_power_cut(&self, victims: &[usize]) -> bool {
        let Some(state) = self.controller.image().partition(self.controller.topic(), PARTITION) else {
            return false;
        };
        let committed = self.checker.committed_end();
        let counts = |index: &usize| {
            let node = self.brokers[*index].node;
            state.isr.contains(&node) || state.elr.contains(&node)
        };
        let runs = |index: &usize| {
            let process = self.brokers[*index].process.as_ref();
            let end = process.map_or(Offset(-1), |process| process.log.log_end_offset());
            !victims.contains(index) && end >= committed
        };
        // Whoever is a victim may be on the way into the ISR: the request may be under way.
        victims.iter().all(|&index| !self.holds_unflushed(index))
            || !self.controller_silent && (0..BROKERS).filter(counts).any(|index| runs(&index))
    }

    /// An unclean election has taken place: what was committed before may be gone, by permission.
    pub fn has_lost_by_permission(&self) -> bool {
        self.controller.elections_with(Cause::UncleanElection) > 0
    }
}
