//! The mark of what was acknowledged: a count of the synced changes, in the database and, once it is durable there, in a
//! small file beside it. A database that was cut short, or exchanged for an older one, opens without complaint; its
//! count lies behind the file's, and so it is known to have lost what it had acknowledged.
//!
//! The file is not synced with every change: it guards against damage to the database, and a loss of power takes from
//! neither what was synced. It may therefore lie behind after such a loss, never ahead.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::codec;
use super::database::Batch;
use super::files::sync_folder;
use crate::raft::types::StoreId;

/// The row that counts the synced changes.
const ROW: &str = "changes";
/// In the database's own folder, so that both are moved together.
const FILE: &str = "acknowledged";

/// Why a database is not the one that the mark was made for.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    #[error("reading the mark of what was acknowledged")]
    Io(#[from] io::Error),
    #[error("the mark of what was acknowledged is damaged")]
    Damaged(#[source] codec::CodecError),
    #[error("the mark of what was acknowledged is missing")]
    Missing,
    #[error("the mark of what was acknowledged belongs to another store")]
    OtherStore,
    #[error("the store holds {held} changes, and had acknowledged {acknowledged}")]
    Lost { held: u64, acknowledged: u64 },
}

/// The open mark of one store.
pub struct Mark {
    file: File,
    store_id: StoreId,
    changes: AtomicU64,
}

/// The number of a change that is about to be synced.
#[must_use]
pub struct Counted(u64);

impl Counted {
    pub fn row(&self) -> Batch {
        let mut batch = Batch::default();
        batch.insert(codec::state_key(ROW), codec::seal(&self.0.to_be_bytes()));
        batch
    }
}

impl Mark {
    /// Compares the mark in `folder` with what the database there counts. A store without either was made before
    /// there were marks, or just now.
    pub fn open(folder: &Path, db: &sled::Db, store_id: StoreId) -> Result<Mark, MarkError> {
        let held = match db.get(codec::state_key(ROW)).map_err(io::Error::other)? {
            None => None,
            Some(sealed) => Some(number(&sealed)?),
        };
        let path = folder.join(FILE);
        let acknowledged = match std::fs::read(&path) {
            Ok(bytes) => Some(parse(&bytes, store_id)?),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let held = match (held, acknowledged) {
            (Some(_), None) => return Err(MarkError::Missing),
            (held, acknowledged) => {
                let (held, acknowledged) = (held.unwrap_or(0), acknowledged.unwrap_or(0));
                if held < acknowledged {
                    return Err(MarkError::Lost { held, acknowledged });
                }
                held
            }
        };
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        let mark = Mark {
            file,
            store_id,
            changes: AtomicU64::new(held),
        };
        // Durable before the database counts: else a loss of power could take the file and leave the row.
        mark.acknowledge(Counted(held))?;
        mark.file.sync_all()?;
        sync_folder(folder)?;
        Ok(mark)
    }

    /// The next change's number; one thread asks.
    pub fn next(&self) -> Counted {
        Counted(self.changes.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The change is durable in the database.
    pub fn acknowledge(&self, change: Counted) -> io::Result<()> {
        let mut body = self.store_id.0.to_vec();
        body.extend_from_slice(&change.0.to_be_bytes());
        self.file.write_all_at(&codec::seal(&body), 0)
    }
}

fn number(sealed: &[u8]) -> Result<u64, MarkError> {
    let body = codec::unseal(sealed).map_err(MarkError::Damaged)?;
    let bytes = body
        .try_into()
        .map_err(|_| MarkError::Damaged(codec::CodecError::Content))?;
    Ok(u64::from_be_bytes(bytes))
}

fn parse(bytes: &[u8], store_id: StoreId) -> Result<u64, MarkError> {
    let body = codec::unseal(bytes).map_err(MarkError::Damaged)?;
    let content = || MarkError::Damaged(codec::CodecError::Content);
    let (owner, changes) = body.split_at_checked(16).ok_or_else(content)?;
    if owner != store_id.0 {
        return Err(MarkError::OtherStore);
    }
    let changes = changes.try_into().map_err(|_| content())?;
    Ok(u64::from_be_bytes(changes))
}
