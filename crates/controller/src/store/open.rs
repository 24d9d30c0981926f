//! The guarded open: sled may panic or hang on a torn file, so it is opened and read once in a thread of its own, with
//! a time-out. A store that fails is not repaired: it is moved aside, and the node goes on with a fresh one under a new
//! store id, as a replica that was lost.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use klamm_types::{ClusterId, NodeId, Uuid};
use prost::Message;

use super::codec;
use super::database::{Batch, Database};
use super::files::sync_folder;
use super::identity::{Identity, IdentityError};
use super::log_store::{COMMITTED, LogStore, PURGED, Recovered, VOTE};
use super::mark::Mark;
use super::rows;
use super::writer::Disk;
use crate::raft::convert;
use crate::raft::snapshot::{self, SNAPSHOT_FILE};
use crate::raft::types::{Entry, StoreId};

const DATABASE: &str = "raft";
const STORE_ID: &str = "store-id";
const CACHE_BYTES: u64 = 8 * 1024 * 1024;
/// How long opening and reading a store may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait for a process that still holds the store and is just ending.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
const LOCK_RETRY: Duration = Duration::from_millis(20);
/// Damaged stores kept for people to look at; further ones replace the last.
const KEPT_MAX: u32 = 8;

/// Why a node's store cannot even be replaced by a fresh one.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{doing} {}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the store in {} is in use by another process", path.display())]
    InUse { path: PathBuf },
    #[error("the store in {} belongs to node {found}, this node is {own}", path.display())]
    OtherNode { path: PathBuf, found: NodeId, own: NodeId },
    #[error("the store in {} belongs to cluster {found}, this node was told {own}", path.display())]
    OtherCluster {
        path: PathBuf,
        found: ClusterId,
        own: ClusterId,
    },
    #[error("reading who the store belongs to")]
    Identity(#[from] IdentityError),
}

/// Whose store is opened, and the id for a fresh one.
pub struct Owner {
    pub node_id: NodeId,
    pub cluster_id: Option<ClusterId>,
    /// Drawn at random by the caller.
    pub fresh_store_id: StoreId,
}

/// A store that is open.
pub struct Opened {
    pub log: LogStore,
    pub identity: Identity,
    /// Why the store that was found could not be used.
    pub damage: Option<String>,
}

/// Opens the node's store in `folder`, or makes a fresh one. Blocking.
pub fn open(folder: &Path, owner: &Owner) -> Result<Opened, StoreError> {
    let path = folder.join(DATABASE);
    let io = |doing| {
        let path = path.clone();
        move |source| StoreError::Io { doing, path, source }
    };
    fs::create_dir_all(folder).map_err(io("creating the folder of"))?;
    let found = match Identity::read(folder) {
        Ok(found) => found,
        // The cluster id is lost with it, but it comes back with the quorum; the store cannot be trusted any more.
        Err(error @ IdentityError::Damaged { .. }) => {
            return fresh(folder, owner, Some(describe(&error)));
        }
        Err(error) => return Err(error.into()),
    };
    let Some(identity) = found else {
        let damage = path
            .exists()
            .then(|| "the store has lost the file that says whose it is".to_owned());
        return fresh(folder, owner, damage);
    };
    check_owner(folder, owner, &identity)?;
    let opened = guarded(&path, Expected::Existing(identity.store_id)).and_then(|(disk, recovered)| {
        if identity.outdated {
            return Err(Failure::Damaged("it is an old copy of itself".into()));
        }
        check_snapshot(folder, &recovered)?;
        Ok((disk, recovered))
    });
    match opened {
        Ok((disk, recovered)) => {
            let log = LogStore::start(disk, recovered).map_err(io("starting the writer of"))?;
            Ok(Opened {
                log,
                identity,
                damage: None,
            })
        }
        Err(Failure::InUse) => Err(StoreError::InUse { path }),
        Err(Failure::Damaged(damage)) => {
            let mut opened = fresh(folder, owner, Some(damage))?;
            if opened.identity.cluster_id.is_none() {
                opened.identity.cluster_id = identity.cluster_id;
                opened.identity.write(folder).map_err(io("writing who owns"))?;
            }
            Ok(opened)
        }
    }
}

/// What a store that nobody uses holds of the log.
#[derive(Debug)]
pub enum KeptLog {
    /// There is no store, or nothing in it.
    Empty,
    /// All its entries, without a hole.
    Entries(Vec<Entry>),
    /// Why it cannot be read.
    Damaged(String),
}

