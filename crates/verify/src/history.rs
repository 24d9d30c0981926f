//! What was sent and what was read, partition by partition. Writes down, judges nothing.
//!
//! Memory: about 40 bytes for a send and 24 for a record read; a run is as long as its machine has memory for that.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::value::Value;

/// What became of a send, as the producer was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged at this offset; -1 where the cluster does not tell the offset of a recognised duplicate.
    Acknowledged { offset: i64, at: Duration },
    /// Refused: it certainly had no effect.
    Failed,
    /// Part of a transaction that was aborted: no reader of committed records may see it.
    Aborted,
    /// Nobody knows; it may or may not be read.
    Unknown,
}

/// One send, in the order in which its producer sent to the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    pub value: Value,
    pub outcome: Outcome,
}

/// One record as a reader got it, in the reader's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    pub offset: i64,
    /// `None`: a record that no workload of ours made.
    pub value: Option<Value>,
}

/// Everything known about one partition.
#[derive(Clone, Debug, Default)]
pub struct PartitionHistory {
    pub sent: Vec<Sent>,
    /// By reader. Each reads from the start on, without being told to jump.
    pub reads: BTreeMap<u32, Vec<Read>>,
}

/// Everything known about a run; partitions by number.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub partitions: BTreeMap<i32, PartitionHistory>,
}

impl History {
    pub fn partition(&mut self, partition: i32) -> &mut PartitionHistory {
        self.partitions.entry(partition).or_default()
    }

    pub fn acknowledged(&self) -> u64 {
        let sent = self.partitions.values().flat_map(|partition| &partition.sent);
        sent.filter(|sent| matches!(sent.outcome, Outcome::Acknowledged { .. }))
            .count() as u64
    }
}
