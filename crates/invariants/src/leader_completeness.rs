//! I1: a new leader holds everything committed before its epoch.
//!
//! Otherwise it would give offsets that were acknowledged to other records. A leader that learns late of its election
//! may find that later ones have gone on without it; only what older epochs committed is due.

use std::collections::BTreeMap;

use klamm_types::{LeaderEpoch, Offset};

use crate::{Broken, Invariant, broken};

/// Of one partition.
#[derive(Clone, Debug, Default)]
pub struct LeaderCompleteness {
    /// By the epoch of the leader that committed: up to which offset.
    ends: BTreeMap<LeaderEpoch, Offset>,
}

impl LeaderCompleteness {
    /// The high watermark in this epoch has covered everything below `end`.
    pub fn committed(&mut self, epoch: LeaderEpoch, end: Offset) {
        let known = self.ends.entry(epoch).or_insert(end);
        *known = end.max(*known);
    }

    /// A leader takes up its epoch with a log that ends here.
    ///
    /// # Errors
    /// It lacks committed records.
    pub fn leads(&self, epoch: LeaderEpoch, log_end: Offset) -> Result<(), Broken> {
        let due = self.ends.range(..epoch).map(|(_, &end)| end).max().unwrap_or_default();
        if log_end >= due {
            return Ok(());
        }
        let what = format!("the leader of epoch {epoch} holds records up to {log_end}, committed are {due}");
        broken(Invariant::LeaderCompleteness, what)
    }
}
