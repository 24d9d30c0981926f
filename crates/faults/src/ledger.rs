//! What is written down of a run: the judge's findings, and when each partition took and gave records.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use klamm_verify::{Audiences, Ending, Event, Judge, Limits, Outcome, Reader, Recorder, Value, Verdict};

use crate::loss::{Acknowledged, Partition};

/// Told by the load's tasks, asked by the run.
pub struct Ledger(Mutex<Inner>);

struct Inner {
    judge: Judge,
    partitions: BTreeMap<i32, Times>,
}

/// When, counted from the start of the run; not quite in order.
#[derive(Clone, Default)]
struct Times {
    acknowledged: Vec<Duration>,
    read: Vec<Duration>,
    /// What was acknowledged where, in the order of `acknowledged`.
    places: Vec<(Value, i64)>,
    /// The offsets of `read`.
    offsets: Vec<i64>,
    /// What the reader found at each offset, but for what was cut off.
    log: BTreeMap<i64, Option<Value>>,
    cuts: Vec<i64>,
}

impl Times {
    fn partition(&self) -> Partition {
        let acknowledged = self.acknowledged.iter().zip(&self.places);
        let acknowledged = acknowledged.map(|(&at, &(value, offset))| Acknowledged {
            at,
            offset,
            is_lost: self.log.get(&offset) != Some(&Some(value)),
        });
        Partition {
            acknowledged: acknowledged.collect(),
            reads: self.read.iter().copied().zip(self.offsets.iter().copied()).collect(),
            cuts: self.cuts.clone(),
        }
    }
}

/// The longest times without a write and without a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gaps {
    pub write: Option<Duration>,
    pub read: Option<Duration>,
}

impl Ledger {
    pub fn new(partitions: i32, with_group: bool) -> Ledger {
        let mut judge = Judge::new(Limits::NONE);
        for partition in 0..partitions {
            let readers = [(0, Some(0))].into();
            let group = with_group.then_some(0);
            judge.expect(partition, Audiences { readers, group });
        }
        let partitions = BTreeMap::new();
        Ledger(Mutex::new(Inner { judge, partitions }))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The longest gaps of a partition that ended after `since` and began before `until`.
    pub fn gaps(&self, partition: i32, since: Duration, until: Duration) -> Gaps {
        let inner = self.inner();
        let times = inner.partitions.get(&partition);
        let longest = |of: fn(&Times) -> &Vec<Duration>| times.and_then(|times| longest(of(times), since, until));
        Gaps {
            write: longest(|times| &times.acknowledged),
            read: longest(|times| &times.read),
        }
    }

    /// Acknowledgements of all partitions in a span of time.
    pub fn acknowledged_between(&self, from: Duration, to: Duration) -> usize {
        let inner = self.inner();
        let times = inner.partitions.values().flat_map(|times| &times.acknowledged);
        times.filter(|at| **at >= from && **at < to).count()
    }

    /// Every partition, as its producers and its reader saw it.
    pub fn partitions(&self) -> BTreeMap<i32, Partition> {
        let inner = self.inner();
        let partitions = inner.partitions.iter();
        partitions.map(|(&number, times)| (number, times.partition())).collect()
    }

    /// Judges what is left. Everybody must have read to the end, or was given the time to.
    pub fn finish(&self) -> Verdict {
        let mut inner = self.inner();
        inner.judge.finish(Ending::Read);
        Verdict::of(&inner.judge)
    }

    /// Sends without an answer.
    pub fn under_way(&self) -> u64 {
        let totals = self.inner().judge.totals();
        totals.sent - totals.acknowledged - totals.refused - totals.unknown
    }

    /// Sends that failed, or whose outcome nobody knows.
    pub fn failures(&self) -> u64 {
        let totals = self.inner().judge.totals();
        totals.refused + totals.unknown
    }
}

/// The longest time between two neighbours that ended after `since` and began before `until`; none where nothing came after.
fn longest(times: &[Duration], since: Duration, until: Duration) -> Option<Duration> {
    let mut times = times.to_vec();
    times.sort_unstable();
    let around = times.windows(2).filter(|pair| pair[1] >= since && pair[0] < until);
    around.map(|pair| pair[1] - pair[0]).max()
}

impl Recorder for Ledger {
    fn note(&self, at: Duration, partition: i32, event: Event) {
        let mut inner = self.inner();
        let times = inner.partitions.entry(partition).or_default();
        match event {
            Event::Settled {
                value,
                outcome: Outcome::Acknowledged { offset, at },
            } => {
                times.acknowledged.push(at);
                times.places.push((value, offset));
            }
            Event::Read {
                reader: Reader::Partition(_),
                offset,
                value,
            } => {
                times.read.push(at);
                times.offsets.push(offset);
                times.log.insert(offset, value);
            }
            Event::Cut { offset } => {
                times.cuts.push(offset);
                times.log.split_off(&offset);
            }
            _ => {}
        }
        inner.judge.step(partition, event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn gaps_belong_to_the_blow_that_made_them() {
        let ledger = Ledger::new(1, false);
        for (number, at) in [0, 10, 250, 260, 700, 710].into_iter().enumerate() {
            let value = Value {
                producer: 0,
                number: number as u64,
            };
            let offset = number as i64;
            ledger.note(ms(at), 0, Event::Sent { value });
            let outcome = Outcome::Acknowledged { offset, at: ms(at) };
            ledger.note(ms(at), 0, Event::Settled { value, outcome });
            let (reader, value) = (Reader::Partition(0), Some(value));
            ledger.note(ms(at + 5), 0, Event::Read { reader, offset, value });
        }
        let gap = Gaps {
            write: Some(ms(240)),
            read: Some(ms(240)),
        };
        assert_eq!(ledger.gaps(0, ms(20), ms(255)), gap);
        assert_eq!(ledger.gaps(0, ms(255), ms(900)).write, Some(ms(440)));
        let none = Gaps {
            write: None,
            read: None,
        };
        assert_eq!(ledger.gaps(0, ms(720), ms(900)), none, "nothing came back");
        assert_eq!(ledger.gaps(1, ms(0), ms(900)), none);
        assert_eq!(ledger.acknowledged_between(ms(10), ms(260)), 2);
        assert!(ledger.partitions()[&0].acknowledged.iter().all(|one| !one.is_lost));
        ledger.note(ms(720), 0, Event::Cut { offset: 4 });
        let seen = &ledger.partitions()[&0];
        let lost: Vec<i64> = seen
            .acknowledged
            .iter()
            .filter(|one| one.is_lost)
            .map(|one| one.offset)
            .collect();
        assert_eq!((lost, &seen.cuts), (vec![4, 5], &vec![4]));
        let verdict = ledger.finish();
        assert!(verdict.lost == 2 && verdict.acknowledged == 6, "{verdict:?}");
        assert_eq!(ledger.failures(), 0);
    }
}
