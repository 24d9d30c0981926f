//! Two looks at small clusters, and the whole picture that they give.

use super::super::sample::{
    Broker as SampleBroker, Disk, Group as SampleGroup, Partition as SamplePartition, Topic as SampleTopic,
};
use super::*;

pub fn partition(number: i32, leader: Option<i32>, in_sync: &[i32], end: i64) -> SamplePartition {
    SamplePartition {
        number,
        leader,
        replicas: vec![1, 2],
        in_sync: in_sync.to_vec(),
        end: leader.map(|_| end),
        size_bytes: leader.map(|_| u64::try_from(end).unwrap() * 10),
    }
}

fn committed(offset: i64) -> SampleGroup {
    SampleGroup {
        state: "Stable".to_owned(),
        members: Some(1),
        committed: Some(BTreeMap::from([(TopicPartition::new("orders", 0), offset)])),
    }
}

fn figures(at: u64, produced_bytes: f64, slow: f64) -> Figures {
    Figures {
        at: Duration::from_secs(at),
        produced_bytes,
        fetched_bytes: 2.0 * produced_bytes,
        errors: 4.0,
        flushes: vec![(0.001, 0.0), (0.002, slow), (f64::INFINITY, slow)],
    }
}

/// Broker 1 tells by HTTP how much it does; broker 2 does not.
pub fn sample(at: u64, orders: Vec<SamplePartition>, figures: Figures, group: SampleGroup) -> Sample {
    let broker = |figures, disk| SampleBroker {
        address: "host:9092".to_owned(),
        state: State::Up,
        disk,
        figures,
    };
    let disk = Disk {
        total_bytes: 1000,
        usable_bytes: 250,
    };
    Sample {
        at: Duration::from_secs(at),
        cluster_id: "abc".to_owned(),
        controller: Some(2),
        brokers: BTreeMap::from([(1, broker(Some(figures), Some(disk))), (2, broker(None, None))]),
        topics: vec![SampleTopic {
            name: "orders".into(),
            min_in_sync: Some(2),
            partitions: orders,
        }],
        groups: BTreeMap::from([("billing".to_owned(), group)]),
        ..Sample::default()
    }
}

pub fn two_looks() -> Model {
    let before = vec![partition(0, Some(1), &[1, 2], 100), partition(1, Some(2), &[1, 2], 50)];
    let before = sample(10, before, figures(10, 1000.0, 0.0), committed(60));
    let now = vec![partition(0, Some(1), &[1, 2], 300), partition(1, Some(2), &[2], 50)];
    let now = sample(12, now, figures(12, 5000.0, 100.0), committed(160));
    Model::between(Some(&before), &now)
}

#[test]
fn two_looks_give_rates() {
    let model = two_looks();
    let cluster = Cluster {
        cluster_id: "abc".to_owned(),
        active_controller: Some(2),
        brokers: 2,
        brokers_up: 2,
        topics: 1,
        partitions: 2,
        under_replicated: 1,
        under_min_isr: 1,
        records_in: Some(100.0),
        groups: 1,
        ..Cluster::default()
    };
    assert_eq!(model.cluster, cluster);
    let first = Broker {
        id: 1,
        address: "host:9092".to_owned(),
        state: "up",
        leads: 1,
        replicas: 2,
        bytes_in: Some(2000.0),
        records_in: Some(100.0),
        bytes_out: Some(4000.0),
        errors: Some(0.0),
        flush_p99_ms: Some(1.99),
        disk_bytes: Some(1000),
        disk_free_bytes: Some(250),
    };
    // What it does not tell is seen in its logs, or not at all.
    let second = Broker {
        id: 2,
        bytes_in: Some(0.0),
        records_in: Some(0.0),
        bytes_out: None,
        errors: None,
        flush_p99_ms: None,
        disk_bytes: None,
        disk_free_bytes: None,
        ..first.clone()
    };
    assert_eq!(model.brokers, [first, second]);
    let topic = Topic {
        topic: "orders".to_owned(),
        partitions: 2,
        under_replicated: 1,
        offline: 0,
        records_in: Some(100.0),
        bytes_in: Some(1000.0),
        records_out: Some(50.0),
        size_bytes: Some(3500),
    };
    assert_eq!(model.topics, [topic]);
    let group = Group {
        group: "billing".to_owned(),
        state: "Stable".to_owned(),
        members: Some(1),
        lag: Some(140),
        lag_change: Some(50.0),
        records_out: Some(50.0),
    };
    assert_eq!(model.groups, [group]);
    let under: Vec<bool> = model.partitions.iter().map(|one| one.under_min_isr).collect();
    assert_eq!(under, [false, true]);
}

#[test]
fn one_look_gives_no_rates() {
    let orders = vec![partition(0, None, &[], 7)];
    let model = Model::between(None, &sample(3, orders, figures(3, 9.0, 9.0), committed(5)));
    assert_eq!((model.cluster.offline, model.cluster.records_in), (1, None));
    assert_eq!((model.brokers[0].bytes_in, model.brokers[0].flush_p99_ms), (None, None));
    // The end of a partition without a leader is not known, and so nothing is known of the lag.
    assert_eq!((model.groups[0].lag, model.groups[0].lag_change), (None, None));
}

#[test]
fn what_began_anew_is_counted_from_nothing() {
    let before = sample(
        0,
        vec![partition(0, Some(1), &[1, 2], 100)],
        figures(0, 9000.0, 50.0),
        committed(90),
    );
    let now = sample(
        2,
        vec![partition(0, Some(1), &[1, 2], 20)],
        figures(2, 1000.0, 10.0),
        committed(10),
    );
    let model = Model::between(Some(&before), &now);
    // A node that was started again, a topic that was made again, offsets that were set back.
    assert_eq!(model.brokers[0].bytes_in, Some(500.0));
    assert_eq!(model.brokers[0].flush_p99_ms, None);
    assert_eq!(model.partitions[0].records_in, Some(10.0));
    assert_eq!(model.partitions[0].bytes_in, None);
    assert_eq!(
        (model.groups[0].lag, model.groups[0].records_out),
        (Some(10), Some(0.0))
    );
    // Two looks at the same time say nothing of a rate.
    assert_eq!(Model::between(Some(&now), &now).cluster.records_in, None);
}

#[test]
fn ten_thousand_partitions_are_no_trouble() {
    let orders = (0..10_000).map(|number| partition(number, Some(1 + number % 2), &[1, 2], 5));
    let now = sample(3, orders.collect(), figures(3, 9.0, 9.0), committed(5));
    let model = Model::between(Some(&now), &now);
    assert_eq!((model.brokers[0].leads, model.brokers[1].replicas), (5000, 10_000));
}
