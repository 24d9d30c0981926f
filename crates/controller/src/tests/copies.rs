//! Controllers whose disks are old copies of themselves.

use std::time::{Duration, Instant};

use bytes::Bytes;
use klamm_proto::quorum::v1::HelloRequest;
use klamm_types::{Incarnation, NodeId};
use tempfile::TempDir;

use super::harness::{Cluster, LIMIT};
use crate::network::channel;
use crate::network::peers::client;
use crate::store::Identity;
use crate::store::ages::StoreAge;

/// The node is started again on the old copy. It must come back as another member, and count.
fn joins_again(cluster: &mut Cluster, id: NodeId, old: u64, index: u64) {
    cluster.wait_for_applied(id, index);
    let new = cluster.running(id).raft_id;
    assert!(new > old, "Raft id {new} after {old}");
    let leader = cluster.wait_for_leader();
    cluster.wait_for_metrics(leader, "the fresh store takes its place", |metrics| {
        let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
        metrics.membership_config.get_joint_config().len() == 1 && voters.contains(&new) && !voters.contains(&old)
    });
    assert!(cluster.controller(id).image().broker(NodeId(10)).is_some());
    let third = cluster
        .alive()
        .into_iter()
        .find(|other| *other != leader && *other != id);
    cluster.kill(third.unwrap());
    let index = cluster.write(20);
    cluster.wait_for_applied(id, index);
}

/// The node lives on, is killed, and is started again on the copy. The Raft id that it had, and an entry that it had applied.
fn goes_back(cluster: &mut Cluster, id: NodeId, kept: TempDir) -> (u64, u64) {
    cluster.start(id, None);
    let old = cluster.running(id).raft_id;
    let index = cluster.write(10);
    cluster.wait_for_applied(id, index);
    cluster.kill(id);
    cluster.restore(id, kept);
    cluster.start(id, None);
    (old, index)
}

#[test]
fn a_follower_on_an_old_copy_joins_again() {
    let mut cluster = Cluster::started(3);
    let id = NodeId(3);
    cluster.make_leader(NodeId(1));
    cluster.stop(id);
    let kept = cluster.keep(id);
    let (old, index) = goes_back(&mut cluster, id, kept);
    joins_again(&mut cluster, id, old, index);
}

#[test]
fn a_former_leader_on_an_old_copy_joins_again() {
    let mut cluster = Cluster::started(3);
    let id = NodeId(1);
    cluster.stop(id);
    let kept = cluster.keep(id);
    cluster.start(id, None);
    let old = cluster.running(id).raft_id;
    cluster.make_leader(id);
    let index = cluster.write(10);
    cluster.kill(id);
    cluster.wait_for_leader();
    cluster.restore(id, kept);
    cluster.start(id, None);
    joins_again(&mut cluster, id, old, index);
}

/// A copy made while the store ran is as old as the store was last seen. What it has promised tells it all the same.
#[test]
fn a_copy_of_the_same_age_is_known_by_the_entries_it_lacks() {
    let mut cluster = Cluster::started(3);
    let id = NodeId(3);
    cluster.make_leader(NodeId(1));
    cluster.stop(id);
    let kept = cluster.keep(id);
    let mut identity = Identity::read(kept.path()).unwrap().unwrap();
    identity.age += 1_000;
    identity.write(kept.path()).unwrap();
    cluster.start(id, None);
    let old = cluster.running(id).raft_id;
    let index = cluster.write(10);
    cluster.wait_for_metrics(NodeId(1), "the entry is acknowledged", |metrics| {
        let matched = metrics
            .replication
            .as_ref()
            .and_then(|map| map.get(&old).copied().flatten());
        matched.is_some_and(|id| id.index >= index)
    });
    cluster.kill(id);
    cluster.restore(id, kept);
    cluster.start(id, None);
    joins_again(&mut cluster, id, old, index);
}

