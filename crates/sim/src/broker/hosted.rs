//! What a broker's process knows while it lives: itself, and each replica that it hosts.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use klamm_log::{FlushJob, Log, LogConfig, OpenError, ReadError, RecoveryHint};
use klamm_record::Batch;
use klamm_replication::{
    AlterAttempt, AppendId, FlushId, Judge, Limits, Looks, OpenedLog, PartitionView, ProducerTable, Replica, RequestId,
    SubscriptionNumber,
};
use klamm_types::{
    BrokerEpoch, HighWatermark, Incarnation, LeaderEpoch, LogStartOffset, Moment, NodeId, Offset, Timestamp,
};

use super::coordinating::Coordinating;
use super::serving::Fetch;
use super::{Broker, Files};
use crate::plan::Time;
use crate::world::ConnectionId;

/// One replica's place: the broker's and the partition's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub broker: usize,
    pub partition: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broker {}/{}", self.broker + 1, self.partition)
    }
}

/// A request of a client that a replica has not answered.
#[derive(Clone, Copy, Debug)]
pub enum Asked {
    Produce {
        client: usize,
        attempt: u64,
    },
    Fetch(Fetch),
    /// Of the coordinator that lives beside the replica.
    Round,
}

/// A follower's connection as its leader's shell sees it.
#[derive(Clone, Debug)]
pub struct Served {
    pub follower: NodeId,
    pub broker_epoch: BrokerEpoch,
    /// The last subscription that came on it, by partition.
    pub subscriptions: BTreeMap<usize, SubscriptionNumber>,
}

/// A process as such.
#[derive(Debug)]
pub struct Host {
    pub incarnation: Incarnation,
    pub is_registered: bool,
    pub broker_epoch: BrokerEpoch,
    /// Connections to leaders, by leader, and from followers.
    pub following: BTreeMap<usize, ConnectionId>,
    pub serving: BTreeMap<ConnectionId, Served>,
    /// This process's monotonic clock counts from another start than the others', and runs faster or slower.
    pub clock_offset: u64,
    pub drift: i64,
    /// Whether the one worker that carries all writes out is held up.
    pub judge: Judge,
}

/// How often somebody looks at the worker.
pub const LOOKS: Looks = Looks {
    interval: Duration::from_millis(20),
    late_max: Duration::from_millis(50),
};

/// One replica and its log.
#[derive(Debug)]
pub struct Hosted {
    pub log: Log,
    pub damaged_from: Option<Offset>,
    pub replica: Replica,
    /// The last view given to the replica.
    pub view: Option<PartitionView>,
    pub appends: VecDeque<(AppendId, Vec<Batch>)>,
    pub append_running: bool,
    pub flush: Option<(FlushId, FlushJob)>,
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
    /// Of the offsets partition, while it leads.
    pub shard: Option<Box<Coordinating>>,
}

/// A broker's process with all its replicas, by partition.
#[derive(Debug)]
pub struct Process {
    pub host: Host,
    pub hosted: BTreeMap<usize, Hosted>,
}

/// The replica at which something happens, and its process.
pub struct Here<'a> {
    pub broker: usize,
    pub partition: usize,
    pub host: &'a mut Host,
    pub own: &'a mut Hosted,
}

impl Here<'_> {
    pub fn place(&self) -> Place {
        Place {
            broker: self.broker,
            partition: self.partition,
        }
    }
}

impl Process {
    /// The replica of a partition.
    pub fn here(&mut self, place: Place) -> Option<Here<'_>> {
        Some(Here {
            broker: place.broker,
            partition: place.partition,
            own: self.hosted.get_mut(&place.partition)?,
            host: &mut self.host,
        })
    }

    pub fn replica(&self, partition: usize) -> Option<&Replica> {
        self.hosted.get(&partition).map(|own| &own.replica)
    }
}

const MILLION: i64 = 1_000_000;

impl Host {
    pub fn moment(&self, now: Time) -> Moment {
        Moment(now.saturating_add_signed(now as i64 * self.drift / MILLION) + self.clock_offset)
    }

    /// When this process's clock shows this moment; a little later rather than earlier.
    pub fn time_of(&self, moment: Moment) -> Time {
        let shown = moment.0.saturating_sub(self.clock_offset) as i64;
        (shown * MILLION / (MILLION + self.drift)) as Time + 1
    }
}

impl Hosted {
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

/// Whether the mark of a clean stop was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CleanStop {
    Marked,
    NotMarked,
}

impl Broker {
    /// Opens a log as a starting process does.
    pub fn open(&mut self, partition: usize, now: Timestamp, clean_stop: CleanStop) -> Result<Hosted, OpenFailure> {
        let node = self.node;
        let files = self.files.entry(partition).or_default();
        let hint = RecoveryHint {
            recovery_point: files.recovery_point,
            clean_stop: clean_stop == CleanStop::Marked,
        };
        let disk = Arc::new(self.disk.clone());
        let (mut log, recovery) = Log::open(disk, &log_dir(partition), log_config(), hint)?;
        advance_to_stored_start(&mut log, files)?;
        let snapshot = recovery
            .producer_snapshot
            .map(|snapshot| (snapshot.offset, snapshot.bytes));
        let (producers, damage_replayed) = rebuild_producers(snapshot, log.log_start_offset(), recovery.replay, now)?;
        let found = recovery.damage.map(|damage| damage.offset);
        let opened = OpenedLog {
            log_start: LogStartOffset(log.log_start_offset().0),
            log_end: log.log_end_offset(),
            flushed: log.flushed_offset(),
            epochs: log.epochs().iter().map(|entry| (entry.epoch, entry.start)).collect(),
            producers,
            high_watermark: files.high_watermark,
            unflushed_mark: files.unflushed_mark,
            damaged_from: found.into_iter().chain(damage_replayed).min(),
        };
        Ok(Hosted {
            log,
            damaged_from: opened.damaged_from,
            replica: Replica::open(node, BrokerEpoch::NONE, limits(), opened),
            view: None,
            appends: VecDeque::new(),
            append_running: false,
            flush: None,
            requests: BTreeMap::new(),
            requests_count: 0,
            alter: None,
            snapshot: None,
            subscribed: None,
            checked: Offset(0),
            damage_heard_at: None,
            tick_at: None,
            shard: None,
        })
    }
}

/// Takes over the stored log start; no stored mark outlives what it speaks of.
fn advance_to_stored_start(log: &mut Log, files: &mut Files) -> Result<(), OpenFailure> {
    if files.log_start > log.log_start_offset() && files.log_start <= log.log_end_offset() {
        log.advance_log_start(files.log_start)
            .map_err(|error| OpenFailure::Other(error.to_string()))?;
    }
    files.high_watermark = files.high_watermark.min(HighWatermark::from(log.log_end_offset()));
    files.log_start = files.log_start.min(log.log_end_offset());
    Ok(())
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

pub fn log_dir(partition: usize) -> PathBuf {
    PathBuf::from(format!("/sim-{partition}"))
}

/// Small pushes, little credit and little that may be unflushed, so that all run out.
fn limits() -> Limits {
    Limits {
        push_bytes_max: 1_500,
        credit_bytes: 6_000,
        unflushed_bytes_max: 3_000,
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
