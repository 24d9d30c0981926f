//! A node's metrics: what its parts have counted, and how partitions, groups and quorum stand when somebody asks.

use std::collections::BTreeMap;
use std::time::Duration;

use klamm_coordinator::call::{FetchOffsets, ListGroups, Stability};
use klamm_coordinator::{Call, Reply};
use klamm_metadata::Image;
use klamm_types::NodeId;

use super::{Broker, Node};
use crate::api::{PartitionRole, PartitionStatus};
use crate::coordinator::{self, Coordinators};
use crate::metrics::{self, Definition, Family, Value};

crate::definitions! {
    "klamm_";
    /// 1, with the version of the program.
    NODE = "node_info": Gauge, "", ["version"];
    /// The last entry of the metadata log that this node has taken up.
    APPLIED = "metadata_applied_index": Gauge, "entries", [];
    /// The last entry of the metadata log that this node knows to be committed.
    COMMITTED = "metadata_committed_index": Gauge, "entries", [];
    /// Registered brokers, as this node's metadata shows them.
    BROKERS = "cluster_brokers": Gauge, "brokers", ["state"];
    /// Partitions of the cluster that nobody leads, as this node's metadata shows them.
    LEADERLESS = "cluster_leaderless_partitions": Gauge, "partitions", [];
    /// 1 on the active controller, 0 on the others.
    ACTIVE = "quorum_active_controller": Gauge, "", [];
    /// The term of the quorum, as the active controller knows it.
    EPOCH = "quorum_epoch": Gauge, "", [];
    /// Members of the quorum, as the active controller knows them.
    MEMBERS = "quorum_members": Gauge, "nodes", ["kind"];
    /// Entries by which a member of the quorum is behind its leader; told by the active controller.
    MEMBER_LAG = "quorum_member_lag": Gauge, "entries", ["node"];
    /// 1 while the controllers have fenced this broker.
    FENCED = "broker_fenced": Gauge, "", [];
    /// Replicas that this broker holds, by what it is to them.
    REPLICAS = "broker_replicas": Gauge, "replicas", ["role"];
    /// Partitions led here whose ISR lacks a replica.
    UNDER_REPLICATED = "broker_under_replicated_partitions": Gauge, "partitions", [];
    /// Partitions led here whose ISR is smaller than `min.insync.replicas`: they take no records with `acks=all`.
    UNDER_MIN_ISR = "broker_under_min_isr_partitions": Gauge, "partitions", [];
    /// Produce requests that wait for their acknowledgement, by partition.
    WAITING = "broker_waiting_produces": Gauge, "requests", [];
    /// Bytes of records on this broker's disk.
    LOG_BYTES = "broker_log_bytes": Gauge, "bytes", [];
    /// Bytes of records that are written and not yet flushed; those of `klamm.durability=replicated` may be acknowledged.
    UNFLUSHED = "broker_unflushed_bytes": Gauge, "bytes", [];
    /// How long the oldest flush has been waiting or running; a disk that stalls shows here.
    OLDEST_FLUSH = "broker_oldest_flush_seconds": Gauge, "seconds", [];
    /// The high watermark of a partition led here: the offset of the next record that consumers will see.
    HIGH_WATERMARK = "partition_high_watermark": Gauge, "offset", ["topic", "partition"];
    /// The first offset of a partition led here that can still be read.
    LOG_START = "partition_log_start_offset": Gauge, "offset", ["topic", "partition"];
    /// Bytes of a partition on the disk of the broker that leads it.
    PARTITION_BYTES = "partition_log_bytes": Gauge, "bytes", ["topic", "partition"];
    /// Records that a follower of a partition led here has not acknowledged yet.
    REPLICA_LAG = "replica_lag": Gauge, "records", ["topic", "partition", "follower"];
    /// Groups that this broker coordinates.
    GROUPS = "groups": Gauge, "groups", ["state"];
    /// What a group has committed; its lag is `klamm_partition_high_watermark` less this.
    GROUP_OFFSET = "group_committed_offset": Gauge, "offset", ["group", "topic", "partition"];
    /// Groups whose committed offsets are left out of the metrics, because there are too many.
    GROUPS_LEFT_OUT = "groups_left_out": Gauge, "groups", [];
}

