//! When the log end was where: what "late" is measured by.
//!
//! A replica is in sync if its acknowledged offset reaches the log end as of some moment within
//! `replica.lag.time.max.ms`, that is: if it reaches the log end as it was that long ago.

use std::collections::VecDeque;
use std::time::Duration;

use klamm_types::{Moment, Offset};

/// How many marks the time is cut into; a follower is judged late by up to one of them too late, never too early.
const MARKS: u32 = 20;

/// The log end over the last `replica.lag.time.max.ms`.
#[derive(Debug)]
pub(crate) struct LagMarks {
    /// The log end as it was when the window began; `None` for the time before the leader's term.
    base: Option<(Moment, Offset)>,
    /// From this moment on the log end was this one. Both rise. The last moment may lie ahead.
    marks: VecDeque<(Moment, Offset)>,
}

impl LagMarks {
    pub fn new(now: Moment, log_end: Offset) -> LagMarks {
        LagMarks {
            base: None,
            marks: VecDeque::from([(now, log_end)]),
        }
    }

    /// The log end has grown.
    pub fn note(&mut self, now: Moment, log_end: Offset, lag_time_max: Duration) {
        self.prune(now, lag_time_max);
        match self.marks.back_mut() {
            Some((from, end)) if *from >= now => *end = log_end,
            _ => self.marks.push_back((now + lag_time_max / MARKS, log_end)),
        }
    }

    /// Moves the window on.
    pub fn prune(&mut self, now: Moment, lag_time_max: Duration) {
        while let Some(&(from, end)) = self.marks.front() {
            if from + lag_time_max > now {
                break;
            }
            self.base = Some((from, end));
            self.marks.pop_front();
        }
    }

    /// Whether `acknowledged` reaches the log end as the window began.
    pub fn reaches(&self, acknowledged: Option<Offset>) -> bool {
        self.base
            .is_none_or(|(_, base)| acknowledged.is_some_and(|offset| offset >= base))
    }

    /// When a replica that stays at `acknowledged` becomes or became late. `None`: it has everything.
    pub fn late_at(&self, acknowledged: Option<Offset>, lag_time_max: Duration) -> Option<Moment> {
        let beyond = |&&(_, end): &&(Moment, Offset)| acknowledged.is_none_or(|offset| offset < end);
        let first = self.base.iter().chain(&self.marks).find(beyond);
        first.map(|&(from, _)| from + lag_time_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAG: Duration = Duration::from_millis(2000);

    fn at(ms: u64) -> Moment {
        Moment(ms * 1000)
    }

    #[test]
    fn late_is_who_misses_what_is_older_than_the_window() {
        let mut marks = LagMarks::new(at(0), Offset(10));
        assert!(marks.reaches(None), "nobody is late before a window has passed");
        assert_eq!(marks.late_at(None, LAG), Some(at(2000)));
        assert_eq!(marks.late_at(Some(Offset(10)), LAG), None);

        marks.note(at(1000), Offset(20), LAG);
        marks.note(at(1050), Offset(30), LAG);
        assert_eq!(marks.late_at(Some(Offset(10)), LAG), Some(at(3100)));

        marks.prune(at(2000), LAG);
        assert!(!marks.reaches(None) && !marks.reaches(Some(Offset(9))) && marks.reaches(Some(Offset(10))));
        marks.prune(at(3100), LAG);
        assert!(!marks.reaches(Some(Offset(29))) && marks.reaches(Some(Offset(30))));
    }

    #[test]
    fn the_window_is_bounded() {
        let mut marks = LagMarks::new(at(0), Offset(0));
        for ms in 1..100_000 {
            marks.note(at(ms), Offset(ms as i64), LAG);
            assert!(marks.marks.len() <= MARKS as usize + 2);
        }
        assert!(marks.reaches(Some(Offset(98_000))) && !marks.reaches(Some(Offset(97_000))));
    }
}
