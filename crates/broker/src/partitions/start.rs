//! Starting the data path: finding partitions on the disk, opening their logs, and starting the threads. And the
//! thread that keeps house.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use arc_swap::ArcSwap;
use klamm_log::{Disk, DiskError, Log, LogConfig, RecoveryHint};
use klamm_metadata::Image;
use klamm_replication::OpenedLog;
use klamm_types::{LeaderEpoch, Offset, TopicId, TopicPartition};

use super::board::Board;
use super::carry::chain;
use super::checkpoint::Checkpoints;
use super::clock::Clock;
use super::command::{Command, Host, HostOrigin};
use super::directory::{self, DirectoryError, Found};
use super::housekeeping::keep_house;
use super::image::Taken;
use super::inbox::Inbox;
use super::names::Names;
use super::open::{self, HostError, Opening};
use super::requests::WishBox;
use super::shared::{PartitionsConfig, Shared};
use super::stalls;
use super::suspects::Suspects;
use super::worker::Worker;
use super::{Partitions, Running};
use crate::flush::{Pool, PoolConfig};
use crate::metrics::Metrics;
use crate::pace::rounds::Rounds;
use crate::pace::turns::Turns;
use crate::replica::followers::Followers;
use crate::replica::links::Links;
use crate::space::Space;

/// Jobs that may wait for the background threads.
const BACKGROUND_OPEN_MAX: usize = 65_536;
/// Logs that may wait to be compacted; the others are looked at again a little later.
const COMPACTIONS_OPEN_MAX: usize = 64;
const WORKER_THREADS_MAX: usize = 4;

/// How the last run of this broker ended, as far as logs are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastStop {
    /// Every log was closed: sizes and indexes can be trusted.
    Clean,
    Unclean,
}

/// Why the data path cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("starting threads")]
    Threads(#[source] std::io::Error),
    #[error("reading or writing the checkpoints")]
    Checkpoints(#[from] DiskError),
    #[error("looking for partitions")]
    Directory(#[from] DirectoryError),
    #[error("measuring the room on the disk of the data directory")]
    Space(#[source] std::io::Error),
}

/// What recovery found, for the broker's registration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    pub replicas: Vec<RecoveredReplica>,
}

/// One replica as recovery found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredReplica {
    pub partition: TopicPartition,
    /// Why it must not count, if it must not.
    pub damage: Option<String>,
    /// The highest leader epoch known to the log; `NONE` in an empty one.
    pub highest_leader_epoch: LeaderEpoch,
    /// Of the last record; `NONE` in an empty log.
    pub last_epoch: LeaderEpoch,
    pub log_end_offset: Offset,
    /// It may hold records that counted before they were flushed.
    pub unflushed: bool,
}

impl Partitions {
    /// Finds and opens all partitions under the data directory and starts the threads. Blocks until all is recovered.
    pub fn start(
        config: PartitionsConfig,
        disk: Arc<dyn Disk>,
        last_stop: LastStop,
    ) -> Result<(Partitions, RecoveryReport), StartError> {
        let checkpoints = Checkpoints::open(Arc::clone(&disk), &config.data_dir)?;
        let shared = Arc::new(make_shared(config, disk, checkpoints)?);
        let recovered = recover(&shared, last_stop)?;
        // Marks that lie above what recovery has left must not be found there once something else is appended.
        shared.checkpoints.write()?;
        let mut report = RecoveryReport::default();
        let mut taken = Taken::default();
        let mut threads = Vec::new();
        for index in 0..shared.workers.len() {
            let worker = Worker::new(Arc::clone(&shared), index);
            let builder = std::thread::Builder::new().name(format!("klamm-partition-{index}"));
            threads.push(builder.spawn(move || run_worker(worker)).map_err(StartError::Threads)?);
        }
        for one in recovered {
            report.replicas.push(describe(&one));
            match one.opened {
                Ok(opened) => {
                    taken.recovered(one.partition, Arc::clone(&one.name));
                    if opened.1.damaged_from.is_some() {
                        taken.damaged(one.partition);
                    }
                    let log_config = opened.0.config().clone();
                    let host = Host {
                        partition: one.partition,
                        name: one.name,
                        origin: HostOrigin::Recovered(Box::new(opened)),
                        view: None,
                        log_config,
                        applying: None,
                    };
                    if let Some(host) = shared.names.claim(Box::new(host)) {
                        shared.send(one.partition, Command::Host(host));
                    }
                }
                Err(_) => taken.broken(one.partition),
            }
        }
        let (stop, stopped) = mpsc::channel();
        let housekeeper = Arc::clone(&shared);
        let builder = std::thread::Builder::new().name("klamm-housekeeper".to_owned());
        let keeper = builder
            .spawn(move || keep_house(&housekeeper, &stopped))
            .map_err(StartError::Threads)?;
        threads.push(keeper);
        let watch = stalls::watch(Arc::downgrade(&shared));
        shared.config.data_runtime.spawn(watch);
        let running = Mutex::new(Some(Running { threads, stop }));
        let partitions = Partitions {
            shared,
            taken: Arc::new(Mutex::new(taken)),
            running: Arc::new(running),
        };
        Ok((partitions, report))
    }
}

fn make_shared(config: PartitionsConfig, disk: Arc<dyn Disk>, checkpoints: Checkpoints) -> Result<Shared, StartError> {
    let pool = |name, threads, open_max| {
        Pool::start(PoolConfig {
            name,
            threads,
            open_max,
        })
        .map_err(StartError::Threads)
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let worker_threads = match config.worker_threads {
        0 => cores.min(WORKER_THREADS_MAX),
        count => count,
    };
    let inbox = || Arc::new(Inbox::new(config.inbox_bytes_max));
    let space = Space::open(Arc::clone(&disk), &config.data_dir, config.space).map_err(StartError::Space)?;
    Ok(Shared {
        space,
        disk,
        clock: Clock::new(),
        metrics: Metrics::default(),
        checkpoints,
        wishes: WishBox::default(),
        suspects: Suspects::default(),
        board: Board::default(),
        names: Names::default(),
        workers: (0..worker_threads).map(|_| inbox()).collect(),
        pulses: (0..worker_threads).map(|_| stalls::Pulse::default()).collect(),
        flushes: pool("klamm-flush", config.flush_threads, usize::MAX)?,
        credit_turns: Mutex::new(Turns::new(config.catch_up_bytes_per_second, Instant::now())),
        catch_up_flushes: Mutex::new(Rounds::new(config.flush_threads, config.catch_up_disk_percent)),
        background: pool("klamm-background", config.background_threads, BACKGROUND_OPEN_MAX)?,
        removals: pool("klamm-removal", 1, usize::MAX)?,
        compactions: pool("klamm-compaction", 1, COMPACTIONS_OPEN_MAX)?,
        ending: AtomicBool::new(false),
        followers: Followers::default(),
        links: Links::new(config.data_runtime.clone(), rand::random()),
        image: ArcSwap::from_pointee(Image::new()),
        settings: RwLock::default(),
        identity: RwLock::default(),
        unclean: AtomicBool::new(false),
        config,
    })
}

/// A worker that panics has broken an invariant: nothing it owns may be touched again, so the process ends.
fn run_worker(worker: Worker) {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| worker.run()));
    if outcome.is_err() {
        tracing::error!("a partition worker has broken an invariant; stopping the process");
        std::process::abort();
    }
}