/// Samples of committed offsets that one answer has at most.
const GROUP_SAMPLES_MAX: usize = 20_000;
/// Parts that do not answer for so long are left out.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Everything that a node's metrics are declared as, those of the front end excepted.
pub fn definitions() -> Vec<&'static Definition> {
    let counted = metrics::Metrics::DEFINITIONS
        .iter()
        .chain(coordinator::Metrics::DEFINITIONS);
    DEFINITIONS.iter().copied().chain(counted).collect()
}

impl Node {
    /// Every metric of this node as it stands now.
    pub async fn metrics(&self) -> Vec<Family> {
        let image = self.shown.image();
        let mut families = vec![with(&NODE, [(env!("CARGO_PKG_VERSION").to_owned(), 1)])];
        families.extend(metadata(&image, *self.committed.borrow()));
        families.extend(self.quorum().await);
        if let Some(broker) = &self.broker {
            families.push(gauge(&FENCED, u64::from(!image.is_alive(self.id))));
            let asked = tokio::time::timeout(ANSWER_MAX, broker.partitions.statuses());
            if let Ok(statuses) = asked.await {
                families.extend(replicas(&statuses));
                families.extend(led(&image, &statuses));
            }
            let oldest = broker.partitions.oldest_flush().unwrap_or_default();
            families.push(Family::single(&OLDEST_FLUSH, Value::Gauge(oldest.as_secs_f64())));
            families.extend(groups(broker).await);
            families.extend(broker.partitions.metrics().families());
            families.extend(broker.backend.coordinators.metrics().families());
        }
        families
    }

    /// Only the leader of the quorum knows how the others stand.
    async fn quorum(&self) -> Vec<Family> {
        let Some(controller) = &self.controller else {
            return Vec::new();
        };
        let mut families = vec![gauge(&ACTIVE, u64::from(controller.is_active()))];
        if !controller.is_active() {
            return families;
        }
        let Ok(quorum) = controller.describe_quorum().await else {
            return families;
        };
        families.push(Family::single(&EPOCH, Value::Gauge(quorum.leader_epoch as f64)));
        let voters = quorum.members.iter().filter(|member| member.is_voter).count();
        let observers = quorum.members.len() - voters;
        families.push(with(
            &MEMBERS,
            [
                ("voter".to_owned(), voters as u64),
                ("observer".to_owned(), observers as u64),
            ],
        ));
        let own_end = quorum
            .members
            .iter()
            .map(|member| member.log_end_offset)
            .max()
            .unwrap_or(0);
        let lags = quorum.members.iter().filter(|member| member.log_end_offset >= 0);
        let lags = lags.map(|member| (member.node_id.to_string(), own_end.abs_diff(member.log_end_offset)));
        families.push(with(&MEMBER_LAG, lags));
        families
    }
}

fn gauge(definition: &'static Definition, value: u64) -> Family {
    Family::single(definition, Value::Gauge(value as f64))
}

/// Of a metric with one label.
fn with(definition: &'static Definition, values: impl IntoIterator<Item = (String, u64)>) -> Family {
    let mut family = Family::new(definition);
    for (label, value) in values {
        family.push(vec![label], Value::Gauge(value as f64));
    }
    family
}

fn metadata(image: &Image, committed: u64) -> Vec<Family> {
    let alive = image.brokers().keys().filter(|&&node| image.is_alive(node)).count();
    let fenced = image.brokers().len() - alive;
    let partitions = image.topics().values().flat_map(|topic| &topic.partitions);
    let leaderless = partitions.filter(|partition| partition.leader.is_none()).count();
    vec![
        gauge(&APPLIED, image.applied_index()),
        gauge(&COMMITTED, committed),
        with(
            &BROKERS,
            [("alive".to_owned(), alive as u64), ("fenced".to_owned(), fenced as u64)],
        ),
        gauge(&LEADERLESS, leaderless as u64),
    ]
}

