//! Building a new quorum of one voter from the newest snapshot of the metadata and the log that follows it in the node's
//! own store, or from a backup, after the old quorum is lost for good.
//!
//! The log is taken to its end: what a majority had acknowledged may be among its last entries, and what it had not was
//! decided by a controller all the same, as if this node had been elected. What was decided after that is gone, so
//! everything that must never be given twice goes up by a wide margin: leader epochs, broker epochs, producer ids, the
//! log's index and term. The other controllers start with empty folders
//! and join; members of the old quorum are strangers to the new one, because its Raft ids are new.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use klamm_metadata::decide::{Basis, Overlay, recover_quorum};
use klamm_metadata::feature::RECORD_VERSION;
use klamm_metadata::image::{ApplyError, Image};
use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{BrokerEpochFloor, MetadataBatch, MetadataRecord, ProducerIds};
use klamm_types::{ClusterId, NodeId, Timestamp, Uuid};
use openraft::vote::RaftLeaderId;

use super::backup::{Backup, BackupError};
use super::describe::now_millis;
use crate::raft::allocations::RAFT_ID_LIMIT;
use crate::raft::machine::leader_term;
use crate::raft::snapshot::{self, EntryError, SnapshotError, State};
use crate::raft::types::{Entry, LeaderId, LogId, Member, Membership, RaftId, StoredMembership, Vote};
use crate::store::{self, Identity, KeptLog, StoreError};

/// By how much leader epochs go up; far more changes of leader than one snapshot interval holds.
const LEADER_EPOCH_MARGIN: u16 = 1_000;
// A backup may be months old, and these numbers are wide.
const BROKER_EPOCH_MARGIN: i64 = 1_000_000_000;
const PRODUCER_ID_MARGIN: i64 = 1_000_000_000;
const INDEX_MARGIN: u64 = 1_000_000_000;
const TERM_MARGIN: u64 = 1_000;

/// What would be built, before it is.
#[derive(Clone, Debug)]
pub struct Plan {
    pub cluster_id: ClusterId,
    pub source: Source,
    /// The Raft id of the one voter.
    pub raft_id: RaftId,
    folder: PathBuf,
    node_id: NodeId,
    store_id: Uuid,
    state: State,
    applied: LogId,
}

/// What the new quorum knows is taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The snapshot and the last entry in it, if there is one.
    pub snapshot: Option<(PathBuf, u64)>,
    pub log: LogSource,
    /// The last entry of all.
    pub last_index: u64,
}

/// What was taken from the log in the node's store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogSource {
    Entries(u64),
    /// It does not follow the snapshot without a gap.
    Apart,
    /// A backup was named: nothing else counts.
    Unasked,
    Unreadable(String),
}

