//! I2: below the high watermark all logs agree, for ever.
//!
//! The first replica whose high watermark covers a batch says what is committed there; every other one, and the same one
//! later, must show the same batch: its bounds, its epoch and its checksum.

use std::collections::BTreeMap;

use klamm_types::Offset;

use crate::{Broken, Invariant, Placed, broken};

/// Of one partition: the committed log.
#[derive(Clone, Debug, Default)]
pub struct LogMatching {
    /// By base offset, without gaps.
    committed: BTreeMap<Offset, Placed>,
    end: Offset,
}

/// Whether a batch was known to be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Before,
    FirstNow,
}

impl LogMatching {
    /// Everything below it is committed.
    pub fn end(&self) -> Offset {
        self.end
    }

    pub fn at(&self, base: Offset) -> Option<&Placed> {
        self.committed.get(&base)
    }

    pub fn batches_count(&self) -> usize {
        self.committed.len()
    }

    /// The high watermark of a replica covers this batch of its log.
    ///
    /// # Errors
    /// Something else is committed there, or nothing can be yet.
    pub fn covered(&mut self, batch: Placed) -> Result<Seen, Broken> {
        if batch.base < self.end {
            return match self.committed.get(&batch.base) {
                Some(known) if *known == batch => Ok(Seen::Before),
                known => {
                    let what = format!("offset {} was committed as {known:?}, here it is {batch:?}", batch.base);
                    broken(Invariant::LogMatching, what)
                }
            };
        }
        if batch.base != self.end {
            let what = format!("committed up to {}, the next batch begins at {}", self.end, batch.base);
            return broken(Invariant::LogMatching, what);
        }
        self.committed.insert(batch.base, batch);
        self.end = batch.next;
        Ok(Seen::FirstNow)
    }
}
