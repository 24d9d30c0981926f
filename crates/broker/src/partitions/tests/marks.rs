//! High watermarks that lie above what a log holds: none is left on the disk once something else may be appended.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use klamm_log::{Checkpoint, REPLICATION, SimDisk};
use klamm_types::Offset;

use super::harness::*;
use crate::api::{Acks, PartitionRole, ProduceRequest};
use crate::partitions::LastStop;

fn file() -> PathBuf {
    Path::new("/data").join(REPLICATION)
}

fn store(disk: &SimDisk, high_watermark: i64) {
    let offsets = [(partition(1, 0), Offset(high_watermark))].into();
    Checkpoint { offsets }.write(disk, &file()).unwrap();
}

fn stored(disk: &SimDisk) -> Option<Offset> {
    let checkpoint = Checkpoint::read(disk, &file()).unwrap()?;
    checkpoint.offsets.get(&partition(1, 0)).copied()
}

/// Three replicas whose checkpoints are written at a clean stop only.
async fn three_replicas() -> (Cluster, Vec<Arc<SimDisk>>) {
    let disks: Vec<Arc<SimDisk>> = (0..3).map(|_| Arc::new(SimDisk::new())).collect();
    let cluster = Cluster::simulated_without_checkpoints(&disks).await;
    let settings = [("min.insync.replicas", "1")];
    cluster
        .change(|meta| meta.create_topic(1, "orders", &[0, 1, 2], &settings))
        .await;
    led(cluster.node(0), partition(1, 0)).await;
    (cluster, disks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_high_watermark_above_the_log_that_recovery_found_goes_back_at_the_start() {
    let (mut cluster, disks) = three_replicas().await;
    produce(cluster.node(0), partition(1, 0), "kept").await.unwrap();
    cluster.take(1).stop().await;
    store(&disks[1], 58);
    cluster.add(1, LastStop::Unclean).await;
    assert_eq!(stored(&disks[1]), Some(Offset(1)));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_high_watermark_goes_back_before_the_log_is_cut_below_it() {
    let (mut cluster, disks) = three_replicas().await;
    let at = partition(1, 0);
    produce(cluster.node(0), at, "kept").await.unwrap();
    for follower in [cluster.take(1), cluster.take(2)] {
        follower.stop().await;
    }
    let lonely = ProduceRequest {
        acks: Acks::Leader,
        ..request(at, batch(&["lost"]))
    };
    cluster.node(0).partitions.produce(lonely).await.wait().await.unwrap();
    cluster.take(0).stop().await;
    // As if the others had left the ISR, and one of them had then been elected all the same.
    store(&disks[0], 2);
    cluster.add(1, LastStop::Clean).await;
    cluster.add(2, LastStop::Clean).await;
    cluster.change(|meta| meta.change(at, Some(1), &[1, 2])).await;
    led(cluster.node(1), at).await;
    produce(cluster.node(1), at, "new").await.unwrap();
    cluster.add(0, LastStop::Clean).await;
    let node = cluster.node(0).partitions.clone();
    node.wait_for_role(at, PartitionRole::Follower).await;
    cluster.wait_for_isr(at, &[0, 1, 2]).await;
    assert_eq!(read(cluster.node(0), at, 2).await, ["kept", "new"]);
    assert_eq!(stored(&disks[0]), Some(Offset(1)));
    cluster.stop().await;
}