/// Why no quorum is built.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error("there is no snapshot of the metadata in {}, and no log that begins with the first entry", folder.display())]
    NoSnapshot { folder: PathBuf },
    #[error("applying the log")]
    Replay(#[from] EntryError),
    #[error("no snapshot of the metadata can be read")]
    Unreadable(#[source] SnapshotError),
    #[error("reading the backup {}", path.display())]
    NoBackup {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is no backup of the metadata", path.display())]
    BadBackup {
        path: PathBuf,
        #[source]
        source: BackupError,
    },
    #[error("the metadata names no cluster")]
    NoCluster,
    #[error("raising the epochs of the snapshot")]
    Raise(#[from] ApplyError),
    #[error("writing the snapshot of the new quorum")]
    Write(#[source] io::Error),
    #[error("opening the old store, or making the new one")]
    Store(#[from] StoreError),
}

/// Looks for the newest snapshot in the quorum's folder of a node and for the log in its store, and says what would be
/// built from them. Snapshots of other nodes are considered if they were copied into the folder with names that end in
/// `.snapshot`. The node must not be running. Blocking.
pub fn plan(folder: &Path, node_id: NodeId, address: &str) -> Result<Plan, RecoverError> {
    let (source, old) = newest(folder)?;
    build(folder, node_id, address, (source, old))
}

/// The same from a backup alone; what the folder holds does not count. Blocking.
pub fn plan_from(backup: &Path, folder: &Path, node_id: NodeId, address: &str) -> Result<Plan, RecoverError> {
    let path = || backup.to_owned();
    let bytes = std::fs::read(backup).map_err(|source| RecoverError::NoBackup { path: path(), source })?;
    let read = Backup::decode(&bytes).map_err(|source| RecoverError::BadBackup { path: path(), source })?;
    let (_, last_index) = read.last_entry();
    let source = Source {
        snapshot: Some((path(), last_index)),
        log: LogSource::Unasked,
        last_index,
    };
    build(folder, node_id, address, (source, read.into_state()))
}

fn build(folder: &Path, node_id: NodeId, address: &str, (source, old): (Source, State)) -> Result<Plan, RecoverError> {
    let cluster_id = old.image.cluster_id().ok_or(RecoverError::NoCluster)?;
    let store_id = Uuid::from_u128(rand::random());
    let member = Member {
        node_id,
        store_id,
        address: address.to_owned(),
    };
    let basis = match source.log {
        LogSource::Unasked => Basis::Logs,
        LogSource::Entries(_) | LogSource::Apart | LogSource::Unreadable(_) => Basis::Members,
    };
    let (applied, state) = raise(old, member, basis)?;
    let raft_id = applied.leader_id.node_id;
    let folder = folder.to_owned();
    Ok(Plan {
        cluster_id,
        source,
        raft_id,
        folder,
        node_id,
        store_id,
        state,
        applied,
    })
}

impl Plan {
    /// Moves the node's old store aside and writes the new one. The node must not be running. Blocking.
    pub fn carry_out(&self) -> Result<(), RecoverError> {
        std::fs::create_dir_all(&self.folder).map_err(RecoverError::Write)?;
        store::set_aside(&self.folder)?;
        snapshot::write(&self.folder, &self.state.encode()).map_err(RecoverError::Write)?;
        let recovered = store::Recovered {
            vote: Some(Vote {
                leader_id: self.applied.leader_id,
                committed: false,
            }),
            committed: Some(self.applied),
            purged: Some(self.applied),
            last: Some(self.applied),
            first_index: self.applied.index + 1,
        };
        let mut identity = Identity::fresh(self.node_id, self.store_id, Some(self.cluster_id));
        identity.raft_id = Some(self.raft_id);
        Ok(store::write_fresh(&self.folder, &identity, &recovered)?)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let image = &self.state.image;
        writeln!(f, "cluster {}", self.cluster_id)?;
        if let Some((path, index)) = &self.source.snapshot {
            writeln!(f, "snapshot {}: up to entry {index}", path.display())?;
        }
        match &self.source.log {
            LogSource::Entries(count) => writeln!(
                f,
                "log: {count} entries after it, up to entry {}",
                self.source.last_index
            )?,
            LogSource::Apart => writeln!(f, "log: does not follow the snapshot, nothing is taken from it")?,
            LogSource::Unreadable(reason) => writeln!(f, "log: cannot be read, {reason}")?,
            LogSource::Unasked => {}
        }
        writeln!(f, "{} brokers, {} topics", image.brokers().len(), image.topics().len())?;
        writeln!(f, "one voter: node {}; its old store is moved aside", self.node_id)?;
        writeln!(
            f,
            "leader epochs go up by {LEADER_EPOCH_MARGIN}; what was decided after entry {} is lost",
            self.source.last_index
        )?;
        write!(
            f,
            "clear the quorum's folders of all other controllers before they start, then add them as voters"
        )
    }
}

/// The newest snapshot, and on it the entries of the log that follow it.
pub(super) fn newest(folder: &Path) -> Result<(Source, State), RecoverError> {
    let log = store::read_log(folder)?;
    let (snapshot, mut state) = match newest_snapshot(folder) {
        Ok((path, state)) => (Some((path, state.image.applied_index())), state),
        // A young quorum has made none yet; its log holds everything.
        Err(RecoverError::NoSnapshot { .. }) if starts_at_first(&log) => (None, State::default()),
        Err(error) => return Err(error),
    };
    let log = match log {
        KeptLog::Entries(entries) => replay(&mut state, &entries, snapshot.is_none())?,
        KeptLog::Empty => LogSource::Entries(0),
        KeptLog::Damaged(reason) => LogSource::Unreadable(reason),
    };
    let last_index = state.image.applied_index();
    Ok((
        Source {
            snapshot,
            log,
            last_index,
        },
        state,
    ))
}

fn starts_at_first(log: &KeptLog) -> bool {
    matches!(log, KeptLog::Entries(entries) if entries.first().is_some_and(|entry| entry.log_id.index == 0))
}

/// Applies what follows the state. The log is of the same history if it holds the state's last entry under the same
/// leader, or begins right after it; `whole`: the state is empty and the log begins with the first entry.
fn replay(state: &mut State, entries: &[Entry], whole: bool) -> Result<LogSource, RecoverError> {
    let (term, index) = order(state);
    let is_last = |entry: &Entry| entry.log_id.index == index && leader_term(&entry.log_id.leader_id) == term;
    let begins_after = entries
        .first()
        .is_some_and(|entry| entry.log_id.index == index + 1 && leader_term(&entry.log_id.leader_id) >= term);
    if !whole && !begins_after && !entries.iter().any(is_last) {
        let ends_before = entries.last().is_some_and(|entry| entry.log_id.index < index);
        return Ok(if ends_before {
            LogSource::Entries(0)
        } else {
            LogSource::Apart
        });
    }
    let mut count = 0;
    for entry in entries.iter().filter(|entry| whole || entry.log_id.index > index) {
        state.apply(entry)?;
        count += 1;
    }
    Ok(LogSource::Entries(count))
}

/// The readable snapshot with the most entries.
fn newest_snapshot(folder: &Path) -> Result<(PathBuf, State), RecoverError> {
    let own = folder.join(snapshot::SNAPSHOT_FILE);
    let mut paths = vec![own.with_extension("old")];
    // A folder that cannot be listed has no snapshot.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "snapshot")
        {
            paths.push(entry.path());
        }
    }
    let mut best: Option<(PathBuf, State)> = None;
    let mut failure = None;
    for path in paths {
        match snapshot::read_file(&path) {
            Ok(Some((state, _))) => {
                if best.as_ref().is_none_or(|(_, best)| order(&state) > order(best)) {
                    best = Some((path, state));
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a snapshot cannot be read");
                failure = Some(error);
            }
        }
    }
    let none = || {
        failure.map_or(
            RecoverError::NoSnapshot {
                folder: folder.to_owned(),
            },
            RecoverError::Unreadable,
        )
    };
    best.ok_or_else(none)
}

pub(super) fn order(state: &State) -> (u64, u64) {
    (state.image.applied_term(), state.image.applied_index())
}

/// The state of the new quorum: the old one's, with one new member and everything raised.
fn raise(old: State, member: Member, basis: Basis) -> Result<(LogId, State), RecoverError> {
    let mut allocations = old.allocations;
    // A broker's copy knows no allocations, and the old quorum may have given ids after the snapshot.
    let raft_id = allocations.allocate_above(
        member.node_id,
        member.store_id,
        old.image.applied_term() % RAFT_ID_LIMIT,
    );
    let old_term = old
        .applied
        .map_or(0, |id| id.leader_id.term)
        .max(old.image.applied_term() / RAFT_ID_LIMIT);
    let leader_id = LeaderId::new(old_term + TERM_MARGIN, raft_id);
    let applied = LogId {
        leader_id,
        index: old.image.applied_index() + INDEX_MARGIN,
    };
    let image = raise_image(old.image, applied, basis)?;
    let membership = Membership::from(BTreeMap::from([(raft_id, member)]));
    let membership = StoredMembership::new(Some(applied), membership);
    Ok((
        applied,
        State {
            applied: Some(applied),
            membership,
            allocations,
            image,
        },
    ))
}

fn raise_image(mut image: Image, applied: LogId, basis: Basis) -> Result<Image, ApplyError> {
    let broker_epoch = image.highest_broker_epoch().0.saturating_add(BROKER_EPOCH_MARGIN);
    let next_producer_id = image.next_producer_id().0.saturating_add(PRODUCER_ID_MARGIN);
    let raised = [
        Record::BrokerEpochFloor(BrokerEpochFloor { broker_epoch }),
        Record::ProducerIds(ProducerIds {
            broker: -1,
            broker_epoch: -1,
            next_producer_id,
        }),
    ];
    let record = |record| MetadataRecord {
        version: RECORD_VERSION,
        record: Some(record),
    };
    let numbers = MetadataBatch {
        records: raised.map(record).into(),
        decided_at_ms: now_millis(),
    };
    // First the numbers: what is decided next must not use one that the lost quorum has given.
    let term = leader_term(&applied.leader_id);
    image.apply_batch(applied.index - 1, term, &numbers)?;
    let mut overlay = Overlay::new(&image, Timestamp(now_millis()), rand::random());
    recover_quorum(&mut overlay, LEADER_EPOCH_MARGIN, basis);
    image.apply_batch(applied.index, term, &overlay.into_batch()?)?;
    Ok(image)
}

/// Replaces the copy of the metadata that a node without the controller role keeps in `folder`, for the day when the
/// quorum is lost. Blocking.
pub fn write_snapshot(folder: &Path, image: &Image) -> io::Result<()> {
    let state = State {
        image: image.clone(),
        ..State::default()
    };
    snapshot::write(folder, &state.encode())
}

/// The copy of the metadata in `folder`, if there is one. Blocking.
pub fn read_snapshot(folder: &Path) -> Result<Option<Image>, SnapshotError> {
    Ok(snapshot::read(folder)?.map(|(state, _)| state.image))
}
