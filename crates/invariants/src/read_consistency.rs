//! I9: a reader gets what is committed, and nothing else.

use klamm_types::Offset;

use crate::{Broken, Invariant, LogMatching, broken};

/// A reader was given a batch.
///
/// # Errors
/// Another one is committed there, or none.
pub fn read_consistency(committed: &LogMatching, base: Offset, crc: u32) -> Result<(), Broken> {
    match committed.at(base) {
        Some(batch) if batch.crc == crc => Ok(()),
        found => {
            let what = format!("a reader got {crc:08x} at offset {base}, committed is {found:?}");
            broken(Invariant::ReadConsistency, what)
        }
    }
}
