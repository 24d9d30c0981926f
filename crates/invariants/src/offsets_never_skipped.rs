//! I11: a group passes over no record.
//!
//! Whoever of the group reads a record has had every record before it read by somebody of the group. Reading again, after
//! a rebalance, is allowed. Records that were deleted before anybody came to them do not count.
//!
//! In the simulation members go where the coordinator sends them, and I12 sees an offset that nobody has come to when it is
//! told: no bug of the coordinator gets as far as here. It is for members and fetches that go wrong by themselves.

use std::collections::BTreeMap;

use klamm_types::Offset;

use crate::{Broken, Invariant, broken};

/// Of one group.
#[derive(Clone, Debug, Default)]
pub struct OffsetsNeverSkipped {
    /// By partition: everything below has been read by somebody.
    read: BTreeMap<i32, Offset>,
}

impl OffsetsNeverSkipped {
    /// A member has read everything from `from` on, up to `next`. Records below `kept_from` may be deleted.
    ///
    /// # Errors
    /// Nobody has read what lies before.
    pub fn read(&mut self, partition: i32, from: Offset, next: Offset, kept_from: Offset) -> Result<(), Broken> {
        let reached = self.read.entry(partition).or_default();
        *reached = kept_from.max(*reached);
        if from > *reached {
            let what = format!("partition {partition}: {from} is read, but nothing since {reached}");
            return broken(Invariant::OffsetsNeverSkipped, what);
        }
        *reached = next.max(*reached);
        Ok(())
    }

    /// How far the group has read.
    pub fn reached(&self, partition: i32) -> Offset {
        self.read.get(&partition).copied().unwrap_or_default()
    }
}
