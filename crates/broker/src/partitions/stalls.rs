//! Workers that are held up. A leader notices by itself that its flushes are late, but not while its thread waits for a
//! write that does not end: then somebody else has to ask that it be replaced.
//!
//! A worker says when it began what it does now; a task that touches no disk looks at that. Whoever judges a time-out
//! first checks its own clock: after a look that came late, everything counts from that look on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use klamm_metadata::Image;
use klamm_replication::ReplaceReason;
use klamm_types::{Moment, NodeId, TopicPartition};

use super::requests::ReplaceWish;
use super::shared::Shared;

const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// A look that comes so much late says more of this process than of a disk.
const LATE_MAX: Duration = Duration::from_millis(500);

/// When a worker began what it does now.
#[derive(Debug)]
pub(crate) struct Pulse(AtomicU64);

const IDLE: u64 = u64::MAX;

impl Default for Pulse {
    fn default() -> Pulse {
        Pulse(AtomicU64::new(IDLE))
    }
}

impl Pulse {
    pub fn busy(&self, since: Moment) {
        self.0.store(since.0, Ordering::Relaxed);
    }

    pub fn idle(&self) {
        self.0.store(IDLE, Ordering::Relaxed);
    }

    fn busy_since(&self) -> Option<Moment> {
        match self.0.load(Ordering::Relaxed) {
            IDLE => None,
            since => Some(Moment(since)),
        }
    }
}

/// Looks again and again, as long as there is somebody to look at.
pub(super) async fn watch(shared: Weak<Shared>) {
    let Some(first) = shared.upgrade() else { return };
    let mut judge = Judge::new(first.clock.moment(), first.pulses.len());
    drop(first);
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let Some(shared) = shared.upgrade() else { return };
        look(&shared, &mut judge);
    }
}

fn look(shared: &Arc<Shared>, judge: &mut Judge) {
    let image = shared.image.load_full();
    let lag = u64::try_from(image.cluster_config().replica_lag_time_max_ms).unwrap_or(0);
    let busy: Vec<_> = shared.pulses.iter().map(Pulse::busy_since).collect();
    let held_up = judge.held_up(shared.clock.moment(), Duration::from_millis(lag), &busy);
    if held_up.is_empty() {
        return;
    }
    let is_held_up = |partition| held_up.contains(&shared.worker_of(partition));
    let wishes = wishes(&image, shared.config.node, is_held_up);
    tracing::warn!(
        workers = ?held_up,
        leaders = wishes.len(),
        "a disk holds partitions up; asking to be replaced as their leader"
    );
    for (partition, wish) in wishes {
        shared.wishes.replace(partition, wish);
    }
}

/// Which workers are held up.
struct Judge {
    looked: Moment,
    /// What was begun before counts from here.
    trusted: Moment,
    /// When others were last asked for, by worker.
    asked: Vec<Option<Moment>>,
}

impl Judge {
    fn new(now: Moment, workers: usize) -> Judge {
        Judge {
            looked: now,
            trusted: now,
            asked: vec![None; workers],
        }
    }

    /// Those that have been at one thing for longer than `lag`; each again after as long.
    fn held_up(&mut self, now: Moment, lag: Duration, busy: &[Option<Moment>]) -> Vec<usize> {
        if now > self.looked + LOOK_INTERVAL + LATE_MAX {
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

/// For every partition that `me` leads and that is held up: that the others of its ISR lead it, if there are any.
fn wishes(
    image: &Image,
    me: NodeId,
    is_held_up: impl Fn(TopicPartition) -> bool,
) -> Vec<(TopicPartition, ReplaceWish)> {
    let mut wishes = Vec::new();
    for (topic, partition, state) in image.partitions() {
        let partition = TopicPartition {
            topic: topic.id,
            partition,
        };
        if state.leader != Some(me) || !is_held_up(partition) {
            continue;
        }
        let others = state.isr.iter().filter(|&&node| node != me);
        let isr: Vec<_> = others
            .filter_map(|&node| Some((node, image.broker(node)?.epoch)))
            .collect();
        if isr.is_empty() {
            continue;
        }
        let wish = ReplaceWish {
            leader_epoch: state.leader_epoch,
            partition_epoch: state.partition_epoch,
            isr,
            reason: ReplaceReason::SlowDisk,
        };
        wishes.push((partition, wish));
    }
    wishes
}

#[cfg(test)]
mod tests {
    use super::super::tests::harness::{Meta, partition};
    use super::*;

    const LAG: Duration = Duration::from_millis(2000);

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
        let mut judge = Judge::new(at(0), 1);
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
        let mut judge = Judge::new(at(0), 1);
        assert_eq!(looks(&mut judge, 100, 500, Some(100)), [] as [u64; 0]);
        // The process was stopped for ten seconds.
        assert_eq!(looks(&mut judge, 10_500, 12_500, Some(100)), [] as [u64; 0]);
        assert_eq!(looks(&mut judge, 12_600, 12_600, Some(100)), [12_600]);
    }

    #[test]
    fn only_leaders_whom_others_can_follow_are_replaced() {
        let mut meta = Meta::default();
        for node in 0..3 {
            meta.register(NodeId(node), "127.0.0.1:1");
        }
        for (topic, replicas) in [(1, [0, 1, 2]), (2, [1, 0, 2]), (3, [0, 1, 2]), (4, [0, 1, 2])] {
            meta.create_topic(topic, &format!("t{topic}"), &replicas, &[]);
        }
        meta.change(partition(3, 0), None, &[0]);
        let image = meta.image();
        let asked = wishes(&image, NodeId(0), |at| at != partition(4, 0));
        let [(at, wish)] = &asked[..] else { panic!("{asked:?}") };
        assert_eq!(
            *at,
            partition(1, 0),
            "the second is led by another, the third has nobody else, the fourth goes on"
        );
        let isr: Vec<i32> = wish.isr.iter().map(|(node, _)| node.0).collect();
        assert_eq!((isr, wish.reason), (vec![1, 2], ReplaceReason::SlowDisk));
    }
}
