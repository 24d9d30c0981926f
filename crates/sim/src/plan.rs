//! What one seed is about: settings, clients and how bad the weather is. Everything follows from the seed.

use std::time::Duration;

use klamm_replication::Durability;

use crate::chance::Chance;
use crate::settings::Change;

/// Microseconds of simulated time.
pub type Time = u64;
pub const MS: Time = 1000;

pub const BROKERS: usize = 3;

/// What is the same for all seeds of a run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Steps of brokers before the healing begins.
    pub steps: u64,
    pub durability_changes: Switch,
    /// A known bug that the cores commit.
    #[cfg(feature = "planted-bugs")]
    pub bug: Option<klamm_types::planted::Bug>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            steps: 2500,
            durability_changes: Switch::On,
            #[cfg(feature = "planted-bugs")]
            bug: None,
        }
    }
}

impl Options {
    fn allows(&self, change: Change) -> bool {
        change != Change::Durability || self.durability_changes == Switch::On
    }
}

/// Whether a kind of event happens at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    On,
    Off,
}

/// One seed's settings.
#[derive(Clone, Debug)]
pub struct Plan {
    pub durability: Durability,
    pub min_insync_replicas: usize,
    pub lag_time_max: Duration,
    pub producers: usize,
    pub readers: usize,
    /// Mean time between two faults.
    pub fault_interval: Time,
    pub session_timeout: Time,
    /// How many connections in a thousand are slow.
    pub slow_connections: u64,
    /// What of the topic's settings changes while it is written.
    pub changes: Vec<Change>,
    /// Disks that may still be lost for good: one copy of a committed record must remain.
    pub disk_losses_max: u32,
}

impl Plan {
    pub fn draw(chance: &mut Chance, options: &Options) -> Plan {
        let durability = match chance.below(4) {
            0 => Durability::Replicated,
            _ => Durability::Fsync,
        };
        let min_insync_replicas = if chance.below(5) == 0 { 1 } else { 2 };
        let changes: Vec<Change> = [
            (Change::Minimum, 300),
            (Change::Durability, 300),
            (Change::Unclean, 150),
        ]
        .into_iter()
        .filter(|&(change, per_mille)| chance.per_mille(per_mille) && options.allows(change))
        .map(|(change, _)| change)
        .collect();
        let one_copy_to_spare = min_insync_replicas > 1;
        let is_fixed = changes.is_empty();
        Plan {
            durability,
            min_insync_replicas,
            lag_time_max: Duration::from_millis(chance.between(150, 500)),
            producers: chance.between(2, 4) as usize,
            readers: 2,
            fault_interval: chance.between(15, 80) * MS,
            session_timeout: chance.between(150, 400) * MS,
            disk_losses_max: match durability {
                Durability::Fsync if is_fixed || changes == [Change::Unclean] => u32::from(one_copy_to_spare),
                Durability::Fsync | Durability::Replicated => 0,
            },
            slow_connections: [0, 80, 80, 400][chance.below(4) as usize],
            changes,
        }
    }
}

impl Plan {
    /// Whether a machine's death may take something that nobody else holds, so that each is judged before it happens.
    pub fn judges_power_cuts(&self) -> bool {
        self.durability == Durability::Replicated || !self.changes.is_empty()
    }
}
