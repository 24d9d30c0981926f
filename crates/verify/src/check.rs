//! The checks: from a history to the anomalies in it. Names are those of Jepsen's Kafka workload.
//!
//! What must hold, for every partition:
//! * every acknowledged value is read, and at the offset that was acknowledged (`lost-write`, `inconsistent-offsets`);
//! * no value is read at two offsets, and no refused one is read (`duplicate`, `refused-read`);
//! * a reader's offsets only grow, and it skips no offset that another reader got (`nonmonotonic-poll`, `poll-skip`);
//! * one producer's values stand in the order in which they were sent (`nonmonotonic-send`).

use std::collections::BTreeMap;

use serde::Serialize;

use crate::history::{History, Outcome, PartitionHistory};
use crate::value::Value;

/// One thing that must not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "anomaly", rename_all = "kebab-case")]
pub enum Anomaly {
    /// Acknowledged, and no reader ever got it.
    LostWrite { partition: i32, value: String, offset: i64 },
    /// One value at two offsets.
    Duplicate {
        partition: i32,
        value: String,
        offsets: (i64, i64),
    },
    /// One offset with two values, or a value at another offset than was acknowledged.
    InconsistentOffsets {
        partition: i32,
        offset: i64,
        expected: String,
        found: String,
    },
    /// A producer's later value stands before an earlier one.
    NonmonotonicSend {
        partition: i32,
        earlier: String,
        later: String,
    },
    /// A reader's offsets went back or stood still.
    NonmonotonicPoll {
        partition: i32,
        reader: u32,
        from: i64,
        to: i64,
    },
    /// A reader passed over an offset that exists.
    PollSkip { partition: i32, reader: u32, offset: i64 },
    /// A send that was refused for good is read all the same.
    RefusedRead { partition: i32, value: String, offset: i64 },
}

/// The verdict on a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub acknowledged: u64,
    /// Distinct records read.
    pub read: u64,
    pub lost: u64,
    pub doubled: u64,
    pub reordered: u64,
    /// Anomalies that are none of the three: offsets that do not agree, skips, refused values that are read.
    pub inconsistent: u64,
    /// The first few of each kind, for people.
    pub examples: Vec<Anomaly>,
}

const EXAMPLES_MAX: usize = 20;

impl Verdict {
    pub fn is_good(&self) -> bool {
        self.lost + self.doubled + self.reordered + self.inconsistent == 0
    }

    fn note(&mut self, anomaly: Anomaly) {
        let count = match anomaly {
            Anomaly::LostWrite { .. } => &mut self.lost,
            Anomaly::Duplicate { .. } => &mut self.doubled,
            Anomaly::NonmonotonicSend { .. } | Anomaly::NonmonotonicPoll { .. } => &mut self.reordered,
            Anomaly::InconsistentOffsets { .. } | Anomaly::PollSkip { .. } | Anomaly::RefusedRead { .. } => {
                &mut self.inconsistent
            }
        };
        *count += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(anomaly);
        }
    }
}

/// Judges a run. Readers must have read to the end before.
pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict {
        acknowledged: history.acknowledged(),
        ..Verdict::default()
    };
    for (&partition, recorded) in &history.partitions {
        let log = merge_reads(partition, recorded, &mut verdict);
        verdict.read += log.len() as u64;
        check_readers(partition, recorded, &log, &mut verdict);
        check_values(partition, recorded, &log, &mut verdict);
    }
    verdict
}

type Log = BTreeMap<i64, Option<Value>>;

/// The partition's log as all readers together saw it.
fn merge_reads(partition: i32, recorded: &PartitionHistory, verdict: &mut Verdict) -> Log {
    let mut log = Log::new();
    for read in recorded.reads.values().flatten() {
        let known = *log.entry(read.offset).or_insert(read.value);
        if known != read.value {
            let (expected, found) = (show(known), show(read.value));
            verdict.note(Anomaly::InconsistentOffsets {
                partition,
                offset: read.offset,
                expected,
                found,
            });
        }
    }
    log
}

fn check_readers(partition: i32, recorded: &PartitionHistory, log: &Log, verdict: &mut Verdict) {
    for (&reader, reads) in &recorded.reads {
        for pair in reads.windows(2) {
            let (from, to) = (pair[0].offset, pair[1].offset);
            if to <= from {
                verdict.note(Anomaly::NonmonotonicPoll {
                    partition,
                    reader,
                    from,
                    to,
                });
            } else if let Some((&offset, _)) = log.range(from + 1..to).next() {
                verdict.note(Anomaly::PollSkip {
                    partition,
                    reader,
                    offset,
                });
            }
        }
    }
}

fn check_values(partition: i32, recorded: &PartitionHistory, log: &Log, verdict: &mut Verdict) {
    let mut places: BTreeMap<Value, i64> = BTreeMap::new();
    for (&offset, value) in log {
        let Some(value) = value else { continue };
        if let Some(&first) = places.get(value) {
            let value = value.to_string();
            verdict.note(Anomaly::Duplicate {
                partition,
                value,
                offsets: (first, offset),
            });
        } else {
            places.insert(*value, offset);
        }
    }
    check_order(partition, &places, verdict);
    for sent in &recorded.sent {
        let place = places.get(&sent.value).copied();
        match (sent.outcome, place) {
            (Outcome::Acknowledged { offset, .. }, None) => {
                verdict.note(Anomaly::LostWrite {
                    partition,
                    value: sent.value.to_string(),
                    offset,
                });
            }
            (Outcome::Acknowledged { offset, .. }, Some(place)) if offset >= 0 && offset != place => {
                let found = format!("{} at {place}", sent.value);
                let expected = format!("{} at {offset}", sent.value);
                verdict.note(Anomaly::InconsistentOffsets {
                    partition,
                    offset,
                    expected,
                    found,
                });
            }
            (Outcome::Failed, Some(offset)) => {
                verdict.note(Anomaly::RefusedRead {
                    partition,
                    value: sent.value.to_string(),
                    offset,
                });
            }
            _ => {}
        }
    }
}

