//! I8: the batches of an idempotent producer are committed in its order, none left out.

use std::collections::BTreeMap;

use klamm_types::{Offset, ProducerId};

use crate::{Broken, Invariant, Stamp, broken};

/// Of one partition.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// The next sequence of each producer in the committed log.
    due: BTreeMap<ProducerId, i32>,
}

impl Order {
    /// A batch is committed for the first time at this offset.
    ///
    /// # Errors
    /// Another one was due.
    pub fn committed(&mut self, stamp: Stamp, base: Offset) -> Result<(), Broken> {
        let due = self.due.entry(stamp.producer).or_insert(0);
        if stamp.first != *due {
            let (producer, first) = (stamp.producer, stamp.first);
            let what =
                format!("producer {producer}: sequence {first} is committed at offset {base} where {due} was due");
            return broken(Invariant::Order, what);
        }
        *due = stamp.last + 1;
        Ok(())
    }
}
