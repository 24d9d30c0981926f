//! Idempotent producers whose batches were refused here a moment ago.
//!
//! A producer sends several batches without waiting. If the first is refused (this broker does not lead yet, the ISR
//! is too small) and the refusal ends before the second arrives, the second must not be appended before the first.
//! Where the log knows the producer, its sequences tell. Where it does not, any sequence is taken, as clients expect,
//! and only this memory tells a producer that begins in the middle from one that was turned away at the beginning.

use std::collections::BTreeMap;
use std::time::Duration;

use klamm_record::BatchHeader;
use klamm_types::{Moment, ProducerEpoch, ProducerId, Sequence};

/// How long a refusal is remembered: longer than a batch can be under way behind another.
const REMEMBERED: Duration = Duration::from_secs(30);
/// How many producers are remembered; beyond it the oldest is forgotten.
const PRODUCERS_MAX: usize = 1000;

#[derive(Clone, Copy, Debug)]
struct Refused {
    epoch: ProducerEpoch,
    base_sequence: Sequence,
    at: Moment,
}

#[derive(Debug, Default)]
pub(crate) struct RefusedBatches {
    producers: BTreeMap<ProducerId, Refused>,
}

impl RefusedBatches {
    /// A batch was refused and not appended, for a reason that lies not in its sequence.
    pub fn note(&mut self, header: &BatchHeader, now: Moment) {
        if !header.has_producer_id() || header.base_sequence.0 < 0 {
            return;
        }
        let (epoch, base_sequence) = (header.producer_epoch, header.base_sequence);
        let known = self.producers.get(&header.producer_id).copied();
        // The first one refused counts: the others follow it.
        let first = known.filter(|known| known.epoch == epoch && known.base_sequence <= base_sequence);
        let base_sequence = first.map_or(base_sequence, |first| first.base_sequence);
        if known.is_none() && self.producers.len() >= PRODUCERS_MAX {
            let oldest = self.producers.iter().min_by_key(|(_, refused)| refused.at);
            if let Some((&oldest, _)) = oldest {
                self.producers.remove(&oldest);
            }
        }
        let refused = Refused {
            epoch,
            base_sequence,
            at: now,
        };
        self.producers.insert(header.producer_id, refused);
    }

    /// Whether a batch of a producer that the log does not know follows one that was refused.
    pub fn follows_refused(&self, header: &BatchHeader, now: Moment) -> bool {
        self.producers.get(&header.producer_id).is_some_and(|refused| {
            refused.epoch == header.producer_epoch
                && refused.base_sequence < header.base_sequence
                && now.since(refused.at) < REMEMBERED
        })
    }

    /// A batch of the producer was appended: from now on the log knows it.
    pub fn forget(&mut self, producer: ProducerId) {
        self.producers.remove(&producer);
    }
}
