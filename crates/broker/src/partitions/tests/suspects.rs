//! Replica streams that break, and the hints that come of it.

use klamm_types::{BrokerEpoch, NodeId};

use super::harness::*;
use crate::partitions::{LastStop, Suspicion};

async fn three_with_a_mortal(mortal: i32, replicas: &[i32]) -> (Cluster, tokio::runtime::Runtime) {
    let mut cluster = Cluster::start(3).await;
    cluster.take(mortal).stop().await;
    let runtime = cluster.add_mortal(mortal).await;
    cluster
        .change(|meta| meta.create_topic(1, "orders", replicas, &[]))
        .await;
    led(cluster.node(replicas[0]), partition(1, 0)).await;
    cluster
        .govern(produce(cluster.node(replicas[0]), partition(1, 0), "a"))
        .await
        .unwrap();
    (cluster, runtime)
}

fn of(broker: i32, epoch: BrokerEpoch) -> Suspicion {
    Suspicion {
        broker: NodeId(broker),
        broker_epoch: epoch,
    }
}

fn epoch_of(cluster: &Cluster, broker: i32) -> BrokerEpoch {
    let image = cluster.meta.lock().unwrap().image();
    image.broker(NodeId(broker)).unwrap().epoch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_suspect_a_leader_whose_streams_break() {
    let (mut cluster, runtime) = three_with_a_mortal(0, &[0, 1, 2]).await;
    let expected = of(0, epoch_of(&cluster, 0));
    runtime.shutdown_background();
    for follower in [1, 2] {
        let partitions = &cluster.node(follower).partitions;
        assert_eq!(partitions.suspicion().await, expected);
        partitions.suspicion_told(expected);
    }
    // The survivors' own streams, old and new, give nobody a reason for a hint.
    cluster.take(0);
    cluster
        .change(|meta| meta.change(partition(1, 0), Some(1), &[1, 2]))
        .await;
    led(cluster.node(1), partition(1, 0)).await;
    produce(cluster.node(1), partition(1, 0), "b").await.unwrap();
    for node in &cluster.nodes {
        assert!(futures_util::poll!(std::pin::pin!(node.partitions.suspicion())).is_pending());
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_suspects_a_follower_whose_streams_break() {
    let (mut cluster, runtime) = three_with_a_mortal(1, &[0, 1, 2]).await;
    let expected = of(1, epoch_of(&cluster, 1));
    runtime.shutdown_background();
    assert_eq!(cluster.node(0).partitions.suspicion().await, expected);
    cluster.take(1);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_in_order_is_not_suspected_by_its_leader() {
    let mut cluster = Cluster::start(3).await;
    cluster
        .change(|meta| meta.create_topic(1, "orders", &[0, 1, 2], &[]))
        .await;
    led(cluster.node(0), partition(1, 0)).await;
    produce(cluster.node(0), partition(1, 0), "a").await.unwrap();
    cluster.take(1).stop().await;
    cluster.add(1, LastStop::Clean).await;
    cluster.wait_for_isr(partition(1, 0), &[0, 1, 2]).await;
    let leader = &cluster.node(0).partitions;
    assert!(futures_util::poll!(std::pin::pin!(leader.suspicion())).is_pending());
    cluster.stop().await;
}
