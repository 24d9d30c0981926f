//! Disks that fill up, simulated: who is refused, who goes on, and that it ends by itself.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use klamm_log::{Disk, OpenMode, SimDisk};
use klamm_types::ErrorCode;

use super::harness::*;
use crate::api::PartitionRole;
use crate::space::Level;

/// With marks at 200,000, 100,000 and 50,000 bytes.
const CAPACITY: u64 = 1_000_000;

/// Without checkpoints nobody looks for a quarter of a second: time for a few writes.
async fn cluster() -> (Cluster, Vec<Arc<SimDisk>>) {
    let disks: Vec<Arc<SimDisk>> = (0..3).map(|_| Arc::new(SimDisk::new())).collect();
    for disk in &disks {
        disk.set_capacity(Some(CAPACITY));
    }
    let cluster = Cluster::simulated_without_checkpoints(&disks).await;
    cluster
        // The records are old, and retention is in a hurry where disks are full.
        .change(|meta| meta.create_topic(1, "orders", &[0, 1, 2], &[("retention.ms", "-1")]))
        .await;
    led(cluster.node(0), partition(1, 0)).await;
    produce(cluster.node(0), partition(1, 0), "a").await.unwrap();
    (cluster, disks)
}

/// Leaves so many bytes free.
fn leave(disk: &SimDisk, free: u64) {
    let other = disk.open(Path::new("/data/other"), OpenMode::Create).unwrap();
    other.set_size(0).unwrap();
    let available = disk.space(Path::new("/data")).unwrap().available;
    other.allocate(available - free).unwrap();
}

async fn at_level(node: &Node, level: Level) {
    let reached = async {
        while node.partitions.room().level != level {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let reached = tokio::time::timeout(Duration::from_secs(30), reached).await;
    reached.unwrap_or_else(|_| panic!("{level:?} was not reached: {:?}", node.partitions.room()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_room_refuses_producers_until_there_is_some() {
    let (cluster, disks) = cluster().await;
    let (leader, at) = (cluster.node(0), partition(1, 0));
    leave(&disks[0], 80_000);
    at_level(leader, Level::Full).await;
    let refused = produce(leader, at, "b").await.unwrap_err();
    assert_eq!(refused.error.code, ErrorCode::KafkaStorageError);
    assert!(refused.error.code.is_retriable());
    assert!(
        refused
            .error
            .message
            .is_some_and(|message| message.contains("disk is full"))
    );
    assert_eq!(read(leader, at, 1).await, ["a"], "reads go on");
    leave(&disks[0], 500_000);
    at_level(leader, Level::Ample).await;
    produce(leader, at, "c").await.unwrap();
    assert_eq!(read(cluster.node(2), at, 2).await, ["a", "c"]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_without_room_leaves_and_comes_back() {
    let (cluster, disks) = cluster().await;
    let at = partition(1, 0);
    leave(&disks[1], 20_000);
    at_level(cluster.node(1), Level::ReadOnly).await;
    cluster.govern(produce(cluster.node(0), at, "b")).await.unwrap();
    cluster.wait_for_isr(at, &[0, 2]).await;
    assert_eq!(read(cluster.node(2), at, 2).await, ["a", "b"]);
    leave(&disks[1], 500_000);
    cluster.wait_for_isr(at, &[0, 1, 2]).await;
    assert_eq!(read(cluster.node(1), at, 2).await, ["a", "b"]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_finds_no_room_takes_no_more_and_comes_back() {
    let (cluster, disks) = cluster().await;
    let at = partition(1, 0);
    // The first of these gets the reserve; there is no room for all of them.
    let values: Vec<String> = (0..4).map(|number| format!("{number}").repeat(3000)).collect();
    leave(&disks[1], 10);
    for value in &values {
        cluster.govern(produce(cluster.node(0), at, value)).await.unwrap();
    }
    cluster.wait_for_isr(at, &[0, 2]).await;
    at_level(cluster.node(1), Level::ReadOnly).await;
    assert_eq!(cluster.node(1).partitions.role(at), Some(PartitionRole::Follower));
    leave(&disks[1], 500_000);
    cluster.wait_for_isr(at, &[0, 1, 2]).await;
    assert_eq!(read(cluster.node(1), at, 5).await[1..], values);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_finds_no_room_takes_the_reserve() {
    let (cluster, disks) = cluster().await;
    let (leader, at) = (cluster.node(0), partition(1, 0));
    // All at once, before anybody looks: the batch that comes now does not fit any more.
    let level = loop {
        leave(&disks[0], 10);
        let produced = produce(leader, at, "b").await;
        match produced {
            Ok(_) => break leader.partitions.room().level,
            // It was seen in time, and the batch was refused. Once more.
            Err(refused) => assert_eq!(refused.error.code, ErrorCode::KafkaStorageError),
        }
        leave(&disks[0], 500_000);
        at_level(leader, Level::Ample).await;
    };
    assert_eq!(level, Level::ReadOnly);
    assert_eq!(disks[0].file_size(Path::new("/data/reserve")), None);
    let refused = produce(leader, at, "c").await.unwrap_err();
    assert_eq!(refused.error.code, ErrorCode::KafkaStorageError);
    leave(&disks[0], 500_000);
    at_level(leader, Level::Ample).await;
    produce(leader, at, "d").await.unwrap();
    assert_eq!(read(cluster.node(2), at, 3).await, ["a", "b", "d"]);
    assert_eq!(disks[0].file_size(Path::new("/data/reserve")), Some(4096));
    cluster.stop().await;
}
