//! One simulated broker: what its machine keeps over a crash, and what its process knows while it lives.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use klamm_log::{FlushJob, Log, LogConfig, OpenError, ReadError, RecoveryHint, SimDisk};
use klamm_metadata::{Image, config};
use klamm_record::Batch;
use klamm_replication::{
    AlterAttempt, AppendId, BrokerState, BrokerView, Durability, FlushId, Limits, Now, OpenedLog, PartitionView,
    ProducerTable, Replica, RequestId, Settings, SubscriptionNumber,
};
use klamm_schema::requests::LastRun;
use klamm_types::{
    BrokerEpoch, DirectoryId, HighWatermark, Incarnation, LeaderEpoch, LogStartOffset, Moment, NodeId, Offset,
    Timestamp, TopicId,
};

use crate::controller::{PARTITION, Registration, TOPIC};
use crate::network::ConnectionId;
use crate::plan::{Plan, Time};
use crate::serving::Fetch;
use crate::world::Happening;

pub const LOG_DIR: &str = "/sim-0";

/// What belongs to a broker whether its process lives or not.
#[derive(Debug)]
pub struct Broker {
    pub node: NodeId,
    pub disk: SimDisk,
    /// Small files that are flushed whenever they change: identity, epoch, recovery point, log start, mark.
    pub directory: DirectoryId,
    pub stored_epoch: BrokerEpoch,
    pub recovery_point: Option<Offset>,
    pub log_start: Offset,
    /// `replication-offset-checkpoint`: written now and then.
    pub high_watermark: HighWatermark,
    /// The mark of records that count before they are flushed.
    pub unflushed_mark: bool,
    /// The image as of the last entry applied; kept as a file over restarts.
    pub image: Image,
    /// Counts process starts: what was meant for a former process is dropped.
    pub life: u32,
    pub process: Option<Process>,
    pub last_run: LastRun,
    /// The mark of a clean stop: written last, taken away before anything else is done.
    pub clean_stop: bool,
    /// The disk is broken and waits to be replaced.
    pub disk_failed: bool,
    /// Bits of the log have been flipped: what it holds may be damaged.
    pub bits_flipped: bool,
    /// Stopped by SIGSTOP: everything that reaches it waits here.
    pub paused: bool,
    pub backlog: VecDeque<Happening>,
    /// What the disk holds for certain, as whoever watches from outside knows it. A starting process knows less.
    pub flushed: Offset,
    /// An entry is on its way.
    pub entry_coming: bool,
}

/// A request of a client that a replica has not answered.
#[derive(Clone, Copy, Debug)]
pub enum Asked {
    Produce { client: usize, attempt: u64 },
    Fetch(Fetch),
}

/// A follower's connection as its leader's shell sees it.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    pub follower: NodeId,
    pub broker_epoch: BrokerEpoch,
    /// The last subscription that came on it.
    pub subscription: SubscriptionNumber,
}

#[derive(Debug)]
pub struct Process {
    pub incarnation: Incarnation,
    pub log: Log,
    pub damaged_from: Option<Offset>,
    pub replica: Replica,
    pub is_registered: bool,
    pub broker_epoch: BrokerEpoch,
    /// The last view given to the replica.
    pub view: Option<PartitionView>,
    pub appends: VecDeque<(AppendId, Vec<Batch>)>,
    pub append_running: bool,
    pub flush: Option<(FlushId, FlushJob)>,
    /// Connections to leaders, by leader, and from followers.
    pub following: BTreeMap<usize, ConnectionId>,
    pub serving: BTreeMap<ConnectionId, Served>,
    pub requests: BTreeMap<RequestId, Asked>,
    pub requests_count: u64,
    pub alter: Option<AlterAttempt>,
    /// A producer snapshot that waits for the log to be written up to its offset.
    pub snapshot: Option<(Offset, klamm_schema::Bytes)>,
    /// The newest subscription given out: leader, number, leader epoch.
    pub subscribed: Option<(NodeId, SubscriptionNumber, LeaderEpoch)>,
    /// The log has been compared with what is committed up to here.
    pub checked: Offset,
    /// Damage is told to the replica once this entry is applied.
    pub damage_heard_at: Option<u64>,
    pub tick_at: Option<Time>,
    /// This process's monotonic clock counts from another start than the others'.
    pub clock_offset: u64,
}

