//! A model of what the store expects of its database: batches are whole, survive in their order, and are durable after a
//! flush. A crash keeps what was flushed and any number of the batches after it, from the first on.

use std::collections::BTreeMap;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::codec;
use super::database::{Batch, Database, Pair};
use super::log_store::VOTE;
use super::rows;
use crate::raft::types::Vote;

/// Clones are handles on the same database.
#[derive(Clone, Default)]
pub struct Model {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    durable: BTreeMap<Vec<u8>, Vec<u8>>,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    unflushed: Vec<Batch>,
    /// How much longer each flush takes.
    slowness: Duration,
}

impl Model {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.inner().rows.get(key).cloned()
    }

    pub fn range(&self, keys: impl RangeBounds<[u8; 13]>) -> Vec<Pair> {
        fn bound(bound: Bound<&[u8; 13]>) -> Bound<&[u8]> {
            bound.map(|key| &key[..])
        }
        let keys = (bound(keys.start_bound()), bound(keys.end_bound()));
        let inner = self.inner();
        let rows = inner.rows.range::<[u8], _>(keys);
        rows.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    pub fn apply(&self, batch: Batch) -> io::Result<()> {
        let mut inner = self.inner();
        change(&mut inner.rows, &batch);
        inner.unflushed.push(batch);
        Ok(())
    }

    pub fn flush(&self) -> io::Result<()> {
        let mut inner = self.inner();
        for batch in std::mem::take(&mut inner.unflushed) {
            change(&mut inner.durable, &batch);
        }
        Ok(())
    }

    pub fn slowness(&self) -> Duration {
        self.inner().slowness
    }

    pub fn set_slowness(&self, slowness: Duration) {
        self.inner().slowness = slowness;
    }

    /// A database of its own with the same rows. Nothing may be unflushed.
    pub fn copy(&self) -> Model {
        let durable = self.inner().durable.clone();
        Model {
            inner: Arc::new(Mutex::new(Inner {
                rows: durable.clone(),
                durable,
                ..Inner::default()
            })),
        }
    }

    pub fn vote(&self) -> Option<Vote> {
        rows::vote(&Database::Model(self.clone())).expect("the model holds what was written")
    }

    /// The vote, if a crash could lose it.
    pub fn unflushed_vote(&self) -> Option<Vote> {
        let key = codec::state_key(VOTE);
        let is_unflushed = {
            let inner = self.inner();
            let mut rows = inner.unflushed.iter().flat_map(|batch| &batch.rows);
            rows.any(|(changed, _)| changed[..] == key)
        };
        if is_unflushed { self.vote() } else { None }
    }

    /// Whether a crash could lose the removal of a row.
    pub fn is_removing(&self) -> bool {
        let inner = self.inner();
        let mut rows = inner.unflushed.iter().flat_map(|batch| &batch.rows);
        rows.any(|(_, value)| value.is_none())
    }

    /// How many batches a crash could lose.
    pub fn unflushed(&self) -> usize {
        self.inner().unflushed.len()
    }

    /// The process or the machine dies: of the unflushed batches only the first `kept` survive.
    pub fn crash(&self, kept: usize) {
        let mut inner = self.inner();
        let unflushed = std::mem::take(&mut inner.unflushed);
        for batch in unflushed.iter().take(kept) {
            change(&mut inner.durable, batch);
        }
        inner.rows = inner.durable.clone();
    }
}

fn change(rows: &mut BTreeMap<Vec<u8>, Vec<u8>>, batch: &Batch) {
    for (key, value) in &batch.rows {
        match value {
            Some(value) => rows.insert(key.clone(), value.clone()),
            None => rows.remove(key),
        };
    }
}
