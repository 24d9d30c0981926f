//! What several decisions, taken one after another, have the log and the callers do: one batch, and the replies that
//! rest on it.

use klamm_coordinator::{CallId, Change, Decision, Reply, history};
use klamm_record::{BatchBuilder, BatchOptions, BuildError};
use klamm_types::{ErrorCode, Timestamp};

/// A round with so many bytes takes no further decision.
const BYTES_MAX: usize = 256 << 10;

/// See the module.
pub(super) struct Round {
    batch: BatchBuilder,
    pub records: u64,
    pub replies: Vec<(CallId, Result<Reply, ErrorCode>)>,
    pub history: Vec<history::Entry>,
}

/// A record that cannot be written: the shard that decided it must not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum RoundError {
    #[error("encoding a record of a group")]
    Encode(#[from] klamm_wire::EncodeError),
    #[error("building a batch of group records")]
    Build(#[from] BuildError),
}

impl Round {
    pub fn new() -> Round {
        Round {
            batch: BatchBuilder::new(BatchOptions::default()),
            records: 0,
            replies: Vec::new(),
            history: Vec::new(),
        }
    }

    pub fn is_full(&self) -> bool {
        self.batch.uncompressed_size() >= BYTES_MAX
    }

    pub fn has_records(&self) -> bool {
        !self.batch.is_empty()
    }

    /// Takes a decision in, after those before it; all of it, or nothing.
    pub fn add(&mut self, wall: Timestamp, decision: Decision) -> Result<(), RoundError> {
        let mut records = Vec::new();
        for change in &decision.changes {
            if let Change::Record(record) = change {
                records.push(record.to_bytes()?);
            }
        }
        for (key, value) in records {
            self.batch.append(wall, Some(&key), value.as_deref(), &[])?;
            self.records += 1;
        }
        let replies = decision.replies.into_iter().map(|(call, reply)| (call, Ok(reply)));
        self.replies.extend(replies);
        self.history.extend(decision.history);
        Ok(())
    }

    pub fn batch(self) -> Result<klamm_record::Batch, BuildError> {
        self.batch.build()
    }
}
