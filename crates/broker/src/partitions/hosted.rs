//! One hosted partition as its worker keeps it: the core, and what belongs to the core's open requests.
//!
//! The log is kept beside it, not in it: while a log is being opened or cut in the background, the partition's
//! commands wait, and that there is no log to touch shows in the types.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use klamm_log::{Log, LogConfig};
use klamm_replication::{Isolation, PartitionView, ProducerTable, ReadFrom, Replica, RequestId, SubscriptionNumber};
use klamm_types::{ErrorCode, LeaderEpoch, Moment, NodeId, Offset, Timestamp, TopicPartition};
use tokio::sync::Notify;

use super::checkpoint::Marks;
use super::command::{Command, ProduceReply, Release};
use super::steps::Steps;
use super::unflushed::MarkGate;
use crate::api::{LeaderHint, PartitionError, PartitionRole, PartitionStatus};
use crate::replica::followers::FollowerPair;
use crate::replica::links::LeaderLink;

/// A partition on its worker.
pub(crate) enum Slot {
    /// Its log is being opened.
    Opening(Waiting),
    Ready(Box<Hosted>, Box<Log>),
    /// Its log is being cut, by a thread that has it.
    Cutting(Box<Hosted>, Waiting),
}

/// What came while the log was away, in order.
#[derive(Default)]
pub(crate) struct Waiting {
    pub commands: VecDeque<Command>,
    pub release: Option<Box<Release>>,
}

pub(crate) struct Hosted {
    pub id: TopicPartition,
    /// Of the directory.
    pub name: Arc<str>,
    pub replica: Replica,
    pub produces: HashMap<RequestId, PendingProduce>,
    /// Those of them that are sampled; none as a rule.
    pub traced: Vec<Steps>,
    pub fetches: HashMap<RequestId, Arc<Notify>>,
    /// Through which streams the followers' newest subscriptions came.
    pub followers: HashMap<NodeId, (SubscriptionNumber, Arc<FollowerPair>)>,
    /// Over which streams this replica's newest subscription goes.
    pub link: Option<(SubscriptionNumber, Arc<LeaderLink>)>,
    /// The log is wanted for a cut, once the effects of this step are carried out.
    pub cut: Option<CutOrder>,
    /// As the worker's books have it.
    pub deadline: Option<Moment>,
    /// Written to since the last checkpoint.
    pub touched: bool,
    /// A run of compaction is under way, and not finished.
    pub compaction: Compaction,
    pub log_config: LogConfig,
    pub mark_gate: Arc<MarkGate>,
}

/// Whether a log is being compacted; at most one run at a time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compaction {
    Resting,
    UnderWay,
}

pub(crate) struct PendingProduce {
    pub reply: ProduceReply,
    pub log_append_time: Timestamp,
}

/// How a log is to be cut.
#[derive(Debug)]
pub(crate) enum CutOrder {
    To(Offset),
    /// With what is known of the producers of the records below.
    RestartAt(Offset, ProducerTable),
}

impl Hosted {
    pub fn new(id: TopicPartition, name: Arc<str>, replica: Replica, log_config: LogConfig) -> Hosted {
        Hosted {
            id,
            name,
            replica,
            produces: HashMap::new(),
            traced: Vec::new(),
            fetches: HashMap::new(),
            followers: HashMap::new(),
            link: None,
            cut: None,
            deadline: None,
            touched: true,
            compaction: Compaction::Resting,
            log_config,
            mark_gate: Arc::default(),
        }
    }

    /// Who leads, as the newest image says.
    pub fn hint(&self) -> LeaderHint {
        LeaderHint {
            leader: self.replica.leader(),
            leader_epoch: self.replica.leader_epoch(),
        }
    }

    /// An error for a client, with the leader where that helps.
    pub fn error(&self, code: ErrorCode) -> PartitionError {
        let hint = matches!(code, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch).then(|| self.hint());
        PartitionError {
            leader: hint,
            ..PartitionError::from(code)
        }
    }

    /// Whether a client that believes in `epoch` is served, and how far it may read.
    pub fn check_read(
        &self,
        epoch: LeaderEpoch,
        from: ReadFrom,
        isolation: Isolation,
    ) -> Result<Offset, PartitionError> {
        self.replica.check_read(epoch, from).map_err(|code| self.error(code))?;
        Ok(self.replica.fetch_bound(isolation))
    }

    /// What the checkpoint files keep of it.
    pub fn marks(&self, log: &Log) -> Marks {
        Marks {
            recovery_point: log.flushed_offset(),
            high_watermark: self.replica.high_watermark().into(),
            log_start: self.replica.log_start().into(),
        }
    }

    pub fn status(&self, log: Option<&Log>) -> PartitionStatus {
        use klamm_replication::Role;
        let view = self.replica.partition_view();
        PartitionStatus {
            partition: self.id,
            role: match self.replica.role() {
                Role::None => PartitionRole::None,
                Role::Leader { .. } => PartitionRole::Leader,
                Role::Follower { .. } => PartitionRole::Follower,
                Role::Stopped => PartitionRole::Stopped,
            },
            leader: self.hint(),
            log_start_offset: self.replica.log_start(),
            log_end_offset: self.replica.log_end(),
            last_epoch: log.and_then(Log::last_epoch).unwrap_or(LeaderEpoch::NONE),
            flushed_offset: self.replica.flushed(),
            high_watermark: self.replica.high_watermark(),
            size_bytes: log.map_or(0, Log::size_bytes),
            waiting_produces: self.replica.waiting_produces(),
            isr: view.map(|view| view.isr.iter().copied().collect()).unwrap_or_default(),
            replicas: view.map_or(0, |view| view.replicas.len()),
            min_isr: view.map_or(0, PartitionView::min_insync_effective),
            followers: self.replica.followers(),
            unflushed_bytes: log.map_or(0, Log::unflushed_bytes),
        }
    }
}
