//! How long to wait before dialling again. Pure: it counts failures and says a duration.

use std::time::Duration;

/// Grows from `first` to `max`, doubling with each failure; back to the start after a success.
///
/// The first steps are deliberately short. A broker that died is replaced within a few hundred milliseconds, and a
/// refused dial costs next to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
}

/// So many failures in a row are answered with the shortest wait, so that a failover is not slept through.
const SHORT_STEPS: u32 = 25;

impl Backoff {
    pub fn new(first: Duration, max: Duration) -> Backoff {
        Backoff {
            first,
            max: max.max(first),
            failures: 0,
        }
    }

    /// Counts a failure and says how long to wait.
    pub fn next(&mut self) -> Duration {
        let doublings = self.failures.saturating_sub(SHORT_STEPS).min(16);
        self.failures = self.failures.saturating_add(1);
        self.first.saturating_mul(1 << doublings).min(self.max)
    }

    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_at_first_then_doubling() {
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(1000));
        let waits: Vec<u64> = (0..33).map(|_| backoff.next().as_millis() as u64).collect();
        assert!(waits[..26].iter().all(|&wait| wait == 20));
        assert_eq!(waits[26..], [40, 80, 160, 320, 640, 1000, 1000]);
        backoff.reset();
        assert_eq!(backoff.next(), Duration::from_millis(20));
    }
}
