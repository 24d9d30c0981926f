//! Founding, writing, dying, restarting.

use std::time::{Duration, Instant};

use klamm_types::{ClusterId, NodeId};

use super::harness::{Cluster, LIMIT};

#[test]
fn a_quorum_outlives_its_leaders() {
    let started = Instant::now();
    let mut cluster = Cluster::started(3);
    println!("founded in {:?}", started.elapsed());
    let mut broker = 10;
    for _ in 0..5 {
        let leader = cluster.wait_for_leader();
        cluster.write(broker);
        let killed = Instant::now();
        cluster.kill(leader);
        let index = cluster.write(broker + 1);
        println!("leader {leader} killed; written again after {:?}", killed.elapsed());
        cluster.start(leader, None);
        cluster.wait_for_applied(leader, index);
        broker += 2;
    }
    let images: Vec<_> = cluster
        .alive()
        .into_iter()
        .map(|id| cluster.controller(id).image())
        .collect();
    assert_eq!(images[0].brokers().len(), 10);
    assert_eq!(
        images[0].brokers().keys().collect::<Vec<_>>(),
        images[1].brokers().keys().collect::<Vec<_>>()
    );
}

#[test]
fn a_leader_that_stops_in_order_hands_over() {
    let mut cluster = Cluster::started(3);
    let leader = cluster.wait_for_leader();
    cluster.write(10);
    let stopped = Instant::now();
    cluster.stop(leader);
    let next = cluster.wait_for_leader();
    assert_ne!(next, leader);
    cluster.write(11);
    println!("handed over and written after {:?}", stopped.elapsed());
}

#[test]
fn everything_is_there_after_all_were_killed() {
    let mut cluster = Cluster::started(3);
    let index = cluster.write(10);
    let cluster_id = cluster.running(NodeId(1)).cluster_id;
    for id in cluster.alive() {
        cluster.kill(id);
    }
    cluster.start_all();
    cluster.wait_for_leader();
    for id in cluster.alive() {
        cluster.wait_for_applied(id, index);
        assert!(cluster.controller(id).image().broker(NodeId(10)).is_some());
        assert_eq!(cluster.running(id).cluster_id, cluster_id);
    }
}

#[test]
fn no_quorum_is_founded_where_stores_are_lost() {
    let mut cluster = Cluster::started(3);
    cluster.write(10);
    for id in cluster.alive() {
        cluster.kill(id);
        std::fs::remove_file(cluster.nodes[&id].folder.path().join("raft/db")).unwrap();
    }
    // The second time nothing is damaged any more; that a store was lost is remembered.
    for _ in 0..2 {
        cluster.start_all();
        let node = cluster.controller(NodeId(1)).node.clone();
        let founded = cluster.on(NodeId(1), async move {
            // A quorum is founded within a tenth of this.
            tokio::time::timeout(Duration::from_millis(1_300), node.wait_running()).await
        });
        assert!(founded.is_err(), "an empty quorum was founded");
        assert!(cluster.controller(NodeId(3)).node.has_lost_its_store());
        cluster.alive().into_iter().for_each(|id| cluster.kill(id));
    }
}

#[test]
fn a_quorum_of_one_founds_itself() {
    let mut cluster = Cluster::new(1);
    cluster.start(NodeId(1), Some(ClusterId::from_u128(77)));
    cluster.wait_for_leader();
    let index = cluster.write(10);
    assert_eq!(cluster.running(NodeId(1)).cluster_id, ClusterId::from_u128(77));
    // Nobody answers it, and it goes on acting all the same.
    let mut acting = cluster.controller(NodeId(1)).node.acting.subscribe();
    cluster.on(NodeId(1), async move {
        let stopped = tokio::time::timeout(Duration::from_millis(1_300), acting.wait_for(Option::is_none));
        assert!(stopped.await.is_err(), "it stopped acting");
    });
    cluster.write(11);
    cluster.kill(NodeId(1));
    cluster.start(NodeId(1), None);
    cluster.wait_for_leader();
    cluster.wait_for_applied(NodeId(1), index);
}

#[test]
fn a_lost_quorum_is_rebuilt_from_a_snapshot_and_the_log_after_it() {
    let mut cluster = Cluster::started(3);
    let survivor = NodeId(2);
    let index = cluster.write(10);
    cluster.wait_for_applied(survivor, index);
    let raft = cluster.running(survivor).raft;
    cluster.on(survivor, async move { raft.trigger().snapshot().await.unwrap() });
    cluster.wait_for_metrics(survivor, "a snapshot is made", |metrics| metrics.snapshot.is_some());
    let after_snapshot = cluster.write(12);
    cluster.wait_for_applied(survivor, after_snapshot);
    let old = cluster.running(survivor);
    for id in cluster.alive() {
        cluster.kill(id);
    }
    let node = &cluster.nodes[&survivor];
    let plan = crate::recover::plan(node.folder.path(), survivor, &node.address).unwrap();
    assert_eq!(plan.cluster_id, old.cluster_id);
    assert!(
        plan.source
            .snapshot
            .as_ref()
            .is_some_and(|(_, last)| (index..after_snapshot).contains(last))
    );
    assert!(plan.source.last_index >= after_snapshot, "{plan}");
    plan.carry_out().unwrap();
    cluster.start(survivor, None);
    assert_eq!(cluster.wait_for_leader(), survivor);
    for broker in [10, 12] {
        assert!(cluster.controller(survivor).image().broker(NodeId(broker)).is_some());
    }
    let later = cluster.write(11);
    assert!(later > index + 1000, "entry {later} after entry {index}");
    // The others join with empty folders.
    cluster.wipe(NodeId(1));
    cluster.start(NodeId(1), None);
    cluster.wait_for_applied(NodeId(1), later);
}

#[test]
fn brokers_are_told_apart_from_strangers() {
    let cluster = Cluster::started(1);
    let identity = crate::NodeIdentity::new(
        NodeId(5),
        klamm_types::Incarnation::from_u128(1),
        Some(ClusterId::from_u128(4)),
    );
    let _runtime = cluster.runtime.enter();
    let client = crate::ControllerClient::new(cluster.addresses.clone(), identity).unwrap();
    let request = super::harness::registration(5, 1, "127.0.0.1:1");
    let refused = cluster.runtime.block_on(client.submit(request, LIMIT));
    assert!(matches!(refused, Err(crate::SubmitError::Refused(_))), "{refused:?}");
}
