//! Brokers whose replica streams broke, for the controller to look at: a hint starts its probe and fences nobody.
//!
//! Noting one never waits, and there is at most one per broker: while a hint about a broker epoch waits or is on its
//! way, further breaks of its streams say nothing new.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use klamm_types::{BrokerEpoch, NodeId};
use tokio::sync::Notify;

/// A broker that seems to have died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspicion {
    pub broker: NodeId,
    pub broker_epoch: BrokerEpoch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hint {
    Waiting(BrokerEpoch),
    UnderWay(BrokerEpoch),
}

impl Hint {
    fn epoch(self) -> BrokerEpoch {
        match self {
            Hint::Waiting(epoch) | Hint::UnderWay(epoch) => epoch,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Suspects {
    hints: Mutex<BTreeMap<NodeId, Hint>>,
    changed: Notify,
}

impl Suspects {
    pub fn note(&self, suspicion: Suspicion) {
        let Suspicion { broker, broker_epoch } = suspicion;
        let mut hints = self.lock();
        if hints.get(&broker).is_none_or(|hint| hint.epoch() < broker_epoch) {
            hints.insert(broker, Hint::Waiting(broker_epoch));
            drop(hints);
            self.changed.notify_one();
        }
    }

    /// The next one that waits; it is on its way until `told`.
    pub async fn take(&self) -> Suspicion {
        loop {
            if let Some(suspicion) = self.try_take() {
                return suspicion;
            }
            self.changed.notified().await;
        }
    }

    fn try_take(&self) -> Option<Suspicion> {
        self.lock().iter_mut().find_map(|(&broker, hint)| match *hint {
            Hint::Waiting(broker_epoch) => {
                *hint = Hint::UnderWay(broker_epoch);
                Some(Suspicion { broker, broker_epoch })
            }
            Hint::UnderWay(_) => None,
        })
    }

    /// The attempt to tell of it is over, whatever came of it.
    pub fn told(&self, suspicion: Suspicion) {
        let mut hints = self.lock();
        if hints.get(&suspicion.broker) == Some(&Hint::UnderWay(suspicion.broker_epoch)) {
            hints.remove(&suspicion.broker);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Hint>> {
        self.hints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(broker: i32, epoch: i64) -> Suspicion {
        Suspicion {
            broker: NodeId(broker),
            broker_epoch: BrokerEpoch(epoch),
        }
    }

    #[test]
    fn one_hint_about_a_broker_epoch_at_a_time() {
        let suspects = Suspects::default();
        suspects.note(of(2, 7));
        suspects.note(of(2, 7));
        suspects.note(of(1, 5));
        assert_eq!(suspects.try_take(), Some(of(1, 5)));
        assert_eq!(suspects.try_take(), Some(of(2, 7)));
        suspects.note(of(2, 7));
        assert_eq!(suspects.try_take(), None, "it is on its way");
        suspects.note(of(2, 6));
        assert_eq!(suspects.try_take(), None, "an older run of the broker says nothing");
        suspects.note(of(2, 8));
        suspects.told(of(2, 7));
        assert_eq!(suspects.try_take(), Some(of(2, 8)));
        suspects.told(of(2, 8));
        suspects.note(of(2, 8));
        assert_eq!(suspects.try_take(), Some(of(2, 8)), "its streams broke again");
    }
}
