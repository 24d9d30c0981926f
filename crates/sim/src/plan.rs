//! What one seed is about: settings, clients and how bad the weather is. Everything follows from the seed.

use std::time::Duration;

use klamm_replication::Durability;

use crate::chance::Chance;

/// Microseconds of simulated time.
pub type Time = u64;
pub const MS: Time = 1000;

pub const BROKERS: usize = 3;

/// Bugs of known kinds, put back to see whether they are caught. None of them is in the shipped code: the
/// simulation's own shell commits them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A restarted replica cuts its log at its own high watermark (what KIP-101 cured).
    TruncateByHighWatermark,
    /// A flush is reported as done before it is.
    AckBeforeFlush,
    /// A leader acts on its ISR proposal before the controller has committed it (what KIP-497 cured).
    CountProposedAway,
    /// The controller takes ISR changes without looking at the epochs they rest on (what KIP-497 and KIP-903 cured).
    AcceptStaleEpoch,
    /// A leader accepts every subscription without comparing the logs.
    SkipDivergenceCheck,
}

impl Plant {
    pub const ALL: [Plant; 5] = [
        Plant::TruncateByHighWatermark,
        Plant::AckBeforeFlush,
        Plant::CountProposedAway,
        Plant::AcceptStaleEpoch,
        Plant::SkipDivergenceCheck,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Plant::TruncateByHighWatermark => "truncate-by-high-watermark",
            Plant::AckBeforeFlush => "ack-before-flush",
            Plant::CountProposedAway => "count-proposed-away",
            Plant::AcceptStaleEpoch => "accept-stale-epoch",
            Plant::SkipDivergenceCheck => "skip-divergence-check",
        }
    }

    pub fn from_name(name: &str) -> Option<Plant> {
        Plant::ALL.into_iter().find(|plant| plant.name() == name)
    }
}

/// What is the same for all seeds of a run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Steps of brokers before the healing begins.
    pub steps: u64,
    pub plant: Option<Plant>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            steps: 2500,
            plant: None,
        }
    }
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
    /// Power cuts that may still happen: at the weaker level only one is survivable for certain.
    pub power_cuts_max: u32,
    /// Disks that may still be lost for good: one copy of a committed record must remain.
    pub disk_losses_max: u32,
}

impl Plan {
    pub fn draw(chance: &mut Chance) -> Plan {
        let durability = match chance.below(5) {
            0 => Durability::Replicated,
            _ => Durability::Fsync,
        };
        let min_insync_replicas = if chance.below(5) == 0 { 1 } else { 2 };
        let one_copy_to_spare = min_insync_replicas > 1;
        Plan {
            durability,
            min_insync_replicas,
            lag_time_max: Duration::from_millis(chance.between(150, 500)),
            producers: chance.between(2, 4) as usize,
            readers: 2,
            fault_interval: chance.between(15, 80) * MS,
            session_timeout: chance.between(150, 400) * MS,
            power_cuts_max: match durability {
                Durability::Fsync => u32::MAX,
                Durability::Replicated => u32::from(one_copy_to_spare),
            },
            disk_losses_max: match durability {
                Durability::Fsync => u32::from(one_copy_to_spare),
                Durability::Replicated => 0,
            },
        }
    }
}
