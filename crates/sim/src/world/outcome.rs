//! What a seed has been through, and what became of it.

use klamm_invariants::Broken;

use crate::plan::{Plan, Time};

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident)*) => {
        /// What a seed has been through.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counts {
            /// Name and figure of each.
            pub fn figures(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),*]
            }
        }
    };
}

counts! {
    /// Happenings at processes.
    steps
    leader_changes
    isr_changes
    truncations
    crashes
    lossy_crashes
    /// Deaths of machines that were planned, and those of them that only a process died of, because nobody could have
    /// survived them.
    power_cuts
    softened_power_cuts
    disk_faults
    /// Leaders that were to be replaced because a write did not end.
    stalls
    network_faults
    controller_changes
    /// Entries of which their proposer does not know what became of them.
    unknown_proposals
    /// ISR changes that reached the controller in a later leader epoch.
    stale_requests
    setting_changes
    unclean_elections
    clean_stops
    /// Moves of the log start.
    deletions
    member_faults
    coordinator_loads
    /// Newer generations of groups.
    rebalances
    /// Commits of offsets that were acknowledged.
    commits
    committed_batches
    acknowledged
}

/// What became of a seed.
#[derive(Debug)]
pub struct Outcome {
    /// The run, with the faults that have happened.
    pub plan: Plan,
    pub counts: Counts,
    /// The first thing that should not be.
    pub violation: Option<Violation>,
    pub lines: Vec<String>,
    pub digest: u64,
}

/// A broken promise, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub broken: Broken,
    pub at: Time,
    pub step: u64,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, at {} ms", self.broken, self.at / crate::plan::MS)
    }
}
