//! The judge: takes what happens while it happens, says what must not have happened, and forgets what is settled.
//!
//! Per partition a window of the log is kept, as all readers together saw it, and the sends that are not settled:
//!
//! ```text
//!   offsets   0 ......... base ........ committed, readers' positions ........ highest read
//!             └ forgotten ┘└────────────── kept: value of each offset ───────┘
//! ```
//!
//! Once every reader, and the group's commit, have passed an offset, it is judged for good and leaves; so does the send
//! whose value it holds. What is left of a run is counters. If the slowest falls behind by more than the limit, the
//! oldest entries leave all the same: what could not be judged then is counted as unchecked, never as good.
//!
//! Nothing here reads a clock or a socket.

mod group;
mod partition;
mod sends;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::anomaly::{Findings, Reader};
use crate::history::Outcome;
use crate::value::Value;
use partition::Partition;

/// What happens in a partition, in the order in which the program learned of it. A send is told before it is made, a
/// record before it is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Sent {
        value: Value,
    },
    /// It was not taken after all: the next send has the same number.
    Withdrawn {
        value: Value,
    },
    Settled {
        value: Value,
        outcome: Outcome,
    },
    /// `None`: a record that no workload of ours made.
    Read {
        reader: Reader,
        offset: i64,
        value: Option<Value>,
    },
    /// A reader was told that the log was cut: nothing of what stood at this offset or later counts as read, and readers go
    /// on from there. What was acknowledged there is lost unless it is read again.
    Cut {
        offset: i64,
    },
    /// A member of the group has the partition from now on.
    Assigned {
        member: u32,
    },
    /// A member has it no more.
    Revoked {
        member: u32,
    },
    /// The group's offset was acknowledged: all before it counts as dealt with.
    Committed {
        offset: i64,
    },
}

/// Offsets and sends kept over all partitions at most: some 300 MB. A run in which everybody keeps up has a hundredth.
const RETAINED_MAX: usize = 2_000_000;

/// How much a judge keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Offsets kept behind the slowest reader, so that a duplicate can be told with both its offsets.
    pub window: i64,
    /// Offsets and sends kept for one partition at most.
    pub retained_max: usize,
}

impl Limits {
    /// Nothing leaves before the end.
    pub const NONE: Limits = Limits {
        window: i64::MAX,
        retained_max: usize::MAX,
    };

    /// What is allowed to each of so many partitions.
    pub fn shared_by(partitions: usize) -> Limits {
        let retained_max = RETAINED_MAX / partitions.max(1);
        let quarter = i64::try_from(retained_max / 4).unwrap_or(i64::MAX);
        Limits {
            window: quarter.min(1000),
            retained_max,
        }
    }
}

/// Who reads a partition, and from where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audiences {
    /// Where the readers of the partition begin; `None`: wherever the first record is.
    pub readers: BTreeMap<u32, Option<i64>>,
    /// Where the group begins, if there is one.
    pub group: Option<i64>,
}

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everybody had the time to read to the end: what they have not read, they have not seen.
    Read,
    /// Nobody waited for that: what was not read yet is unchecked.
    CutShort,
}

/// Counters of everything that passed the judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub sent: u64,
    pub acknowledged: u64,
    /// Sends of which nobody knows whether they had an effect.
    pub unknown: u64,
    pub refused: u64,
    /// Distinct records, whoever read them.
    pub read: u64,
    pub read_by_group: u64,
    /// Records that the group got once more, as it may after a rebalance.
    pub redelivered: u64,
    /// Sends and reads that could not be judged: their partner had to be forgotten, or the run was cut short.
    pub unchecked: u64,
}

/// Judges all partitions of a topic.
#[derive(Clone, Debug)]
pub struct Judge {
    limits: Limits,
    partitions: BTreeMap<i32, Partition>,
    findings: Findings,
    totals: Totals,
}

impl Judge {
    pub fn new(limits: Limits) -> Judge {
        Judge {
            limits,
            partitions: BTreeMap::new(),
            findings: Findings::default(),
            totals: Totals::default(),
        }
    }

    /// Must be told before anything happens in the partition.
    pub fn expect(&mut self, partition: i32, audiences: Audiences) {
        self.partitions
            .insert(partition, Partition::new(partition, audiences, self.limits));
    }

    /// Takes one event. Events of partitions that were not announced are not heard.
    pub fn step(&mut self, partition: i32, event: Event) {
        if let Some(partition) = self.partitions.get_mut(&partition) {
            partition.step(event, &mut self.findings, &mut self.totals);
        }
    }

    /// Judges what is left.
    pub fn finish(&mut self, ending: Ending) {
        for partition in self.partitions.values_mut() {
            partition.finish(ending, &mut self.findings, &mut self.totals);
        }
    }

    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Writes that look lost so far: acknowledged at offsets that everybody has passed, and not found. Judged at the end.
    pub fn overdue(&self) -> u64 {
        self.partitions.values().map(Partition::overdue).sum()
    }

    /// How many offsets and sends are kept just now.
    pub fn retained(&self) -> usize {
        self.partitions.values().map(Partition::retained).sum()
    }
}

#[cfg(test)]
mod tests;
