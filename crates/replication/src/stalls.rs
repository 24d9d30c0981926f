//! Partitions that are held up. A leader notices by itself that its flushes are late, but not while its thread waits for
//! a write that does not end: then somebody who touches no disk has to notice, and ask that it be replaced.
//!
//! Whoever judges a time-out first checks its own clock: after a look that came late, everything counts from that look on.

use std::time::Duration;

use klamm_types::{BrokerEpoch, Moment, NodeId};

/// How often somebody looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looks {
    pub interval: Duration,
    /// A look that comes so much late says more of this process than of a disk.
    pub late_max: Duration,
}

/// Which workers are held up, as looks at them tell. A worker is whoever carries out the writes of some partitions.
#[derive(Clone, Debug)]
pub struct Judge {
    looks: Looks,
    looked: Moment,
    /// What was begun before counts from here.
    trusted: Moment,
    /// When others were last asked for, by worker.
    asked: Vec<Option<Moment>>,
}

impl Judge {
    pub fn new(looks: Looks, now: Moment, workers: usize) -> Judge {
        Judge {
            looks,
            looked: now,
            trusted: now,
            asked: vec![None; workers],
        }
    }

    /// `busy`: since when each worker has been at what it does now. Those that have been at one thing for longer than
    /// `lag`; each again after as long.
    pub fn held_up(&mut self, now: Moment, lag: Duration, busy: &[Option<Moment>]) -> Vec<usize> {
        if now > self.looked + self.looks.interval + self.looks.late_max {
            self.trusted = now;
        }
        self.looked = now;
        let mut held_up = Vec::new();
        for (worker, (since, asked)) in busy.iter().zip(&mut self.asked).enumerate() {
            let Some(since) = since else {
                *asked = None;
                continue;
            };
            let from = (*since).max(self.trusted).max(asked.unwrap_or(Moment(0)));
            if now > from + lag {
                *asked = Some(now);
                held_up.push(worker);
            }
        }
        held_up
    }
}

/// How a leader asks to be replaced: the ISR without it, each with its registration. `None` if nobody else is in it.
pub fn isr_without(
    me: NodeId,
    isr: impl IntoIterator<Item = NodeId>,
    epoch: impl Fn(NodeId) -> Option<BrokerEpoch>,
) -> Option<Vec<(NodeId, BrokerEpoch)>> {
    let others = isr.into_iter().filter(|&node| node != me);
    let known: Vec<_> = others.filter_map(|node| Some((node, epoch(node)?))).collect();
    (!known.is_empty()).then_some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAG: Duration = Duration::from_millis(2000);
    const LOOKS: Looks = Looks {
        interval: Duration::from_millis(100),
        late_max: Duration::from_millis(500),
    };

    fn at(ms: u64) -> Moment {
        Moment(ms * 1000)
    }

    /// Looks every 100 ms up to `to`, at one worker that is busy since a time.
    fn looks(judge: &mut Judge, from: u64, to: u64, since: Option<u64>) -> Vec<u64> {
        let held_up = |ms: &u64| !judge.held_up(at(*ms), LAG, &[since.map(at)]).is_empty();
        (from..=to).step_by(100).filter(held_up).collect()
    }

    #[test]
    fn a_worker_that_is_at_one_thing_for_too_long_is_held_up() {
        let mut judge = Judge::new(LOOKS, at(0), 1);
        assert_eq!(looks(&mut judge, 100, 900, None), [] as [u64; 0]);
        assert_eq!(looks(&mut judge, 1000, 5500, Some(1000)), [3100, 5200]);
        assert_eq!(looks(&mut judge, 5600, 5600, None), [] as [u64; 0]);
        assert_eq!(
            looks(&mut judge, 5700, 7700, Some(5700)),
            [] as [u64; 0],
            "something else"
        );
    }

    #[test]
    fn nobody_is_judged_by_a_look_that_came_late() {
        let mut judge = Judge::new(LOOKS, at(0), 1);
        assert_eq!(looks(&mut judge, 100, 500, Some(100)), [] as [u64; 0]);
        // The process was stopped for ten seconds.
        assert_eq!(looks(&mut judge, 10_500, 12_500, Some(100)), [] as [u64; 0]);
        assert_eq!(looks(&mut judge, 12_600, 12_600, Some(100)), [12_600]);
    }

    #[test]
    fn a_leader_that_is_alone_asks_for_nobody() {
        let epoch = |node: NodeId| (node != NodeId(3)).then_some(BrokerEpoch(7));
        let isr = |nodes: &[i32]| isr_without(NodeId(1), nodes.iter().copied().map(NodeId), epoch);
        assert_eq!(
            isr(&[1, 2, 3]),
            Some(vec![(NodeId(2), BrokerEpoch(7))]),
            "3 is not registered"
        );
        assert_eq!(isr(&[1]), None);
        assert_eq!(isr(&[1, 3]), None);
    }
}
