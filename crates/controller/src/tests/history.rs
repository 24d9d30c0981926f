//! Why leaders changed, told after everybody who saw it is gone.

use klamm_metadata::Image;
use klamm_metadata::history::render;
use klamm_types::{NodeId, PartitionId};
use openraft::async_runtime::watch::WatchReceiver;

use super::brokers::{create_topic, wait_for_fence};
use super::harness::{Cluster, TestBroker};

/// The history as people read it: the first partition's and the brokers'.
fn told(image: &Image) -> (Vec<String>, Vec<String>) {
    let topic = image.topic_by_name("orders").unwrap().id;
    let partition = image.partition_history(topic, PartitionId(0));
    let brokers = image.broker_history();
    (
        partition.iter().map(render::partition).collect(),
        brokers.map(|(id, entry)| render::broker(id, entry)).collect(),
    )
}

/// One node makes a snapshot, and forgets the log that it holds.
fn snapshot_and_purge(cluster: &Cluster, node: NodeId) {
    let raft = cluster.running(node).raft;
    cluster.on(node, async move {
        let last = raft.metrics().borrow_watched().last_applied.unwrap();
        raft.trigger().snapshot().await.unwrap();
        let mut metrics = raft.metrics();
        while metrics.borrow_watched().snapshot < Some(last) {
            metrics.changed().await.unwrap();
        }
        raft.trigger().purge_log(last.index).await.unwrap();
        while metrics.borrow_watched().purged < Some(last) {
            metrics.changed().await.unwrap();
        }
    });
}

#[test]
fn the_history_outlives_controllers_restarts_and_the_log() {
    let mut cluster = Cluster::started(3);
    let mut brokers: Vec<TestBroker> = (11..=13).map(|id| TestBroker::start(&cluster, id)).collect();
    for broker in &brokers {
        wait_for_fence(&cluster, broker.id, false);
    }
    assert_eq!(create_topic(&cluster, "orders", 3), 0);
    brokers.remove(0).kill();
    wait_for_fence(&cluster, 11, true);
    let image = cluster.controller(cluster.wait_for_leader()).image();
    let (partition, fences) = told(&image);
    let index = image.applied_index();
    let process_ended = |text: &String| text.contains("broker 11's process ended (127.0.0.1:");
    assert!(partition.len() == 1 && process_ended(&partition[0]), "{partition:?}");
    let fence = fences
        .iter()
        .find(|text| text.starts_with("broker 11 fenced: its process ended"));
    let fence = fence.expect("the fence is told").clone();
    drop(brokers);

    for id in cluster.alive() {
        cluster.wait_for_applied(id, index);
        snapshot_and_purge(&cluster, id);
    }
    for id in cluster.alive() {
        cluster.kill(id);
    }
    // One of them has nothing, and can only get the others' snapshot.
    cluster.wipe(NodeId(3));
    cluster.start_all();
    cluster.wait_for_leader();
    for id in cluster.alive() {
        cluster.wait_for_applied(id, index);
        let (later, brokers) = told(&cluster.controller(id).image());
        assert_eq!(later[..1], partition[..], "node {id}");
        assert!(brokers.contains(&fence), "node {id}: {brokers:?}");
    }
    let image = cluster.controller(NodeId(3)).image();
    assert!(!image.controller_history().is_empty(), "the controllers are told too");
}