/// Only node 1 and the store of node 3 before its restore have the entry. Nodes 2 and 3 are a majority, and must not act
/// as one.
#[test]
fn an_old_copy_is_no_majority_with_a_voter_that_lacks_the_entry() {
    let mut cluster = Cluster::started(3);
    let (holder, behind, id) = (NodeId(1), NodeId(2), NodeId(3));
    cluster.stop(id);
    let kept = cluster.keep(id);
    cluster.start(id, None);
    let old = cluster.running(id).raft_id;
    cluster.make_leader(holder);
    let start = cluster.write(9);
    cluster.wait_for_applied(id, start);
    cluster.wait_for_applied(behind, start);
    cluster.kill(behind);
    let index = cluster.write(10);
    cluster.kill(holder);
    cluster.kill(id);
    cluster.restore(id, kept);
    cluster.start(behind, None);
    cluster.start(id, None);
    let until = Instant::now() + LIMIT;
    while !cluster.controller(id).node.has_lost_its_store() {
        assert!(Instant::now() < until, "the old copy is not known for what it is");
        let node = cluster.controller(id).node.clone();
        let takes_part = cluster.on(id, async move {
            let pause = Duration::from_millis(2);
            tokio::time::timeout(pause, node.wait_running()).await.is_ok()
        });
        assert!(!takes_part, "the old copy takes part");
    }
    for alive in [behind, id] {
        assert!(cluster.controller(alive).node.acting.borrow().is_none());
    }
    cluster.start(holder, None);
    joins_again(&mut cluster, id, old, index);
}

/// It looks fresh, and asks to be taken in; the quorum knows its store id, and gives it the Raft id of its later life.
#[test]
fn a_copy_made_before_anything_was_written_is_no_member_again() {
    let mut cluster = Cluster::started(3);
    let id = NodeId(4);
    cluster.add_node(id);
    let others = cluster.alive();
    for other in &others {
        cluster.kill(*other);
    }
    cluster.start(id, None);
    cluster.kill(id);
    let kept = cluster.keep(id);
    assert_eq!(Identity::read(kept.path()).unwrap().unwrap().raft_id, None);
    for other in others {
        cluster.start(other, None);
    }
    let (old, index) = goes_back(&mut cluster, id, kept);
    let new = cluster.running(id).raft_id;
    assert!(new > old, "Raft id {new} after {old}");
    cluster.wait_for_applied(id, index);
}

/// The others that are there when it starts know nothing of it: it takes part until one comes that does.
#[test]
fn an_old_copy_ends_when_somebody_comes_who_knows() {
    let mut cluster = Cluster::started(3);
    let (knows, ignorant, id) = (NodeId(1), NodeId(2), NodeId(3));
    cluster.make_leader(knows);
    let index = cluster.write(10);
    cluster.wait_for_applied(ignorant, index);
    cluster.wait_for_applied(id, index);
    cluster.kill(ignorant);
    cluster.stop(id);
    let kept = cluster.keep(id);
    for _ in 0..2 {
        cluster.start(id, None);
        cluster.running(id);
        cluster.kill(id);
    }
    let old = Identity::read(kept.path()).unwrap().unwrap().raft_id.unwrap();
    cluster.kill(knows);
    cluster.restore(id, kept);
    cluster.start(ignorant, None);
    cluster.start(id, None);
    assert_eq!(cluster.running(id).raft_id, old);
    cluster.wait_for_leader();
    cluster.start(knows, None);
    let failed = cluster.controller(id).failed();
    let reason = cluster.on(id, failed);
    assert!(reason.contains("old copy"), "{reason}");
    cluster.kill(id);
    cluster.start(id, None);
    joins_again(&mut cluster, id, old, index);
}

/// Else a word to two nodes would put the third one's store aside.
#[test]
fn a_stranger_cannot_tell_of_a_stores_age() {
    let mut cluster = Cluster::started(3);
    let id = NodeId(3);
    let old = cluster.running(id).raft_id;
    let told = StoreAge {
        raft_id: old,
        age: 1_000_000,
        incarnation: Incarnation::from_u128(7),
    };
    for cluster_id in [Bytes::new(), Bytes::from_static(&[7; 16])] {
        let hello = HelloRequest {
            node_id: id.0,
            cluster_id: cluster_id.clone(),
            store: Some(told.to_wire()),
        };
        let address = &cluster.addresses[&NodeId(1)];
        let telling = async { client(channel::lazy(address).unwrap()).hello(hello).await };
        let reply = cluster.runtime.block_on(telling);
        assert_eq!(reply.is_ok(), cluster_id.is_empty(), "{reply:?}");
    }
    cluster.stop(id);
    cluster.start(id, None);
    assert_eq!(cluster.running(id).raft_id, old);
}
