//! Who waits for a turn of so many bytes, at a bound of bytes per second over all.
//!
//! After a pause a little may go at once, so that somebody who has next to nothing to catch up does not wait.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What may go at once after a pause, as time at the bound.
const BURST: Duration = Duration::from_millis(20);

/// Decides whose turn it is. Whoever holds it tells them, and comes back when it says.
#[derive(Debug)]
pub struct Turns<T> {
    /// 0: no bound.
    bytes_per_second: u64,
    waiting: VecDeque<(T, u64)>,
    /// When all that had its turn is paid for.
    paid_at: Instant,
    /// Somebody will come back.
    awaited: bool,
}

/// Whose turn has come, and when to come back if others wait.
#[derive(Debug, PartialEq, Eq)]
pub struct Due<T> {
    pub now: Vec<(T, u64)>,
    pub come_back_in: Option<Duration>,
}

impl<T> Turns<T> {
    pub fn new(bytes_per_second: u64, now: Instant) -> Self {
        Self {
            bytes_per_second,
            waiting: VecDeque::new(),
            paid_at: now,
            awaited: false,
        }
    }

    /// Somebody waits for a turn of `bytes`.
    #[must_use]
    pub fn add(&mut self, who: T, bytes: u64, now: Instant) -> Due<T> {
        self.waiting.push_back((who, bytes));
        self.due(now)
    }

    /// Here somebody comes back.
    #[must_use]
    pub fn come_back(&mut self, now: Instant) -> Due<T> {
        self.awaited = false;
        self.due(now)
    }

    fn due(&mut self, now: Instant) -> Due<T> {
        let mut due = Vec::new();
        while self.paid_at <= now
            && let Some((who, bytes)) = self.waiting.pop_front()
        {
            let costs = bytes
                .saturating_mul(1_000_000)
                .checked_div(self.bytes_per_second)
                .map_or(Duration::ZERO, Duration::from_micros);
            let earliest = now.checked_sub(BURST).unwrap_or(now);
            self.paid_at = self.paid_at.max(earliest) + costs;
            due.push((who, bytes));
        }
        let come_back = !self.awaited && !self.waiting.is_empty();
        self.awaited |= come_back;
        Due {
            now: due,
            come_back_in: come_back.then(|| self.paid_at.saturating_duration_since(now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn due<const N: usize>(now: [(char, u64); N], come_back_in: Option<Duration>) -> Due<char> {
        Due {
            now: now.into(),
            come_back_in,
        }
    }

    #[test]
    fn turns_are_taken_in_order_and_paid_for() {
        let begin = Instant::now() + Duration::from_secs(1);
        let mut turns = Turns::new(1_000_000, begin);
        // 20 ms are free after a pause, and the turn that goes beyond them is given as a whole.
        let now = begin + 50 * MS;
        assert_eq!(turns.add('a', 15_000, now), due([('a', 15_000)], None));
        assert_eq!(turns.add('b', 15_000, now), due([('b', 15_000)], None));
        assert_eq!(turns.add('c', 5_000, now), due([], Some(10 * MS)));
        assert_eq!(turns.add('d', 7_000, now), due([], None), "somebody comes back already");
        assert_eq!(turns.come_back(now + 10 * MS), due([('c', 5_000)], Some(5 * MS)));
        assert_eq!(turns.come_back(now + 15 * MS), due([('d', 7_000)], None));
        assert_eq!(turns.add('e', 1, now + 16 * MS), due([], Some(6 * MS)));
        assert_eq!(turns.come_back(now + 22 * MS), due([('e', 1)], None));
    }

    #[test]
    fn without_a_bound_nobody_waits() {
        let now = Instant::now();
        let mut turns = Turns::new(0, now);
        for _ in 0..100 {
            assert_eq!(turns.add('a', u64::MAX, now), due([('a', u64::MAX)], None));
        }
    }
}
