//! Percentiles of latencies, from all of them: a run has some millions at most.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// Latencies in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Latency {
    /// `None` without samples.
    pub fn of(mut samples_us: Vec<u32>) -> Option<Latency> {
        samples_us.sort_unstable();
        let rank = |per_mille: usize| {
            let index = (samples_us.len() * per_mille).div_ceil(1000).max(1) - 1;
            f64::from(samples_us[index.min(samples_us.len() - 1)]) / 1000.0
        };
        let max = f64::from(*samples_us.last()?) / 1000.0;
        Some(Latency {
            p50: rank(500),
            p99: rank(990),
            p999: rank(999),
            max,
        })
    }
}

/// Microseconds; more than an hour counts as an hour.
pub fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(3_600_000_000)
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms",
            self.p50, self.p99, self.p999, self.max
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_the_nearest() {
        let latency = Latency::of((1..=1000).map(|ms| ms * 1000).collect()).unwrap();
        assert_eq!(
            latency,
            Latency {
                p50: 500.0,
                p99: 990.0,
                p999: 999.0,
                max: 1000.0
            }
        );
        assert_eq!(Latency::of(Vec::new()), None);
    }
}
