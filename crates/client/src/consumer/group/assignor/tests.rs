//! Tables for each assignor, and properties of all: one owner each, balance, stickiness, nothing given that is held.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn member(id: &str, topics: &[&str]) -> MemberFacts {
    MemberFacts {
        member_id: id.to_owned(),
        instance_id: None,
        topics: topics.iter().map(|&topic| Arc::from(topic)).collect(),
        owned: BTreeSet::new(),
        generation: -1,
    }
}

fn holding(id: &str, topics: &[&str], generation: i32, owned: &[(&str, i32)]) -> MemberFacts {
    MemberFacts {
        owned: owned
            .iter()
            .map(|&(topic, number)| TopicPartition::new(topic, number))
            .collect(),
        generation,
        ..member(id, topics)
    }
}

fn counts(topics: &[(&str, i32)]) -> PartitionCounts {
    topics.iter().map(|&(topic, count)| (Arc::from(topic), count)).collect()
}

/// One line per member.
fn shown(assignment: &Assignment) -> Vec<String> {
    let line = |(id, given): (&String, &BTreeSet<TopicPartition>)| {
        let given: Vec<String> = given.iter().map(ToString::to_string).collect();
        format!("{id}: {}", given.join(" "))
    };
    assignment.iter().map(line).collect()
}

#[test]
fn range_gives_neighbours_of_each_topic() {
    let members = [member("b", &["t", "u"]), member("a", &["t", "u"]), member("c", &["u"])];
    let given = assign(Assignor::Range, &members, &counts(&[("t", 3), ("u", 4), ("v", 9)]));
    assert_eq!(shown(&given), ["a: t-0 t-1 u-0 u-1", "b: t-2 u-2", "c: u-3"]);
}

#[test]
fn static_members_come_first_by_instance() {
    let fixed = |id: &str, instance: &str| MemberFacts {
        instance_id: Some(instance.to_owned()),
        ..member(id, &["t"])
    };
    let members = [member("a", &["t"]), fixed("z", "1"), fixed("y", "2")];
    let given = assign(Assignor::Range, &members, &counts(&[("t", 4)]));
    assert_eq!(shown(&given), ["a: t-3", "y: t-2", "z: t-0 t-1"]);
}

#[test]
fn round_robin_deals_all_topics_in_one_go() {
    let members = [member("a", &["t", "u"]), member("b", &["t", "u"])];
    let given = assign(Assignor::RoundRobin, &members, &counts(&[("t", 3), ("u", 3)]));
    assert_eq!(shown(&given), ["a: t-0 t-2 u-1", "b: t-1 u-0 u-2"]);
    let members = [
        member("a", &["t"]),
        member("b", &["t", "u"]),
        member("c", &["t", "u", "v"]),
    ];
    let given = assign(Assignor::RoundRobin, &members, &counts(&[("t", 1), ("u", 2), ("v", 3)]));
    assert_eq!(shown(&given), ["a: t-0", "b: u-0", "c: u-1 v-0 v-1 v-2"]);
}

#[test]
fn sticky_takes_from_the_holder_first_and_gives_one_round_later() {
    let owned = [("t", 0), ("t", 1), ("t", 2), ("t", 3)];
    let members = [holding("a", &["t"], 3, &owned), member("b", &["t"])];
    let given = assign(Assignor::CooperativeSticky, &members, &counts(&[("t", 4)]));
    assert_eq!(shown(&given), ["a: t-0 t-1", "b: "]);
    let members = [holding("a", &["t"], 4, &owned[..2]), holding("b", &["t"], 4, &[])];
    let given = assign(Assignor::CooperativeSticky, &members, &counts(&[("t", 4)]));
    assert_eq!(shown(&given), ["a: t-0 t-1", "b: t-2 t-3"]);
}

