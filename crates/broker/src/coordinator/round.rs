//! What several decisions, taken one after another, have the log and the callers do: one batch, and the replies that
//! rest on it.

use klamm_coordinator::{CallId, Change, Decision, Reply, history};
use klamm_record::{BatchBuilder, BatchOptions, BuildError};
use klamm_types::{ErrorCode, Timestamp};

/// A round with so many bytes takes no further decision.
const BYTES_MAX: usize = 256 << 10;
/// A decision that needs more is not taken.
const DECISION_BYTES_MAX: usize = 16 << 20;

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
    #[error("the records of a decision take more than {DECISION_BYTES_MAX} bytes")]
    TooLarge,
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
        let (mut records, mut bytes) = (Vec::new(), 0);
        for change in &decision.changes {
            if let Change::Record(record) = change {
                let (key, value) = record.to_bytes()?;
                bytes += key.len() + value.as_ref().map_or(0, |value| value.len());
                if bytes > DECISION_BYTES_MAX {
                    return Err(RoundError::TooLarge);
                }
                records.push((key, value));
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

#[cfg(test)]
mod tests {
    use klamm_coordinator::Record;
    use klamm_coordinator::record::Committed;

    use super::*;

    fn decision(metadata: usize) -> Decision {
        let value = Committed {
            offset: 1,
            leader_epoch: -1,
            metadata: "m".repeat(metadata),
            commit_timestamp: 0,
            expire_timestamp: -1,
            topic_id: klamm_types::TopicId::ZERO,
        };
        let record = Record::Offset {
            group: "g".to_owned(),
            topic: "t".to_owned(),
            partition: 0,
            value: Some(value),
        };
        Decision {
            changes: vec![Change::Record(record); 600],
            replies: vec![(CallId(1), Reply::CommitOffsets(Vec::new()))],
            ..Decision::default()
        }
    }

    /// All of it, or nothing: the batch of those before it is as it was.
    #[test]
    fn a_decision_that_needs_too_much_is_not_taken() {
        let mut round = Round::new();
        round.add(Timestamp(1), decision(10)).unwrap();
        let size = round.batch.uncompressed_size();
        let refused = round.add(Timestamp(1), decision(30_000));
        assert!(matches!(refused, Err(RoundError::TooLarge)), "{refused:?}");
        assert_eq!((round.records, round.replies.len()), (600, 1));
        assert_eq!(round.batch.uncompressed_size(), size);
    }
}
