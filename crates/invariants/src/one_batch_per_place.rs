//! I13: within one leader epoch an offset is given to one batch, ever.
//!
//! Logs are compared by epochs (KIP-101); if a leader gave an offset twice, equal epochs would hide different records.

use std::collections::BTreeMap;

use klamm_types::{LeaderEpoch, Offset};

use crate::{Broken, Invariant, Placed, broken};

/// Of one partition.
#[derive(Clone, Debug, Default)]
pub struct OneBatchPerPlace {
    given: BTreeMap<(LeaderEpoch, Offset), (Offset, u32)>,
}

impl OneBatchPerPlace {
    /// A batch is given to a log.
    ///
    /// # Errors
    /// Another one was given to a log at this place.
    pub fn given(&mut self, batch: Placed) -> Result<(), Broken> {
        let value = (batch.next, batch.crc);
        let before = *self.given.entry((batch.epoch, batch.base)).or_insert(value);
        if before == value {
            return Ok(());
        }
        let (base, epoch) = (batch.base, batch.epoch);
        let what = format!("two batches for offset {base} of leader epoch {epoch}: {before:?} and {value:?}");
        broken(Invariant::OneBatchPerPlace, what)
    }
}
