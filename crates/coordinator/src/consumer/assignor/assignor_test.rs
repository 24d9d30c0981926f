//! What targets must be, whatever the input: complete, even, sticky; and some of them to the last partition.

use std::collections::{BTreeMap, BTreeSet};

use klamm_types::TopicId;

use crate::call::PartitionsByTopic;
use crate::consumer::world::{Dice, partitions, topic_id};

use super::{Assignee, Input, Subject, assign};

/// Owns what an [`Input`] borrows.
#[derive(Clone, Debug, Default)]
struct Scene {
    /// Topic number, and the racks of each partition.
    topics: BTreeMap<u128, Vec<BTreeSet<String>>>,
    members: BTreeMap<String, Who>,
}

#[derive(Clone, Debug, Default)]
struct Who {
    instance: Option<String>,
    rack: Option<String>,
    wants: BTreeSet<u128>,
    target: PartitionsByTopic,
}

impl Scene {
    fn topic(mut self, number: u128, count: usize) -> Scene {
        self.topics.insert(number, vec![BTreeSet::new(); count]);
        self
    }

    fn member(mut self, id: &str, wants: &[u128]) -> Scene {
        let who = Who {
            wants: wants.iter().copied().collect(),
            ..Who::default()
        };
        self.members.insert(id.to_owned(), who);
        self
    }

    fn run(&self, name: &str) -> BTreeMap<String, PartitionsByTopic> {
        let mut subscriptions: Vec<Vec<usize>> = Vec::new();
        let mut members = Vec::new();
        for (id, who) in &self.members {
            let wants: Vec<usize> = self
                .topics
                .keys()
                .enumerate()
                .filter(|(_, topic)| who.wants.contains(topic))
                .map(|(index, _)| index)
                .collect();
            let known = subscriptions.iter().position(|other| *other == wants);
            let subscription = known.unwrap_or_else(|| {
                subscriptions.push(wants);
                subscriptions.len() - 1
            });
            members.push(Assignee {
                id,
                instance: who.instance.as_deref(),
                rack: who.rack.as_deref(),
                subscription,
                target: &who.target,
            });
        }
        let topics = self.topics.iter();
        let input = Input {
            members,
            topics: topics
                .map(|(number, racks)| Subject {
                    id: topic_id(*number),
                    racks,
                })
                .collect(),
            subscriptions,
        };
        self.members.keys().cloned().zip(assign(name, &input)).collect()
    }

    /// Assigns and remembers; returns how many partitions somebody lost who still could have had them.
    fn settle(&mut self, name: &str) -> usize {
        let targets = self.run(name);
        self.check_complete(&targets);
        let mut moved = 0;
        for (id, target) in targets {
            let wants: BTreeSet<TopicId> = self.members[&id].wants.iter().map(|number| topic_id(*number)).collect();
            for (topic, partitions) in &self.members[&id].target {
                let kept = target.get(topic);
                let exists = |partition: &i32| {
                    let racks = self.topics.iter().find(|(number, _)| topic_id(**number) == *topic);
                    racks.is_some_and(|(_, racks)| usize::try_from(*partition).unwrap() < racks.len())
                };
                if wants.contains(topic) {
                    moved += partitions
                        .iter()
                        .filter(|partition| exists(partition) && !kept.is_some_and(|kept| kept.contains(partition)))
                        .count();
                }
            }
            self.members.get_mut(&id).unwrap().target = target;
        }
        moved
    }

    /// Every partition that somebody wants has one owner, who wants it.
    fn check_complete(&self, targets: &BTreeMap<String, PartitionsByTopic>) {
        let mut given = BTreeSet::new();
        for (id, target) in targets {
            for (topic, partitions) in target {
                let wanted = self.members[id].wants.iter().any(|number| topic_id(*number) == *topic);
                assert!(wanted, "{id} gets what it does not want");
                assert!(!partitions.is_empty());
                for partition in partitions {
                    assert!(given.insert((*topic, *partition)), "given twice");
                }
            }
        }
        let mut all = BTreeSet::new();
        for (number, racks) in &self.topics {
            if self.members.values().any(|who| who.wants.contains(number)) {
                all.extend((0..racks.len()).map(|partition| (topic_id(*number), i32::try_from(partition).unwrap())));
            }
        }
        assert_eq!(given, all);
    }

