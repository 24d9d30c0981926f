//! Percentiles of latencies without keeping them: counted in classes that are a sixteenth of their value wide.

use std::time::Duration;

use serde::Serialize;

/// Classes for each doubling.
const PER_OCTAVE: usize = 16;
/// From a microsecond to twelve days.
const CLASSES: usize = 41 * PER_OCTAVE;

/// How latencies are distributed. Its size does not depend on how many they are.
#[derive(Clone, Debug)]
pub struct Latencies {
    classes: Vec<u64>,
    count: u64,
    max: Duration,
}

/// Percentiles in milliseconds, a sixteenth too large at most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LatencySummary {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies {
            classes: vec![0; CLASSES],
            count: 0,
            max: Duration::ZERO,
        }
    }
}

impl Latencies {
    pub fn add(&mut self, latency: Duration) {
        self.classes[class_of(latency)] += 1;
        self.count += 1;
        self.max = self.max.max(latency);
    }

    /// `None` without latencies.
    pub fn summary(&self) -> Option<LatencySummary> {
        (self.count > 0).then(|| LatencySummary {
            p50: millis(self.rank(50)),
            p99: millis(self.rank(99)),
            max: millis(self.max),
        })
    }

    /// The end of the class in which the latency of this rank lies.
    fn rank(&self, percent: u64) -> Duration {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let class = self.classes.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        end_of(class.unwrap_or(CLASSES - 1)).min(self.max)
    }
}

/// Below 16 µs each microsecond is a class; above, the four bits after the leading one.
fn class_of(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    if micros < PER_OCTAVE as u64 {
        return micros as usize;
    }
    let octave = micros.ilog2() as usize - 4;
    let within = (micros >> octave) as usize - PER_OCTAVE;
    ((octave + 1) * PER_OCTAVE + within).min(CLASSES - 1)
}

fn end_of(class: usize) -> Duration {
    if class < PER_OCTAVE {
        return Duration::from_micros(class as u64);
    }
    let (octave, within) = (class / PER_OCTAVE - 1, class % PER_OCTAVE);
    Duration::from_micros((((PER_OCTAVE + within + 1) as u64) << octave) - 1)
}

/// Milliseconds with two decimals.
pub(crate) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_lies_in_its_class_and_classes_are_narrow() {
        let samples = (0..50).flat_map(|bits| [0, 1, 7].map(|more| (1u64 << bits) + more * (1u64 << bits) / 9));
        for micros in samples.filter(|micros| *micros < 1 << 40) {
            let end = end_of(class_of(Duration::from_micros(micros))).as_micros() as u64;
            assert!(
                micros <= end && end <= micros + micros / 16,
                "{micros} in a class to {end}"
            );
        }
        assert_eq!(class_of(Duration::MAX), CLASSES - 1);
    }

    #[test]
    fn percentiles() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.summary(), None);
        for ms in 1..=100 {
            latencies.add(Duration::from_millis(ms));
        }
        let summary = latencies.summary().unwrap();
        assert!((50.0..53.2).contains(&summary.p50), "{summary:?}");
        assert!((99.0..=100.0).contains(&summary.p99), "{summary:?}");
        assert_eq!(summary.max, 100.0);
    }
}
