//! Goodbyes on their way: of a member that leaves, that has failed, or whose program is stuck, so that others have its
//! partitions at once. One that is under way when its coordinator is lost is said to the next one. Nothing depends on
//! it: the coordinator notices by itself, later.

use std::time::Duration;

use klamm_types::Moment;

use super::{Call, Core, Settled};
use crate::consumer::group::config::GroupProtocol;

/// After so long a goodbye is given up.
const GOODBYE_MAX: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Goodbye {
    call: Call,
    asked: Option<u64>,
    /// Who waits for its end.
    waiter: Option<u64>,
    until: Option<Moment>,
}

impl Goodbye {
    /// Nobody will answer it where it was sent.
    pub fn abandon(&mut self) {
        self.asked = None;
    }
}

impl Core {
    /// Says goodbye for the member as it is now, if there is somebody to say it to.
    pub(super) fn say_goodbye(&mut self, reason: String) {
        if self.coordinator.node().is_none() {
            return;
        }
        let call = match self.config.protocol {
            GroupProtocol::Classic => self.classic_goodbye(reason),
            GroupProtocol::Consumer => self.consumer_goodbye(),
        };
        self.goodbyes.extend(call.map(|call| Goodbye {
            call,
            asked: None,
            waiter: None,
            until: None,
        }));
    }

    /// Tells this waiter when the last goodbye is over, which may be one that was said before.
    pub(super) fn await_goodbye(&mut self, waiter: u64) {
        match self.goodbyes.last_mut() {
            Some(last) if last.waiter.is_none() => last.waiter = Some(waiter),
            _ => self.settle(waiter, Settled::Left),
        }
    }

    pub(super) fn drive_goodbyes(&mut self, now: Moment) {
        let mut index = 0;
        while let Some(goodbye) = self.goodbyes.get_mut(index) {
            let until = *goodbye.until.get_or_insert(now + GOODBYE_MAX);
            if until <= now {
                self.end_goodbye(index);
                continue;
            }
            if goodbye.asked.is_none()
                && let Some(node) = self.coordinator.node()
            {
                let call = goodbye.call.clone();
                let id = self.send(now, Some(node), call);
                self.goodbyes[index].asked = Some(id);
            }
            self.wake_at(until);
            index += 1;
        }
    }

    /// Whether it was a goodbye that was answered. Whatever was said, it is over.
    pub(super) fn goodbye_answered(&mut self, id: u64) -> bool {
        let index = self.goodbyes.iter().position(|goodbye| goodbye.asked == Some(id));
        if let Some(index) = index {
            self.end_goodbye(index);
        }
        index.is_some()
    }

    /// There is nobody to say them to.
    pub(super) fn forget_goodbyes(&mut self) {
        while !self.goodbyes.is_empty() {
            self.end_goodbye(0);
        }
    }

    fn end_goodbye(&mut self, index: usize) {
        if let Some(waiter) = self.goodbyes.remove(index).waiter {
            self.settle(waiter, Settled::Left);
        }
    }
}
