//! Promises of the crate `invariants` that one replica can hold itself to, in builds with debug assertions: all tests and
//! development clusters. What ships does without them, as their cost grows with the number of epochs.
//!
//! A replica that breaks one stops its thread; a cluster goes on without it.

use klamm_invariants::{Broken, Held, HighWatermarkMonotonic, SingleLeaderPerEpoch, isr_superset};
use klamm_types::{HighWatermark, LeaderEpoch, NodeId};

/// Of one replica.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    leaders: SingleLeaderPerEpoch,
    marks: HighWatermarkMonotonic,
}

fn held<T>(result: Result<T, Broken>) {
    if let Err(broken) = result {
        debug_assert!(false, "{broken}");
    }
}

impl Promises {
    /// The image names the leader of an epoch.
    pub fn elected(&mut self, epoch: LeaderEpoch, leader: Option<NodeId>) {
        if cfg!(debug_assertions)
            && let Some(leader) = leader
        {
            held(self.leaders.leads(epoch, leader, 0));
        }
    }

    /// This replica leads, and its high watermark is here.
    pub fn leads(&mut self, epoch: LeaderEpoch, high_watermark: HighWatermark) {
        if cfg!(debug_assertions) {
            held(self.marks.leads(epoch, high_watermark));
        }
    }
}

/// A leader raises its high watermark to here, which so many replicas must hold, and all of the ISR.
pub(crate) fn raised(high_watermark: HighWatermark, replicas: impl Iterator<Item = Held>, minimum: usize) {
    if cfg!(debug_assertions) {
        held(isr_superset(high_watermark, &replicas.collect::<Vec<_>>(), minimum));
    }
}