    fn loads(&self) -> BTreeMap<String, usize> {
        let load = |who: &Who| who.target.values().map(BTreeSet::len).sum();
        self.members.iter().map(|(id, who)| (id.clone(), load(who))).collect()
    }

    /// Whether partitions could be passed on, from one to the next, so that loads get more even. A twin of the search
    /// in the assignor: the reach of every member by repeated joining.
    fn can_be_more_even(&self) -> bool {
        let loads = self.loads();
        let names: Vec<&String> = self.members.keys().collect();
        let mut reach: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
        for (id, who) in &self.members {
            for topic in who.target.keys() {
                let takers = names.iter().filter(|other| {
                    let wants = &self.members[**other].wants;
                    wants.iter().any(|number| topic_id(*number) == *topic)
                });
                reach.entry(id).or_default().extend(takers);
            }
        }
        loop {
            let wider: BTreeMap<&String, BTreeSet<&String>> = reach
                .iter()
                .map(|(id, near)| {
                    let far = near.iter().filter_map(|other| reach.get(other)).flatten();
                    (*id, near.iter().chain(far).copied().collect())
                })
                .collect();
            if wider == reach {
                break;
            }
            reach = wider;
        }
        reach
            .iter()
            .any(|(id, reach)| reach.iter().any(|other| loads[*other] + 2 <= loads[*id]))
    }
}

#[test]
fn uniform_deals_out_in_turn() {
    let scene = Scene::default()
        .topic(1, 3)
        .topic(2, 2)
        .member("a", &[1, 2])
        .member("b", &[1, 2]);
    assert_eq!(
        scene.run("uniform"),
        BTreeMap::from([
            ("a".to_owned(), partitions(&[(1, &[0, 2]), (2, &[1])])),
            ("b".to_owned(), partitions(&[(1, &[1]), (2, &[0])])),
        ])
    );
}

#[test]
fn uniform_takes_from_every_topic_alike_when_a_member_comes() {
    let mut scene = Scene::default().topic(1, 4).topic(2, 4).member("a", &[1, 2]);
    scene.settle("uniform");
    scene = scene.member("b", &[1, 2]);
    assert_eq!(
        scene.run("uniform"),
        BTreeMap::from([
            ("a".to_owned(), partitions(&[(1, &[0, 1]), (2, &[0, 1])])),
            ("b".to_owned(), partitions(&[(1, &[2, 3]), (2, &[2, 3])])),
        ])
    );
}

#[test]
fn range_gives_neighbours_and_static_members_come_first() {
    let mut scene = Scene::default()
        .topic(1, 5)
        .topic(2, 1)
        .member("a", &[1, 2])
        .member("b", &[1, 2])
        .member("c", &[1]);
    scene.members.get_mut("b").unwrap().instance = Some("static".to_owned());
    assert_eq!(
        scene.run("range"),
        BTreeMap::from([
            ("a".to_owned(), partitions(&[(1, &[2, 3])])),
            ("b".to_owned(), partitions(&[(1, &[0, 1]), (2, &[0])])),
            ("c".to_owned(), partitions(&[(1, &[4])])),
        ])
    );
}

#[test]
fn uniform_prefers_the_rack_of_a_replica() {
    let mut scene = Scene::default().member("a", &[1]).member("b", &[1]);
    let rack = |name: &str| BTreeSet::from([name.to_owned()]);
    scene.topics.insert(1, vec![rack("y"), rack("y"), rack("x"), rack("x")]);
    scene.members.get_mut("a").unwrap().rack = Some("x".to_owned());
    scene.members.get_mut("b").unwrap().rack = Some("y".to_owned());
    assert_eq!(
        scene.run("uniform"),
        BTreeMap::from([
            ("a".to_owned(), partitions(&[(1, &[2, 3])])),
            ("b".to_owned(), partitions(&[(1, &[0, 1])])),
        ])
    );
}

