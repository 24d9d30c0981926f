//! I6: an acknowledged batch is committed at the offset that was told, and stays.
//!
//! It stays because of log matching (I2): what is committed cannot become something else.

use klamm_types::Offset;

use crate::{Broken, Invariant, LogMatching, broken};

/// A producer was told, with acks=all, that its batch has this checksum's bytes at this offset.
///
/// # Errors
/// It has not.
pub fn no_acknowledged_loss(committed: &LogMatching, base: Offset, crc: u32) -> Result<(), Broken> {
    match committed.at(base) {
        Some(batch) if batch.crc == crc => Ok(()),
        found => {
            let end = committed.end();
            let what = format!("acknowledged at offset {base} is {crc:08x}, committed is {found:?} (up to {end})");
            broken(Invariant::NoAcknowledgedLoss, what)
        }
    }
}
