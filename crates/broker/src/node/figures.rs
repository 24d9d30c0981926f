//! A node's metrics: what its parts have counted, and how partitions, groups and quorum stand when somebody asks.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use klamm_coordinator::call::{FetchOffsets, ListGroups, Stability};
use klamm_coordinator::{Call, Reply};
use klamm_metadata::Image;
use klamm_types::Offset;

use super::{Broker, Node};
use crate::api::{PartitionRole, PartitionStatus};
use crate::coordinator::{self, Coordinators};
use crate::metrics::{self, Definition, Family, Sample, Value};
use crate::space::{Level, Room};

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
    /// Spans that the collector of traces has taken.
    SPANS_SENT = "trace_spans_sent": Counter, "spans", [];
    /// Spans that were lost: the queue was full, or the collector did not take them.
    SPANS_DROPPED = "trace_spans_dropped": Counter, "spans", [];
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
    /// How large the disk of the data directory is.
    DISK_BYTES = "broker_disk_bytes": Gauge, "bytes", [];
    /// What is free on that disk, without this node's reserve.
    DISK_FREE = "broker_disk_free_bytes": Gauge, "bytes", [];
    /// The free bytes below which a level begins: `low` warns, `full` refuses producers, `read-only` appends nothing.
    DISK_MARK = "broker_disk_mark_bytes": Gauge, "bytes", ["level"];
    /// 1 for the level that the disk is at.
    DISK_LEVEL = "broker_disk_level": Gauge, "", ["level"];
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

/// Samples of committed offsets that one answer has at most: a group is as large as its clients make it.
const GROUP_SAMPLES_MAX: usize = 20_000;
/// Groups that are not reached in this time are left out, and counted.
const SURVEY_MAX: Duration = Duration::from_secs(1);
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
        if self.tracer.is_on() {
            let counts = self.tracer.counts();
            families.push(Family::single(&SPANS_SENT, Value::Count(counts.sent)));
            families.push(Family::single(&SPANS_DROPPED, Value::Count(counts.dropped)));
        }
        families.extend(self.quorum().await);
        if let Some(broker) = &self.broker {
            families.push(gauge(&FENCED, u64::from(!image.is_alive(self.id))));
            let asked = tokio::time::timeout(ANSWER_MAX, broker.partitions.statuses());
            if let Ok(statuses) = asked.await {
                families.extend(replicas(&statuses));
                families.extend(led(&image, &statuses));
            }
            families.extend(room(&broker.partitions.room()));
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
        let log_end = quorum
            .members
            .iter()
            .map(|member| member.log_end_offset)
            .max()
            .unwrap_or(0);
        let lags = quorum.members.iter().filter(|member| member.log_end_offset >= 0);
        let lags = lags.map(|member| (member.node_id.to_string(), log_end.abs_diff(member.log_end_offset)));
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

fn room(room: &Room) -> Vec<Family> {
    let marks = [
        (Level::Low, room.marks.low),
        (Level::Full, room.marks.full),
        (Level::ReadOnly, room.marks.read_only),
    ];
    let levels = Level::ALL.map(|level| (level.name().to_owned(), u64::from(level == room.level)));
    vec![
        gauge(&DISK_BYTES, room.capacity),
        gauge(&DISK_FREE, room.available),
        with(&DISK_MARK, marks.map(|(level, bytes)| (level.name().to_owned(), bytes))),
        with(&DISK_LEVEL, levels),
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
    let mut families = [&HIGH_WATERMARK, &LOG_START, &PARTITION_BYTES].map(Family::new);
    let mut lags = Family::new(&REPLICA_LAG);
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
            let mut labels = labels();
            labels.push(follower.to_string());
            lags.push(labels, Value::Gauge(lag(status, *written)));
        }
    }
    families.into_iter().chain([lags]).collect()
}

/// Who has acknowledged nothing may lack everything.
fn lag(status: &PartitionStatus, written: Option<Offset>) -> f64 {
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
    let (mut offsets, mut told) = (Family::new(&GROUP_OFFSET), 0);
    let begun = Instant::now();
    for listed in &listed {
        if begun.elapsed() >= SURVEY_MAX {
            break;
        }
        let committed = committed(coordinators, &listed.group).await;
        if offsets.samples.len() + committed.len() <= GROUP_SAMPLES_MAX {
            offsets.samples.extend(committed);
            told += 1;
        }
    }
    let left_out = listed.len() - told;
    Some(vec![
        with(&GROUPS, states),
        offsets,
        gauge(&GROUPS_LEFT_OUT, left_out as u64),
    ])
}

