//! Workers that are held up: a worker says when it began what it does now, and a task that touches no disk looks at
//! that. Who is held up is the core's to say (`Judge`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use klamm_metadata::Image;
use klamm_replication::{Judge, Looks, ReplaceReason, isr_without};
use klamm_types::{Moment, NodeId, TopicPartition};

use super::requests::ReplaceWish;
use super::shared::Shared;

const LOOKS: Looks = Looks {
    interval: Duration::from_millis(100),
    late_max: Duration::from_millis(500),
};

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
    let mut judge = Judge::new(LOOKS, first.clock.moment(), first.pulses.len());
    drop(first);
    loop {
        tokio::time::sleep(LOOKS.interval).await;
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
        let epoch = |node| image.broker(node).map(|broker| broker.epoch);
        let Some(isr) = isr_without(me, state.isr.iter().copied(), epoch) else {
            continue;
        };
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
