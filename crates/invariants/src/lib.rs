//! What a cluster promises, one file for each promise: its number and name, what it means, and how it is held against
//! what was seen.
//!
//! A check compares what it is told now with what it was told before. It asks nobody whether that is right, so the code
//! under test cannot talk its way out. Whoever watches a cluster (the simulation, a test with faults, a debug assertion)
//! makes a value per partition, group or cluster and tells it what happens. It does no I/O and knows no log and no wire.

mod committed_offsets_kept;
mod core_orderings;
mod front_kept;
mod group_ownership;
mod high_watermark_monotonic;
mod isr_superset;
mod leader_completeness;
mod log_matching;
mod no_acknowledged_loss;
mod no_duplicate;
mod no_false_alarm;
mod offsets_never_skipped;
mod one_batch_per_place;
mod order;
mod permitted_elections;
mod progress;
mod read_consistency;
mod single_leader_per_epoch;
#[cfg(test)]
mod tests;

pub use committed_offsets_kept::{CommittedOffsetsKept, Committer};
pub use core_orderings::core_orderings;
pub use front_kept::FrontKept;
pub use group_ownership::GroupOwnership;
pub use high_watermark_monotonic::HighWatermarkMonotonic;
pub use isr_superset::{Held, isr_superset};
pub use leader_completeness::LeaderCompleteness;
pub use log_matching::{LogMatching, Seen};
pub use no_acknowledged_loss::no_acknowledged_loss;
pub use no_duplicate::{NoDuplicate, Stamp};
pub use no_false_alarm::no_false_alarm;
pub use offsets_never_skipped::OffsetsNeverSkipped;
pub use one_batch_per_place::OneBatchPerPlace;
pub use order::Order;
pub use permitted_elections::{Permission, permitted_elections};
pub use progress::progress;
pub use read_consistency::read_consistency;
pub use single_leader_per_epoch::SingleLeaderPerEpoch;

use std::fmt;

use klamm_types::{LeaderEpoch, Offset};

macro_rules! invariants {
    ($($number:literal $variant:ident $name:literal $promise:literal)*) => {
        /// A promise. Its number and its name stay what they are.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Invariant {
            $(#[doc = $promise] $variant = $number,)*
        }

        impl Invariant {
            pub const ALL: &[Invariant] = &[$(Invariant::$variant),*];

            pub fn number(self) -> u8 {
                self as u8
            }

            pub fn name(self) -> &'static str {
                match self {
                    $(Invariant::$variant => $name,)*
                }
            }

            /// The promise in one sentence.
            pub fn promise(self) -> &'static str {
                match self {
                    $(Invariant::$variant => $promise,)*
                }
            }
        }
    };
}

invariants! {
    1 LeaderCompleteness "leader-completeness" "A new leader holds everything committed before its epoch."
    2 LogMatching "log-matching" "Below the high watermark all logs agree, for ever."
    3 HighWatermarkMonotonic "high-watermark-monotonic" "The high watermark never goes back for a client, nor within a leader's epoch."
    4 SingleLeaderPerEpoch "single-leader-per-epoch" "A leader epoch of a partition has one leader."
    5 IsrSuperset "isr-superset" "What is committed is held by every member of the ISR, and by the minimum of them."
    6 NoAcknowledgedLoss "no-acknowledged-loss" "An acknowledged batch is committed at the offset that was told, and stays."
    7 NoDuplicate "no-duplicate" "A batch of an idempotent producer is committed once."
    8 Order "order" "The batches of an idempotent producer are committed in its order, none left out."
    9 ReadConsistency "read-consistency" "A reader gets what is committed, and nothing else."
    10 GroupOwnership "group-ownership" "Per generation a partition has one owner."
    11 OffsetsNeverSkipped "offsets-never-skipped" "A group passes over no record."
    12 CommittedOffsetsKept "committed-offsets-kept" "An acknowledged offset of a group is not forgotten, and none is made up."
    13 OneBatchPerPlace "one-batch-per-place" "Within one leader epoch an offset is given to one batch, ever."
    14 FrontKept "front-kept" "Records are deleted from the front only as far as somebody asked for it."
    15 PermittedElections "permitted-elections" "An election that may lose records happens only where it is allowed."
    16 NoFalseAlarm "no-false-alarm" "Loss, damage and failure are reported only where they were made."
    17 CoreOrderings "core-orderings" "What a core believes of itself is in order after each step."
    18 Progress "progress" "When the weather turns good everything becomes whole, within a bound."
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "I{} {}", self.number(), self.name())
    }
}

/// A promise that was not kept, and what shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub invariant: Invariant,
    pub what: String,
}

impl Broken {
    /// The same, seen at this place.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Broken {
        self.what = format!("{place}: {}", self.what);
        self
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

impl std::error::Error for Broken {}

fn broken<T>(invariant: Invariant, what: String) -> Result<T, Broken> {
    Err(Broken { invariant, what })
}

/// A batch at its place in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    pub base: Offset,
    /// Exclusive.
    pub next: Offset,
    pub epoch: LeaderEpoch,
    /// Over everything but offset and epoch.
    pub crc: u32,
}
