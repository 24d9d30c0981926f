//! The fast election: in every order of ids and logs, and when the leader is not dead at all.

use std::time::Instant;

use klamm_types::NodeId;
use openraft::raft::TransferLeaderRequest;

use super::harness::{Cluster, LIMIT, free_address};
use crate::quorum::election;

/// The leader cannot reach `lagging`, writes, and dies: the other survivor leads.
fn the_survivor_with_the_log_leads(leader: i32, lagging: i32) {
    let (leader, lagging) = (NodeId(leader), NodeId(lagging));
    let survivor = NodeId(6 - leader.0 - lagging.0);
    let mut cluster = Cluster::new(3);
    cluster.wrong.insert((leader, lagging), free_address());
    cluster.start_all();
    cluster.wait_for_leader();
    cluster.make_leader(leader);
    let index = cluster.write(10);
    cluster.wait_for_applied(survivor, index);
    assert!(*cluster.controller(lagging).watch_applied().borrow() < index);
    let killed = Instant::now();
    cluster.kill(leader);
    assert_eq!(cluster.wait_for_leader(), survivor);
    let index = cluster.write(11);
    println!(
        "leader {leader} killed, {lagging} lagging: written after {:?}",
        killed.elapsed()
    );
    cluster.wait_for_applied(lagging, index);
}

#[test]
fn a_lagging_survivor_with_the_lower_id_does_not_lead() {
    the_survivor_with_the_log_leads(2, 1);
}

#[test]
fn a_lagging_survivor_with_the_higher_id_does_not_lead() {
    the_survivor_with_the_log_leads(2, 3);
}

#[test]
fn a_living_leader_survives_rumours() {
    let cluster = Cluster::started(3);
    let leader = cluster.wait_for_leader();
    let led = cluster.running(leader);
    let vote = led.leadership();
    let followers: Vec<NodeId> = cluster.alive().into_iter().filter(|id| *id != leader).collect();
    // Every follower is told again and again that the leader is dead; each looks for itself.
    for _ in 0..20 {
        for id in &followers {
            cluster.controller(*id).node.hints.try_send(led.raft_id).ok();
        }
    }
    // One follower believes it and campaigns; the other's lease holds.
    let deceived = cluster.running(followers[0]);
    let dead = led.raft_id;
    cluster.on(followers[0], async move {
        let old = deceived.raft.with_raft_state(|state| *state.vote_ref()).await.unwrap();
        let last = election::last_flushed(&deceived.raft);
        let request = TransferLeaderRequest::new(old, dead, last);
        deceived.raft.handle_transfer_leader(request).await.unwrap().unwrap();
        for _ in 0..5 {
            deceived.raft.trigger().elect(true).await.unwrap();
        }
    });
    let index = cluster.write(10);
    for id in &followers {
        cluster.wait_for_applied(*id, index);
    }
    assert_eq!(cluster.running(leader).leadership(), vote, "the leader was deposed");
}

#[test]
fn a_leader_without_a_majority_stops_acting_until_it_has_one() {
    let mut cluster = Cluster::started(3);
    let leader = cluster.wait_for_leader();
    let index = cluster.write(10);
    let followers: Vec<NodeId> = cluster.alive().into_iter().filter(|id| *id != leader).collect();
    for id in &followers {
        cluster.kill(*id);
    }
    let mut acting = cluster.controller(leader).node.acting.subscribe();
    cluster.on(leader, async move {
        assert!(acting.wait_for(Option::is_none).await.is_ok())
    });
    for id in &followers {
        cluster.start(*id, None);
    }
    cluster.wait_for_leader();
    assert!(cluster.write(11) > index);
}

#[test]
fn metadata_is_followed_from_survivors() {
    let mut cluster = Cluster::started(3);
    let leader = cluster.wait_for_leader();
    let first = cluster.write(10);
    let client = cluster.client();
    let mut follower = {
        let _runtime = cluster.runtime.enter();
        client.follow_metadata(0)
    };
    cluster.kill(leader);
    let second = cluster.write(11);
    let mut seen = Vec::new();
    cluster.runtime.block_on(async {
        while seen.last().is_none_or(|index| *index < second) {
            let next = tokio::time::timeout(LIMIT, follower.next()).await;
            match next.unwrap().expect("the stream goes on") {
                crate::MetadataEvent::Snapshot(image) => seen.push(image.applied_index()),
                crate::MetadataEvent::Batch { index, .. } => seen.push(index),
                crate::MetadataEvent::Committed { .. } => {}
            }
        }
    });
    assert!(seen.is_sorted() && seen.contains(&first), "{seen:?}");
}