struct Recovered {
    partition: TopicPartition,
    name: Arc<str>,
    opened: Result<(Log, OpenedLog), HostError>,
}

/// Opens the logs of all partitions, several at a time.
fn recover(shared: &Arc<Shared>, last_stop: LastStop) -> Result<Vec<Recovered>, StartError> {
    let data = shared.config.data_dir.as_path();
    let mut found = Vec::new();
    for one in directory::list(shared.disk.as_ref(), data)? {
        match one {
            Found::Partition { name, partition } => found.push((name, partition)),
            Found::Deleted { name } => shared.remove_leftover(&name),
            Found::Nameless { name } => put_aside(shared.disk.as_ref(), data, &name)?,
        }
    }
    let (sender, receiver) = mpsc::channel();
    for (name, partition) in found {
        let (sender, shared_here) = (sender.clone(), Arc::clone(shared));
        shared.background.submit_owed(move || {
            let opened = open_found(&shared_here, &name, partition, last_stop);
            // The receiver lives until every sender is gone.
            let _ = sender.send(Recovered {
                partition,
                name: name.into(),
                opened,
            });
        });
    }
    drop(sender);
    let recovered: HashMap<TopicPartition, Recovered> = receiver.iter().map(|one| (one.partition, one)).collect();
    Ok(recovered.into_values().collect())
}

fn open_found(
    shared: &Shared,
    name: &str,
    partition: TopicPartition,
    last_stop: LastStop,
) -> Result<(Log, OpenedLog), HostError> {
    let marks = shared.checkpoints.get(partition);
    let hint = RecoveryHint {
        recovery_point: marks.map(|marks| marks.recovery_point),
        clean_stop: last_stop == LastStop::Clean && marks.is_some(),
    };
    let config = LogConfig {
        tail_bytes_max: shared.config.tail_bytes_max,
        ..LogConfig::default()
    };
    let opening = Opening {
        disk: Arc::clone(&shared.disk),
        config,
        hint,
        marks: marks.unwrap_or_default(),
    };
    let opened = open::open(&shared.config.data_dir, name, opening);
    match &opened {
        Ok((log, _)) => shared.checkpoints.found_end(partition, log.log_end_offset()),
        Err(error) => tracing::error!(
            partition = name,
            error = chain(error),
            "a partition cannot be recovered"
        ),
    }
    opened
}

/// A directory without a readable topic id: the rest of an interrupted creation if it holds no segment, else something
/// for a person to look at.
fn put_aside(disk: &dyn Disk, data: &Path, name: &str) -> Result<(), DirectoryError> {
    if directory::holds_no_segment(disk, &data.join(name))? {
        return directory::remove(disk, &data.join(name), &mut || ());
    }
    let path = directory::mark_stray(disk, data, name, TopicId::ZERO)?;
    tracing::warn!(path = %path.display(), "a partition directory without partition.metadata is put aside");
    Ok(())
}

fn describe(recovered: &Recovered) -> RecoveredReplica {
    let partition = recovered.partition;
    match &recovered.opened {
        Ok((log, opened)) => RecoveredReplica {
            partition,
            damage: opened
                .damaged_from
                .map(|from| format!("the log is damaged from offset {from} on")),
            highest_leader_epoch: log.epochs().last().map_or(LeaderEpoch::NONE, |last| last.epoch),
            last_epoch: log.last_epoch().unwrap_or(LeaderEpoch::NONE),
            log_end_offset: log.log_end_offset(),
            unflushed: opened.unflushed_mark,
        },
        Err(error) => RecoveredReplica {
            partition,
            damage: Some(chain(error)),
            highest_leader_epoch: LeaderEpoch::NONE,
            last_epoch: LeaderEpoch::NONE,
            log_end_offset: Offset(0),
            unflushed: true,
        },
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        let _ = thread.join();
    }
}
