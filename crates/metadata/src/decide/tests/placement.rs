//! Where replicas go: even over brokers, spread over racks.

use std::collections::{BTreeMap, BTreeSet};

use klamm_types::NodeId;

use super::script::World;

#[test]
fn leaders_and_replicas_are_spread_evenly() {
    let mut world = World::with_brokers(3);
    world.run("create t partitions=12 rf=2");
    world.run("create u partitions=6 rf=3");
    let mut leaders: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut replicas: BTreeMap<NodeId, usize> = BTreeMap::new();
    for (_, _, state) in world.image.partitions() {
        *leaders.entry(state.leader.unwrap()).or_default() += 1;
        for &replica in &state.replicas {
            *replicas.entry(replica).or_default() += 1;
        }
    }
    assert_eq!(leaders.into_values().collect::<Vec<_>>(), [6, 6, 6]);
    assert_eq!(replicas.into_values().collect::<Vec<_>>(), [14, 14, 14]);
}

#[test]
fn many_small_topics_do_not_all_begin_on_one_broker() {
    let mut world = World::with_brokers(3);
    for number in 0..30 {
        world.run(&format!("create t{number} partitions=1 rf=1"));
    }
    let mut leaders: BTreeMap<NodeId, usize> = BTreeMap::new();
    for (_, _, state) in world.image.partitions() {
        *leaders.entry(state.leader.unwrap()).or_default() += 1;
    }
    assert_eq!(leaders.into_values().collect::<Vec<_>>(), [10, 10, 10]);
}

#[test]
fn each_partition_spans_the_racks() {
    let mut world = World::new();
    let racks = ["a", "a", "a", "b", "b", "c"];
    for (rack, broker) in racks.iter().zip(1..) {
        world.run(&format!("register {broker} rack={rack}"));
        world.run(&format!("unfence {broker}"));
    }
    world.run("create t partitions=12 rf=3");
    for (_, partition, state) in world.image.partitions() {
        let spanned: BTreeSet<&str> = state.replicas.iter().map(|id| racks[id.0 as usize - 1]).collect();
        assert_eq!(spanned.len(), 3, "partition {partition}: {:?}", state.replicas);
    }
}

#[test]
fn the_first_replica_is_alive() {
    let mut world = World::with_brokers(3);
    world.run("fence 2");
    world.run("create t partitions=9 rf=3");
    for (_, _, state) in world.image.partitions() {
        assert_eq!(state.leader, state.replicas.first().copied());
        assert_eq!(state.replicas.last(), Some(&NodeId(2)), "a fenced broker comes last");
        assert_eq!(state.isr.len(), 2);
    }
}
