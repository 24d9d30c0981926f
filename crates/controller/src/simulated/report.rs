//! What is said of a run.

use std::fmt;

/// What happened in a run that kept all promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub leaderships: usize,
    pub snapshots_installed: u64,
    pub voter_changes: u64,
    pub crashes: u64,
    pub crashes_with_loss: u64,
    /// Truncations of the log, and the most entries that one of them took away.
    pub truncations: u64,
    pub truncated_max: u64,
    pub stores_lost: u64,
    pub copies_restored: u64,
    pub writes: u64,
    /// Writes whose outcome nobody told the client.
    pub unknown: u64,
    pub healed_in_ms: u64,
}

/// A broken promise, and what led to it.
pub struct Failure {
    pub seed: u64,
    pub broken: String,
    pub timeline: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.timeline {
            writeln!(f, "{line}")?;
        }
        let Failure { seed, broken, .. } = self;
        writeln!(f, "seed {seed}: {broken}")?;
        let next = seed + 1;
        write!(
            f,
            "again: KLAMM_SEEDS={seed}..{next} cargo test -p klamm-controller --lib seeds"
        )
    }
}
