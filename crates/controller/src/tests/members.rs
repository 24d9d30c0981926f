//! Lost stores, new voters, removed voters, strangers.

use klamm_types::{ClusterId, ErrorCode, NodeId};

use super::harness::Cluster;
use crate::quorum::describe::QuorumDescription;
use crate::{VoterAction, VoterChange};

fn voters(description: &QuorumDescription) -> Vec<NodeId> {
    let mut voters: Vec<NodeId> = description
        .members
        .iter()
        .filter(|member| member.is_voter)
        .map(|member| member.node_id)
        .collect();
    voters.sort();
    voters
}

fn describe(cluster: &Cluster) -> QuorumDescription {
    let client = cluster.client();
    cluster
        .runtime
        .block_on(client.describe_quorum(super::harness::LIMIT))
        .unwrap()
}

#[test]
fn a_wiped_voter_returns_as_another() {
    let mut cluster = Cluster::started(3);
    let leader = cluster.wait_for_leader();
    let index = cluster.write(10);
    let wiped = cluster.alive().into_iter().find(|id| *id != leader).unwrap();
    let old = cluster.running(wiped).raft_id;
    cluster.kill(wiped);
    cluster.wipe(wiped);
    cluster.start(wiped, None);
    cluster.wait_for_applied(wiped, index);
    let new = cluster.running(wiped).raft_id;
    assert!(new > old, "Raft id {new} after {old}");
    cluster.wait_for_metrics(leader, "the store takes its place", |metrics| {
        let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
        metrics.membership_config.get_joint_config().len() == 1 && voters.contains(&new) && !voters.contains(&old)
    });
    // It counts: with it and without another the quorum goes on.
    let third = cluster
        .alive()
        .into_iter()
        .find(|id| *id != leader && *id != wiped)
        .unwrap();
    cluster.kill(third);
    let index = cluster.write(11);
    cluster.wait_for_applied(wiped, index);
}

#[test]
fn voters_come_and_go() {
    let mut cluster = Cluster::started(3);
    cluster.write(10);
    cluster.add_node(NodeId(4));
    cluster.start(NodeId(4), None);
    let index = cluster.write(11);
    cluster.wait_for_applied(NodeId(4), index);
    let client = cluster.client();
    let change = |node: i32, action| {
        let change = VoterChange {
            node_id: NodeId(node),
            store_id: None,
            action,
        };
        cluster
            .runtime
            .block_on(client.change_voters(change, super::harness::LIMIT))
    };
    let observers: Vec<NodeId> = describe(&cluster)
        .members
        .iter()
        .filter(|member| !member.is_voter)
        .map(|member| member.node_id)
        .collect();
    assert_eq!(observers, [NodeId(4)]);
    assert_eq!(change(4, VoterAction::Add), Ok(()));
    assert_eq!(
        change(4, VoterAction::Add).map_err(|error| error.code),
        Err(ErrorCode::DuplicateVoter)
    );
    assert_eq!(voters(&describe(&cluster)), [1, 2, 3, 4].map(NodeId));
    assert_eq!(
        change(9, VoterAction::Remove).map_err(|error| error.code),
        Err(ErrorCode::VoterNotFound)
    );
    let leader = describe(&cluster).leader.unwrap();
    let gone = cluster
        .alive()
        .into_iter()
        .find(|id| *id != leader && *id != NodeId(4))
        .unwrap();
    assert_eq!(change(gone.0, VoterAction::Remove), Ok(()));
    let description = describe(&cluster);
    assert!(!voters(&description).contains(&gone));
    // Still alive, it goes on as an observer.
    let index = cluster.write(12);
    cluster.wait_for_applied(gone, index);
    let leading = description
        .members
        .iter()
        .find(|member| Some(member.node_id) == description.leader)
        .unwrap();
    assert!(leading.is_voter && leading.log_end_offset > 0 && leading.last_fetch.0 > 0);
}

/// Its Raft goes on naming the leader that removed it, which sends it nothing any more.
#[test]
fn a_voter_that_was_removed_while_it_was_away_comes_back() {
    let mut cluster = Cluster::started(3);
    let leader = cluster.wait_for_leader();
    let index = cluster.write(10);
    let away = cluster.alive().into_iter().find(|id| *id != leader).unwrap();
    cluster.wait_for_applied(away, index);
    let raft_id = cluster.running(away).raft_id;
    cluster.kill(away);
    let leading = cluster.running(leader);
    cluster.wait_for_metrics(leader, "the voter is missed", |metrics| {
        !crate::quorum::voters::is_alive(&leading, metrics, raft_id)
    });
    let change = VoterChange {
        node_id: away,
        store_id: None,
        action: VoterAction::Remove,
    };
    let client = cluster.client();
    let removed = cluster
        .runtime
        .block_on(client.change_voters(change, super::harness::LIMIT));
    assert_eq!(removed, Ok(()));
    assert!(describe(&cluster).members.iter().all(|member| member.node_id != away));
    cluster.start(away, None);
    cluster.wait_for_metrics(leader, "it is a member again", |metrics| {
        metrics.membership_config.get_node(&raft_id).is_some()
    });
    let index = cluster.write(11);
    cluster.wait_for_applied(away, index);
}

/// A fresh store asks the founders alone; they pass its wish on.
#[test]
fn a_wiped_founder_returns_while_a_later_node_leads() {
    let mut cluster = Cluster::started(3);
    cluster.add_node(NodeId(4));
    cluster.start(NodeId(4), None);
    let index = cluster.write(10);
    cluster.wait_for_applied(NodeId(4), index);
    let change = VoterChange {
        node_id: NodeId(4),
        store_id: None,
        action: VoterAction::Add,
    };
    let client = cluster.client();
    let added = cluster
        .runtime
        .block_on(client.change_voters(change, super::harness::LIMIT));
    assert_eq!(added, Ok(()));
    cluster.make_leader(NodeId(4));
    cluster.kill(NodeId(3));
    cluster.wipe(NodeId(3));
    cluster.start(NodeId(3), None);
    let index = cluster.write(11);
    cluster.wait_for_applied(NodeId(3), index);
}

#[test]
fn a_controller_of_another_cluster_is_a_stranger() {
    let mut cluster = Cluster::started(3);
    let leader = cluster.wait_for_leader();
    let index = cluster.write(10);
    let stranger = cluster.alive().into_iter().find(|id| *id != leader).unwrap();
    cluster.kill(stranger);
    cluster.wipe(stranger);
    cluster.start(stranger, Some(ClusterId::from_u128(4711)));
    // The others go on; the stranger is not taken in.
    let next = cluster.write(11);
    assert!(next > index);
    assert!(cluster.controller(stranger).node.running().is_none());
    let node = cluster.controller(stranger).node.clone();
    let address = cluster.addresses[&leader].clone();
    let refused = cluster.on(stranger, async move {
        crate::quorum::bootstrap::ask_to_join(&node, &address).await
    });
    assert!(refused.is_err_and(|text| text.contains("cluster")));
}
