//! One simulated broker: what its machine keeps over a crash. What its process knows stands in `hosted`; how it starts,
//! ends and rests in `process`; what its replicas want done is carried out in `shell` and `outbound`.

mod coordinating;
mod describe;
mod disks;
mod hosted;
mod life;
mod outbound;
mod process;
mod requests;
mod serving;
mod shell;
mod shutdown;
mod streams;
mod watch;

use std::collections::{BTreeMap, VecDeque};

use klamm_log::SimDisk;
use klamm_metadata::{Image, config};
use klamm_replication::{BrokerState, BrokerView, Durability, PartitionView, Settings};
use klamm_schema::requests::LastRun;
use klamm_types::{BrokerEpoch, DirectoryId, HighWatermark, NodeId, Offset};

pub use disks::read_batches;
pub use hosted::{Here, Place, Process, log_dir};
pub use life::End;
pub use requests::UNANSWERED;
pub use serving::Fetch;

use crate::metadata::{Partition, Registration, ReplicaReport};
use crate::plan::{Setup, Time};
use crate::world::{AtProcess, Happening, Whose};

/// What belongs to a broker whether its process lives or not.
#[derive(Debug)]
pub struct Broker {
    pub node: NodeId,
    pub disk: SimDisk,
    /// Of the partitions that it has a replica of.
    pub files: BTreeMap<usize, Files>,
    pub directory: DirectoryId,
    pub stored_epoch: BrokerEpoch,
    /// The image as of the last entry applied; kept as a file over restarts.
    pub image: Image,
    /// Counts process starts: what was meant for a former process is dropped.
    pub life: u32,
    pub process: Option<Box<Process>>,
    pub last_run: LastRun,
    /// The mark of a clean stop: written last, taken away before anything else is done.
    pub clean_stop: bool,
    pub disk_state: DiskState,
    /// It has no room, and takes nothing.
    pub is_full: bool,
    /// Until then a disk that is told to be full stays so.
    pub full_until: Time,
    /// By how much the machine's wall clock is wrong, in milliseconds.
    pub wall_offset: i64,
    /// By how much its other clock runs too fast, in millionths.
    pub drift: i64,
    /// Stopped by SIGSTOP: everything that reaches it waits here.
    pub paused: bool,
    pub backlog: VecDeque<Happening>,
    /// A write does not end: what the worker should do waits. The process lives on: it hears of the metadata, and it is
    /// heard of.
    pub hangs: Option<Hangs>,
    /// An entry is on its way.
    pub entry_coming: bool,
}

/// A worker that waits for a write.
#[derive(Debug)]
pub struct Hangs {
    pub since: Time,
    pub waiting: VecDeque<Happening>,
    /// The coordinator, which is not the worker's, has given it something to append.
    pub shard_waits: bool,
    /// It has ended while the process was stopped.
    pub is_over: bool,
}

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskState {
    Whole,
    /// One sync fails, or has failed; the process is to be started again on it.
    FailsOnce,
    /// It waits to be replaced.
    Broken,
}

/// Small files beside a log that are flushed whenever they change: recovery point, log start, marks.
#[derive(Debug, Default)]
pub struct Files {
    pub recovery_point: Option<Offset>,
    pub log_start: Offset,
    /// `replication-offset-checkpoint`: written now and then.
    pub high_watermark: HighWatermark,
    /// The mark of records that count before they are flushed.
    pub unflushed_mark: bool,
    /// What the disk holds for certain, as whoever watches from outside knows it. A starting process knows less.
    pub flushed: Offset,
    /// Bits of the log have been flipped: what it holds may be damaged.
    pub bits_flipped: bool,
}

