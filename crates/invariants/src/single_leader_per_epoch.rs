//! I4: a leader epoch of a partition has one leader.
//!
//! Two leaders of one epoch could both be believed. A broker that comes back may not lead again in the epoch that its
//! former run led in either, unless it is the same process: it may have forgotten what it gave out.

use std::collections::BTreeMap;

use klamm_types::{LeaderEpoch, NodeId};

use crate::{Broken, Invariant, broken};

/// Of one partition.
#[derive(Clone, Debug, Default)]
pub struct SingleLeaderPerEpoch {
    leaders: BTreeMap<LeaderEpoch, (NodeId, u32)>,
}

impl SingleLeaderPerEpoch {
    /// A broker leads in this epoch; `run` counts the starts of its process.
    ///
    /// # Errors
    /// Somebody else does.
    pub fn leads(&mut self, epoch: LeaderEpoch, node: NodeId, run: u32) -> Result<(), Broken> {
        let (known, known_run) = *self.leaders.entry(epoch).or_insert((node, run));
        if (known, known_run) == (node, run) {
            return Ok(());
        }
        let what =
            format!("leader epoch {epoch} has two leaders: {known} in its run {known_run}, {node} in its run {run}");
        broken(Invariant::SingleLeaderPerEpoch, what)
    }
}
