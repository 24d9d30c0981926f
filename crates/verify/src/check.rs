//! From a whole history to a verdict, in the three words that people use: lost, doubled, reordered.
//!
//! The judging is the [`Judge`]'s, which is told the history from its start and forgets nothing before the end.

use serde::Serialize;

use crate::anomaly::{Anomaly, Findings, Kind, Reader};
use crate::history::{History, PartitionHistory};
use crate::judge::{Audiences, Ending, Event, Judge, Limits};

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

impl Verdict {
    /// Of a judge that has finished.
    pub fn of(judge: &Judge) -> Verdict {
        let totals = judge.totals();
        let mut verdict = Verdict {
            acknowledged: totals.acknowledged,
            read: totals.read,
            ..Verdict::default()
        };
        verdict.count(judge.findings());
        verdict
    }

    pub fn is_good(&self) -> bool {
        self.lost + self.doubled + self.reordered + self.inconsistent == 0
    }

    /// Takes what is lost as it should be, if it is exactly so much.
    ///
    /// # Errors
    /// How much is lost instead.
    pub fn forgive(&mut self, lost: u64) -> Result<(), u64> {
        if self.lost != lost {
            return Err(self.lost);
        }
        self.lost = 0;
        let is_loss = |anomaly: &Anomaly| matches!(anomaly.kind(), Kind::LostWrite | Kind::Unseen);
        self.examples.retain(|anomaly| !is_loss(anomaly));
        Ok(())
    }

    fn count(&mut self, findings: &Findings) {
        for (&kind, &count) in findings.counts() {
            *match kind {
                Kind::LostWrite | Kind::Unseen => &mut self.lost,
                Kind::Duplicate => &mut self.doubled,
                Kind::NonmonotonicSend | Kind::NonmonotonicPoll => &mut self.reordered,
                Kind::G1a | Kind::InconsistentOffsets | Kind::PollSkip => &mut self.inconsistent,
            } += count;
        }
        self.examples = findings.examples().cloned().collect();
    }
}

/// Judges a run. Readers must have read to the end before.
pub fn check(history: &History) -> Verdict {
    let mut judge = Judge::new(Limits::NONE);
    for (&partition, recorded) in &history.partitions {
        let readers = recorded.reads.keys().map(|&reader| (reader, None)).collect();
        judge.expect(partition, Audiences { readers, group: None });
        tell(&mut judge, partition, recorded);
    }
    judge.finish(Ending::Read);
    Verdict::of(&judge)
}

fn tell(judge: &mut Judge, partition: i32, recorded: &PartitionHistory) {
    for &sent in &recorded.sent {
        let (value, outcome) = (sent.value, sent.outcome);
        judge.step(partition, Event::Sent { value });
        judge.step(partition, Event::Settled { value, outcome });
    }
    for (&number, reads) in &recorded.reads {
        let reader = Reader::Partition(number);
        for read in reads {
            let (offset, value) = (read.offset, read.value);
            judge.step(partition, Event::Read { reader, offset, value });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Outcome, Read, Sent};
    use crate::value::Value;
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
    fn a_write_that_was_not_read_is_lost_wherever_it_stands() {
        for number in 0..3 {
            let mut history = good();
            reads(&mut history).remove(number);
            assert_eq!(check(&history).lost, 1);
            // The last one may only be late, for all that the readers know.
            let late = number == 2;
            assert_eq!(only(&history).kind(), if late { Kind::Unseen } else { Kind::LostWrite });
        }
    }

    #[test]
    fn only_what_is_lost_is_forgiven_and_only_all_of_it() {
        let mut history = good();
        reads(&mut history).remove(1);
        let mut verdict = check(&history);
        assert_eq!(
            (verdict.forgive(0), verdict.forgive(2), verdict.is_good()),
            (Err(1), Err(1), false)
        );
        assert_eq!(
            (verdict.forgive(1), verdict.is_good(), verdict.examples.len()),
            (Ok(()), true, 0)
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
                offsets: (Some(0), 3)
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
                reader: Reader::Partition(0),
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
                reader: Reader::Partition(1),
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
            Anomaly::G1a {
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
