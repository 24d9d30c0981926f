//! How many records of each partition were acknowledged so far: what the driver of a run waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Counters by partition. Clones share them.
#[derive(Clone, Debug)]
pub struct Progress {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    acknowledged: Vec<AtomicU64>,
    changed: Notify,
}

impl Progress {
    pub(super) fn new(partitions: i32) -> Progress {
        let acknowledged = (0..partitions).map(|_| AtomicU64::new(0)).collect();
        Progress {
            inner: Arc::new(Inner {
                acknowledged,
                changed: Notify::new(),
            }),
        }
    }

    pub(super) fn acknowledged(&self, partition: i32) {
        if let Some(counter) = usize::try_from(partition)
            .ok()
            .and_then(|index| self.inner.acknowledged.get(index))
        {
            counter.fetch_add(1, Ordering::Relaxed);
            self.inner.changed.notify_waiters();
        }
    }

    /// Acknowledged records by partition.
    pub fn counts(&self) -> Vec<u64> {
        self.inner
            .acknowledged
            .iter()
            .map(|counter| counter.load(Ordering::Relaxed))
            .collect()
    }

    /// Waits until every partition has `more` acknowledgements beyond `since`.
    pub async fn wait_for_more(&self, since: &[u64], more: u64) {
        loop {
            let changed = self.inner.changed.notified();
            if self
                .counts()
                .iter()
                .zip(since)
                .all(|(now, before)| *now >= before + more)
            {
                return;
            }
            changed.await;
        }
    }
}