/// Reads the log in `folder`, for a quorum that is rebuilt; a store in use is an error. Blocking.
pub fn read_log(folder: &Path) -> Result<KeptLog, StoreError> {
    let path = folder.join(DATABASE);
    let identity = match Identity::read(folder) {
        Ok(Some(identity)) if path.exists() => identity,
        Ok(_) => return Ok(KeptLog::Empty),
        Err(error) => return Ok(KeptLog::Damaged(describe(&error))),
    };
    let (disk, recovered) = match guarded(&path, Expected::Existing(identity.store_id)) {
        Ok(opened) => opened,
        Err(Failure::InUse) => return Err(StoreError::InUse { path }),
        Err(Failure::Damaged(damage)) => return Ok(KeptLog::Damaged(damage)),
    };
    let entries = recovered.first_index..recovered.next_index();
    if entries.is_empty() {
        return Ok(KeptLog::Empty);
    }
    Ok(match rows::read(&disk.db, entries, usize::MAX) {
        Ok((entries, _)) => KeptLog::Entries(entries),
        Err(error) => KeptLog::Damaged(describe(&error)),
    })
}

/// Makes a store that holds exactly `recovered`, for a quorum that is rebuilt. There must be none yet. Blocking.
pub fn write_fresh(folder: &Path, identity: &Identity, recovered: &Recovered) -> Result<(), StoreError> {
    let path = folder.join(DATABASE);
    let io = |source| StoreError::Io {
        doing: "creating",
        path: path.clone(),
        source,
    };
    fs::create_dir_all(folder).map_err(io)?;
    let disk = guarded(&path, Expected::New(identity.store_id))
        .map_err(|failure| failure.into_error(&path))?
        .0;
    let mut batch = Batch::default();
    batch.insert(codec::state_key(STORE_ID), codec::seal(&identity.store_id.0));
    if let Some(vote) = &recovered.vote {
        batch.insert(
            codec::state_key(VOTE),
            codec::seal(&convert::vote_to_wire(vote).encode_to_vec()),
        );
    }
    for (name, id) in [(PURGED, &recovered.purged), (COMMITTED, &recovered.committed)] {
        if let Some(id) = id {
            batch.insert(codec::state_key(name), rows::seal_log_id(id));
        }
    }
    disk.db.apply(batch).and_then(|()| disk.sync()).map_err(io)?;
    identity.write(folder).map_err(io)
}

fn check_owner(folder: &Path, owner: &Owner, identity: &Identity) -> Result<(), StoreError> {
    let path = || folder.to_owned();
    if identity.node_id != owner.node_id {
        return Err(StoreError::OtherNode {
            path: path(),
            found: identity.node_id,
            own: owner.node_id,
        });
    }
    match (identity.cluster_id, owner.cluster_id) {
        (Some(found), Some(own)) if found != own => Err(StoreError::OtherCluster {
            path: path(),
            found,
            own,
        }),
        _ => Ok(()),
    }
}

/// A store with nothing in it, under a new id; what was there is moved aside.
fn fresh(folder: &Path, owner: &Owner, damage: Option<String>) -> Result<Opened, StoreError> {
    let path = folder.join(DATABASE);
    let io = |doing| {
        let path = path.clone();
        move |source| StoreError::Io { doing, path, source }
    };
    set_aside(folder)?;
    let mut identity = Identity::fresh(owner.node_id, owner.fresh_store_id, owner.cluster_id);
    identity.replaces_lost = damage.is_some();
    identity.write(folder).map_err(io("writing who owns"))?;
    write_fresh(folder, &identity, &Recovered::default())?;
    sync_folder(folder).map_err(io("syncing the folder of"))?;
    let (disk, recovered) =
        guarded(&path, Expected::Existing(identity.store_id)).map_err(|failure| failure.into_error(&path))?;
    let log = LogStore::start(disk, recovered).map_err(io("starting the writer of"))?;
    Ok(Opened { log, identity, damage })
}

/// What the log no longer holds must be in the snapshot.
fn check_snapshot(folder: &Path, recovered: &Recovered) -> Result<(), Failure> {
    let Some(purged) = recovered.purged else { return Ok(()) };
    match snapshot::read(folder) {
        Ok(Some((state, _))) if state.applied >= Some(purged) => Ok(()),
        Ok(_) => Err(Failure::Damaged(
            "the log was purged, and no snapshot holds what it held".into(),
        )),
        Err(error) => Err(Failure::Damaged(describe(&error))),
    }
}

