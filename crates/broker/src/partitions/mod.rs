//! The data path of a broker: partitions on worker threads, around the pure core of `klamm-replication`.
//!
//! ```text
//!  callers ──► inbox ──► worker thread ──► Replica::step ──► effects ──► log (append, at once)
//!  streams ──►   ▲            │                                      ├──► flush threads
//!                └────────────┴── completions ◄──────────────────────┼──► background threads (cold reads, cuts)
//!                                                                    └──► replica streams, callers, controller
//! ```
//!
//! Every partition belongs to one worker, and only that worker touches it, so there is no lock around a log. Nothing
//! here decides: what only a shell knows, no simulation can try.

mod board;
mod carry;
mod check;
mod checkpoint;
mod clock;
mod command;
mod compact;
mod context;
mod credit;
mod directory;
mod fetch;
mod flushes;
mod hosted;
mod housekeeping;
mod image;
mod inbox;
mod logs;
mod names;
mod offsets;
mod open;
mod produce;
mod push;
mod reads;
mod removal;
mod requests;
mod settings;
mod shared;
mod stalls;
mod start;
mod steps;
mod suspects;
mod unflushed;
mod worker;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use klamm_metadata::Image;
use klamm_proto::replica::v1::replica_server::ReplicaServer;
use klamm_replication::{AlterPartition, Event};
use klamm_types::{BrokerEpoch, ClusterId, LeaderEpoch, TopicPartition};
use tokio::sync::{oneshot, watch};

use crate::api::{PartitionRole, PartitionStatus};
use crate::metrics::Metrics;
use crate::replica::ReplicaService;
use crate::space::Room;
use command::{Command, applying, applying_for_thread};
use image::Taken;
use start::{join, lock};

pub use check::{ProduceRules, TopicCompression, TopicKeys};
pub(crate) use clock::Clock;
pub use command::AcceptedAt;
pub use image::ImageSource;
pub use klamm_replication::AlterOutcome;
pub use produce::{CoordinatorTicket, Ticket};
pub use requests::{AlterAnswer, Damage, ReplaceWish, Wishes};
pub use settings::TopicSettings;
pub use shared::{Identity, PartitionsConfig, Shared};
pub use start::{LastStop, RecoveredReplica, RecoveryReport, StartError};
pub use suspects::Suspicion;

/// The partitions of one broker. Clones are the same partitions.
#[derive(Clone)]
pub struct Partitions {
    shared: Arc<Shared>,
    taken: Arc<Mutex<Taken>>,
    running: Arc<Mutex<Option<Running>>>,
}

struct Running {
    threads: Vec<JoinHandle<()>>,
    stop: mpsc::Sender<()>,
}

/// Resolves when an image, or a registration, has been taken up by every partition concerned.
#[derive(Debug)]
pub struct Applied(oneshot::Receiver<()>);

impl Applied {
    pub async fn wait(self) {
        // The guard never sends: its drop is the signal.
        let _ = self.0.await;
    }
}

/// How the stop went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Every log is closed and the checkpoints are written: the mark of a clean stop may be.
    Clean,
    Unclean,
}

impl Partitions {
    /// This broker has been (re-)registered: from now on it speaks in this epoch, and takes up roles once an image
    /// shows it. The first registration must have contained the damage that the start has reported.
    pub fn registered(&self, cluster: ClusterId, broker_epoch: BrokerEpoch) -> Applied {
        let identity = Identity {
            cluster,
            node: self.shared.config.node,
            broker_epoch,
        };
        *self.shared.identity.write().unwrap_or_else(PoisonError::into_inner) = Some(identity);
        for worker in &self.shared.workers {
            let _ = worker.push(Command::Registered { broker_epoch });
        }
        let damaged = lock(&self.taken).take_damaged();
        let reported = damaged.into_iter().map(|partition| (partition, Event::DamageReported));
        self.shared.send_events(reported, None, None);
        let image = self.shared.image.load_full();
        self.apply(image, ImageSource::Records)
    }

    /// Takes up a newer image; an older one is passed over. May be called again before the last one is taken up.
    pub fn apply(&self, image: Arc<Image>, source: ImageSource) -> Applied {
        let (guard, done) = applying();
        let mut taken = lock(&self.taken);
        if image.applied_index() >= self.shared.image.load().applied_index() {
            self.shared.image.store(Arc::clone(&image));
            taken.take_up(&self.shared, &image, source, &guard);
        }
        drop(taken);
        Applied(done)
    }

    /// The image last given to `apply`.
    pub fn image(&self) -> Arc<Image> {
        self.shared.image.load_full()
    }

