//! What a replica is told from the outside: the metadata of its partition, its limits, and the log it starts with.
//!
//! Values only. Who fetches the metadata and who opens the log is the shell's business.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use klamm_types::{BrokerEpoch, HighWatermark, LeaderEpoch, LogStartOffset, NodeId, Offset, PartitionEpoch};

use crate::producers::ProducerTable;
use crate::stalls::isr_without;

/// What "acknowledged" means for a topic: `klamm.durability`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// On the disk of every in-sync replica.
    #[default]
    Fsync,
    /// Written to the file by every in-sync replica: survives the death of processes, not of machines.
    Replicated,
}

/// The settings of a topic that replication needs; all of them live in the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `min.insync.replicas` as configured; the effective minimum is never more than the number of replicas.
    pub min_insync_replicas: usize,
    pub durability: Durability,
    /// `replica.lag.time.max.ms`.
    pub lag_time_max: Duration,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            min_insync_replicas: 2,
            durability: Durability::Fsync,
            lag_time_max: Duration::from_millis(2000),
            producer_id_expiration: Duration::from_millis(86_400_000),
        }
    }
}

/// One partition as one metadata image shows it. The shell makes one whenever an image changes anything in it,
/// the registrations and fences of the replicas' brokers included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionView {
    /// In the order of preference.
    pub replicas: Vec<NodeId>,
    pub isr: BTreeSet<NodeId>,
    /// Eligible leader replicas: outside the ISR, but known to hold everything committed.
    pub elr: BTreeSet<NodeId>,
    pub leader: Option<NodeId>,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: PartitionEpoch,
    /// The registrations of the replicas' brokers, fenced ones included, this broker's own included.
    pub brokers: BTreeMap<NodeId, BrokerView>,
    pub settings: Settings,
}

/// One broker's registration as the image shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerView {
    pub epoch: BrokerEpoch,
    pub state: BrokerState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerState {
    /// May join an ISR.
    Active,
    /// Fenced or shutting down: may not join an ISR.
    Fenced,
}

impl PartitionView {
    /// min(`min.insync.replicas`, number of replicas), and never less than one.
    pub fn min_insync_effective(&self) -> usize {
        self.settings.min_insync_replicas.min(self.replicas.len()).max(1)
    }

    /// The registration of `node`, if there is one.
    pub fn broker_epoch(&self, node: NodeId) -> Option<BrokerEpoch> {
        self.brokers.get(&node).map(|broker| broker.epoch)
    }

    /// The ISR without this leader, which asks to be replaced. `None` if nobody else is in it.
    pub fn isr_without(&self, me: NodeId) -> Option<Vec<(NodeId, BrokerEpoch)>> {
        isr_without(me, self.isr.iter().copied(), |node| self.broker_epoch(node))
    }
}

/// Bounds of one replica. They are the process's, not the topic's; the defaults suit production.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of batches in one push, unless one batch is larger.
    pub push_bytes_max: u64,
    /// What a follower lets its leader send ahead of what it has written.
    pub credit_bytes: u64,
    /// Beyond so many bytes that it has caught up and not flushed, a follower grants credit for what is flushed only.
    pub unflushed_bytes_max: u64,
    /// Produce requests that may wait for the high watermark.
    pub waiting_produces_max: usize,
    /// Fetches that may be parked.
    pub parked_fetches_max: usize,
    /// Subscriptions newer than the metadata that may be parked.
    pub parked_subscriptions_max: usize,
    /// Producer ids remembered; beyond it the one silent for longest is forgotten.
    pub producer_ids_max: usize,
    /// After a refusal or a lost stream, how long until the follower subscribes again.
    pub subscribe_retry: Duration,
    /// After an AlterPartition that was not decided, how long until the leader asks again.
    pub alter_partition_retry: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            push_bytes_max: 1 << 20,
            credit_bytes: 4 << 20,
            unflushed_bytes_max: 4 << 20,
            waiting_produces_max: 10_000,
            parked_fetches_max: 10_000,
            parked_subscriptions_max: 16,
            producer_ids_max: 65_536,
            subscribe_retry: Duration::from_millis(20),
            alter_partition_retry: Duration::from_millis(50),
        }
    }
}

/// The log as recovery left it.
#[derive(Clone, Debug, Default)]
pub struct OpenedLog {
    pub log_start: LogStartOffset,
    /// Exclusive; everything below has been written.
    pub log_end: Offset,
    /// Everything below has been flushed, by this process or provably by an earlier one.
    pub flushed: Offset,
    /// The leader epochs in the log with the offset at which each begins, in order.
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    /// Rebuilt from a snapshot and the batches behind it; see [`ProducerTable::decode`] and [`ProducerTable::replay`].
    pub producers: ProducerTable,
    /// From `replication-offset-checkpoint`: a lower bound. 0 if unknown.
    pub high_watermark: HighWatermark,
    /// The mark is set: the log may hold records that counted before they were flushed, or may have lost them. The
    /// registration must tell of it.
    pub unflushed_mark: bool,
    /// The first offset from which on the log is damaged, if recovery found damage below the recovery point.
    pub damaged_from: Option<Offset>,
}