/// Values sorted by producer and number must have growing offsets.
fn check_order(partition: i32, places: &BTreeMap<Value, i64>, verdict: &mut Verdict) {
    let mut last: Option<(Value, i64)> = None;
    for (&value, &offset) in places {
        if let Some((earlier, at)) = last
            && earlier.producer == value.producer
            && at > offset
        {
            let (earlier, later) = (earlier.to_string(), value.to_string());
            verdict.note(Anomaly::NonmonotonicSend {
                partition,
                earlier,
                later,
            });
        }
        last = Some((value, offset));
    }
}

fn show(value: Option<Value>) -> String {
    value.map_or_else(|| "a foreign record".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Read, Sent};
    use std::time::Duration;

    fn value(number: u64) -> Value {
        Value { producer: 1, number }
    }

    /// Three acknowledged sends, read whole and in order by one reader.
    fn good() -> History {
        let mut history = History::default();
        for number in 0..3 {
            let outcome = Outcome::Acknowledged {
                offset: number as i64,
                at: Duration::ZERO,
            };
            let partition = history.partition(0);
            partition.sent.push(Sent {
                value: value(number),
                outcome,
            });
            partition.reads.entry(0).or_default().push(Read {
                offset: number as i64,
                value: Some(value(number)),
            });
        }
        history
    }

    fn reads(history: &mut History) -> &mut Vec<Read> {
        history.partition(0).reads.entry(0).or_default()
    }

    fn only(history: &History) -> Anomaly {
        let verdict = check(history);
        assert_eq!(verdict.examples.len(), 1, "{verdict:?}");
        assert!(!verdict.is_good());
        verdict.examples[0].clone()
    }

    #[test]
    fn a_good_run_is_good() {
        let verdict = check(&good());
        assert_eq!(
            verdict,
            Verdict {
                acknowledged: 3,
                read: 3,
                ..Verdict::default()
            }
        );
    }

    #[test]
    fn a_lost_write_is_named() {
        let mut history = good();
        reads(&mut history).pop();
        assert_eq!(
            only(&history),
            Anomaly::LostWrite {
                partition: 0,
                value: "1:2".into(),
                offset: 2
            }
        );
    }

    #[test]
    fn a_duplicate_is_named() {
        let mut history = good();
        reads(&mut history).push(Read {
            offset: 3,
            value: Some(value(0)),
        });
        assert_eq!(
            only(&history),
            Anomaly::Duplicate {
                partition: 0,
                value: "1:0".into(),
                offsets: (0, 3)
            }
        );
    }

    #[test]
    fn a_changed_order_is_named() {
        let mut history = good();
        for sent in &mut history.partition(0).sent {
            sent.outcome = Outcome::Unknown;
        }
        let list = reads(&mut history);
        list[0].value = Some(value(1));
        list[1].value = Some(value(0));
        let expected = Anomaly::NonmonotonicSend {
            partition: 0,
            earlier: "1:0".into(),
            later: "1:1".into(),
        };
        assert_eq!(only(&history), expected);
    }

    #[test]
    fn readers_that_go_back_or_skip_are_named() {
        let mut history = good();
        reads(&mut history).push(Read {
            offset: 1,
            value: Some(value(1)),
        });
        assert_eq!(
            only(&history),
            Anomaly::NonmonotonicPoll {
                partition: 0,
                reader: 0,
                from: 2,
                to: 1
            }
        );
        let mut history = good();
        let partition = history.partition(0);
        let second = [0, 2].map(|offset| Read {
            offset,
            value: Some(value(offset as u64)),
        });
        partition.reads.insert(1, second.to_vec());
        assert_eq!(
            only(&history),
            Anomaly::PollSkip {
                partition: 0,
                reader: 1,
                offset: 1
            }
        );
    }

    #[test]
    fn two_values_at_one_offset_are_named() {
        let mut history = good();
        history
            .partition(0)
            .reads
            .insert(1, vec![Read { offset: 0, value: None }]);
        assert!(matches!(only(&history), Anomaly::InconsistentOffsets { offset: 0, .. }));
    }

    #[test]
    fn a_value_elsewhere_than_acknowledged_is_named() {
        let mut history = good();
        history.partition(0).sent[2].outcome = Outcome::Acknowledged {
            offset: 7,
            at: Duration::ZERO,
        };
        assert!(matches!(only(&history), Anomaly::InconsistentOffsets { offset: 7, .. }));
    }

    #[test]
    fn a_refused_value_that_is_read_is_named() {
        let mut history = good();
        history.partition(0).sent[1].outcome = Outcome::Failed;
        assert_eq!(
            only(&history),
            Anomaly::RefusedRead {
                partition: 0,
                value: "1:1".into(),
                offset: 1
            }
        );
    }

    #[test]
    fn an_unknown_outcome_may_go_either_way() {
        let mut history = good();
        history.partition(0).sent[2].outcome = Outcome::Unknown;
        assert!(check(&history).is_good());
        reads(&mut history).pop();
        assert!(check(&history).is_good());
    }
}
