//! I12: an acknowledged offset of a group is not forgotten, and none is made up.
//!
//! Generations fence: once a member has heard of a newer one, no commit of an older one can be taken. So whoever asks
//! for a committed offset gets at least what was acknowledged before it asked, and at most what somebody tried to commit.
//! A member may go back itself (its records are gone, or it was told an old offset by a coordinator that is deposed and
//! does not know it) and commit less: from then on less is due.

use std::collections::BTreeMap;

use klamm_types::Offset;

use crate::{Broken, Invariant, broken};

/// Of one group.
#[derive(Clone, Debug, Default)]
pub struct CommittedOffsetsKept {
    acknowledged: BTreeMap<i32, Offset>,
    tried: BTreeMap<i32, Offset>,
}

impl CommittedOffsetsKept {
    /// A member asks for this commit.
    pub fn tried(&mut self, partition: i32, offset: Offset) {
        if let Some(acknowledged) = self.acknowledged.get_mut(&partition) {
            *acknowledged = offset.min(*acknowledged);
        }
        let known = self.tried.entry(partition).or_default();
        *known = offset.max(*known);
    }

    /// A member hears that its commit is taken.
    pub fn acknowledged(&mut self, partition: i32, offset: Offset) {
        let known = self.acknowledged.entry(partition).or_default();
        *known = offset.max(*known);
    }

    /// What is acknowledged by now; whoever asks now may be told no less.
    pub fn due(&self, partition: i32) -> Offset {
        self.acknowledged.get(&partition).copied().unwrap_or_default()
    }

    /// A member is told a committed offset; `due` was acknowledged when it asked.
    ///
    /// # Errors
    /// It is older, or nobody committed it.
    pub fn fetched(&self, partition: i32, offset: Offset, due: Offset) -> Result<(), Broken> {
        let tried = self.tried.get(&partition).copied().unwrap_or_default();
        if offset < due {
            let what = format!("partition {partition}: {offset} is told as committed, acknowledged was {due}");
            return broken(Invariant::CommittedOffsetsKept, what);
        }
        if offset > tried {
            let what = format!("partition {partition}: {offset} is told as committed, nobody went beyond {tried}");
            return broken(Invariant::CommittedOffsetsKept, what);
        }
        Ok(())
    }
}
