//! Prints what targets cost: `cargo run --release -p klamm-coordinator --example assignor_cost`.
//!
//! It asserts nothing about time. One line per kind of group: the first targets, those after a member has come, and
//! those after one has gone, each the best of several runs.

use std::collections::BTreeSet;
use std::time::Duration;

use klamm_coordinator::call::PartitionsByTopic;
use klamm_coordinator::consumer::assignor::{Assignee, Input, Subject, assign};
use klamm_types::{TopicId, Uuid};

const RUNS: usize = 5;

struct Shape {
    members: usize,
    topics: usize,
    partitions_per_topic: usize,
    /// How many different subscriptions there are; each leaves out some topics.
    subscriptions: usize,
}

fn main() {
    for (members, topics, partitions_per_topic) in [(200, 10, 50), (1000, 10, 1000), (1000, 100, 100)] {
        for (name, subscriptions) in [("uniform", 1), ("uniform", 10), ("range", 1)] {
            let shape = Shape {
                members,
                topics,
                partitions_per_topic,
                subscriptions,
            };
            print(name, &shape);
        }
    }
}

fn print(name: &str, shape: &Shape) {
    let ids: Vec<String> = (0..=shape.members)
        .map(|number| format!("member-{number:06}"))
        .collect();
    let racks: Vec<BTreeSet<String>> = vec![BTreeSet::new(); shape.partitions_per_topic];
    let nothing = vec![PartitionsByTopic::new(); shape.members];
    let (first, targets) = best(name, shape, &ids[..shape.members], &racks, &nothing);
    let mut more = targets.clone();
    more.push(PartitionsByTopic::new());
    let (joined, _) = best(name, shape, &ids, &racks, &more);
    let (left, _) = best(name, shape, &ids[1..shape.members], &racks, &targets[1..]);
    println!(
        "{name:8} members {:5} topics {:4} partitions {:6} subscriptions {:3}: first {first:?}, one more {joined:?}, one less {left:?}",
        shape.members,
        shape.topics,
        shape.topics * shape.partitions_per_topic,
        shape.subscriptions,
    );
}

#[allow(clippy::disallowed_methods, clippy::disallowed_types)] // an example measures; the crate itself does not
fn best(
    name: &str,
    shape: &Shape,
    ids: &[String],
    racks: &[BTreeSet<String>],
    former: &[PartitionsByTopic],
) -> (Duration, Vec<PartitionsByTopic>) {
    let subscriptions: Vec<Vec<usize>> = (0..shape.subscriptions)
        .map(|kind| {
            (0..shape.topics)
                .filter(|topic| shape.subscriptions == 1 || topic % shape.subscriptions != kind)
                .collect()
        })
        .collect();
    let members = ids.iter().zip(former).enumerate();
    let members = members.map(|(number, (id, target))| Assignee {
        id,
        instance: None,
        rack: None,
        subscription: number % shape.subscriptions,
        target,
    });
    let topics = (0..shape.topics).map(|number| Subject {
        id: TopicId(Uuid::from_u128(number as u128 + 1)),
        racks,
    });
    let input = Input {
        members: members.collect(),
        topics: topics.collect(),
        subscriptions,
    };
    let mut best = Duration::MAX;
    let mut targets = Vec::new();
    for _ in 0..RUNS {
        let begin = std::time::Instant::now();
        targets = assign(name, &input);
        best = best.min(begin.elapsed());
    }
    (best, targets)
}