#[test]
fn sticky_believes_the_later_generation_and_nobody_of_two_of_the_same() {
    let stale = holding("a", &["t"], 3, &[("t", 0)]);
    let fresh = holding("b", &["t"], 4, &[("t", 0)]);
    let given = assign(Assignor::CooperativeSticky, &[stale, fresh], &counts(&[("t", 1)]));
    assert_eq!(shown(&given), ["a: ", "b: t-0"]);
    let one = holding("a", &["t"], 4, &[("t", 0)]);
    let other = holding("b", &["t"], 4, &[("t", 0)]);
    let given = assign(Assignor::CooperativeSticky, &[one, other], &counts(&[("t", 1)]));
    assert_eq!(shown(&given), ["a: ", "b: "]);
}

#[test]
fn sticky_shifts_load_over_a_third_member() {
    // a can give only t, to b; b can give only u, to c. Two hops make it even.
    let members = [
        holding("a", &["t"], 1, &[("t", 0), ("t", 1), ("t", 2)]),
        holding("b", &["t", "u"], 1, &[("u", 0), ("u", 1)]),
        holding("c", &["u"], 1, &[("u", 2)]),
    ];
    let (given, rounds) = settle(members.to_vec(), &counts(&[("t", 3), ("u", 3)]));
    let loads: Vec<usize> = given.values().map(BTreeSet::len).collect();
    assert_eq!((loads, rounds), (vec![2, 2, 2], 2));
}

/// Repeats cooperative rounds until nobody has to let go of anything; says how many it took.
fn settle(mut members: Vec<MemberFacts>, counts: &PartitionCounts) -> (Assignment, usize) {
    for round in 1..10 {
        let given = assign(Assignor::CooperativeSticky, &members, counts);
        let mut released = false;
        for member in &mut members {
            let assigned = &given[&member.member_id];
            released |= member.owned.iter().any(|key| !assigned.contains(key));
            member.owned = assigned.clone();
            member.generation = member.generation.max(0) + 1;
        }
        let generation = members.iter().map(|member| member.generation).max().unwrap_or(0);
        members.iter_mut().for_each(|member| member.generation = generation);
        if !released {
            return (given, round);
        }
    }
    panic!("does not settle");
}

const TOPICS: [&str; 4] = ["t", "u", "v", "w"];

/// A group: per member a subscription, and what it says to hold.
fn groups() -> impl Strategy<Value = (Vec<MemberFacts>, PartitionCounts)> {
    let member = (
        prop::collection::btree_set(0..4usize, 0..=4),
        prop::collection::btree_set((0..4usize, 0..7i32), 0..6),
        0..3i32,
        prop::option::of(0..3u8),
    );
    let members = prop::collection::vec(member, 1..7);
    (members, prop::collection::vec(0..7i32, 4)).prop_map(|(members, sizes)| {
        let build = |(index, (topics, owned, generation, _)): (usize, (BTreeSet<usize>, _, i32, Option<u8>))| {
            let owned: BTreeSet<(usize, i32)> = owned;
            let owned: Vec<(&str, i32)> = owned.iter().map(|&(topic, number)| (TOPICS[topic], number)).collect();
            let topics: Vec<&str> = topics.iter().map(|&topic| TOPICS[topic]).collect();
            holding(&format!("m{index}"), &topics, generation, &owned)
        };
        let members = members.into_iter().enumerate().map(build).collect();
        let counts = TOPICS
            .iter()
            .zip(sizes)
            .map(|(&topic, size)| (Arc::from(topic), size))
            .collect();
        (members, counts)
    })
}

/// Who gets each partition. Fails if one has two owners, or an owner that does not subscribe, or does not exist.
fn owners(members: &[MemberFacts], counts: &PartitionCounts, given: &Assignment) -> BTreeMap<TopicPartition, String> {
    let mut owners = BTreeMap::new();
    for member in members {
        for key in &given[&member.member_id] {
            assert!(member.topics.contains(&key.topic) && key.partition.0 < counts[&key.topic]);
            let before = owners.insert(key.clone(), member.member_id.clone());
            assert_eq!(before, None, "{key} has two owners");
        }
    }
    owners
}

fn wanted(members: &[MemberFacts], counts: &PartitionCounts) -> usize {
    let topics = subscribed(members, counts);
    topics.iter().map(|&(_, count)| usize::try_from(count).unwrap()).sum()
}

