//! How long things take, in buckets: fixed bounds, so that histograms of all nodes can be added.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Value;

/// The upper bounds of the buckets; one more is without bound.
pub const BOUNDS_SECONDS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// Counts durations by bucket.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS_SECONDS.len() + 1],
    sum_nanos: AtomicU64,
}

/// What a histogram held at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// Values in each bucket, not counting those in the ones below; the last is above all bounds.
    pub buckets: Vec<u64>,
    pub sum_seconds: f64,
}

impl Histogram {
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BOUNDS_SECONDS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub fn value(&self) -> Value {
        let buckets = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        Value::Histogram(Distribution {
            buckets: buckets.collect(),
            sum_seconds: Duration::from_nanos(self.sum_nanos.load(Ordering::Relaxed)).as_secs_f64(),
        })
    }
}

impl Distribution {
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_at_a_bound_is_in_the_bucket_below_it() {
        let histogram = Histogram::default();
        for micros in [0, 100, 101, 10_000_000, 10_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let Value::Histogram(distribution) = histogram.value() else {
            panic!("a histogram gives a distribution");
        };
        assert_eq!(distribution.buckets[..2], [2, 1]);
        assert_eq!(distribution.buckets[BOUNDS_SECONDS.len() - 1..], [1, 1]);
        assert_eq!(distribution.count(), 5);
    }
}
