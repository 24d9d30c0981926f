//! Parked fetches: readers at the end of what they may read.
//!
//! Only offsets are known here; how many bytes a reader wants, the shell weighs when it looks again.

use std::collections::{BTreeMap, BTreeSet};

use klamm_types::Offset;

use crate::effect::Effect;
use crate::event::RequestId;

#[derive(Debug, Default)]
pub(crate) struct ParkedFetches {
    beyond: BTreeMap<RequestId, Offset>,
    by_offset: BTreeSet<(Offset, RequestId)>,
}

impl ParkedFetches {
    pub fn len(&self) -> usize {
        self.beyond.len()
    }

    pub fn park(&mut self, request: RequestId, beyond: Offset) {
        self.cancel(request);
        self.beyond.insert(request, beyond);
        self.by_offset.insert((beyond, request));
    }

    pub fn cancel(&mut self, request: RequestId) {
        if let Some(beyond) = self.beyond.remove(&request) {
            self.by_offset.remove(&(beyond, request));
        }
    }

    /// Wakes those who may read something now.
    pub fn wake_below(&mut self, bound: Offset, effects: &mut Vec<Effect>) {
        while let Some(&(beyond, request)) = self.by_offset.first() {
            if beyond >= bound {
                break;
            }
            self.cancel(request);
            effects.push(Effect::WakeFetch { request });
        }
    }

    pub fn wake_all(&mut self, effects: &mut Vec<Effect>) {
        self.by_offset.clear();
        for request in std::mem::take(&mut self.beyond).into_keys() {
            effects.push(Effect::WakeFetch { request });
        }
    }
}
