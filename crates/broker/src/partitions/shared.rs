//! What the workers, the streams and the callers of one broker's data path have in common.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use klamm_log::Disk;
use klamm_metadata::Image;
use klamm_replication::{Event, Limits};
use klamm_types::{BrokerEpoch, ClusterId, ErrorCode, NodeId, TopicId, TopicPartition};
use tokio::runtime::Handle;

use super::board::Board;
use super::checkpoint::Checkpoints;
use super::clock::Clock;
use super::command::{Command, Events};
use super::credit::CreditTurns;
use super::flushes::CatchUpFlushes;
use super::inbox::{Inbox, Place};
use super::names::Names;
use super::requests::WishBox;
use super::settings::TopicSettings;
use super::stalls::Pulse;
use super::suspects::{Suspects, Suspicion};
use crate::api::{LeaderHint, PartitionError};
use crate::flush::Pool;
use crate::metrics::Metrics;
use crate::replica::followers::{FollowerPair, Followers};
use crate::replica::links::{Links, Target};
use crate::space::{Space, SpaceConfig};

/// However many partitions share, each gets this: enough for an ordinary batch or two.
const CREDIT_BYTES_MIN: usize = 64 << 10;

/// How the data path of one broker is run.
#[derive(Clone, Debug)]
pub struct PartitionsConfig {
    pub node: NodeId,
    /// Where the partitions' directories are.
    pub data_dir: PathBuf,
    /// Threads that own partitions. 0: one per core, at most four.
    pub worker_threads: usize,
    pub flush_threads: usize,
    /// The share of the time in which the disk flushes what this broker catches up.
    pub catch_up_disk_percent: u32,
    /// What leaders may send this broker to catch up with; 0: no bound.
    pub catch_up_bytes_per_second: u64,
    /// Threads for cold reads, recovery, cuts and retention.
    pub background_threads: usize,
    /// Bytes of produced batches that may wait in front of one worker.
    pub inbox_bytes_max: usize,
    /// Memory for recent batches of one partition.
    pub tail_bytes_max: usize,
    /// What leaders may have under way to this broker, over all partitions that it follows.
    pub replica_bytes_max: usize,
    pub checkpoint_interval: Duration,
    pub retention_interval: Duration,
    pub space: SpaceConfig,
    pub limits: Limits,
    /// Where replica streams run.
    pub data_runtime: Handle,
}

/// Who this broker is, once it has registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster: ClusterId,
    pub node: NodeId,
    pub broker_epoch: BrokerEpoch,
}

/// Shared by everything on the data path.
pub struct Shared {
    pub(crate) config: PartitionsConfig,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) space: Space,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) wishes: WishBox,
    pub(crate) suspects: Suspects,
    pub(crate) board: Board,
    pub(crate) names: Names,
    pub(crate) workers: Vec<Arc<Inbox<Command>>>,
    /// Of the workers.
    pub(crate) pulses: Vec<Pulse>,
    pub(crate) flushes: Pool,
    pub(crate) catch_up_flushes: CatchUpFlushes,
    pub(crate) credit_turns: CreditTurns,
    pub(crate) background: Pool,
    /// One thread: what is deleted is gone already for everybody else.
    pub(crate) removals: Pool,
    /// One thread: compaction is never in a hurry, and its memory is that of one run.
    pub(crate) compactions: Pool,
    /// The broker stops: compaction and removals are not worth waiting for.
    pub(crate) ending: AtomicBool,
    pub(crate) followers: Followers,
    pub(crate) links: Links,
    pub(crate) image: ArcSwap<Image>,
    pub(crate) settings: RwLock<HashMap<TopicId, Arc<TopicSettings>>>,
    pub(crate) identity: RwLock<Option<Identity>>,
    pub(crate) unclean: AtomicBool,
}

impl Shared {
    pub(crate) fn worker_of(&self, partition: TopicPartition) -> usize {
        let mut hasher = DefaultHasher::new();
        partition.hash(&mut hasher);
        (hasher.finish() % self.workers.len() as u64) as usize
    }

    /// Sends a command to the worker that owns the partition. False: it has ended.
    pub(crate) fn send(&self, partition: TopicPartition, command: Command) -> bool {
        self.workers[self.worker_of(partition)].push(command).is_ok()
    }

