//! I3: the high watermark never goes back for a client, nor within a leader's epoch.
//!
//! A client that was told a *latest* offset is never told a smaller one by a leader of the same or a newer epoch. What
//! an old leader says, who does not know yet that it is deposed, may be smaller: clients know it by its epoch.

use std::collections::BTreeMap;

use klamm_types::{HighWatermark, LeaderEpoch, Offset};

use crate::{Broken, Invariant, broken};

/// Of one partition.
#[derive(Clone, Debug, Default)]
pub struct HighWatermarkMonotonic {
    /// The largest *latest* offset told to a client, per leader epoch of the answer.
    told: BTreeMap<LeaderEpoch, Offset>,
    /// The high watermark of each epoch's leader.
    led: BTreeMap<LeaderEpoch, HighWatermark>,
}

impl HighWatermarkMonotonic {
    /// A client was told the latest offset.
    ///
    /// # Errors
    /// It was told a larger one before.
    pub fn told(&mut self, epoch: LeaderEpoch, offset: Offset) -> Result<(), Broken> {
        let before = self.told.range(..=epoch).map(|(_, &offset)| offset).max();
        if let Some(before) = before.filter(|&before| before > offset) {
            let what = format!("latest offset {offset} told in leader epoch {epoch}, after {before}");
            return broken(Invariant::HighWatermarkMonotonic, what);
        }
        self.told.insert(epoch, offset);
        Ok(())
    }

    /// The leader of this epoch has this high watermark now.
    ///
    /// # Errors
    /// It was larger before.
    pub fn leads(&mut self, epoch: LeaderEpoch, high_watermark: HighWatermark) -> Result<(), Broken> {
        let known = self.led.entry(epoch).or_insert(high_watermark);
        if *known > high_watermark {
            let what = format!("the high watermark of leader epoch {epoch} goes back from {known} to {high_watermark}");
            return broken(Invariant::HighWatermarkMonotonic, what);
        }
        *known = high_watermark;
        Ok(())
    }
}