impl Broker {
    pub fn new(node: NodeId, directory: DirectoryId) -> Broker {
        Broker {
            node,
            disk: SimDisk::new(),
            directory,
            stored_epoch: BrokerEpoch::NONE,
            recovery_point: None,
            log_start: Offset(0),
            high_watermark: HighWatermark(0),
            unflushed_mark: false,
            image: Image::new(),
            life: 0,
            process: None,
            last_run: LastRun::Clean,
            clean_stop: false,
            disk_failed: false,
            bits_flipped: false,
            paused: false,
            backlog: VecDeque::new(),
            flushed: Offset(0),
            entry_coming: false,
        }
    }

    /// Another disk in the place of the broken one: everything on it is gone.
    pub fn replace_disk(&mut self, directory: DirectoryId) {
        *self = Broker {
            directory,
            life: self.life,
            image: std::mem::take(&mut self.image),
            entry_coming: self.entry_coming,
            ..Broker::new(self.node, directory)
        };
    }

    /// Opens the log as a starting process does.
    pub fn open(
        &mut self,
        now: Timestamp,
        incarnation: Incarnation,
        clock_offset: u64,
    ) -> Result<Process, OpenFailure> {
        let hint = RecoveryHint {
            recovery_point: self.recovery_point,
            clean_stop: std::mem::take(&mut self.clean_stop),
        };
        let disk = Arc::new(self.disk.clone());
        let (mut log, recovery) = Log::open(disk, Path::new(LOG_DIR), log_config(), hint)?;
        if self.log_start > log.log_start_offset() && self.log_start <= log.log_end_offset() {
            log.advance_log_start(self.log_start)
                .map_err(|error| OpenFailure::Other(error.to_string()))?;
        }
        self.high_watermark = self.high_watermark.min(HighWatermark::from(log.log_end_offset()));
        self.log_start = self.log_start.min(log.log_end_offset());
        let snapshot = recovery
            .producer_snapshot
            .map(|snapshot| (snapshot.offset, snapshot.bytes));
        let (producers, damage_replayed) = rebuild_producers(snapshot, log.log_start_offset(), recovery.replay, now)?;
        let opened = OpenedLog {
            log_start: LogStartOffset(log.log_start_offset().0),
            log_end: log.log_end_offset(),
            flushed: log.flushed_offset(),
            epochs: log.epochs().iter().map(|entry| (entry.epoch, entry.start)).collect(),
            producers,
            high_watermark: self.high_watermark,
            unflushed_mark: self.unflushed_mark,
            damaged_from: recovery
                .damage
                .map(|damage| damage.offset)
                .into_iter()
                .chain(damage_replayed)
                .min(),
        };
        if opened.damaged_from.is_some() {
            log.mark_damaged();
        }
        Ok(Process {
            incarnation,
            log,
            damaged_from: opened.damaged_from,
            replica: Replica::open(self.node, BrokerEpoch::NONE, limits(), opened),
            is_registered: false,
            broker_epoch: BrokerEpoch::NONE,
            view: None,
            appends: VecDeque::new(),
            append_running: false,
            flush: None,
            following: BTreeMap::new(),
            serving: BTreeMap::new(),
            requests: BTreeMap::new(),
            requests_count: 0,
            alter: None,
            snapshot: None,
            subscribed: None,
            checked: Offset(0),
            damage_heard_at: None,
            tick_at: None,
            clock_offset,
        })
    }

