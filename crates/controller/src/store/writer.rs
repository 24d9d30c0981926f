//! The store's one writing thread: takes queued changes in order, puts each into sled, then flushes and syncs once for
//! all of them before any is answered (group commit). It decides nothing and reads nothing.
//!
//! After a failed write nothing more is written: what a failed sync left behind is unknown.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use openraft::storage::IOFlushed;
use tokio::sync::{mpsc, oneshot};

use super::files::sync_folder;
use crate::raft::types::Types;

/// Changes that may wait for the writer; more wait in `append`.
const QUEUE_MAX: usize = 256;
/// Changes that share one sync.
const GROUP_MAX: usize = 64;

/// One change to the store, whole or not at all.
pub struct Change {
    pub batch: sled::Batch,
    pub done: Done,
    /// The log's next index on disk once this change is there, if it changes that.
    pub next_index: Option<u64>,
}

/// Whom to tell when a change is on disk.
pub enum Done {
    /// Nobody waits, and the change may reach the disk with a later one.
    Lazy,
    Reply(oneshot::Sender<io::Result<()>>),
    Raft(IOFlushed<Types>),
}

impl Done {
    fn tell(self, result: io::Result<()>) {
        match self {
            Done::Lazy => {}
            // A requester that went away needs no answer.
            Done::Reply(reply) => drop(reply.send(result)),
            Done::Raft(flushed) => flushed.io_completed(result),
        }
    }
}

/// The database and the handle that syncs it: sled's own flush never calls fsync.
pub struct Disk {
    pub db: sled::Db,
    file: File,
}

impl Disk {
    /// `folder` is the one that `db` was opened in. What sled has made there while it opened, files and their names, is
    /// durable when it returns: later it makes none.
    pub fn new(db: sled::Db, folder: &Path) -> io::Result<Disk> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                File::open(entry.path())?.sync_all()?;
            }
        }
        sync_folder(folder)?;
        let file = File::open(folder.join("db"))?;
        Ok(Disk { db, file })
    }

    /// Makes everything written so far durable.
    pub fn sync(&self) -> io::Result<()> {
        self.db.flush().map_err(io::Error::other)?;
        self.file.sync_data()
    }
}

/// Starts the thread; it ends when the last sender is gone, and closes the database then.
/// `next_index` follows the log's next index on disk.
pub fn start(disk: Disk, next_index: Arc<AtomicU64>) -> io::Result<mpsc::Sender<Change>> {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    let thread = std::thread::Builder::new().name("quorum-store".into());
    thread.spawn(move || run(&disk, receiver, &next_index))?;
    Ok(sender)
}

fn run(disk: &Disk, mut changes: mpsc::Receiver<Change>, next_index: &AtomicU64) {
    let mut failed: Option<String> = None;
    while let Some(first) = changes.blocking_recv() {
        let mut group = vec![first];
        while group.len() < GROUP_MAX
            && let Ok(next) = changes.try_recv()
        {
            group.push(next);
        }
        let mut waiting = Vec::with_capacity(group.len());
        let mut batches = Vec::with_capacity(group.len());
        let mut moved = None;
        for change in group {
            batches.push(change.batch);
            waiting.push(change.done);
            moved = change.next_index.or(moved);
        }
        if failed.is_none() {
            failed = write(disk, batches, &waiting).err();
            if let Some(error) = &failed {
                tracing::error!(
                    error,
                    "writing to the quorum's store failed; nothing more is written to it"
                );
            }
        }
        if let (None, Some(index)) = (&failed, moved) {
            next_index.store(index, Ordering::Release);
        }
        for done in waiting {
            done.tell(
                failed
                    .as_ref()
                    .map_or(Ok(()), |error| Err(io::Error::other(error.clone()))),
            );
        }
    }
}

/// Sled reports some failures by a panic; both kinds end here as text.
fn write(disk: &Disk, batches: Vec<sled::Batch>, waiting: &[Done]) -> Result<(), String> {
    let work = AssertUnwindSafe(|| -> io::Result<()> {
        for batch in batches {
            disk.db.apply_batch(batch).map_err(io::Error::other)?;
        }
        if waiting.iter().all(|done| matches!(done, Done::Lazy)) {
            return Ok(());
        }
        disk.sync()
    });
    match catch_unwind(work) {
        Ok(result) => result.map_err(|error| format!("writing the quorum's store: {error}")),
        Err(_) => Err("writing the quorum's store: the database panicked".into()),
    }
}
