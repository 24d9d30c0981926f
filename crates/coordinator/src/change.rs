//! What `apply` accepts: records, and what does not outlive this coordinator.

use crate::record::Record;
use crate::{classic, consumer};

/// One step of a decision. `Shard::apply` is the only place where the state changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Goes to the log, and is replayed by the next coordinator.
    Record(Record),
    /// Known to this coordinator only.
    Transient { group: String, change: Transient },
}

/// Who waits, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transient {
    Classic(classic::Transient),
    Consumer(consumer::Transient),
}

impl Change {
    /// The group that changes.
    pub fn group(&self) -> &str {
        match self {
            Change::Record(record) => record.group(),
            Change::Transient { group, .. } => group,
        }
    }
}