/// Moves a store and its snapshot out of the way, if there are any. Blocking.
pub fn set_aside(folder: &Path) -> Result<(), StoreError> {
    let path = folder.join(DATABASE);
    let io = |doing| {
        let path = path.clone();
        move |source| StoreError::Io { doing, path, source }
    };
    if path.exists() {
        let aside = (1..KEPT_MAX)
            .map(|number| folder.join(format!("{DATABASE}.damaged-{number}")))
            .find(|aside| !aside.exists())
            .unwrap_or_else(|| folder.join(format!("{DATABASE}.damaged-{KEPT_MAX}")));
        if aside.exists() {
            fs::remove_dir_all(&aside).map_err(io("removing an older damaged copy of"))?;
        }
        fs::rename(&path, &aside).map_err(io("moving aside"))?;
        #[cfg(test)]
        crate::simulated::moved_aside(&path);
    }
    let old_snapshot = folder.join(SNAPSHOT_FILE);
    if old_snapshot.exists() {
        // It belongs to the lost store; kept, because a quorum that is lost as a whole can be rebuilt from it.
        fs::rename(&old_snapshot, old_snapshot.with_extension("old")).map_err(io("moving aside the snapshot of"))?;
    }
    Ok(())
}

enum Failure {
    InUse,
    Damaged(String),
}

impl Failure {
    fn into_error(self, path: &Path) -> StoreError {
        match self {
            Failure::InUse => StoreError::InUse { path: path.to_owned() },
            Failure::Damaged(text) => {
                let source = io::Error::other(text);
                StoreError::Io {
                    doing: "opening the new store in",
                    path: path.to_owned(),
                    source,
                }
            }
        }
    }
}

/// What the database must say of itself.
#[derive(Clone, Copy)]
enum Expected {
    New(StoreId),
    Existing(StoreId),
}

/// Opens in a thread that may panic or hang without harm.
fn guarded(path: &Path, expected: Expected) -> Result<(Disk, Recovered), Failure> {
    #[cfg(test)]
    if let Some(model) = crate::simulated::open_database(path) {
        let recovered = scan(&Database::Model(model.clone()), expected)?;
        return Ok((Disk::simulated(model), recovered));
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let owned = path.to_owned();
    let work = move || {
        let result = catch_unwind(AssertUnwindSafe(|| open_and_scan(&owned, expected)));
        let panicked = |_| Err(Failure::Damaged("the database panicked when it was opened".into()));
        // The receiver may have given up; then the store is dropped here.
        drop(sender.send(result.unwrap_or_else(panicked)));
    };
    let spawned = std::thread::Builder::new().name("quorum-store-open".into()).spawn(work);
    spawned.map_err(|error| Failure::Damaged(format!("no thread to open the store in: {error}")))?;
    match receiver.recv_timeout(OPEN_TIMEOUT) {
        Ok(result) => result,
        Err(_) => Err(Failure::Damaged(format!(
            "opening the store took longer than {OPEN_TIMEOUT:?}"
        ))),
    }
}

fn damaged(doing: &str, error: &dyn std::error::Error) -> Failure {
    Failure::Damaged(format!("{doing}: {}", describe(error)))
}

fn open_and_scan(path: &Path, expected: Expected) -> Result<(Disk, Recovered), Failure> {
    let db = open_database(path)?;
    let recovered = scan(&Database::Sled(db.clone()), expected)?;
    let (Expected::New(store_id) | Expected::Existing(store_id)) = expected;
    let mark = Mark::open(path, &db, store_id).map_err(|error| damaged("checking what was acknowledged", &error))?;
    let disk = Disk::new(db, path, mark).map_err(|error| damaged("opening the database's file", &error))?;
    Ok((disk, recovered))
}

fn scan(db: &Database, expected: Expected) -> Result<Recovered, Failure> {
    let stored =
        rows::state(db, STORE_ID, Uuid::from_slice).map_err(|error| damaged("reading the store id", &error))?;
    let belongs = match expected {
        Expected::New(_) => stored.is_none(),
        Expected::Existing(store_id) => stored == Some(store_id),
    };
    if !belongs {
        return Err(Failure::Damaged("the database is not the one that belongs here".into()));
    }
    let recovered = rows::scan(db).map_err(|error| damaged("reading the store", &error))?;
    if let Some(purged) = recovered.purged {
        // Left by a purge that did not come to its end.
        let mut left = Batch::default();
        for key in rows::keys(db, 0..purged.index + 1).map_err(|error| damaged("reading the store", &error))? {
            left.remove(key);
        }
        db.apply(left)
            .map_err(|error| damaged("removing purged rows", &error))?;
    }
    Ok(recovered)
}

fn open_database(path: &Path) -> Result<sled::Db, Failure> {
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match sled::Config::new().path(path).cache_capacity(CACHE_BYTES).open() {
            Ok(db) => return Ok(db),
            // Sled has no kind of its own for a lock that another process holds.
            Err(sled::Error::Io(error)) if error.to_string().contains("could not acquire lock") => {
                if Instant::now() > deadline {
                    return Err(Failure::InUse);
                }
                std::thread::sleep(LOCK_RETRY);
            }
            Err(error) => return Err(Failure::Damaged(format!("opening the database: {error}"))),
        }
    }
}

/// An error with its causes, for a text that outlives it.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}