    /// What the process says when it registers.
    pub fn registration(&self) -> Option<Registration> {
        let process = self.process.as_ref()?;
        let highest = process.log.epochs().last().map(|entry| entry.epoch);
        let end = process.log.log_end_offset();
        Some(Registration {
            node: self.node,
            incarnation: process.incarnation,
            directory: self.directory,
            stored_epoch: self.stored_epoch,
            last_run: self.last_run,
            log: Some((
                highest.unwrap_or(LeaderEpoch::NONE),
                process.log.last_epoch().unwrap_or(LeaderEpoch::NONE),
                end,
            )),
            damaged: process.damaged_from.is_some(),
            unflushed: self.unflushed_mark,
        })
    }
}

impl Process {
    pub fn now(&self, now: Time) -> Now {
        Now {
            moment: Moment(now + self.clock_offset),
            wall: Timestamp((now / 1000) as i64),
        }
    }

    pub fn new_request(&mut self, asked: Asked) -> RequestId {
        self.requests_count += 1;
        let request = RequestId(self.requests_count);
        self.requests.insert(request, asked);
        request
    }
}

/// Why a log could not be opened.
#[derive(Debug)]
pub enum OpenFailure {
    Open(OpenError),
    Other(String),
}

impl From<OpenError> for OpenFailure {
    fn from(error: OpenError) -> OpenFailure {
        OpenFailure::Open(error)
    }
}

/// The producer state at the end of a log, or where the log turns out to be damaged.
pub fn rebuild_producers(
    snapshot: Option<(Offset, klamm_schema::Bytes)>,
    log_start: Offset,
    replay: klamm_log::Replay,
    now: Timestamp,
) -> Result<(ProducerTable, Option<Offset>), OpenFailure> {
    let decoded = snapshot.and_then(|(_, bytes)| ProducerTable::decode(&bytes).ok());
    let mut producers = decoded.unwrap_or_else(|| ProducerTable::new(log_start));
    for batch in replay {
        match batch {
            Ok(batch) => producers.replay(batch.header(), now),
            Err(ReadError::Corrupt(damage)) => return Ok((producers, Some(damage.offset))),
            Err(error) => return Err(OpenFailure::Other(format!("replaying: {error}"))),
        }
    }
    Ok((producers, None))
}

/// Small pushes and little credit, so that both run out.
fn limits() -> Limits {
    Limits {
        push_bytes_max: 1_500,
        credit_bytes: 6_000,
        ..Limits::default()
    }
}

/// Small segments, so that rolling, snapshots and cuts over several segments happen.
fn log_config() -> LogConfig {
    LogConfig {
        segment_bytes: 6_000,
        index_interval_bytes: 400,
        retention_ms: None,
        retention_bytes: None,
        tail_bytes_max: 4_000,
        ..LogConfig::default()
    }
}

/// The partition as this image shows it to its replicas.
pub fn view_of(image: &Image, topic: TopicId, plan: &Plan) -> Option<PartitionView> {
    let state = image.partition(topic, PARTITION)?;
    let brokers = state.replicas.iter().filter_map(|&node| {
        let broker = image.broker(node)?;
        let state = if image.may_lead(node) {
            BrokerState::Active
        } else {
            BrokerState::Fenced
        };
        Some((
            node,
            BrokerView {
                epoch: broker.epoch,
                state,
            },
        ))
    });
    Some(PartitionView {
        replicas: state.replicas.clone(),
        isr: state.isr.iter().copied().collect(),
        elr: state.elr.iter().copied().collect(),
        leader: state.leader,
        leader_epoch: state.leader_epoch,
        partition_epoch: state.partition_epoch,
        brokers: brokers.collect(),
        settings: Settings {
            min_insync_replicas: usize::try_from(image.min_insync_replicas(TOPIC)).unwrap_or(1),
            durability: match image.durability(TOPIC) {
                config::Durability::Fsync => Durability::Fsync,
                config::Durability::Replicated => Durability::Replicated,
            },
            lag_time_max: plan.lag_time_max,
            ..Settings::default()
        },
    })
}
