//! Compaction: for each key only the newest record stays.
//!
//! Closed segments that are committed, flushed and old enough are written anew, one by one, without the records that
//! newer ones replace, and the new files take the places of the old ones. The work is a job for a thread that may
//! wait; only the exchange of files is the log's own.
//!
//! ```text
//!  log:  start_compaction ──► plan: which segments      (pure)
//!  job:                        keys: newest offset of each, as far as memory goes
//!                              rewrite: new files, synced, under other names
//!  log:  exchange_compacted ──► swap: renames, oldest segment first, one per call
//! ```
//!
//! **Offsets stay dense.** What is left of batches without records is one placeholder per run of them, a batch with a
//! record count of 0 that covers their offsets within one leader epoch. So nothing that guards a log against gaps
//! (appends, reads, recovery, replication) has to make an exception for compacted ones. A reader who asks for an offset
//! inside a placeholder gets one that begins there.
//!
//! **Tombstones.** The run that first keeps one stamps its batch with the time until which it stays; from then on no
//! older record of its key is left. A later run removes it. Replicas compact each by themselves, so a follower that was
//! away for longer than `delete.retention.ms` may keep a record whose tombstone is gone, as in Kafka.
//!
//! **Producers.** The last batch of each producer stays, if need be without records, so that a start finds the
//! sequences.
//!
//! **Crashes.** New files are whole and durable before the first rename. Each rename puts one whole file in the place
//! of another. An index that does not belong to its segment is a broken cache like any other. Older segments are
//! exchanged first and durably, so that a tombstone never goes before what it deletes.
//!
//! Not done here: deciding when to run, transactions (their batches are copied as they are), and joining segments that
//! have become small.

mod keys;
mod plan;
mod rewrite;
mod run;
mod swap;
pub(crate) mod trim;

pub use run::{CompactedTo, CompactionJob};
pub use swap::{CompactionOutcome, Exchanged};
