//! openraft's log on sled: what was appended is readable at once, and acknowledged when the writer has synced it.
//!
//! Three words that differ here: *accepted* (in `View`, readable), *written* (in sled), *flushed* (acknowledged).
//! Reads come from the bounded tail in memory, or from sled on a blocking thread.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{Stream, stream};
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use prost::Message;
use tokio::sync::{mpsc, oneshot};

use super::codec;
use super::database::{Batch, Database};
use super::files::blocking;
use super::rows;
use super::view::View;
use super::writer::{self, Change, Disk, Done};
use crate::raft::convert;
use crate::raft::types::{Entry, LogId, Types, Vote};

pub(super) const VOTE: &str = "vote";
pub(super) const COMMITTED: &str = "committed";
pub(super) const PURGED: &str = "purged";

/// Entries that one read for replication returns, in bytes; a single larger entry goes alone.
const READ_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Entries removed in one batch: sled's readers wait while a batch is applied.
const REMOVE_ENTRIES_MAX: u64 = if cfg!(test) { 2 } else { 256 };

/// What the store held when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
    /// The last entry's id, or the purged one if the log is empty.
    pub last: Option<LogId>,
    /// The first entry's index; the next index if the log is empty.
    pub first_index: u64,
}

impl Recovered {
    pub fn next_index(&self) -> u64 {
        self.last.map_or(0, |id| id.index + 1)
    }
}

/// A handle on the store; all clones see the same log. Also its own reader.
#[derive(Clone)]
pub struct LogStore {
    db: Database,
    view: Arc<Mutex<View>>,
    changes: mpsc::Sender<Change>,
}

impl LogStore {
    pub fn start(disk: Disk, recovered: Recovered) -> io::Result<LogStore> {
        let db = disk.db.clone();
        let written = Arc::new(AtomicU64::new(recovered.next_index()));
        let changes = writer::start(disk, written.clone())?;
        Ok(LogStore {
            db,
            view: Arc::new(Mutex::new(View::new(recovered, written))),
            changes,
        })
    }

    /// Whether the store holds a vote or an entry: it belongs to a quorum that was founded.
    pub fn is_initialized(&self) -> bool {
        let view = self.view();
        view.vote.is_some() || view.last.is_some()
    }

    /// The vote and the last entry that the store holds.
    pub fn ends(&self) -> (Option<Vote>, Option<LogId>) {
        let view = self.view();
        (view.vote, view.last)
    }

    fn view(&self) -> MutexGuard<'_, View> {
        // No code panics while it holds the lock half-way through a change.
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn change(&self, change: Change) -> io::Result<()> {
        self.changes
            .send(change)
            .await
            .map_err(|_| io::Error::other("the quorum's store is closed"))
    }

    async fn change_and_wait(&self, batch: Batch, removed: Range<u64>, next_index: Option<u64>) -> io::Result<()> {
        let (reply, answer) = oneshot::channel();
        self.change(Change {
            batch,
            removed,
            done: Done::Reply(reply),
            next_index,
        })
        .await?;
        answer
            .await
            .map_err(|_| io::Error::other("the quorum's store ended before it answered"))?
    }

    /// Removes the rows of `range` in batches, from its end backward or its start forward, so that a crash in between
    /// leaves no hole. `head` goes with the first batch.
    async fn remove(&self, range: Range<u64>, head: Batch, order: Removal) -> io::Result<()> {
        let mut batch = head;
        let mut rest = range;
        loop {
            let part = match order {
                Removal::FromStart => rest.start..rest.end.min(rest.start.saturating_add(REMOVE_ENTRIES_MAX)),
                Removal::FromEnd => rest.start.max(rest.end.saturating_sub(REMOVE_ENTRIES_MAX))..rest.end,
            };
            let next_index = match order {
                Removal::FromStart => {
                    rest.start = part.end;
                    None
                }
                Removal::FromEnd => {
                    rest.end = part.start;
                    Some(part.start)
                }
            };
            self.change_and_wait(batch, part, next_index).await?;
            if rest.is_empty() {
                return Ok(());
            }
            batch = Batch::default();
        }
    }

