//! What is still to happen, in the order of its time; what is due at the same time comes in the order in which it was put.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Happening;
use crate::plan::Time;

/// Happenings lie still in their slots; only their times are sorted.
#[derive(Debug, Default)]
pub struct Queue {
    order: BinaryHeap<Reverse<(Time, u64, usize)>>,
    slots: Vec<Option<Happening>>,
    free: Vec<usize>,
    put: u64,
}

impl Queue {
    pub fn put(&mut self, time: Time, happening: Happening) {
        self.put += 1;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = Some(happening);
                slot
            }
            None => {
                self.slots.push(Some(happening));
                self.slots.len() - 1
            }
        };
        self.order.push(Reverse((time, self.put, slot)));
    }

    pub fn take(&mut self) -> Option<(Time, Happening)> {
        let Reverse((time, _, slot)) = self.order.pop()?;
        self.free.push(slot);
        Some((time, self.slots[slot].take()?))
    }
}
