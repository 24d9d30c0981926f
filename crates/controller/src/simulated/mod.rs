//! The quorum under turmoil: controllers as they ship (openraft, our gRPC over HTTP/2, store, state machine, shell) in
//! one thread on a simulated network and virtual time, from one seed.
//!
//! What is not the shipped program: the sockets (turmoil's), the clock, sled (a model of what the store expects of it,
//! which loses what was not flushed) and the thread that writes to it. The seams are `#[cfg(test)]` and ask
//! [`is_running`]; what ships does not have them.

mod clients;
mod history;
mod judge;
mod links;
mod network;
mod node;
mod plan;
mod report;
mod timeline;
mod weather;
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::distr::{Distribution, StandardUniform};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::store::model::Model;

pub use network::connector;

#[cfg(test)]
mod tests;

/// A bug that is put back, to see whether it is caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// A vote is given before it is on disk.
    VoteBeforeFlush,
    /// Entries are acknowledged before they are on disk.
    AppendBeforeFlush,
    /// A snapshot is taken over without the members that it names.
    SnapshotWithoutMembers,
    /// A read is answered without asking the quorum.
    ReadWithoutQuorum,
    /// The log is purged while the snapshot that holds it is not on disk.
    PurgeBeforeSnapshot,
    /// A truncation removes the first rows first.
    TruncateFromStart,
    /// A store that is an old copy of itself takes part.
    OldCopyTakesPart,
}

/// What one simulated cluster shares; there is one per thread at a time.
struct Context {
    random: SmallRng,
    planted: Option<Planted>,
    databases: BTreeMap<PathBuf, Model>,
    /// Files replaced, but not on disk: what was there before. Only a planted bug leaves any.
    unsynced_files: BTreeMap<PathBuf, Option<Vec<u8>>>,
    truncations: Truncations,
}

/// How often logs were cut, and by how many entries at most.
#[derive(Clone, Copy, Default)]
struct Truncations {
    count: u64,
    entries_max: u64,
}

/// What a crash does to what is not flushed.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// Any part of it is lost, often all.
    Some,
    All,
}

/// A disk as it was.
struct DiskCopy {
    model: Model,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

thread_local! {
    static CONTEXT: RefCell<Option<Context>> = const { RefCell::new(None) };
}

fn with<T>(work: impl FnOnce(&mut Context) -> T) -> Option<T> {
    // Not there any more while a thread ends.
    let inside = CONTEXT.try_with(|context| context.borrow_mut().as_mut().map(work));
    inside.ok().flatten()
}

/// The simulation of this thread, until dropped.
pub struct Simulation;

impl Simulation {
    pub fn begin(seed: u64, planted: Option<Planted>) -> Simulation {
        let context = Context {
            random: SmallRng::seed_from_u64(seed),
            planted,
            databases: BTreeMap::new(),
            unsynced_files: BTreeMap::new(),
            truncations: Truncations::default(),
        };
        CONTEXT.with(|slot| *slot.borrow_mut() = Some(context));
        Simulation
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        CONTEXT.with(|slot| *slot.borrow_mut() = None);
    }
}

/// Whether this thread simulates.
pub fn is_running() -> bool {
    with(|_| ()).is_some()
}

pub fn is_planted(bug: Planted) -> bool {
    with(|context| context.planted == Some(bug)).unwrap_or(false)
}

pub fn number<T>() -> T
where
    StandardUniform: Distribution<T>,
{
    with(|context| context.random.random()).expect("a simulation is running")
}

/// A number from 0 to below `end`.
fn below(end: u64) -> u64 {
    with(|context| context.random.random_range(0..end)).expect("a simulation is running")
}

pub fn wall_millis() -> i64 {
    let since = turmoil::sim_elapsed().unwrap_or_default();
    1_795_000_000_000 + i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Reading or writing a small file.
pub async fn disk_time() {
    tokio::time::sleep(Duration::from_micros(500 + below(2_000))).await;
}

/// The database at `path` is opened by its store, if it is simulated.
pub fn open_database(path: &Path) -> Option<Model> {
    let model = database(path)?;
    // The store looks whether there is one.
    std::fs::create_dir_all(path).expect("the folder of a simulated store");
    Some(model)
}

fn database(path: &Path) -> Option<Model> {
    with(|context| context.databases.entry(path.to_owned()).or_default().clone())
}

/// The database at `path` is there no more.
pub fn moved_aside(path: &Path) {
    with(|context| context.databases.remove(path));
}

/// A file is about to be replaced by its store.
pub fn replacing(path: &Path) {
    let is_snapshot = path.ends_with(crate::raft::snapshot::SNAPSHOT_FILE);
    if is_snapshot && is_planted(Planted::PurgeBeforeSnapshot) {
        let before = std::fs::read(path).ok();
        with(|context| {
            context.unsynced_files.entry(path.to_owned()).or_insert(before);
        });
    }
}

/// A log is about to be cut.
pub fn truncating(entries: u64) {
    with(|context| {
        context.truncations.count += 1;
        context.truncations.entries_max = context.truncations.entries_max.max(entries);
    });
}

fn truncations() -> Truncations {
    with(|context| context.truncations).unwrap_or_default()
}

/// The process in `folder` dies. Says how many batches could be lost, and how many were.
pub fn crash(folder: &Path, loss: Loss) -> (usize, usize) {
    let Some(Some(model)) = with(|context| context.databases.get(&folder.join("raft")).cloned()) else {
        return (0, 0);
    };
    let unflushed = model.unflushed();
    let kept = match loss {
        Loss::Some if below(2) == 0 => below(unflushed as u64 + 1) as usize,
        Loss::Some | Loss::All => 0,
    };
    model.crash(kept);
    let files = with(|context| {
        let all = std::mem::take(&mut context.unsynced_files);
        let (own, others) = all.into_iter().partition(|(path, _)| path.starts_with(folder));
        context.unsynced_files = others;
        own
    });
    let files: BTreeMap<PathBuf, Option<Vec<u8>>> = files.unwrap_or_default();
    for (path, before) in files {
        match before {
            Some(bytes) => std::fs::write(&path, bytes),
            None => std::fs::remove_file(&path),
        }
        .expect("a file as it was before");
    }
    (unflushed, unflushed - kept)
}

/// The disk in `folder`, on which nothing runs.
fn copy(folder: &Path) -> DiskCopy {
    let files = std::fs::read_dir(folder).expect("the folder of a simulated store");
    let paths = files.map(|entry| entry.expect("an entry of the folder").path());
    let read = |path: PathBuf| (path.clone(), std::fs::read(path).expect("a file of the store"));
    DiskCopy {
        model: database(&folder.join("raft")).expect("a simulation is running").copy(),
        files: paths.filter(|path| path.is_file()).map(read).collect(),
    }
}

/// Puts the copy in the place of the disk in `folder`.
fn restore(folder: &Path, copy: DiskCopy) {
    wipe(folder);
    let path = folder.join("raft");
    std::fs::create_dir_all(&path).expect("the folder of a simulated store");
    for (path, bytes) in copy.files {
        std::fs::write(path, bytes).expect("a file of the copy");
    }
    with(|context| context.databases.insert(path, copy.model));
}

/// The disk in `folder` is lost.
fn wipe(folder: &Path) {
    with(|context| context.databases.remove(&folder.join("raft")));
    if folder.exists() {
        std::fs::remove_dir_all(folder).expect("the folder of a simulated store");
    }
}
