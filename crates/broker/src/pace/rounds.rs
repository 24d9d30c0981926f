//! Flushes that nobody waits for, in rounds with pauses between them: others have the disk for their share of the time.
//!
//! A round is what waited when it began, up to a bound. When all of it is done, a pause follows, as long as the round's
//! share of the disk demands. So the pace follows the disk, however fast that is, and what others wait behind is one round.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

#[derive(Debug)]
enum State {
    Idle,
    Running { since: Instant, left: usize },
    Pausing,
}

/// Decides when jobs run. Whoever holds it runs them and says so.
#[derive(Debug)]
pub struct Rounds<J> {
    round_max: usize,
    percent: u32,
    waiting: VecDeque<J>,
    state: State,
}

impl<J> Rounds<J> {
    /// At most `round_max` jobs in a round; rounds have `percent` of the time, from 1 to 100.
    pub fn new(round_max: usize, percent: u32) -> Self {
        Self {
            round_max: round_max.max(1),
            percent: percent.clamp(1, 100),
            waiting: VecDeque::new(),
            state: State::Idle,
        }
    }

    /// Takes a job. What comes back is to be run now.
    #[must_use]
    pub fn add(&mut self, job: J, now: Instant) -> Vec<J> {
        self.waiting.push_back(job);
        match self.state {
            State::Idle => self.begin(now),
            State::Running { .. } | State::Pausing => Vec::new(),
        }
    }

    /// A job has been run. After the last of a round: how long to pause before `resume`.
    #[must_use]
    pub fn ended(&mut self, now: Instant) -> Option<Duration> {
        let State::Running { since, left } = &mut self.state else {
            return None;
        };
        *left -= 1;
        if *left > 0 {
            return None;
        }
        let took = now.saturating_duration_since(*since);
        self.state = State::Pausing;
        Some(took * (100 - self.percent) / self.percent)
    }

    /// The pause is over. What comes back is to be run now.
    #[must_use]
    pub fn resume(&mut self, now: Instant) -> Vec<J> {
        match self.state {
            State::Pausing => self.begin(now),
            State::Idle | State::Running { .. } => Vec::new(),
        }
    }

    fn begin(&mut self, now: Instant) -> Vec<J> {
        let count = self.waiting.len().min(self.round_max);
        self.state = match count {
            0 => State::Idle,
            left => State::Running { since: now, left },
        };
        self.waiting.drain(..count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const NONE: [i32; 0] = [];

    #[test]
    fn a_round_is_what_waited_when_it_began() {
        let now = Instant::now();
        let mut rounds = Rounds::new(2, 50);
        assert_eq!(rounds.add(1, now), [1]);
        for job in 2..=4 {
            assert_eq!(rounds.add(job, now), NONE);
        }
        assert_eq!(rounds.ended(now + 10 * MS), Some(10 * MS));
        assert_eq!(rounds.add(5, now + 15 * MS), NONE, "nothing begins in a pause");
        assert_eq!(rounds.resume(now + 20 * MS), [2, 3]);
        assert_eq!(rounds.ended(now + 21 * MS), None);
        assert_eq!(rounds.ended(now + 24 * MS), Some(4 * MS));
        assert_eq!(rounds.resume(now + 28 * MS), [4, 5]);
        assert_eq!((rounds.ended(now), rounds.ended(now)), (None, Some(Duration::ZERO)));
        assert_eq!(rounds.resume(now), NONE);
        assert_eq!(rounds.add(6, now), [6], "who comes to an idle disk waits for nobody");
    }

    #[test]
    fn the_pause_leaves_others_their_share() {
        let now = Instant::now();
        for (percent, pause) in [(100, 0), (80, 25), (50, 100), (20, 400), (1, 9_900)] {
            let mut rounds = Rounds::new(1, percent);
            assert_eq!(rounds.add((), now), [()]);
            assert_eq!(rounds.ended(now + 100 * MS), Some(pause * MS), "{percent} %");
        }
    }
}
