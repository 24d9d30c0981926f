//! The coordinator runtime: which groups this broker coordinates, and the shards that do it.
//!
//! ```text
//!  front end ──call──► Coordinators ──► shard task (one per led partition of __consumer_offsets)
//!                                         │ decide, apply (pure: klamm-coordinator)
//!                                         ├──► append, if this broker still leads in the shard's leader epoch
//!                                         └──► replies, when everything appended before them is committed
//! ```
//!
//! A partition's leader coordinates its groups; a shard belongs to one leader epoch and is dropped with it, so a group
//! has one coordinator whose appends count. Nothing here decides anything about a group.

mod historian;
mod internal_topics;
mod load;
mod metrics;
mod shard;
mod supervisor;
mod topics;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::join_all;
use klamm_coordinator::call::ListGroups;
use klamm_coordinator::record::partition_for;
use klamm_coordinator::reply::ListedGroup;
use klamm_coordinator::{Call, Reply, history};
use klamm_metadata::Image;
use klamm_metadata::image::Topic;
use klamm_types::{ErrorCode, LeaderEpoch, NodeId, PartitionId};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::NodeConfig;
use crate::controllers::Controllers;
use crate::node::Shown;
use crate::partitions::Partitions;
use internal_topics::InternalTopics;

pub use metrics::Metrics;

/// The topic whose partitions are the shards.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// Where the histories of groups are kept: as many partitions, on the same replicas.
pub const HISTORY_TOPIC: &str = "__klamm_group_history";

/// What the runtime is told at its start.
#[derive(Clone, Debug)]
pub struct CoordinatorConfig {
    /// The part of the settings that is this node's; the cluster's part comes from the metadata.
    pub groups: klamm_coordinator::Settings,
    /// `offsets.topic.num.partitions`
    pub offsets_partitions: i32,
    /// `offsets.topic.replication.factor`
    pub offsets_replication_factor: i32,
    /// `offsets.commit.timeout.ms`: after so long a caller is told that the outcome is not known.
    pub commit_timeout: Duration,
    /// Entries that a group's history keeps.
    pub history_entries: u32,
    /// How long an entry is kept.
    pub history_retention: Duration,
    /// How long a partition with committed offsets may be without an owner before a warning.
    pub unowned_patience: Duration,
    /// Brokers that a new cluster is to have, as far as this node's configuration tells.
    pub brokers_expected: usize,
}

impl CoordinatorConfig {
    pub fn from_node(config: &NodeConfig) -> CoordinatorConfig {
        let milliseconds = Duration::from_millis;
        CoordinatorConfig {
            groups: klamm_coordinator::Settings {
                session_timeout_min: milliseconds(config.group_min_session_timeout_ms),
                session_timeout_max: milliseconds(config.group_max_session_timeout_ms),
                members_max: config.group_max_size,
                consumer_session_timeout: milliseconds(config.group_consumer_session_timeout_ms),
                consumer_heartbeat_interval: milliseconds(config.group_consumer_heartbeat_interval_ms),
                consumer_reconcile_interval: milliseconds(config.group_consumer_reconcile_interval_ms),
                consumer_resting_interval: milliseconds(config.group_consumer_resting_interval_ms),
                consumer_members_max: config.group_consumer_max_size,
                consumer_assignment_interval: milliseconds(config.group_consumer_assignment_interval_ms),
                offset_metadata_bytes_max: config.offset_metadata_max_bytes,
                offsets_retention: Duration::from_secs(config.offsets_retention_minutes * 60),
                offsets_retention_check: milliseconds(config.offsets_retention_check_interval_ms),
                ..klamm_coordinator::Settings::default()
            },
            offsets_partitions: config.offsets_topic_num_partitions,
            offsets_replication_factor: config.offsets_topic_replication_factor,
            commit_timeout: milliseconds(config.offsets_commit_timeout_ms),
            history_entries: config.group_history_entries,
            history_retention: Duration::from_secs(config.group_history_retention_minutes * 60),
            unowned_patience: milliseconds(config.group_unowned_warning_ms),
            brokers_expected: config.controllers.len(),
        }
    }
}

/// What the runtime works with.
pub(crate) struct Parts {
    pub node: NodeId,
    pub config: CoordinatorConfig,
    pub partitions: Partitions,
    pub shown: Shown,
    pub controllers: Arc<dyn Controllers>,
    pub data_runtime: Handle,
}

/// The group coordinators of one broker. Clones are the same.
#[derive(Clone)]
pub struct Coordinators(Arc<Inner>);

pub(crate) struct Inner {
    node: NodeId,
    config: CoordinatorConfig,
    partitions: Partitions,
    shown: Shown,
    internal_topics: InternalTopics,
    shards: RwLock<BTreeMap<PartitionId, ShardHandle>>,
    stopping: watch::Sender<bool>,
    history: mpsc::Sender<history::Entry>,
    metrics: Metrics,
}

/// A call on its way to a shard.
struct Ask {
    call: Call,
    answer: oneshot::Sender<Result<Reply, ErrorCode>>,
}

/// A shard's task, seen from outside.
struct ShardHandle {
    leader_epoch: LeaderEpoch,
    asks: mpsc::Sender<Ask>,
    stage: watch::Receiver<Stage>,
    /// Dropping it ends the task.
    _lease: watch::Sender<()>,
}

/// How far a shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Loading,
    Serving,
    /// Its task has ended: leadership or an append was lost.
    Ended,
}

