//! Disks that fail and lie, simulated; the brokers around them are whole.

use std::path::Path;
use std::sync::Arc;

use klamm_log::SimDisk;
use klamm_log::disk::sim::{Effect, Fault, Operation};
use klamm_types::ErrorCode;

use super::harness::*;
use crate::api::PartitionRole;
use crate::partitions::LastStop;

const SEGMENT: &str = "/data/orders-0/00000000000000000000.log";

async fn cluster() -> (Cluster, Vec<Arc<SimDisk>>) {
    let disks: Vec<Arc<SimDisk>> = (0..3).map(|_| Arc::new(SimDisk::new())).collect();
    let cluster = Cluster::simulated(&disks).await;
    cluster
        .change(|meta| meta.create_topic(1, "orders", &[0, 1, 2], &[]))
        .await;
    led(cluster.node(0), partition(1, 0)).await;
    produce(cluster.node(0), partition(1, 0), "a").await.unwrap();
    (cluster, disks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_flush_fails_stops_and_is_taken_out() {
    let (cluster, disks) = cluster().await;
    let at = partition(1, 0);
    disks[1].inject(Fault::next(Operation::SyncData, "orders-0", Effect::Io));
    cluster.govern(produce(cluster.node(0), at, "b")).await.unwrap();
    cluster
        .node(1)
        .partitions
        .wait_for_role(at, PartitionRole::Stopped)
        .await;
    let refused = cluster
        .node(1)
        .partitions
        .fetch(fetch_request(at, 0, std::time::Duration::ZERO))
        .await;
    assert_eq!(
        refused[0].result.as_ref().unwrap_err().code,
        ErrorCode::KafkaStorageError
    );
    assert_eq!(read(cluster.node(2), at, 2).await, ["a", "b"]);
    let metrics = cluster.node(0).partitions.metrics();
    // On a slow machine the other follower may have been out for a moment.
    let (shrinks, expands) = (metrics.isr_shrinks.get(), metrics.isr_expands.get());
    assert_eq!((metrics.leaderships.get(), shrinks - expands), (1, 1));
    let status = &cluster.node(0).partitions.statuses().await[0];
    assert_eq!((status.replicas, status.min_isr, status.isr.len()), (3, 2, 2));
    let written = |follower: i32| {
        let known = status.followers.iter().find(|(node, _)| node.0 == follower);
        known.and_then(|(_, written)| *written)
    };
    assert_eq!((written(2), status.unflushed_bytes), (Some(status.log_end_offset), 0));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_write_fails_acknowledges_nothing() {
    let (cluster, disks) = cluster().await;
    let at = partition(1, 0);
    disks[0].inject(Fault::next(Operation::Write, "orders-0", Effect::Io));
    let refused = produce(cluster.node(0), at, "b").await.unwrap_err();
    assert_eq!(refused.error.code, ErrorCode::KafkaStorageError);
    cluster.change(|meta| meta.change(at, Some(1), &[1, 2])).await;
    led(cluster.node(1), at).await;
    produce(cluster.node(1), at, "c").await.unwrap();
    assert_eq!(read(cluster.node(2), at, 2).await, ["a", "c"]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_found_at_a_start_is_reported_and_refetched() {
    let (mut cluster, disks) = cluster().await;
    let at = partition(1, 0);
    produce(cluster.node(0), at, "b").await.unwrap();
    cluster.take(1).stop().await;
    assert!(disks[1].flip_bit(Path::new(SEGMENT), 65, 3));
    // Not taken for a clean stop, so that every batch is looked at.
    cluster.add(1, LastStop::Unclean).await;
    assert!(cluster.node(1).report.replicas[0].damage.is_some());
    cluster.wait_for_isr(at, &[0, 2]).await;
    cluster.wait_for_isr(at, &[0, 1, 2]).await;
    assert_eq!(read(cluster.node(1), at, 2).await, ["a", "b"]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_found_by_a_read_is_reported_and_refetched() {
    let (mut cluster, disks) = cluster().await;
    let at = partition(1, 0);
    produce(cluster.node(0), at, "b").await.unwrap();
    cluster.take(1).stop().await;
    assert!(disks[1].flip_bit(Path::new(SEGMENT), 65, 3));
    cluster.add(1, LastStop::Clean).await;
    cluster.node(1).partitions.wait_until_taken_up(at).await;
    assert_eq!(cluster.node(1).report.replicas[0].damage, None);
    let refused = cluster
        .node(1)
        .partitions
        .fetch(fetch_request(at, 0, std::time::Duration::ZERO))
        .await;
    assert_eq!(
        refused[0].result.as_ref().unwrap_err().code,
        ErrorCode::KafkaStorageError
    );
    cluster.wait_for_isr(at, &[0, 2]).await;
    cluster.wait_for_isr(at, &[0, 1, 2]).await;
    assert_eq!(read(cluster.node(1), at, 2).await, ["a", "b"]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_batches_survive_a_power_cut_of_all() {
    let (mut cluster, disks) = cluster().await;
    let at = partition(1, 0);
    for value in ["b", "c", "d"] {
        produce(cluster.node(0), at, value).await.unwrap();
    }
    // The states are taken while everything runs: nothing was closed.
    let states: Vec<_> = disks.iter().map(|disk| disk.state()).collect();
    for id in 0..3 {
        cluster.take(id).stop().await;
    }
    for (id, state) in states.into_iter().enumerate() {
        let disk = SimDisk::from_state(state);
        disk.crash(&mut |_| 0);
        cluster.replace_disk(id, Arc::new(disk));
    }
    for id in 0..3 {
        cluster.add(id, LastStop::Unclean).await;
    }
    cluster.change(|meta| meta.change(at, Some(2), &[0, 1, 2])).await;
    led(cluster.node(2), at).await;
    produce(cluster.node(2), at, "e").await.unwrap();
    for node in &cluster.nodes {
        assert_eq!(read(node, at, 5).await, ["a", "b", "c", "d", "e"]);
    }
    cluster.stop().await;
}
