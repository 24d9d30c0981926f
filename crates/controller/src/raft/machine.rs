//! openraft's state machine: applies committed entries to the metadata image, publishes them to the feed, and makes
//! and takes snapshots. It decides nothing: an entry holds results.
//!
//! The state is in memory and rebuilt at the start from the snapshot file and the log. An entry that cannot be applied
//! stops the node: it comes from a newer program, or from a bug.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};

use super::feed::{Feed, FeedEntry};
use super::snapshot::{self, State};
use super::types::{Entry, LeaderId, LogId, Outcome, Snapshot, SnapshotMeta, StoredMembership, Types};
use crate::store::blocking;

pub struct StateMachine {
    state: State,
    feed: Arc<Feed>,
    folder: PathBuf,
}

impl StateMachine {
    pub fn new(feed: Arc<Feed>, folder: PathBuf) -> StateMachine {
        StateMachine {
            state: State::default(),
            feed,
            folder,
        }
    }

    fn apply_one(&mut self, entry: &Entry) -> io::Result<Outcome> {
        let (outcome, records) = self.state.apply(entry).map_err(|error| {
            tracing::error!(%error, "a committed entry cannot be applied; this node stops");
            io::Error::other(error)
        })?;
        let (index, term) = (entry.log_id.index, leader_term(&entry.log_id.leader_id));
        if index == 0 {
            // Nothing to tell: the founding membership entry.
            return Ok(outcome);
        }
        self.feed.publish(
            FeedEntry {
                index,
                term,
                batch: records,
            },
            self.state.image.clone(),
        );
        Ok(outcome)
    }
}

/// Term and Raft id of a leader in one number of the same order: openraft allows several leaders in one term.
pub fn leader_term(leader: &LeaderId) -> u64 {
    leader
        .term
        .saturating_mul(super::allocations::RAFT_ID_LIMIT)
        .saturating_add(leader.node_id)
}

/// A view of the state as of one entry, from which a snapshot is made.
pub struct SnapshotBuilder {
    state: State,
    folder: PathBuf,
}

impl RaftSnapshotBuilder<Types> for SnapshotBuilder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let (state, folder) = (self.state.clone(), self.folder.clone());
        let meta = state.meta();
        let work = move || {
            let encoded = state.encode();
            snapshot::write(&folder, &encoded).map(|()| encoded)
        };
        let snapshot = blocking(work).await?;
        Ok(Snapshot { meta, snapshot })
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.state.applied, self.state.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let outcome = self.apply_one(&entry)?;
            if let Some(responder) = responder {
                responder.send(outcome);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            state: self.state.clone(),
            folder: self.folder.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Bytes) -> Result<(), io::Error> {
        let folder = self.folder.clone();
        let work = move || -> io::Result<State> {
            let state = State::decode(snapshot.clone()).map_err(io::Error::other)?;
            snapshot::write(&folder, &snapshot)?;
            Ok(state)
        };
        let mut state = blocking(work).await?;
        state.applied = meta.last_log_id;
        state.membership = meta.last_membership.clone();
        #[cfg(test)]
        if crate::simulated::is_planted(crate::simulated::Planted::SnapshotWithoutMembers) {
            state.membership = self.state.membership.clone();
        }
        self.feed.replace(state.image.clone());
        self.state = state;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let folder = self.folder.clone();
        let work = move || snapshot::read(&folder).map_err(io::Error::other);
        let found = blocking(work).await?;
        Ok(found.map(|(state, snapshot)| Snapshot {
            meta: state.meta(),
            snapshot,
        }))
    }
}