impl Coordinators {
    /// Starts the runtime. It ends when the node stops: its leaderships end then.
    pub(crate) fn start(parts: Parts) -> Coordinators {
        let internal_topics = InternalTopics::new(&parts);
        let (history, entries) = mpsc::channel(historian::QUEUE_MAX);
        let inner = Arc::new(Inner {
            node: parts.node,
            config: parts.config,
            partitions: parts.partitions,
            shown: parts.shown,
            internal_topics,
            shards: RwLock::default(),
            stopping: watch::Sender::new(false),
            history,
            metrics: Metrics::default(),
        });
        parts.data_runtime.spawn(supervisor::run(Arc::downgrade(&inner)));
        let historian = historian::Historian::new(Arc::downgrade(&inner));
        parts.data_runtime.spawn(historian.run(entries));
        Coordinators(inner)
    }

    /// The broker that coordinates a group. COORDINATOR_NOT_AVAILABLE while there is none; if the internal topic is
    /// missing, its creation begins.
    pub fn locate(&self, group: &str) -> Result<NodeId, ErrorCode> {
        let image = self.0.shown.image();
        let Some(topic) = image.topic_by_name(OFFSETS_TOPIC) else {
            self.0.internal_topics.create_offsets_topic(&image);
            return Err(ErrorCode::CoordinatorNotAvailable);
        };
        let number = shard_number(group, topic).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        let leader = topic.partition(number).and_then(|state| state.leader);
        leader.ok_or(ErrorCode::CoordinatorNotAvailable)
    }

    /// Carries a call out. NOT_COORDINATOR if another broker coordinates the group, COORDINATOR_LOAD_IN_PROGRESS
    /// while its shard loads, COORDINATOR_NOT_AVAILABLE when it is not known whether the call had an effect.
    pub async fn call(&self, call: Call) -> Result<Reply, ErrorCode> {
        let asks = self.0.shard_of(call.group().unwrap_or_default())?;
        ask(&asks, call).await
    }

    /// Every group that this broker coordinates. COORDINATOR_LOAD_IN_PROGRESS while one of its shards loads.
    pub async fn list(&self, filter: ListGroups) -> Result<Vec<ListedGroup>, ErrorCode> {
        let mut shards = Vec::new();
        for handle in read(&self.0.shards).values() {
            match *handle.stage.borrow() {
                Stage::Serving => shards.push(handle.asks.clone()),
                Stage::Loading => return Err(ErrorCode::CoordinatorLoadInProgress),
                Stage::Ended => {}
            }
        }
        let asked = shards.iter().map(|asks| ask(asks, Call::ListGroups(filter.clone())));
        let mut groups = Vec::new();
        for answer in join_all(asked).await {
            match answer {
                Ok(Reply::ListGroups(listed)) => groups.extend(listed),
                Ok(_) => return Err(ErrorCode::UnknownServerError),
                // The shard has moved: the new coordinator lists its groups.
                Err(ErrorCode::NotCoordinator) => {}
                Err(code) => return Err(code),
            }
        }
        groups.sort_by(|one, other| one.group.cmp(&other.group));
        Ok(groups)
    }

    /// Ends every shard; open calls are answered NOT_COORDINATOR. The partitions may be closed afterwards.
    pub fn stop(&self) {
        self.0.stopping.send_replace(true);
        let mut shards = self.0.shards.write().unwrap_or_else(PoisonError::into_inner);
        shards.clear();
    }

    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }
}

impl Inner {
    /// Hands entries to the historian, if it has room for them.
    fn write_history(&self, entries: Vec<history::Entry>) {
        for entry in entries {
            if self.history.try_send(entry).is_err() {
                self.metrics.history_lost.add(1);
            }
        }
    }

    /// How many partitions the shards' topic has.
    fn shard_count(&self, image: &Image) -> i32 {
        let topic = image.topic_by_name(OFFSETS_TOPIC);
        topic.map_or(0, |topic| i32::try_from(topic.partitions.len()).unwrap_or(0))
    }

    fn shard_of(&self, group: &str) -> Result<mpsc::Sender<Ask>, ErrorCode> {
        let image = self.shown.image();
        let topic = image.topic_by_name(OFFSETS_TOPIC).ok_or(ErrorCode::NotCoordinator)?;
        let number = shard_number(group, topic).ok_or(ErrorCode::NotCoordinator)?;
        let shards = read(&self.shards);
        match shards.get(&number).map(|handle| (handle, *handle.stage.borrow())) {
            Some((handle, Stage::Serving)) => Ok(handle.asks.clone()),
            Some((_, Stage::Loading)) => Err(ErrorCode::CoordinatorLoadInProgress),
            // It leads by the metadata, and its shard is about to load.
            _ if topic
                .partition(number)
                .is_some_and(|state| state.leader == Some(self.node)) =>
            {
                Err(ErrorCode::CoordinatorLoadInProgress)
            }
            _ => Err(ErrorCode::NotCoordinator),
        }
    }
}

/// The partition that a group belongs to; `None` if the topic has none.
fn shard_number(group: &str, topic: &Topic) -> Option<PartitionId> {
    let count = i32::try_from(topic.partitions.len()).ok()?;
    partition_for(group, count).map(PartitionId)
}

async fn ask(asks: &mpsc::Sender<Ask>, call: Call) -> Result<Reply, ErrorCode> {
    let (answer, answered) = oneshot::channel();
    asks.send(Ask { call, answer })
        .await
        .map_err(|_| ErrorCode::NotCoordinator)?;
    answered.await.unwrap_or(Err(ErrorCode::NotCoordinator))
}

/// The map is whole whatever a panicking thread did: every change to it is one call.
fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}
