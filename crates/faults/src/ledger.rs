//! What is written down of a run: the judge's findings, and when each partition took and gave records.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use klamm_verify::{Audiences, Ending, Event, Judge, Limits, Outcome, Reader, Recorder, Verdict};

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

    /// Judges what is left. Everybody must have read to the end, or was given the time to.
    pub fn finish(&self) -> Verdict {
        let mut inner = self.inner();
        inner.judge.finish(Ending::Read);
        Verdict::of(&inner.judge)
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
                outcome: Outcome::Acknowledged { at, .. },
                ..
            } => times.acknowledged.push(at),
            Event::Read {
                reader: Reader::Partition(_),
                ..
            } => times.read.push(at),
            _ => {}
        }
        inner.judge.step(partition, event);
    }
}

#[cfg(test)]
mod tests {
    use klamm_verify::Value;

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
        let verdict = ledger.finish();
        assert!(verdict.is_good() && verdict.acknowledged == 6, "{verdict:?}");
        assert_eq!(ledger.failures(), 0);
    }
}
