//! The store's one writing thread: takes queued changes in order, puts each into sled, then flushes and syncs once for
//! all of them before any is answered (group commit). It decides nothing and reads nothing.
//!
//! After a failed write nothing more is written: what a failed sync left behind is unknown.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use openraft::storage::IOFlushed;
use tokio::sync::{mpsc, oneshot};

use super::database::{Batch, Database};
use super::files::sync_folder;
use super::mark::Mark;
use super::rows;
use crate::raft::types::Types;

/// Changes that may wait for the writer; more wait in `append`.
const QUEUE_MAX: usize = 256;
/// Changes that share one sync.
const GROUP_MAX: usize = 64;

/// One change to the store, whole or not at all.
pub struct Change {
    pub batch: Batch,
    /// Entries to remove. Their rows are looked up by the writer: what was appended just before may not be in the
    /// database until then.
    pub removed: Range<u64>,
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

/// The database, the handle that syncs it (sled's own flush never calls fsync), and the mark of what was acknowledged.
pub struct Disk {
    pub db: Database,
    /// None where there is no file: in the model.
    files: Option<Files>,
}

struct Files {
    data: File,
    mark: Mark,
}

impl Disk {
    /// `folder` is the one that `db` was opened in. What sled has made there while it opened, files and their names, is
    /// durable when it returns: later it makes none.
    pub fn new(db: sled::Db, folder: &Path, mark: Mark) -> io::Result<Disk> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                File::open(entry.path())?.sync_all()?;
            }
        }
        sync_folder(folder)?;
        let data = File::open(folder.join("db"))?;
        Ok(Disk {
            db: Database::Sled(db),
            files: Some(Files { data, mark }),
        })
    }

    #[cfg(test)]
    pub fn simulated(model: super::model::Model) -> Disk {
        Disk {
            db: Database::Model(model),
            files: None,
        }
    }

    /// Makes everything written so far durable, and notes that it is.
    pub fn sync(&self) -> io::Result<()> {
        let Some(Files { data, mark }) = &self.files else {
            return self.db.flush();
        };
        let change = mark.next();
        self.db.apply(change.row())?;
        self.db.flush()?;
        data.sync_data()?;
        mark.acknowledge(change)
    }
}

/// Starts the thread; it ends when the last sender is gone, and closes the database then.
/// `next_index` follows the log's next index on disk.
pub fn start(disk: Disk, next_index: Arc<AtomicU64>) -> io::Result<mpsc::Sender<Change>> {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    #[cfg(test)]
    if crate::simulated::is_running() {
        tokio::spawn(run_simulated(disk, receiver, next_index));
        return Ok(sender);
    }
    let thread = std::thread::Builder::new().name("quorum-store".into());
    thread.spawn(move || run(&disk, receiver, &next_index))?;
    Ok(sender)
}

fn run(disk: &Disk, mut changes: mpsc::Receiver<Change>, next_index: &AtomicU64) {
    let mut failed: Option<String> = None;
    while let Some(first) = changes.blocking_recv() {
        let mut group = Group::gather(first, &mut changes);
        if failed.is_none() {
            failed = guarded(|| group.apply(disk).and_then(|()| group.sync(disk))).err();
        }
        group.tell(failed.as_ref(), next_index);
    }
}

/// The same in virtual time: a flush takes a while, and a crash may come before it.
#[cfg(test)]
async fn run_simulated(disk: Disk, mut changes: mpsc::Receiver<Change>, next_index: Arc<AtomicU64>) {
    use crate::simulated::{self, Planted};
    while let Some(first) = changes.recv().await {
        let mut group = Group::gather(first, &mut changes);
        guarded(|| group.apply(&disk)).expect("the model takes every batch");
        for planted in [Planted::AppendBeforeFlush, Planted::VoteBeforeFlush] {
            if simulated::is_planted(planted) {
                group.tell_early(planted == Planted::AppendBeforeFlush);
            }
        }
        simulated::disk_time().await;
        if let Database::Model(model) = &disk.db {
            tokio::time::sleep(model.slowness()).await;
        }
        guarded(|| group.sync(&disk)).expect("the model flushes");
        group.tell(None, &next_index);
    }
}

/// Changes that share one sync.
struct Group {
    batches: Vec<(Batch, Range<u64>)>,
    waiting: Vec<Done>,
    next_index: Option<u64>,
}

impl Group {
    fn gather(first: Change, changes: &mut mpsc::Receiver<Change>) -> Group {
        let mut group = Group {
            batches: Vec::new(),
            waiting: Vec::new(),
            next_index: None,
        };
        let mut next = Some(first);
        while let Some(change) = next.take() {
            group.batches.push((change.batch, change.removed));
            group.waiting.push(change.done);
            group.next_index = change.next_index.or(group.next_index);
            if group.waiting.len() < GROUP_MAX {
                next = changes.try_recv().ok();
            }
        }
        group
    }

    fn apply(&mut self, disk: &Disk) -> io::Result<()> {
        self.batches.drain(..).try_for_each(|(mut batch, removed)| {
            for key in rows::keys(&disk.db, removed)? {
                batch.remove(key);
            }
            disk.db.apply(batch)
        })
    }

    fn sync(&self, disk: &Disk) -> io::Result<()> {
        match self.waiting.iter().all(|done| matches!(done, Done::Lazy)) {
            true => Ok(()),
            false => disk.sync(),
        }
    }

    /// `failed`: why nothing is written any more.
    fn tell(self, failed: Option<&String>, next_index: &AtomicU64) {
        if let (None, Some(index)) = (failed, self.next_index) {
            next_index.store(index, Ordering::Release);
        }
        for done in self.waiting {
            done.tell(failed.map_or(Ok(()), |error| Err(io::Error::other(error.clone()))));
        }
    }

    #[cfg(test)]
    fn tell_early(&mut self, appends: bool) {
        for done in &mut self.waiting {
            if matches!(done, Done::Raft(_)) == appends {
                std::mem::replace(done, Done::Lazy).tell(Ok(()));
            }
        }
        // Somebody else waits for the flush all the same.
        self.waiting.push(Done::Reply(oneshot::channel().0));
    }
}

/// Sled reports some failures by a panic; both kinds end here as text.
fn guarded(work: impl FnOnce() -> io::Result<()>) -> Result<(), String> {
    let result = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| format!("writing the quorum's store: {error}")),
        Err(_) => Err("writing the quorum's store: the database panicked".into()),
    };
    if let Err(error) = &result {
        tracing::error!(
            error,
            "writing to the quorum's store failed; nothing more is written to it"
        );
    }
    result
}
