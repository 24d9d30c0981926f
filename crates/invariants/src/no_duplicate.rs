//! I7: a batch of an idempotent producer is committed once.

use std::collections::BTreeMap;

use klamm_types::{Offset, ProducerId};

use crate::{Broken, Invariant, broken};

/// A batch's numbers in its producer's own count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    pub producer: ProducerId,
    pub first: i32,
    pub last: i32,
}

/// Of one partition.
#[derive(Clone, Debug, Default)]
pub struct NoDuplicate {
    /// Where each committed batch begins, by its first sequence.
    places: BTreeMap<(ProducerId, i32), Offset>,
}

impl NoDuplicate {
    /// A batch is committed for the first time at this offset.
    ///
    /// # Errors
    /// It is committed elsewhere already.
    pub fn committed(&mut self, stamp: Stamp, base: Offset) -> Result<(), Broken> {
        match self.places.insert((stamp.producer, stamp.first), base) {
            None => Ok(()),
            Some(before) => {
                let (producer, first) = (stamp.producer, stamp.first);
                let what = format!("producer {producer}: sequence {first} is committed at {before} and at {base}");
                broken(Invariant::NoDuplicate, what)
            }
        }
    }

    /// Where the batch that begins with this sequence was committed.
    pub fn place_of(&self, producer: ProducerId, first: i32) -> Option<Offset> {
        self.places.get(&(producer, first)).copied()
    }
}
