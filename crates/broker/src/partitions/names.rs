//! Which partition has which directory name. A topic deleted and created again has its old names: the new partition
//! waits until the directory of the old one has been put aside.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use klamm_types::TopicPartition;

use super::command::{Host, Release, ViewChange};

#[derive(Default)]
pub(crate) struct Names {
    holders: Mutex<HashMap<Arc<str>, Holder>>,
}

struct Holder {
    partition: TopicPartition,
    next: VecDeque<Box<Host>>,
}

impl Names {
    /// Gives the name to the partition. `None`: another one has it; the partition is hosted when the name is free.
    pub fn claim(&self, host: Box<Host>) -> Option<Box<Host>> {
        let mut holders = self.lock();
        match holders.get_mut(&host.name) {
            Some(holder) if holder.partition != host.partition => {
                holder.next.push_back(host);
                None
            }
            Some(_) => Some(host),
            None => {
                let holder = Holder {
                    partition: host.partition,
                    next: VecDeque::new(),
                };
                holders.insert(Arc::clone(&host.name), holder);
                Some(host)
            }
        }
    }

    /// Takes a newer view of a partition that waits for its name; gives it back if the partition does not wait.
    pub fn update(&self, name: &str, change: Box<ViewChange>) -> Option<Box<ViewChange>> {
        let mut holders = self.lock();
        let waiting = holders
            .get_mut(name)
            .and_then(|holder| holder.next.iter_mut().find(|host| host.partition == change.partition));
        let Some(host) = waiting else {
            return Some(change);
        };
        host.view = Some(*change);
        None
    }

    /// Drops a partition that waits for its name; gives the release back if it does not wait.
    pub fn forget(&self, name: &str, release: Box<Release>) -> Option<Box<Release>> {
        let mut holders = self.lock();
        if let Some(holder) = holders.get_mut(name) {
            let before = holder.next.len();
            holder.next.retain(|host| host.partition != release.partition);
            if holder.next.len() < before {
                return None;
            }
        }
        Some(release)
    }

    /// The name is free. Gives the partition that waited for it.
    pub fn free(&self, name: &str) -> Option<Box<Host>> {
        let mut holders = self.lock();
        let Some(next) = holders.get_mut(name).and_then(|holder| holder.next.pop_front()) else {
            holders.remove(name);
            return None;
        };
        if let Some(holder) = holders.get_mut(name) {
            holder.partition = next.partition;
        }
        Some(next)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Holder>> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
