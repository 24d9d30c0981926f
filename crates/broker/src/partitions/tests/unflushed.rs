//! A topic's durability changes while records lie in the page cache only.

use std::path::Path;
use std::sync::Arc;

use klamm_log::disk::sim::{Effect, Fault, Operation};
use klamm_log::{SimDisk, UnflushedMark};
use klamm_types::Offset;

use super::harness::*;
use crate::api::PartitionRole;
use crate::partitions::LastStop;

const DIRECTORY: &str = "/data/orders-0";
const SEGMENT: &str = "orders-0/00000000000000000000.log";

async fn replicated() -> (Cluster, Vec<Arc<SimDisk>>) {
    let disks: Vec<Arc<SimDisk>> = (0..3).map(|_| Arc::new(SimDisk::new())).collect();
    let cluster = Cluster::simulated_without_checkpoints(&disks).await;
    let settings = [("klamm.durability", "replicated")];
    cluster
        .change(|meta| meta.create_topic(1, "orders", &[0, 1, 2], &settings))
        .await;
    led(cluster.node(0), partition(1, 0)).await;
    (cluster, disks)
}

/// Produces until every disk has the mark, or none has; gives the number of records.
async fn produce_until_marked(cluster: &Cluster, disks: &[Arc<SimDisk>], marked: bool) -> i64 {
    let is_set = |disk: &Arc<SimDisk>| UnflushedMark::is_set(disk.as_ref(), Path::new(DIRECTORY)).unwrap();
    loop {
        let produced = produce(cluster.node(0), partition(1, 0), "a").await.unwrap();
        if disks.iter().all(|disk| is_set(disk) == marked) {
            return produced.base_offset.0 + 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_before_the_flush_that_a_change_asks_for_is_told_at_the_next_start() {
    let (mut cluster, disks) = replicated().await;
    let at = partition(1, 0);
    produce_until_marked(&cluster, &disks, true).await;
    // The next flush of this disk is the last thing that it does.
    disks[1].inject(Fault::next(Operation::SyncData, SEGMENT, Effect::PowerCut));
    let acknowledged = cluster.govern(produce(cluster.node(0), at, "lost")).await.unwrap();
    cluster
        .change(|meta| meta.set_config("orders", "klamm.durability", "fsync"))
        .await;
    let node = cluster.node(1).partitions.clone();
    node.wait_for_role(at, PartitionRole::Stopped).await;
    cluster.wait_for_isr(at, &[0, 2]).await;
    cluster.take(1).stop().await;
    disks[1].crash(&mut |_| 0);
    cluster.add(1, LastStop::Unclean).await;
    let recovered = &cluster.node(1).report.replicas[0];
    assert!(recovered.unflushed, "{recovered:?}");
    assert!(
        recovered.log_end_offset <= acknowledged.base_offset,
        "an acknowledged record is gone: {recovered:?}"
    );
    cluster.wait_for_isr(at, &[0, 1, 2]).await;
    let produced = produce_until_marked(&cluster, &disks, false).await;
    assert_eq!(
        read(cluster.node(1), at, produced as usize).await.len(),
        produced as usize
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_flush_a_power_cut_takes_nothing_and_nothing_is_told() {
    let (mut cluster, disks) = replicated().await;
    produce_until_marked(&cluster, &disks, true).await;
    cluster
        .change(|meta| meta.set_config("orders", "klamm.durability", "fsync"))
        .await;
    let produced = produce_until_marked(&cluster, &disks, false).await;
    let states: Vec<_> = disks.iter().map(|disk| disk.state()).collect();
    for (id, state) in states.into_iter().enumerate() {
        cluster.take(id as i32).stop().await;
        let disk = SimDisk::from_state(state);
        disk.crash(&mut |_| 0);
        cluster.replace_disk(id, Arc::new(disk));
    }
    for id in 0..3 {
        cluster.add(id, LastStop::Unclean).await;
        let recovered = &cluster.node(id).report.replicas[0];
        assert!(!recovered.unflushed, "{recovered:?}");
        assert_eq!(recovered.log_end_offset, Offset(produced));
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_that_the_disk_refuses_stops_the_replica() {
    let (cluster, disks) = replicated().await;
    let at = partition(1, 0);
    disks[1].inject(Fault::next(Operation::Open, "orders-0/unflushed", Effect::Io));
    let node = cluster.node(1).partitions.clone();
    cluster.govern(produce(cluster.node(0), at, "a")).await.unwrap();
    node.wait_for_role(at, PartitionRole::Stopped).await;
    cluster.wait_for_isr(at, &[0, 2]).await;
    cluster.stop().await;
}