    /// The gRPC service that followers call. The server it is added to must allow frames and windows as
    /// [`crate::replica`] names them, and run on the data runtime.
    pub fn replica_service(&self) -> ReplicaServer<ReplicaService> {
        ReplicaService::server(Arc::clone(&self.shared))
    }

    /// What partitions want of the controller, once they want something.
    pub async fn wishes(&self) -> Wishes {
        self.shared.wishes.take().await
    }

    /// The next broker whose replica streams broke, for the controller to look at. Each one taken is to be given back
    /// to `suspicion_told`.
    pub async fn suspicion(&self) -> Suspicion {
        self.shared.suspects.take().await
    }

    /// The attempt to tell the controller of it is over.
    pub fn suspicion_told(&self, suspicion: Suspicion) {
        self.shared.suspects.told(suspicion);
    }

    /// Tells a leader what became of its proposal. Every proposal taken from `wishes` needs one answer.
    pub fn alter_answered(&self, partition: TopicPartition, alter: &AlterPartition, outcome: AlterOutcome) {
        let event = Event::AlterPartitionAnswered {
            attempt: alter.attempt,
            outcome,
        };
        self.shared.send_events([(partition, event)], None, None);
    }

    /// The controller has taken in the damage among these wishes.
    pub fn damage_reported(&self, wishes: &Wishes) {
        let events = wishes
            .damage
            .keys()
            .map(|&partition| (partition, Event::DamageReported));
        self.shared.send_events(events, None, None);
    }

    /// Somebody named a newer leader epoch: a leader that is older steps down at once.
    pub fn newer_leader_epoch(&self, partition: TopicPartition, leader_epoch: LeaderEpoch) {
        let event = Event::NewerLeaderEpoch { leader_epoch };
        self.shared.send_events([(partition, event)], None, None);
    }

    /// The room on the disk.
    pub fn room(&self) -> Room {
        self.shared.space.room()
    }

    /// This broker's role in a partition; `None` if it is not hosted.
    pub fn role(&self, partition: TopicPartition) -> Option<PartitionRole> {
        self.shared.board.role(partition)
    }

    /// Waits until this broker leads or follows the partition.
    pub async fn wait_until_taken_up(&self, partition: TopicPartition) {
        let taken_up = |role| matches!(role, Some(PartitionRole::Leader | PartitionRole::Follower));
        self.shared.board.wait(partition, taken_up).await;
    }

    /// Waits until the role is this one.
    pub async fn wait_for_role(&self, partition: TopicPartition, wanted: PartitionRole) {
        self.shared.board.wait(partition, |role| role == Some(wanted)).await;
    }

    /// The leader epoch in which this broker leads a partition; `None` if it does not.
    pub fn leads(&self, partition: TopicPartition) -> Option<LeaderEpoch> {
        self.shared.board.leads(partition)
    }

    /// Changes whenever the role in some partition does.
    pub fn roles_changed(&self) -> watch::Receiver<u64> {
        self.shared.board.watch()
    }

    /// The clocks by which the partitions go.
    pub(crate) fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// Every hosted partition as it stands.
    pub async fn statuses(&self) -> Vec<PartitionStatus> {
        let mut asked = Vec::new();
        for worker in &self.shared.workers {
            let (reply, answer) = oneshot::channel();
            let _ = worker.push(Command::Statuses { reply });
            asked.push(answer);
        }
        let mut statuses = Vec::new();
        for answer in asked {
            statuses.extend(answer.await.unwrap_or_default());
        }
        statuses.sort_by_key(|status| status.partition);
        statuses
    }

    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// How long the oldest flush has been waiting or running: what a stalled disk shows by.
    pub fn oldest_flush(&self) -> Option<Duration> {
        self.shared.flushes.oldest()
    }

    /// Ends the streams, closes every log cleanly, writes the checkpoints, and joins the threads. Blocks; a second call
    /// does nothing.
    pub fn stop(&self) -> Stopped {
        let Some(running) = lock(&self.running).take() else {
            return Stopped::Unclean;
        };
        self.shared.ending.store(true, Ordering::Relaxed);
        self.shared.followers.end_all();
        self.shared.links.end_all(&self.shared);
        let (guard, done) = applying_for_thread();
        for worker in &self.shared.workers {
            let _ = worker.push(Command::Stop {
                stopped: Arc::clone(&guard),
            });
        }
        drop(guard);
        drop(running.stop);
        // Ends when the last log is closed.
        let _ = done.recv();
        join(running.threads);
        let written = self.shared.checkpoints.write();
        if let Err(error) = &written {
            tracing::error!(error = carry::chain(error), "writing the checkpoints failed");
        }
        let unclean = self.shared.unclean.load(Ordering::Relaxed) || written.is_err();
        if unclean { Stopped::Unclean } else { Stopped::Clean }
    }
}
