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
    /// Entries written to the histories of groups.
    history_entries: "entries";
    /// Entries of histories that were lost: the queue was full, or the partition could not be written.
    history_lost: "entries";
    /// Partitions with committed offsets that were found without an owner for too long.
    unowned_partitions: "partitions";
    /// Decisions that were late by more than half a second, so that waits of groups began anew.
    late_ticks: "ticks";
}