    /// Sends events to the workers that own their partitions, in order. `pair`: the streams they came on.
    pub(crate) fn send_events(
        &self,
        events: impl IntoIterator<Item = (TopicPartition, Event)>,
        pair: Option<&Arc<FollowerPair>>,
        mut place: Option<Place>,
    ) {
        let mut by_worker: Vec<VecDeque<(TopicPartition, Event)>> = Vec::new();
        by_worker.resize_with(self.workers.len(), VecDeque::new);
        for (partition, event) in events {
            by_worker[self.worker_of(partition)].push_back((partition, event));
        }
        for (worker, events) in self.workers.iter().zip(by_worker) {
            if !events.is_empty() {
                let events = Events {
                    events,
                    pair: pair.cloned(),
                    place: place.take(),
                };
                // A worker that has ended has no use for events.
                let _ = worker.push(Command::Events(Box::new(events)));
            }
        }
    }

    /// As `send_events`, waiting until the first worker concerned has room.
    pub(crate) async fn send_events_admitted(
        &self,
        events: Vec<(TopicPartition, Event)>,
        pair: &Arc<FollowerPair>,
        bytes: usize,
    ) {
        let Some((first, _)) = events.first() else {
            return;
        };
        let place = self.workers[self.worker_of(*first)].admit(bytes).await.ok();
        self.send_events(events, Some(pair), place);
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        *self.identity.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// How to reach a leader; `None` if this broker has not registered, or does not know it.
    pub(crate) fn target(&self, leader: NodeId) -> Option<Target> {
        let identity = self.identity()?;
        let image = self.image.load();
        let registered = image.broker(leader)?;
        let Identity {
            cluster,
            node,
            broker_epoch,
        } = identity;
        Some(Target {
            leader,
            leader_broker_epoch: registered.epoch,
            address: registered.grpc_address.clone(),
            cluster,
            node,
            broker_epoch,
        })
    }

    /// A replica stream from or to this run of a broker broke, and not from this side. Whoever is known to be gone is
    /// no news.
    pub(crate) fn suspect(&self, broker: NodeId, broker_epoch: BrokerEpoch) {
        let image = self.image.load();
        if image
            .broker(broker)
            .is_some_and(|state| state.epoch == broker_epoch && !state.fenced)
        {
            self.suspects.note(Suspicion { broker, broker_epoch });
        }
    }

    pub(crate) fn topic_settings(&self, topic: TopicId) -> Option<Arc<TopicSettings>> {
        self.settings
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&topic)
            .cloned()
    }

    /// One partition's part of what leaders may have under way to this broker.
    pub(crate) fn credit_share(&self) -> u64 {
        let share = self.config.replica_bytes_max / self.board.count().max(1);
        share.max(CREDIT_BYTES_MIN) as u64
    }

    /// What a client is told whose partition is not hosted here, or not just now.
    pub(crate) fn not_hosted(&self, partition: TopicPartition) -> PartitionError {
        let image = self.image.load();
        match image.partition(partition.topic, partition.partition) {
            Some(state) => PartitionError {
                leader: Some(LeaderHint {
                    leader: state.leader,
                    leader_epoch: state.leader_epoch,
                }),
                ..PartitionError::from(ErrorCode::NotLeaderOrFollower)
            },
            None => PartitionError::from(ErrorCode::UnknownTopicOrPartition),
        }
    }

    /// The directory of a partition has been put aside: who waited for its name is hosted.
    pub(crate) fn release_name(&self, name: &str) {
        if let Some(host) = self.names.free(name) {
            self.send(host.partition, Command::Host(host));
        }
    }

    /// Calls `then`, which must not wait for anything, after `delay`. It is lost if the broker stops before.
    pub(crate) fn after(self: &Arc<Self>, delay: Duration, then: impl FnOnce(&Arc<Shared>) + Send + 'static) {
        let weak = Arc::downgrade(self);
        self.config.data_runtime.spawn(async move {
            tokio::time::sleep(delay).await;
            if let Some(shared) = weak.upgrade() {
                then(&shared);
            }
        });
    }

    /// Runs `job` on the thread that removes files after `delay`. It is lost if the broker stops before.
    pub(crate) fn remove_later(self: &Arc<Self>, delay: Duration, job: impl FnOnce(&Arc<Shared>) + Send + 'static) {
        self.after(delay, move |shared| {
            let here = Arc::clone(shared);
            shared.removals.submit_owed(move || job(&here));
        });
    }

    /// A log was not closed cleanly.
    pub(crate) fn stopped_unclean(&self) {
        self.unclean.store(true, Ordering::Relaxed);
    }
}
