//! The ordered map below the store: sled, or in tests a model of what is expected of it.
//!
//! What the store relies on: a batch is there whole or not at all, batches survive in their order, and after a flush
//! (and, for sled, a sync of its file) all of them survive. Nothing else is asked of it.

use std::io;
use std::ops::RangeBounds;

#[cfg(test)]
use super::model::Model;

/// A row's key and value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Rows that are written and removed together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch {
    pub fn insert(&mut self, key: impl Into<Vec<u8>>, value: Vec<u8>) {
        self.rows.push((key.into(), Some(value)));
    }

    pub fn remove(&mut self, key: impl Into<Vec<u8>>) {
        self.rows.push((key.into(), None));
    }
}

#[derive(Clone)]
pub enum Database {
    Sled(sled::Db),
    #[cfg(test)]
    Model(Model),
}

impl Database {
    pub fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        match self {
            Database::Sled(db) => {
                let found = db.get(key).map_err(io::Error::other)?;
                Ok(found.map(|value| value.to_vec()))
            }
            #[cfg(test)]
            Database::Model(model) => Ok(model.get(key)),
        }
    }

    /// The rows whose keys lie in `keys`, in their order.
    pub fn range(&self, keys: impl RangeBounds<[u8; 13]>) -> Box<dyn Iterator<Item = io::Result<Pair>>> {
        match self {
            Database::Sled(db) => Box::new(db.range(keys).map(|row| {
                let (key, value) = row.map_err(io::Error::other)?;
                Ok((key.to_vec(), value.to_vec()))
            })),
            #[cfg(test)]
            Database::Model(model) => Box::new(model.range(keys).into_iter().map(Ok)),
        }
    }

    pub fn apply(&self, batch: Batch) -> io::Result<()> {
        match self {
            Database::Sled(db) => {
                let mut rows = sled::Batch::default();
                for (key, value) in batch.rows {
                    match value {
                        Some(value) => rows.insert(key, value),
                        None => rows.remove(key),
                    }
                }
                db.apply_batch(rows).map_err(io::Error::other)
            }
            #[cfg(test)]
            Database::Model(model) => model.apply(batch),
        }
    }

    /// Hands everything applied to the file system, or in the model makes it durable.
    pub fn flush(&self) -> io::Result<()> {
        match self {
            Database::Sled(db) => db.flush().map(drop).map_err(io::Error::other),
            #[cfg(test)]
            Database::Model(model) => model.flush(),
        }
    }
}
