//! Two and three brokers over gRPC.

use std::time::Duration;

use klamm_types::{ErrorCode, Offset};

use super::harness::*;
use crate::api::{PartitionRole, PartitionStatus};
use crate::partitions::LastStop;

async fn three_brokers(settings: &[(&str, &str)]) -> Cluster {
    let cluster = Cluster::start(3).await;
    cluster
        .change(|meta| meta.create_topic(1, "orders", &[0, 1, 2], settings))
        .await;
    led(cluster.node(0), partition(1, 0)).await;
    cluster
}

async fn status(node: &Node) -> PartitionStatus {
    node.partitions.statuses().await.remove(0)
}

/// Reads from a follower, which serves up to the high watermark it knows.
async fn follower_has(node: &Node, values: &[&str]) {
    assert_eq!(read(node, partition(1, 0), values.len()).await, values);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_replicas_hold_what_is_acknowledged() {
    let cluster = three_brokers(&[]).await;
    let at = partition(1, 0);
    for value in ["a", "b", "c"] {
        produce(cluster.node(0), at, value).await.unwrap();
        for node in &cluster.nodes {
            let status = status(node).await;
            assert_eq!(
                status.flushed_offset, status.log_end_offset,
                "acknowledged means flushed"
            );
        }
    }
    for node in &cluster.nodes {
        follower_has(node, &["a", "b", "c"]).await;
    }
    let refused = produce(cluster.node(1), at, "x").await.unwrap_err();
    assert_eq!(refused.error.code, ErrorCode::NotLeaderOrFollower);
    assert_eq!(refused.error.leader.unwrap().leader, Some(klamm_types::NodeId(0)));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_without_loss() {
    let cluster = three_brokers(&[]).await;
    let at = partition(1, 0);
    let mut expected = Vec::new();
    for round in 0..6 {
        let leader = round % 3;
        if round > 0 {
            cluster.change(|meta| meta.change(at, Some(leader), &[0, 1, 2])).await;
        }
        led(cluster.node(leader), at).await;
        for number in 0..5 {
            let value = format!("{round}-{number}");
            let produced = produce(cluster.node(leader), at, &value).await.unwrap();
            assert_eq!(produced.base_offset, Offset(expected.len() as i64));
            expected.push(value);
        }
    }
    for node in &cluster.nodes {
        assert_eq!(read(node, at, expected.len()).await, expected);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_follower_leaves_the_isr_and_comes_back() {
    let mut cluster = three_brokers(&[]).await;
    let at = partition(1, 0);
    produce(cluster.node(0), at, "a").await.unwrap();
    cluster.take(2).stop().await;
    let (produced, ()) = tokio::join!(produce(cluster.node(0), at, "b"), cluster.wait_for_isr(at, &[0, 1]));
    assert_eq!(produced.unwrap().base_offset, Offset(1));
    produce(cluster.node(0), at, "c").await.unwrap();

    cluster.add(2, LastStop::Clean).await;
    cluster.wait_for_isr(at, &[0, 1, 2]).await;
    produce(cluster.node(0), at, "d").await.unwrap();
    follower_has(cluster.node(2), &["a", "b", "c", "d"]).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_disk_is_filled_again() {
    let mut cluster = three_brokers(&[]).await;
    let at = partition(1, 0);
    for number in 0..50 {
        produce(cluster.node(0), at, &format!("v{number}")).await.unwrap();
    }
    cluster.take(1).stop().await;
    cluster.change(|meta| meta.change(at, None, &[0, 2])).await;
    std::fs::remove_dir_all(cluster.directory(1)).unwrap();
    std::fs::create_dir(cluster.directory(1)).unwrap();
    cluster.add(1, LastStop::Unclean).await;
    cluster.wait_for_isr(at, &[0, 1, 2]).await;
    let expected: Vec<String> = (0..50).map(|number| format!("v{number}")).collect();
    assert_eq!(read(cluster.node(1), at, 50).await, expected);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_diverged_tail_is_cut() {
    let mut cluster = three_brokers(&[("min.insync.replicas", "1")]).await;
    let at = partition(1, 0);
    produce(cluster.node(0), at, "kept").await.unwrap();
    // The leader goes on alone: what it writes then, nobody else has.
    let followers = [cluster.take(1), cluster.take(2)];
    for follower in followers {
        follower.stop().await;
    }
    let lonely = request(at, batch(&["lost"]));
    let lonely = crate::api::ProduceRequest {
        acks: crate::api::Acks::Leader,
        ..lonely
    };
    cluster.node(0).partitions.produce(lonely).await.wait().await.unwrap();
    assert_eq!(status(cluster.node(0)).await.log_end_offset, Offset(2));
    cluster.take(0).stop().await;

    cluster.add(1, LastStop::Clean).await;
    cluster.add(2, LastStop::Clean).await;
    cluster.change(|meta| meta.change(at, Some(1), &[1, 2])).await;
    led(cluster.node(1), at).await;
    produce(cluster.node(1), at, "new").await.unwrap();
    cluster.add(0, LastStop::Clean).await;
    cluster.wait_for_isr(at, &[0, 1, 2]).await;
    follower_has(cluster.node(0), &["kept", "new"]).await;
    assert_eq!(cluster.node(0).partitions.metrics().truncations.get(), 1);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_in_sync_refuse_writes() {
    let cluster = three_brokers(&[]).await;
    let at = partition(1, 0);
    cluster.change(|meta| meta.change(at, None, &[0])).await;
    let refused = produce(cluster.node(0), at, "x").await.unwrap_err();
    assert_eq!(refused.error.code, ErrorCode::NotEnoughReplicas);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_fetch_hears_of_a_lost_leadership() {
    let cluster = three_brokers(&[]).await;
    let at = partition(1, 0);
    let mut request = fetch_request(at, 0, Duration::from_secs(30));
    request.followers = crate::api::FollowerReads::Refused;
    let waiting = cluster.node(0).partitions.fetch(request);
    let moving = cluster.change(|meta| meta.change(at, Some(1), &[0, 1, 2]));
    let (answer, ()) = tokio::join!(waiting, moving);
    assert_eq!(
        answer[0].result.as_ref().unwrap_err().code,
        ErrorCode::NotLeaderOrFollower
    );
    cluster
        .node(0)
        .partitions
        .wait_for_role(at, PartitionRole::Follower)
        .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicated_topics_do_not_wait_for_flushes() {
    let cluster = three_brokers(&[("klamm.durability", "replicated")]).await;
    let at = partition(1, 0);
    for number in 0..20 {
        produce(cluster.node(0), at, &format!("v{number}")).await.unwrap();
    }
    let expected: Vec<String> = (0..20).map(|number| format!("v{number}")).collect();
    for node in &cluster.nodes {
        assert_eq!(read(node, at, 20).await, expected);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_data_passes_within_the_credit() {
    let cluster = three_brokers(&[]).await;
    let at = partition(1, 0);
    let large = "x".repeat(200_000);
    let mut tickets = Vec::new();
    for _ in 0..100 {
        tickets.push(cluster.node(0).partitions.produce(request(at, batch(&[&large]))).await);
    }
    for (number, ticket) in tickets.into_iter().enumerate() {
        assert_eq!(ticket.wait().await.unwrap().base_offset, Offset(number as i64));
    }
    for node in &cluster.nodes {
        assert_eq!(read(node, at, 100).await.len(), 100);
    }
    cluster.stop().await;
}
