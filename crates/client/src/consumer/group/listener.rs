//! What the program is told of a rebalance, and what it may do about it. Values go in and come back; the handle acts on
//! them, so a listener cannot call the consumer in the middle of its own rebalance.

use std::collections::BTreeMap;
use std::future::Future;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use klamm_types::{LeaderEpoch, Offset};

use crate::consumer::config::Start;
use crate::consumer::record::TopicPartition;

/// An offset as it is stored for a group: where reading goes on, so the offset *after* the last record that was dealt
/// with.
///
/// ```
/// use klamm_client::{CommittedOffset, Offset};
///
/// let done = CommittedOffset { metadata: "batch 7".to_owned(), ..CommittedOffset::new(Offset(41 + 1)) };
/// assert_eq!(done.offset, Offset(42));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    pub offset: Offset,
    /// Of the last record that was dealt with; -1 if it is not known. With it, a log that was cut is noticed.
    pub leader_epoch: LeaderEpoch,
    /// Anything, at most 4096 bytes by Kafka's default.
    pub metadata: String,
}

impl CommittedOffset {
    /// This offset, without epoch and metadata.
    pub fn new(offset: Offset) -> CommittedOffset {
        CommittedOffset {
            offset,
            leader_epoch: LeaderEpoch::NONE,
            metadata: String::new(),
        }
    }
}

/// Partitions that this consumer was given. They are read from their committed offsets, unless a start is set here.
#[derive(Debug)]
pub struct Assigned {
    partitions: Vec<TopicPartition>,
    starts: BTreeMap<TopicPartition, Start>,
}

impl Assigned {
    pub(crate) fn new(partitions: Vec<TopicPartition>) -> Assigned {
        Assigned {
            partitions,
            starts: BTreeMap::new(),
        }
    }

    /// What is new, in order; may be nothing.
    pub fn partitions(&self) -> &[TopicPartition] {
        &self.partitions
    }

    /// Reads a partition from here, whatever was committed for it. Does nothing for others than those assigned now.
    pub fn start_at(&mut self, partition: &TopicPartition, start: Start) {
        if self.partitions.contains(partition) {
            self.starts.insert(partition.clone(), start);
        }
    }

    pub(crate) fn into_starts(self) -> BTreeMap<TopicPartition, Start> {
        self.starts
    }
}

/// Partitions that this consumer has to give up. It still owns them until the listener returns, so offsets may be
/// committed.
#[derive(Debug)]
pub struct Revoked {
    positions: BTreeMap<TopicPartition, Option<Offset>>,
    commits: BTreeMap<TopicPartition, CommittedOffset>,
}

impl Revoked {
    pub(crate) fn new(positions: BTreeMap<TopicPartition, Option<Offset>>) -> Revoked {
        Revoked {
            positions,
            commits: BTreeMap::new(),
        }
    }

    /// What has to be given up, in order.
    pub fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.positions.keys()
    }

    /// The offset after the last record handed out.
    pub fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.positions.get(partition).copied().flatten()
    }

    /// Commits this offset before the partition is given up. With auto commit the position is committed anyway; what is
    /// said here counts over it.
    pub fn commit(&mut self, partition: &TopicPartition, offset: CommittedOffset) {
        self.commits.insert(partition.clone(), offset);
    }

    pub(crate) fn into_commits(self) -> BTreeMap<TopicPartition, CommittedOffset> {
        self.commits
    }
}

/// Told of the partitions that come and go. Runs inside `poll`, `recv`, `unsubscribe` and `close`, never beside the
/// program. If such a call is dropped while a listener runs, the listener is called again by the next one.
///
/// ```
/// use klamm_client::{Assigned, ConsumerConfig, GroupConfig, OffsetReset, RebalanceListener, Revoked};
///
/// struct Report;
///
/// impl RebalanceListener for Report {
///     async fn assigned(&mut self, assigned: &mut Assigned) {
///         println!("reading {} partitions more", assigned.partitions().len());
///     }
///     async fn revoked(&mut self, revoked: &mut Revoked) {
///         println!("giving up {} partitions", revoked.partitions().count());
///     }
/// }
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let cluster = klamm_testkit::Cluster::start().await?;
/// # let client = klamm_client::Client::connect(klamm_client::ClientConfig::new(cluster.bootstrap())).await?;
/// # let order = klamm_client::ProducerRecord::to("orders").header("unit", "kg").value("7");
/// # client.producer(klamm_client::ProducerConfig::default())?.send(order).await?.await?;
/// let config = ConsumerConfig {
///     group: Some(GroupConfig::new("billing")),
///     offset_reset: OffsetReset::Earliest,
///     ..ConsumerConfig::default()
/// };
/// let mut consumer = client.consumer(config);
/// consumer.on_rebalance(Report);
/// consumer.subscribe(["orders"])?;
/// let record = consumer.recv().await?;
/// println!("{:?}", record.value);
/// consumer.close().await?;
/// # cluster.stop().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait RebalanceListener: Send + 'static {
    /// Partitions were given to this consumer. Called at the end of each rebalance of a classic group, even if nothing
    /// is new.
    fn assigned(&mut self, assigned: &mut Assigned) -> impl Future<Output = ()> + Send {
        let _ = assigned;
        async {}
    }

    /// Partitions are about to be given up: the last moment to finish and to commit what was read of them.
    fn revoked(&mut self, revoked: &mut Revoked) -> impl Future<Output = ()> + Send {
        let _ = revoked;
        async {}
    }

    /// Partitions are gone already, because the coordinator took this member for dead, or it left: it failed, or the
    /// program did not poll within `max_poll_interval`. Others may have read on; nothing can be committed.
    fn lost(&mut self, partitions: &[TopicPartition]) -> impl Future<Output = ()> + Send {
        let _ = partitions;
        async {}
    }
}

/// A listener whose type is forgotten.
pub(crate) trait AnyListener: Send {
    fn assigned<'l>(&'l mut self, assigned: &'l mut Assigned) -> BoxFuture<'l, ()>;
    fn revoked<'l>(&'l mut self, revoked: &'l mut Revoked) -> BoxFuture<'l, ()>;
    fn lost<'l>(&'l mut self, partitions: &'l [TopicPartition]) -> BoxFuture<'l, ()>;
}

impl<L: RebalanceListener> AnyListener for L {
    fn assigned<'l>(&'l mut self, assigned: &'l mut Assigned) -> BoxFuture<'l, ()> {
        RebalanceListener::assigned(self, assigned).boxed()
    }

    fn revoked<'l>(&'l mut self, revoked: &'l mut Revoked) -> BoxFuture<'l, ()> {
        RebalanceListener::revoked(self, revoked).boxed()
    }

    fn lost<'l>(&'l mut self, partitions: &'l [TopicPartition]) -> BoxFuture<'l, ()> {
        RebalanceListener::lost(self, partitions).boxed()
    }
}
