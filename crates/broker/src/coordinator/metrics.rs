//! Counters of the coordinator runtime; nothing is decided by them.

use crate::partitions::counters;

counters! {
    "klamm_coordinator_";
    /// Calls given to shards.
    calls: "calls";
    /// Records appended by shards.
    records: "records";
    /// Batches appended by shards.
    batches: "batches";
    /// Shards that began to load.
    loads: "loads";
    /// Microseconds that loads took, over all shards.
    load_us: "microseconds";
    /// Records read by loads.
    loaded_records: "records";
    /// Records that loads skipped because this version does not know them.
    unknown_records: "records";
    /// Shards dropped because an append was refused or leadership was lost.
    drops: "shards";
    /// Answers given as unknown because a commit took too long.
    unknown_outcomes: "calls";
    /// Decisions that were late by more than half a second, so that all sessions began anew.
    late_ticks: "ticks";
}
