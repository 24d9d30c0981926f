//! What the picture of the cluster takes over, and what it does not.

use std::sync::Arc;

use klamm_types::{ErrorCode, LeaderEpoch, NodeId, PartitionId, TopicId};

use super::{Broker, Cluster, ClusterUpdate, LeaderHint, Partition, Topic};

fn broker(id: i32) -> Broker {
    Broker {
        id: NodeId(id),
        host: format!("host-{id}"),
        port: 9092,
        rack: None,
    }
}

fn partition(id: i32, leader: i32, epoch: i32) -> Partition {
    Partition {
        id: PartitionId(id),
        leader: Some(NodeId(leader)),
        leader_epoch: LeaderEpoch(epoch),
        replicas: vec![NodeId(1), NodeId(2)],
        isr: vec![NodeId(leader)],
        offline_replicas: vec![],
        error: None,
    }
}

fn topic(id: u128, partitions: Vec<Partition>) -> Topic {
    Topic {
        name: Arc::from("t"),
        id: TopicId::from_u128(id),
        internal: false,
        error: None,
        partitions,
    }
}

fn update(topic: Topic) -> ClusterUpdate {
    ClusterUpdate {
        cluster_id: Some("c".to_owned()),
        controller: Some(NodeId(1)),
        brokers: vec![broker(1), broker(2)],
        topics: vec![topic],
    }
}

fn leader(cluster: &Cluster, id: i32) -> Option<i32> {
    cluster.leader("t", PartitionId(id)).map(|broker| broker.id.0)
}

#[test]
fn an_older_answer_changes_nothing() {
    let mut cluster = Cluster::default();
    cluster.apply(update(topic(7, vec![partition(0, 2, 5), partition(1, 1, 3)])));
    cluster.apply(update(topic(7, vec![partition(0, 1, 4)])));
    assert_eq!((leader(&cluster, 0), leader(&cluster, 1)), (Some(2), Some(1)));
    cluster.apply(update(topic(7, vec![partition(0, 1, 6), partition(1, 1, 3)])));
    assert_eq!(leader(&cluster, 0), Some(1));
}

#[test]
fn a_topic_made_anew_starts_over() {
    let mut cluster = Cluster::default();
    cluster.apply(update(topic(7, vec![partition(0, 2, 5), partition(1, 2, 5)])));
    cluster.apply(update(topic(8, vec![partition(0, 1, 0)])));
    assert_eq!((leader(&cluster, 0), leader(&cluster, 1)), (Some(1), None));
}

#[test]
fn a_topic_that_is_gone() {
    let mut cluster = Cluster::default();
    cluster.apply(update(topic(7, vec![partition(0, 2, 5)])));
    let gone = Topic {
        error: Some(ErrorCode::UnknownTopicOrPartition),
        ..topic(0, vec![])
    };
    cluster.apply(update(gone));
    assert_eq!((cluster.topic("t"), leader(&cluster, 0)), (None, None));
}

#[test]
fn hints_count_by_their_epoch() {
    let mut cluster = Cluster::default();
    cluster.apply(update(topic(7, vec![partition(0, 1, 5)])));
    let hint = |leader, epoch, broker| LeaderHint {
        topic: Arc::from("t"),
        partition: PartitionId(0),
        leader: NodeId(leader),
        leader_epoch: LeaderEpoch(epoch),
        broker,
    };
    assert!(!cluster.apply_hint(hint(2, 5, None)), "not newer");
    assert!(!cluster.apply_hint(hint(3, 6, None)), "nobody knows where 3 is");
    assert!(cluster.apply_hint(hint(2, 6, None)));
    assert_eq!(leader(&cluster, 0), Some(2));
    assert!(cluster.apply_hint(hint(3, 7, Some(broker(3)))));
    assert_eq!(leader(&cluster, 0), Some(3));
    let other = LeaderHint {
        partition: PartitionId(9),
        ..hint(1, 9, None)
    };
    assert!(!cluster.apply_hint(other));
}
