//! The metrics of the coordinator runtime.

crate::metrics! {
    "klamm_coordinator_";
    /// Calls given to shards.
    calls: Counter, "calls";
    /// Records appended by shards.
    records: Counter, "records";
    /// Batches appended by shards.
    batches: Counter, "batches";
    /// Shards that began to load.
    loads: Counter, "loads";
    /// How long loads took that ended well.
    load_seconds: Histogram, "seconds";
    /// Records read by loads.
    loaded_records: Counter, "records";
    /// Records that loads skipped because this version does not know them.
    unknown_records: Counter, "records";
    /// Shards dropped because an append was refused or leadership was lost.
    drops: Counter, "shards";
    /// Answers given as unknown because a commit took too long.
    unknown_outcomes: Counter, "calls";
    /// Entries written to the histories of groups.
    history_entries: Counter, "entries";
    /// Entries of histories that were lost: the queue was full, or the partition could not be written.
    history_lost: Counter, "entries";
    /// Partitions with committed offsets that were found without an owner for too long.
    unowned_partitions: Counter, "partitions";
    /// Decisions that were late by more than half a second, so that waits of groups began anew.
    late_ticks: Counter, "ticks";
}
