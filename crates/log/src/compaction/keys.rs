//! The newest offset of each key, and the last batch of each producer, within a bound of memory.
//!
//! Keys are kept whole, not as hashes: two keys are never taken for one.

use std::collections::HashMap;

use klamm_types::{Offset, ProducerId};

/// What an entry takes beside its key: the boxed key, the offset, and its share of the table.
const ENTRY_BYTES: usize = 64;
/// So many producers are told apart. If there are more, the last batches of all of them stay.
const PRODUCERS_MAX: usize = 100_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Keys {
    newest: HashMap<Box<[u8]>, Offset>,
    bytes: usize,
    bytes_max: usize,
    /// The base offset of each producer's last batch.
    producers: HashMap<ProducerId, Offset>,
}

impl Keys {
    pub fn new(bytes_max: usize) -> Keys {
        Keys {
            newest: HashMap::new(),
            bytes: 0,
            bytes_max,
            producers: HashMap::new(),
        }
    }

    /// Offsets come rising.
    pub fn note(&mut self, key: &[u8], offset: Offset) {
        match self.newest.get_mut(key) {
            Some(newest) => *newest = offset,
            None => {
                self.bytes += key.len() + ENTRY_BYTES;
                self.newest.insert(key.into(), offset);
            }
        }
    }

    /// Whether no more keys should be taken.
    pub fn are_full(&self) -> bool {
        self.bytes >= self.bytes_max
    }

    /// Whether a newer record has the key.
    pub fn are_newer(&self, key: &[u8], offset: Offset) -> bool {
        self.newest.get(key).is_some_and(|newest| *newest > offset)
    }

    pub fn note_producer(&mut self, producer: ProducerId, batch: Offset) {
        if self.producers.len() < PRODUCERS_MAX || self.producers.contains_key(&producer) {
            self.producers.insert(producer, batch);
        }
    }

    /// Whether a later batch says all that this one says of its producer.
    pub fn is_superseded(&self, producer: ProducerId, batch: Offset) -> bool {
        self.producers.get(&producer).is_some_and(|last| *last > batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_record_of_a_key_counts() {
        let mut keys = Keys::new(200);
        for (offset, key) in [(1, "a"), (2, "b"), (3, "a")] {
            keys.note(key.as_bytes(), Offset(offset));
        }
        assert!(keys.are_newer(b"a", Offset(1)));
        assert!(!keys.are_newer(b"a", Offset(3)));
        assert!(!keys.are_newer(b"b", Offset(2)));
        assert!(!keys.are_newer(b"c", Offset(0)));
        assert!(!keys.are_full());
        keys.note(b"c", Offset(4));
        keys.note(b"d", Offset(5));
        assert!(keys.are_full());
    }

    #[test]
    fn the_last_batch_of_a_producer_counts() {
        let mut keys = Keys::new(200);
        keys.note_producer(ProducerId(1), Offset(5));
        keys.note_producer(ProducerId(1), Offset(9));
        assert!(keys.is_superseded(ProducerId(1), Offset(5)));
        assert!(!keys.is_superseded(ProducerId(1), Offset(9)));
        assert!(!keys.is_superseded(ProducerId(2), Offset(5)));
    }
}
