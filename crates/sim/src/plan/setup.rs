//! How the cluster of a seed is set up, and who uses it.

use std::time::Duration;

use klamm_replication::Durability;

use super::{MS, Options, Switch, Time};
use crate::chance::Chance;
use crate::weather::Change;

/// Every partition has so many replicas.
pub const REPLICAS: usize = 3;

/// Settings of one seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    pub brokers: usize,
    /// Of the topic that producers write.
    pub partitions: usize,
    pub durability: Durability,
    pub min_insync_replicas: usize,
    pub lag_time_max: Duration,
    pub producers: usize,
    pub readers: usize,
    /// Groups of consumers; with any, there is a partition of `__consumer_offsets`.
    pub groups: usize,
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

impl Setup {
    pub fn draw(seed: u64, options: &Options) -> Setup {
        let chance = &mut Chance::new(seed);
        let durability = match chance.below(3) {
            0 => Durability::Replicated,
            _ => Durability::Fsync,
        };
        let min_insync_replicas = if chance.below(5) == 0 { 1 } else { 2 };
        let allows = |change| change != Change::Durability || options.durability_changes == Switch::On;
        let changes: Vec<Change> = [
            (Change::Minimum, 300),
            (Change::Durability, 300),
            (Change::Unclean, 150),
        ]
        .into_iter()
        .filter(|&(change, per_mille)| chance.per_mille(per_mille) && allows(change))
        .map(|(change, _)| change)
        .collect();
        let one_copy_to_spare = min_insync_replicas > 1;
        let is_fixed = changes.is_empty() || changes == [Change::Unclean];
        let partitions = chance.between(1, 3) as usize;
        Setup {
            brokers: [3, 3, 3, 4, 5][chance.below(5) as usize],
            partitions,
            durability,
            min_insync_replicas,
            lag_time_max: Duration::from_millis(chance.between(150, 500)),
            producers: partitions + chance.between(1, 2) as usize,
            readers: partitions + 1,
            groups: [0, 1, 1, 2][chance.below(4) as usize],
            fault_interval: chance.between(15, 80) * MS,
            session_timeout: chance.between(150, 400) * MS,
            slow_connections: [0, 80, 80, 400][chance.below(4) as usize],
            disk_losses_max: match durability {
                Durability::Fsync if is_fixed => u32::from(one_copy_to_spare),
                Durability::Fsync | Durability::Replicated => 0,
            },
            changes,
        }
    }

    /// With the one of the coordinator.
    pub fn all_partitions(&self) -> usize {
        self.partitions + usize::from(self.groups > 0)
    }

    /// Whether a machine's death may take something that nobody else holds, so that each is judged before it happens. Where
    /// acknowledged has always meant flushed it takes nothing that counts.
    pub fn judges_power_cuts(&self) -> bool {
        self.durability == Durability::Replicated || self.changes.contains(&Change::Durability)
    }

    /// Names and values, as [`Setup::set`] takes them.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let durability = match self.durability {
            Durability::Fsync => "fsync",
            Durability::Replicated => "replicated",
        };
        let changes: Vec<&str> = self.changes.iter().map(|change| change.name()).collect();
        let changes = if changes.is_empty() {
            "none".to_owned()
        } else {
            changes.join(",")
        };
        vec![
            ("brokers", self.brokers.to_string()),
            ("partitions", self.partitions.to_string()),
            ("durability", durability.to_owned()),
            ("min-insync-replicas", self.min_insync_replicas.to_string()),
            ("lag-time-max-ms", self.lag_time_max.as_millis().to_string()),
            ("producers", self.producers.to_string()),
            ("readers", self.readers.to_string()),
            ("groups", self.groups.to_string()),
            ("fault-interval-ms", (self.fault_interval / MS).to_string()),
            ("session-timeout-ms", (self.session_timeout / MS).to_string()),
            ("slow-connections", self.slow_connections.to_string()),
            ("changes", changes),
            ("disk-losses-max", self.disk_losses_max.to_string()),
        ]
    }

    /// # Errors
    /// There is no such setting, or no such value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number = || value.parse::<u64>().map_err(|error| format!("{name} {value}: {error}"));
        match name {
            "brokers" => self.brokers = number()? as usize,
            "partitions" => self.partitions = number()? as usize,
            "min-insync-replicas" => self.min_insync_replicas = number()? as usize,
            "lag-time-max-ms" => self.lag_time_max = Duration::from_millis(number()?),
            "producers" => self.producers = number()? as usize,
            "readers" => self.readers = number()? as usize,
            "groups" => self.groups = number()? as usize,
            "fault-interval-ms" => self.fault_interval = number()? * MS,
            "session-timeout-ms" => self.session_timeout = number()? * MS,
            "slow-connections" => self.slow_connections = number()?,
            "disk-losses-max" => self.disk_losses_max = number()? as u32,
            "durability" => {
                self.durability = match value {
                    "fsync" => Durability::Fsync,
                    "replicated" => Durability::Replicated,
                    _ => return Err(format!("there is no durability {value}")),
                }
            }
            "changes" if value == "none" => self.changes.clear(),
            "changes" => {
                let changes = value.split(',').map(Change::from_name).collect::<Option<_>>();
                self.changes = changes.ok_or_else(|| format!("not all of {value} are changes"))?;
            }
            _ => return Err(format!("there is no setting {name}")),
        }
        Ok(())
    }
}
