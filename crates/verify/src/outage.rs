//! Spans of time in which a partition took no write: longer than a bound without an acknowledgement.
//!
//! [`crate::longest_gap`] finds the same in a whole history; this one is told acknowledgement by acknowledgement.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// One span without an acknowledged write, counted from the start of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Outage {
    pub partition: i32,
    #[serde(rename = "from_ms", serialize_with = "as_millis")]
    pub from: Duration,
    #[serde(rename = "length_ms", serialize_with = "as_millis")]
    pub length: Duration,
    /// It had not ended when sending did.
    pub open: bool,
}

pub(crate) fn as_millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// Spans that are kept; further ones are only counted.
const KEPT_MAX: usize = 10_000;

/// Watches all partitions.
#[derive(Clone, Debug)]
pub struct Outages {
    bound: Duration,
    /// The newest acknowledgement of each partition; its first send before there is one.
    last: Vec<Option<Duration>>,
    kept: Vec<Outage>,
    dropped: u64,
    longest: Duration,
}

impl Outages {
    pub fn new(partitions: usize, bound: Duration) -> Outages {
        Outages {
            bound,
            last: vec![None; partitions],
            kept: Vec::new(),
            dropped: 0,
            longest: Duration::ZERO,
        }
    }

    /// Only the first send counts: from there on a partition should take writes.
    pub fn sent(&mut self, partition: i32, at: Duration) {
        if let Some(last) = self.last_of(partition) {
            last.get_or_insert(at);
        }
    }

    pub fn acknowledged(&mut self, partition: i32, at: Duration) {
        let Some(last) = self.last_of(partition) else { return };
        let from = last.map_or(at, |last| last.min(at));
        *last = Some(at);
        self.note(partition, from, at, false);
    }

    /// Sending ends: what is missing now comes no more.
    pub fn finish(&mut self, at: Duration) {
        for partition in 0..self.last.len() {
            if let Some(from) = self.last[partition].filter(|from| *from < at) {
                self.note(i32::try_from(partition).unwrap_or(i32::MAX), from, at, true);
            }
        }
    }

    fn last_of(&mut self, partition: i32) -> Option<&mut Option<Duration>> {
        self.last.get_mut(usize::try_from(partition).ok()?)
    }

    fn note(&mut self, partition: i32, from: Duration, to: Duration, open: bool) {
        let length = to - from;
        self.longest = self.longest.max(length);
        if length <= self.bound {
            return;
        }
        if self.kept.len() < KEPT_MAX {
            self.kept.push(Outage {
                partition,
                from,
                length,
                open,
            });
        } else {
            self.dropped += 1;
        }
    }

    pub fn bound(&self) -> Duration {
        self.bound
    }

    /// Those longer than the bound, by when they ended.
    pub fn list(&self) -> &[Outage] {
        &self.kept
    }

    /// How many there were beyond those that are kept.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The longest time without an acknowledgement, also if it is within the bound, and also if it goes on at `now`.
    pub fn longest(&self, now: Duration) -> Duration {
        let open = self.last.iter().flatten().map(|last| now.saturating_sub(*last)).max();
        self.longest.max(open.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn spans_beyond_the_bound_are_found() {
        let mut outages = Outages::new(2, ms(100));
        outages.sent(0, ms(10));
        outages.sent(1, ms(10));
        for at in [20, 120, 400, 410] {
            outages.acknowledged(0, ms(at));
        }
        // Acknowledgements of several tasks may come a moment out of order.
        outages.acknowledged(0, ms(409));
        assert_eq!(outages.longest(ms(410)), ms(400));
        outages.finish(ms(500));
        let expected = [(0, 120, 280, false), (1, 10, 490, true)].map(|(partition, from, length, open)| Outage {
            partition,
            from: ms(from),
            length: ms(length),
            open,
        });
        assert_eq!(outages.list(), expected);
        outages.acknowledged(7, ms(1));
        assert_eq!(outages.longest(ms(500)), ms(490));
    }

    #[test]
    fn no_more_are_kept_than_a_report_can_show() {
        let mut outages = Outages::new(1, ms(1));
        for at in 0..KEPT_MAX as u64 + 11 {
            outages.acknowledged(0, ms(2 * at));
        }
        assert_eq!((outages.list().len(), outages.dropped()), (KEPT_MAX, 10));
    }
}