    /// Entries of `range`, at most `bytes_max` bytes of them but at least one.
    async fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let (on_disk, tail) = self.view().split(range);
        let mut entries = Vec::new();
        let mut bytes = 0;
        if !on_disk.is_empty() {
            let db = self.db.clone();
            let wanted = on_disk.end - on_disk.start;
            (entries, bytes) = blocking(move || rows::read(&db, on_disk, bytes_max)).await?;
            if (entries.len() as u64) < wanted {
                return Ok(entries);
            }
        }
        for (entry, size) in tail {
            if !entries.is_empty() && bytes + size > bytes_max {
                break;
            }
            bytes += size;
            entries.push(Entry::clone(&entry));
        }
        Ok(entries)
    }
}

#[derive(Clone, Copy)]
enum Removal {
    FromStart,
    FromEnd,
}

fn to_range(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(index) => *index,
        Bound::Excluded(index) => index.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(index) => index.saturating_add(1),
        Bound::Excluded(index) => *index,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(to_range(&range), usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.read(start..end, READ_BYTES_MAX).await
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let store = self.clone();
        let state = (store, to_range(&range), Vec::new().into_iter());
        Box::pin(stream::try_unfold(state, |(store, mut rest, mut ready)| async move {
            loop {
                if let Some(entry) = ready.next() {
                    return Ok(Some((entry, (store, rest, ready))));
                }
                let entries: Vec<Entry> = store.read(rest.clone(), READ_BYTES_MAX).await?;
                let Some(last) = entries.last() else { return Ok(None) };
                rest.start = last.log_id.index + 1;
                ready = entries.into_iter();
            }
        }))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.view().vote)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let view = self.view();
        Ok(LogState {
            last_purged_log_id: view.purged,
            last_log_id: view.last,
        })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let mut batch = Batch::default();
        let body = convert::vote_to_wire(vote).encode_to_vec();
        batch.insert(codec::state_key(VOTE), codec::seal(&body));
        self.change_and_wait(batch, 0..0, None).await?;
        self.view().vote = Some(*vote);
        Ok(())
    }

    /// Not awaited: a lost pointer only makes a restart apply less until the leader tells it more.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.view().committed = committed;
        let mut batch = Batch::default();
        match committed {
            None => batch.remove(codec::state_key(COMMITTED)),
            Some(id) => batch.insert(codec::state_key(COMMITTED), rows::seal_log_id(&id)),
        }
        self.change(Change {
            batch,
            removed: 0..0,
            done: Done::Lazy,
            next_index: None,
        })
        .await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.view().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut batch = Batch::default();
        let mut accepted = Vec::new();
        for entry in entries {
            let rows = codec::entry_rows(&entry).map_err(io::Error::other)?;
            let size = rows.iter().map(|(_, bytes)| bytes.len()).sum();
            for (key, bytes) in rows {
                batch.insert(key, bytes);
            }
            accepted.push((Arc::new(entry), size));
        }
        let next_index = self.view().accept(accepted)?;
        self.change(Change {
            batch,
            removed: 0..0,
            done: Done::Raft(callback),
            next_index: Some(next_index),
        })
        .await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let removed = self.view().truncate_after(last_log_id);
        if removed.is_empty() {
            return Ok(());
        }
        #[cfg(test)]
        crate::simulated::truncating(removed.end - removed.start);
        #[cfg(test)]
        if crate::simulated::is_planted(crate::simulated::Planted::TruncateFromStart) {
            return self.remove(removed, Batch::default(), Removal::FromStart).await;
        }
        self.remove(removed, Batch::default(), Removal::FromEnd).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let removed = self.view().purge(log_id);
        let mut head = Batch::default();
        head.insert(codec::state_key(PURGED), rows::seal_log_id(&log_id));
        self.remove(removed, head, Removal::FromStart).await
    }
}