/// Whoever has more than its share gives up only what is beyond it.
#[test]
fn uniform_is_even_and_moves_no_more_than_it_must() {
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let mut scene = Scene::default()
            .topic(1, 1 + usize::try_from(dice.below(12)).unwrap())
            .topic(2, 7);
        for round in 0..12 {
            match dice.below(4) {
                0 | 1 => scene = scene.member(&format!("m{}", dice.below(9)), &[1, 2]),
                2 if scene.members.len() > 1 => {
                    let victim = scene.members.keys().next().unwrap().clone();
                    scene.members.remove(&victim);
                }
                _ => scene = scene.topic(1, 1 + usize::try_from(dice.below(12)).unwrap()),
            }
            if scene.members.is_empty() {
                continue;
            }
            let total: usize = scene.topics.values().map(Vec::len).sum();
            let limit = scene.topics[&1].len();
            let mut kept: Vec<usize> = scene
                .members
                .values()
                .map(|who| {
                    let exists = |topic: &TopicId, partition: &&i32| {
                        *topic != topic_id(1) || usize::try_from(**partition).unwrap() < limit
                    };
                    let of = who.target.iter();
                    of.map(|(topic, held)| held.iter().filter(|partition| exists(topic, partition)).count())
                        .sum()
                })
                .collect();
            kept.sort_unstable_by(|one, other| other.cmp(one));
            let (share, remainder) = (total / kept.len(), total % kept.len());
            let quota = |place: usize| share + usize::from(place < remainder);
            let least: usize = kept
                .iter()
                .enumerate()
                .map(|(place, kept)| kept.saturating_sub(quota(place)))
                .sum();
            let moved = scene.settle("uniform");
            assert_eq!(moved, least, "seed {seed}, round {round}");
            let loads = scene.loads();
            let spread = loads.values().max().unwrap() - loads.values().min().unwrap();
            assert!(spread <= 1, "seed {seed}, round {round}: {loads:?}");
        }
    }
}

#[test]
fn different_subscriptions_are_as_even_as_can_be_and_nothing_moves_without_need() {
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let mut scene = Scene::default();
        for number in 1..=4 {
            scene = scene.topic(number, usize::try_from(dice.below(9)).unwrap());
        }
        for round in 0..10 {
            let wants: Vec<u128> = (1..=4).filter(|_| dice.chance(50)).collect();
            if dice.chance(70) {
                scene = scene.member(&format!("m{}", dice.below(8)), &wants);
            } else if let Some(victim) = scene.members.keys().next().cloned() {
                scene.members.remove(&victim);
            }
            scene.settle("uniform");
            assert!(!scene.can_be_more_even(), "seed {seed}, round {round}: {scene:?}");
            assert_eq!(scene.settle("uniform"), 0, "seed {seed}, round {round}");
        }
    }
}

/// One member has too much of the first topic, and only the last, who does not read it, has room: the one between
/// them passes on.
#[test]
fn partitions_move_along_a_chain() {
    let mut scene = Scene::default()
        .topic(1, 3)
        .topic(2, 2)
        .member("a", &[1])
        .member("b", &[1, 2])
        .member("c", &[2]);
    scene.members.get_mut("a").unwrap().target = partitions(&[(1, &[0, 1, 2])]);
    scene.members.get_mut("b").unwrap().target = partitions(&[(2, &[0, 1])]);
    scene.settle("uniform");
    assert_eq!(
        scene.loads(),
        BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 2), ("c".to_owned(), 1)])
    );
}

#[test]
fn range_is_complete_for_any_subscriptions() {
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let mut scene = Scene::default().topic(1, 5).topic(2, 0).topic(3, 11);
        for member in 0..dice.below(6) {
            let wants: Vec<u128> = (1..=3).filter(|_| dice.chance(60)).collect();
            scene = scene.member(&format!("m{member}"), &wants);
        }
        scene.settle("range");
    }
}