impl Broker {
    pub fn new(node: NodeId, directory: DirectoryId, partitions: impl IntoIterator<Item = usize>) -> Broker {
        Broker {
            node,
            disk: SimDisk::new(),
            files: partitions
                .into_iter()
                .map(|partition| (partition, Files::default()))
                .collect(),
            directory,
            stored_epoch: BrokerEpoch::NONE,
            image: Image::new(),
            life: 0,
            process: None,
            last_run: LastRun::Clean,
            clean_stop: false,
            disk_state: DiskState::Whole,
            is_full: false,
            full_until: 0,
            wall_offset: 0,
            drift: 0,
            paused: false,
            backlog: VecDeque::new(),
            hangs: None,
            entry_coming: false,
        }
    }

    /// Whether it does something about what reaches it: it is not stopped, and waits for no disk.
    pub fn acts(&self) -> bool {
        !self.paused && self.hangs.is_none()
    }

    /// Whether what reaches the process has to wait.
    pub fn puts_off(&self, what: &AtProcess) -> bool {
        let worker_waits = |hangs: &Hangs| match what.is_for() {
            Whose::Worker => true,
            Whose::Shard => hangs.shard_waits,
            Whose::Others => false,
        };
        self.paused || self.hangs.as_ref().is_some_and(worker_waits)
    }

    /// Another disk in the place of the broken one: everything on it is gone.
    pub fn replace_disk(&mut self, directory: DirectoryId) {
        let partitions: Vec<usize> = self.files.keys().copied().collect();
        *self = Broker {
            life: self.life,
            wall_offset: self.wall_offset,
            drift: self.drift,
            image: std::mem::take(&mut self.image),
            entry_coming: self.entry_coming,
            ..Broker::new(self.node, directory, partitions)
        };
    }

    pub fn has_flipped_bits(&self) -> bool {
        self.files.values().any(|files| files.bits_flipped)
    }

    /// What the process says when it registers.
    pub fn registration(&self) -> Option<Registration> {
        let process = self.process.as_ref()?;
        let report = |(&partition, own): (&usize, &hosted::Hosted)| {
            let highest = own.log.epochs().last().map(|entry| entry.epoch);
            ReplicaReport {
                partition,
                highest_epoch: highest.unwrap_or(klamm_types::LeaderEpoch::NONE),
                last_epoch: own.log.last_epoch().unwrap_or(klamm_types::LeaderEpoch::NONE),
                log_end: own.log.log_end_offset(),
                is_damaged: own.damaged_from.is_some(),
                is_unflushed: self.files.get(&partition).is_some_and(|files| files.unflushed_mark),
            }
        };
        Some(Registration {
            node: self.node,
            incarnation: process.host.incarnation,
            directory: self.directory,
            stored_epoch: self.stored_epoch,
            last_run: self.last_run,
            replicas: process.hosted.iter().map(report).collect(),
        })
    }
}

/// A partition as this image shows it to its replicas.
pub fn view_of(image: &Image, partition: &Partition, setup: &Setup) -> Option<PartitionView> {
    let state = image.partition(partition.topic, partition.number)?;
    let brokers = state.replicas.iter().filter_map(|&node| {
        let broker = image.broker(node)?;
        let state = if image.may_lead(node) {
            BrokerState::Active
        } else {
            BrokerState::Fenced
        };
        let epoch = broker.epoch;
        Some((node, BrokerView { epoch, state }))
    });
    let name = partition.topic_name;
    Some(PartitionView {
        replicas: state.replicas.clone(),
        isr: state.isr.iter().copied().collect(),
        elr: state.elr.iter().copied().collect(),
        leader: state.leader,
        leader_epoch: state.leader_epoch,
        partition_epoch: state.partition_epoch,
        brokers: brokers.collect(),
        settings: Settings {
            min_insync_replicas: usize::try_from(image.min_insync_replicas(name)).unwrap_or(1),
            durability: match image.durability(name) {
                config::Durability::Fsync => Durability::Fsync,
                config::Durability::Replicated => Durability::Replicated,
            },
            lag_time_max: setup.lag_time_max,
            ..Settings::default()
        },
    })
}
