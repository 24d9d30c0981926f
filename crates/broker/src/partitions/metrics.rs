//! Counters of the data path: plain atomics, read by whoever serves them. Nothing is decided by them.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $help:literal])* $name:ident: $unit:literal;)*) => {
        /// All counters of the data path; they only grow.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $help])* pub $name: Counter,)*
        }

        impl Metrics {
            /// Name, unit, help and value of every counter.
            pub fn snapshot(&self) -> Vec<Sample> {
                vec![$(Sample {
                    name: concat!("klamm_broker_", stringify!($name)),
                    unit: $unit,
                    help: concat!($($help),*),
                    value: self.$name.get(),
                },)*]
            }
        }
    };
}

/// One counter's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub name: &'static str,
    pub unit: &'static str,
    pub help: &'static str,
    pub value: u64,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

counters! {
    /// Batches given to partitions by producers.
    produced_batches: "batches";
    /// Bytes of batches given to partitions by producers.
    produced_bytes: "bytes";
    /// Produce requests, by partition, that were answered with an error.
    produce_errors: "requests";
    /// Bytes of batches appended, as leader and as follower.
    appended_bytes: "bytes";
    /// Write calls that appended batches.
    appends: "calls";
    /// Bytes of batches handed to consumers.
    fetched_bytes: "bytes";
    /// Fetches that found nothing and waited.
    fetches_parked: "requests";
    /// Bytes of batches handed to follower streams.
    pushed_bytes: "bytes";
    /// Reads that had to go to the disk.
    cold_reads: "reads";
    /// Flushes of a partition.
    flushes: "flushes";
    /// Microseconds spent in flushes, over all threads.
    flush_us: "microseconds";
    /// Logs that were cut because they had left their leader's.
    truncations: "truncations";
    /// Proposals of a new ISR.
    isr_proposals: "requests";
    /// Times at which something was found that a person must look at.
    alarms: "alarms";
    /// Replicas that have stopped because their disk failed.
    disk_failures: "replicas";
    /// Segments deleted by retention.
    segments_deleted: "segments";
    /// Runs of compaction that have ended well.
    compactions: "runs";
    /// Runs of compaction that could not be carried out.
    compaction_failures: "runs";
    /// Segments whose files compaction has replaced.
    compacted_segments: "segments";
    /// Bytes that compaction has read.
    compaction_read_bytes: "bytes";
    /// Bytes that compaction has freed.
    compaction_freed_bytes: "bytes";
}