/// What does not name a partition.
fn replicas(statuses: &[PartitionStatus]) -> Vec<Family> {
    let in_role = |role| statuses.iter().filter(move |status| status.role == role);
    let roles = [
        ("leader", PartitionRole::Leader),
        ("follower", PartitionRole::Follower),
        ("none", PartitionRole::None),
        ("stopped", PartitionRole::Stopped),
    ];
    let counts = roles.map(|(name, role)| (name.to_owned(), in_role(role).count() as u64));
    let led = || in_role(PartitionRole::Leader);
    let sum = |figure: fn(&PartitionStatus) -> u64| statuses.iter().map(figure).sum();
    vec![
        with(&REPLICAS, counts),
        gauge(
            &UNDER_REPLICATED,
            led().filter(|status| status.isr.len() < status.replicas).count() as u64,
        ),
        gauge(
            &UNDER_MIN_ISR,
            led().filter(|status| status.isr.len() < status.min_isr).count() as u64,
        ),
        gauge(&WAITING, sum(|status| status.waiting_produces as u64)),
        gauge(&LOG_BYTES, sum(|status| status.size_bytes)),
        gauge(&UNFLUSHED, sum(|status| status.unflushed_bytes)),
    ]
}

/// Partitions led here, one by one.
fn led(image: &Image, statuses: &[PartitionStatus]) -> Vec<Family> {
    let mut families = [&HIGH_WATERMARK, &LOG_START, &PARTITION_BYTES, &REPLICA_LAG].map(Family::new);
    for status in statuses.iter().filter(|status| status.role == PartitionRole::Leader) {
        let Some(topic) = image.topic(status.partition.topic) else {
            continue;
        };
        let labels = || vec![topic.name.to_string(), status.partition.partition.to_string()];
        let figures = [
            status.high_watermark.0,
            status.log_start_offset.0,
            status.size_bytes as i64,
        ];
        for (family, figure) in families.iter_mut().zip(figures) {
            family.push(labels(), Value::Gauge(figure as f64));
        }
        for (follower, written) in &status.followers {
            families[3].push(
                follower_labels(labels(), *follower),
                Value::Gauge(lag(status, *written)),
            );
        }
    }
    families.into()
}

fn follower_labels(mut labels: Vec<String>, follower: NodeId) -> Vec<String> {
    labels.push(follower.to_string());
    labels
}

/// Who has acknowledged nothing may lack everything.
fn lag(status: &PartitionStatus, written: Option<klamm_types::Offset>) -> f64 {
    let from = written.map_or(status.log_start_offset.0, |offset| offset.0);
    (status.log_end_offset.0 - from).max(0) as f64
}

async fn groups(broker: &Broker) -> Vec<Family> {
    let coordinators = &broker.backend.coordinators;
    let asked = tokio::time::timeout(ANSWER_MAX, survey(coordinators));
    asked.await.ok().flatten().unwrap_or_default()
}

/// `None` while a shard loads.
async fn survey(coordinators: &Coordinators) -> Option<Vec<Family>> {
    let listed = coordinators.list(ListGroups::default()).await.ok()?;
    let mut states: BTreeMap<String, u64> = BTreeMap::new();
    for group in &listed {
        *states.entry(group.state.clone()).or_default() += 1;
    }
    let (mut offsets, mut left_out) = (Family::new(&GROUP_OFFSET), 0);
    for listed in listed {
        if offsets.samples.len() >= GROUP_SAMPLES_MAX {
            left_out += 1;
            continue;
        }
        push_committed(&mut offsets, coordinators, listed.group).await;
    }
    Some(vec![with(&GROUPS, states), offsets, gauge(&GROUPS_LEFT_OUT, left_out)])
}

async fn push_committed(family: &mut Family, coordinators: &Coordinators, group: String) {
    let call = Call::FetchOffsets(FetchOffsets {
        group: group.clone(),
        member: None,
        member_epoch: -1,
        topics: None,
        stability: Stability::Any,
    });
    // A group that has just gone, or moved, has no offsets here.
    let Ok(Reply::FetchOffsets(fetched)) = coordinators.call(call).await else {
        return;
    };
    for topic in fetched.topics {
        for partition in topic.partitions {
            let labels = vec![group.clone(), topic.name.clone(), partition.partition.to_string()];
            family.push(labels, Value::Gauge(partition.offset as f64));
        }
    }
}
