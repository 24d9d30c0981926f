//! Random histories of one group: members that crash, answers that are lost or come twice, a coordinator that moves.
//!
//! A history is decided by its seed alone; a failure prints it. For a while everything may happen; then the network
//! heals, and the group must come to rest with every partition owned once and records being processed again.
//!
//! The coordinator is a real [`Shard`] with a log. Records commit some time after they are appended, answers wait for
//! that, and a coordinator that moves loses what had not committed. Members are models behind [`member::Member`]:
//! another protocol is another model, and takes part by being listed in [`World::recruit`].

mod classic;
mod consumer;
mod member;
mod network;
mod recent;
mod watch;
mod world;

use std::time::Duration;

use klamm_types::TopicId;
use world::World;

const GROUP: &str = "g";
const TOPIC: &str = "t";
const TOPIC_ID: TopicId = TopicId(klamm_types::Uuid([1; 16]));
const PARTITIONS: i32 = 12;

/// How long everything may happen.
const UNREST: Duration = Duration::from_secs(45);
/// How long the group may take to come to rest then: a request gives up, a session ends, a rebalance runs its time.
const REST: Duration = Duration::from_secs(90);

fn history(seed: u64) {
    let mut world = World::new(seed);
    world.run(UNREST);
    world.heal();
    world.come_to_rest(REST);
}

#[test]
fn random_histories_keep_the_promises() {
    const HISTORIES: u64 = 120;
    for seed in 0..HISTORIES {
        let outcome = std::panic::catch_unwind(|| history(seed));
        if let Err(panic) = outcome {
            eprintln!("the history of seed {seed} failed");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_seed_decides_a_history() {
    let trace = |seed| {
        let mut world = World::new(seed);
        world.run(UNREST);
        world.trace()
    };
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}