/// The smallest sum of squared loads that any assignment has, by trying all. Exponential, so only for small groups.
fn least_uneven(members: &[MemberFacts], keys: &[TopicPartition], loads: &mut Vec<usize>) -> usize {
    let Some((key, rest)) = keys.split_first() else {
        return loads.iter().map(|load| load * load).sum();
    };
    let mut best = usize::MAX;
    for index in 0..members.len() {
        if members[index].topics.contains(&key.topic) {
            loads[index] += 1;
            best = best.min(least_uneven(members, rest, loads));
            loads[index] -= 1;
        }
    }
    best
}

proptest! {
    #[test]
    fn every_partition_has_exactly_one_owner((members, counts) in groups()) {
        for assignor in [Assignor::Range, Assignor::RoundRobin] {
            let given = assign(assignor, &members, &counts);
            prop_assert_eq!(owners(&members, &counts, &given).len(), wanted(&members, &counts));
        }
        let given = assign(Assignor::CooperativeSticky, &members, &counts);
        owners(&members, &counts, &given);
        let (settled, _) = settle(members.clone(), &counts);
        prop_assert_eq!(owners(&members, &counts, &settled).len(), wanted(&members, &counts));
    }

    /// The twin that knows nothing of ways and holders: no assignment at all is more even.
    #[test]
    fn sticky_is_as_even_as_can_be((members, counts) in groups()) {
        let keys: Vec<TopicPartition> = subscribed(&members, &counts)
            .into_iter()
            .flat_map(|(topic, count)| (0..count.min(2)).map(move |number| partition(topic, number)))
            .collect();
        let small: PartitionCounts = counts.iter().map(|(topic, &count)| (Arc::clone(topic), count.min(2))).collect();
        let (settled, _) = settle(members.clone(), &small);
        let uneven: usize = settled.values().map(|given| given.len() * given.len()).sum();
        prop_assert_eq!(uneven, least_uneven(&members, &keys, &mut vec![0; members.len()]));
    }

    /// With one subscription for all: loads differ by at most one, and nobody lets go of more than balance demands.
    #[test]
    fn sticky_moves_no_more_than_it_must(members in 1..6usize, partitions in 0..20i32, seed in any::<u64>()) {
        let counts = counts(&[("t", partitions)]);
        let mut group: Vec<MemberFacts> = (0..members).map(|index| holding(&format!("m{index}"), &["t"], 1, &[])).collect();
        let mut held = vec![0usize; members];
        for number in 0..partitions {
            // Any holder, or nobody.
            let pick = usize::try_from(seed.rotate_left(7 * number.unsigned_abs()) % (members as u64 + 1)).unwrap();
            if let Some(holder) = group.get_mut(pick) {
                holder.owned.insert(TopicPartition::new("t", number));
                held[pick] += 1;
            }
        }
        let (settled, rounds) = settle(group.clone(), &counts);
        let loads: Vec<usize> = settled.values().map(BTreeSet::len).collect();
        let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
        prop_assert!(most - least <= 1, "{:?}", loads);
        prop_assert!(rounds <= 2);
        let kept: usize = group.iter().map(|member| member.owned.intersection(&settled[&member.member_id]).count()).sum();
        let total = usize::try_from(partitions).unwrap();
        // The fullest members keep one more, as many of them as do not divide evenly.
        held.sort_unstable_by(|one, other| other.cmp(one));
        let quota = |index: usize| total / members + usize::from(index < total % members);
        let possible: usize = held.iter().enumerate().map(|(index, &held)| held.min(quota(index))).sum();
        prop_assert_eq!(kept, possible);
    }

    /// In each round, what another member holds is given to nobody but it.
    #[test]
    fn sticky_never_gives_what_another_holds((members, counts) in groups()) {
        let given = assign(Assignor::CooperativeSticky, &members, &counts);
        for (key, owner) in owners(&members, &counts, &given) {
            let latest = members.iter().filter(|member| member.owned.contains(&key)).map(|member| member.generation).max();
            let holders: Vec<&str> = members
                .iter()
                .filter(|member| member.owned.contains(&key) && Some(member.generation) == latest)
                .map(|member| member.member_id.as_str())
                .collect();
            prop_assert!(holders.is_empty() || holders == [owner.as_str()]);
        }
    }
}