/// A group's offsets as samples; none of a group that has just gone, or moved.
async fn committed(coordinators: &Coordinators, group: &str) -> Vec<Sample> {
    let call = Call::FetchOffsets(FetchOffsets {
        group: group.to_owned(),
        member: None,
        member_epoch: -1,
        topics: None,
        stability: Stability::Any,
    });
    let Ok(Reply::FetchOffsets(fetched)) = coordinators.call(call).await else {
        return Vec::new();
    };
    let topics = fetched.topics.iter();
    let samples = topics.flat_map(|topic| {
        topic.partitions.iter().map(|partition| Sample {
            labels: vec![group.to_owned(), topic.name.clone(), partition.partition.to_string()],
            value: Value::Gauge(partition.offset as f64),
        })
    });
    samples.collect()
}

#[cfg(test)]
pub(super) mod tests {
    use klamm_types::{HighWatermark, LeaderEpoch, LogStartOffset, NodeId};

    use super::*;
    use crate::api::{LeaderHint, topic_partition};
    use crate::partitions::tests::harness::Meta;

    pub fn status(role: PartitionRole, isr: &[i32]) -> PartitionStatus {
        PartitionStatus {
            partition: topic_partition(klamm_types::TopicId::from_u128(1), 0),
            role,
            leader: LeaderHint {
                leader: Some(NodeId(1)),
                leader_epoch: LeaderEpoch(0),
            },
            log_start_offset: LogStartOffset(5),
            log_end_offset: Offset(50),
            last_epoch: LeaderEpoch(0),
            flushed_offset: Offset(40),
            high_watermark: HighWatermark(45),
            size_bytes: 1000,
            waiting_produces: 2,
            isr: isr.iter().map(|node| NodeId(*node)).collect(),
            replicas: 3,
            min_isr: 2,
            followers: vec![(NodeId(2), Some(Offset(48))), (NodeId(3), None)],
            unflushed_bytes: 10,
        }
    }

    fn values(family: &Family) -> Vec<(String, f64)> {
        let value = |sample: &Sample| match sample.value {
            Value::Gauge(value) => (sample.labels.join(" "), value),
            ref other => panic!("{other:?}"),
        };
        family.samples.iter().map(value).collect()
    }

    fn named<'a>(families: &'a [Family], name: &str) -> &'a Family {
        let named = |family: &&Family| family.definition.name == name;
        families.iter().find(named).unwrap()
    }

    #[test]
    fn only_partitions_that_are_led_here_lack_replicas() {
        let families = replicas(&[
            status(PartitionRole::Leader, &[1, 2, 3]),
            status(PartitionRole::Leader, &[1, 2]),
            status(PartitionRole::Leader, &[1]),
            status(PartitionRole::Follower, &[1]),
        ]);
        let value = |name| values(named(&families, name))[0].1;
        assert_eq!(value("klamm_broker_under_replicated_partitions"), 2.0);
        assert_eq!(value("klamm_broker_under_min_isr_partitions"), 1.0);
        assert_eq!(value("klamm_broker_waiting_produces"), 8.0);
        assert_eq!(value("klamm_broker_log_bytes"), 4000.0);
        assert_eq!(value("klamm_broker_unflushed_bytes"), 40.0);
        let roles = values(named(&families, "klamm_broker_replicas"));
        assert_eq!(roles[..2], [("leader".to_owned(), 3.0), ("follower".to_owned(), 1.0)]);
    }

    #[test]
    fn a_leader_tells_how_far_each_follower_is() {
        let mut meta = Meta::default();
        meta.create_topic(1, "orders", &[1, 2, 3], &[]);
        let image = meta.image();
        let families = led(&image, &[status(PartitionRole::Leader, &[1, 2, 3])]);
        let value = |name| values(named(&families, name));
        assert_eq!(value("klamm_partition_high_watermark"), [("orders 0".to_owned(), 45.0)]);
        assert_eq!(
            value("klamm_partition_log_start_offset"),
            [("orders 0".to_owned(), 5.0)]
        );
        assert_eq!(value("klamm_partition_log_bytes"), [("orders 0".to_owned(), 1000.0)]);
        let lags = [("orders 0 2".to_owned(), 2.0), ("orders 0 3".to_owned(), 45.0)];
        assert_eq!(value("klamm_replica_lag"), lags);
        let followed = led(&image, &[status(PartitionRole::Follower, &[1, 2, 3])]);
        assert!(followed.iter().all(|family| family.samples.is_empty()));
    }
}
