//! How much happened when: counts in buckets of time. A run that goes on gets wider buckets, not more of them.

use std::time::Duration;

use serde::Serialize;

/// Records in one span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Bucket {
    pub sent: u64,
    pub acknowledged: u64,
    /// By the readers of partitions.
    pub read: u64,
    pub read_by_group: u64,
}

impl Bucket {
    fn add(&mut self, other: Bucket) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.read += other.read;
        self.read_by_group += other.read_by_group;
    }
}

const BUCKETS_MAX: usize = 600;
const WIDTH_FIRST: Duration = Duration::from_millis(200);

/// Buckets of one width, from the start of the run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    width: Duration,
    buckets: Vec<Bucket>,
}

impl Default for Timeline {
    fn default() -> Timeline {
        Timeline {
            width: WIDTH_FIRST,
            buckets: Vec::new(),
        }
    }
}

impl Timeline {
    pub fn width(&self) -> Duration {
        self.width
    }

    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// The bucket of a moment. What is told late still goes into its own.
    pub fn at(&mut self, at: Duration) -> &mut Bucket {
        loop {
            let index = (at.as_nanos() / self.width.as_nanos()) as usize;
            if index < BUCKETS_MAX {
                if index >= self.buckets.len() {
                    self.buckets.resize(index + 1, Bucket::default());
                }
                return &mut self.buckets[index];
            }
            self.widen();
        }
    }

    /// Two buckets become one.
    fn widen(&mut self) {
        self.width *= 2;
        let pair = |pair: &[Bucket]| {
            let mut sum = Bucket::default();
            pair.iter().for_each(|bucket| sum.add(*bucket));
            sum
        };
        self.buckets = self.buckets.chunks(2).map(pair).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_takes_no_more_room_than_two_minutes_and_nothing_is_lost() {
        let mut timeline = Timeline::default();
        for second in 0..86_400 {
            timeline.at(Duration::from_secs(second)).sent += 1;
        }
        assert!(timeline.buckets().len() <= BUCKETS_MAX);
        assert_eq!(timeline.buckets().iter().map(|bucket| bucket.sent).sum::<u64>(), 86_400);
        // 86,400 s in at most 600 buckets of 200 ms times a power of two.
        assert_eq!(timeline.width(), Duration::from_millis(204_800));
    }

    #[test]
    fn moments_fall_into_their_buckets() {
        let mut timeline = Timeline::default();
        timeline.at(Duration::from_millis(399)).acknowledged += 1;
        timeline.at(Duration::from_millis(400)).acknowledged += 1;
        timeline.at(Duration::from_millis(0)).read += 1;
        let counts: Vec<_> = timeline
            .buckets()
            .iter()
            .map(|one| (one.acknowledged, one.read))
            .collect();
        assert_eq!(counts, [(0, 1), (1, 0), (1, 0)]);
    }
}
