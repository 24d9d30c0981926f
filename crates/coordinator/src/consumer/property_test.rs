//! Whatever the network does: a partition has one owner, members that live are not fenced, targets are even, and once
//! the network is whole again everyone has its target.

use std::collections::BTreeSet;
use std::time::Duration;

use klamm_types::TopicId;

use crate::settings::Settings;
use crate::topics::Topics;

use super::world::{Client, Dice, World, heartbeat, topics};

const SESSION: Duration = Duration::from_secs(10);

fn settings() -> Settings {
    Settings {
        consumer_session_timeout: SESSION,
        ..Settings::default()
    }
}

struct Scene {
    world: World,
    dice: Dice,
    clients: Vec<Client>,
    born: usize,
    partitions: [usize; 3],
}

impl Scene {
    fn new(seed: u64) -> Scene {
        let partitions = [5, 4, 3];
        Scene {
            world: World::new(settings(), cluster(partitions)),
            dice: Dice(seed),
            clients: Vec::new(),
            born: 0,
            partitions,
        }
    }

    fn born(&mut self) {
        self.born += 1;
        let id = format!("m{:03}", self.born);
        let client = match self.dice.below(4) {
            0 => Client::new(&id, &["t0"], ""),
            1 => Client::new(&id, &["t0", "t1"], ""),
            2 => Client::new(&id, &[], "t[0-9]"),
            _ => Client::new(&id, &["t1", "t2"], ""),
        };
        self.clients.push(client);
    }

    fn any(&mut self) -> Option<usize> {
        let count = self.clients.len() as u64;
        (count > 0).then(|| usize::try_from(self.dice.below(count)).unwrap())
    }

    /// One heartbeat over a bad network.
    fn beat(&mut self, index: usize) {
        let request = self.clients[index].request();
        if self.dice.chance(15) {
            self.clients[index].give_up();
            return;
        }
        let reply = self.world.beat(&request);
        while self.dice.chance(15) {
            self.world.beat(&request);
        }
        if self.dice.chance(20) {
            self.clients[index].give_up();
        } else {
            self.clients[index].hear(&request, &reply);
        }
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..60 => {
                if let Some(index) = self.any() {
                    self.beat(index);
                }
            }
            60..80 => {
                if let Some(index) = self.any() {
                    self.clients[index].revoke();
                }
            }
            80..85 if self.clients.len() < 7 => self.born(),
            85..88 => {
                if let Some(index) = self.any() {
                    let client = self.clients.remove(index);
                    // It says goodbye, or dies.
                    if self.dice.chance(50) {
                        self.world.beat(&heartbeat(&client.id, -1));
                    }
                }
            }
            88..91 => {
                if let Some(index) = self.any() {
                    let names: &[&str] = if self.dice.chance(50) {
                        &["t2"]
                    } else {
                        &["t0", "t1", "t2"]
                    };
                    let client = &mut self.clients[index];
                    client.names = names.iter().map(|name| (*name).to_owned()).collect();
                    client.must_repeat = true;
                }
            }
            91..93 => {
                let topic = usize::try_from(self.dice.below(3)).unwrap();
                self.partitions[topic] = (self.partitions[topic] + 1) % 12;
                self.world.set_topics(cluster(self.partitions));
            }
            93..95 => self.world.reload(&mut self.dice),
            _ => {
                let time = Duration::from_millis(self.dice.below(1000));
                self.world.pass(time);
            }
        }
        self.check();
    }

    /// What the coordinator says and what clients do agree; `Shard::validate` has shown that it gives nothing twice.
    fn check(&self) {
        let mut reading: BTreeSet<(TopicId, i32)> = BTreeSet::new();
        for client in &self.clients {
            // One that was removed in silence does not know it yet; nothing can be promised about it.
            let Some(member) = self.world.group().and_then(|group| group.members.get(&client.id)) else {
                continue;
            };
            let held: BTreeSet<(TopicId, i32)> = member.held().collect();
            for (topic, partitions) in &client.owned {
                for partition in partitions {
                    assert!(
                        held.contains(&(*topic, *partition)),
                        "{} reads what is not its own",
                        client.id
                    );
                    assert!(reading.insert((*topic, *partition)), "{partition} is read twice");
                }
            }
        }
    }

    /// The network is whole: so many rounds of heartbeats, and all is as it should be.
    fn heal(&mut self) {
        const ROUNDS_MAX: usize = 12;
        // Those that died in silence are noticed first.
        for _ in 0..12 {
            self.world.pass(Duration::from_secs(1));
            self.round();
        }
        let fenced: usize = self.clients.iter().map(|client| client.fenced).sum();
        for _ in 0..ROUNDS_MAX {
            self.round();
        }
        let again: usize = self.clients.iter().map(|client| client.fenced).sum();
        assert_eq!(again, fenced, "a member was fenced on a whole network");
        let Some(group) = self.world.group() else {
            assert!(self.clients.is_empty());
            return;
        };
        assert_eq!(group.members.len(), self.clients.len());
        if self.clients.is_empty() {
            assert_eq!(group.state(), "Empty");
            return;
        }
        assert_eq!(group.state(), "Stable", "{group:#?}");
        let mut wanted = BTreeSet::new();
        let mut owned = BTreeSet::new();
        for client in &self.clients {
            assert_eq!(client.owned, *group.targets[&client.id]);
            for (name, topic) in self.world.topics.iter() {
                if client.names.iter().any(|other| other == name) || !client.regex.is_empty() {
                    wanted.extend(
                        (0..topic.partitions.len()).map(|partition| (topic.id, i32::try_from(partition).unwrap())),
                    );
                }
            }
            for (topic, partitions) in &client.owned {
                owned.extend(partitions.iter().map(|partition| (*topic, *partition)));
            }
        }
        assert_eq!(owned, wanted);
    }

    fn round(&mut self) {
        for index in 0..self.clients.len() {
            let request = self.clients[index].request();
            let reply = self.world.beat(&request);
            self.clients[index].hear(&request, &reply);
            self.check();
            self.clients[index].revoke();
        }
    }
}

fn cluster(partitions: [usize; 3]) -> Topics {
    topics(&[
        ("t0", 1, partitions[0]),
        ("t1", 2, partitions[1]),
        ("t2", 3, partitions[2]),
    ])
}

/// Runs every seed, and says which one failed.
pub(super) fn with_seeds(count: u64, run: impl Fn(u64)) {
    for seed in 0..count {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed)));
        assert!(outcome.is_ok(), "seed {seed} failed");
    }
}

#[test]
fn a_partition_has_one_owner_and_all_get_their_targets_at_last() {
    with_seeds(60, |seed| {
        let mut scene = Scene::new(seed);
        for _ in 0..250 {
            scene.step();
        }
        scene.heal();
    });
}

/// As long as time stands still nobody is removed, so nobody may be fenced, however many answers are lost.
#[test]
fn loss_and_repetition_never_fence_a_member() {
    with_seeds(60, |seed| {
        let mut scene = Scene::new(seed);
        for _ in 0..4 {
            scene.born();
        }
        for _ in 0..300 {
            match scene.dice.below(10) {
                0..6 => {
                    let index = scene.any().unwrap();
                    scene.beat(index);
                }
                6..9 => {
                    let index = scene.any().unwrap();
                    scene.clients[index].revoke();
                }
                _ if scene.clients.len() < 7 => scene.born(),
                _ => scene.world.reload(&mut scene.dice),
            }
            scene.check();
        }
        assert!(scene.clients.iter().all(|client| client.fenced == 0));
    });
}

/// Old requests that come out of order may mislead the coordinator about what a member holds, but never make it give a
/// partition to two members, remove a member, or break.
#[test]
fn requests_out_of_order_break_nothing() {
    with_seeds(60, |seed| {
        let mut scene = Scene::new(seed);
        let mut old = Vec::new();
        for _ in 0..5 {
            scene.born();
        }
        for _ in 0..200 {
            let index = scene.any().unwrap();
            if scene.dice.chance(30) && !old.is_empty() {
                let which = usize::try_from(scene.dice.below(old.len() as u64)).unwrap();
                let stale = &old[which];
                let members = scene.world.group().map(|group| group.members.len());
                scene.world.beat(stale);
                let after = scene.world.group().map(|group| group.members.len());
                assert!(after >= members);
            } else {
                let request = scene.clients[index].request();
                let reply = scene.world.beat(&request);
                scene.clients[index].hear(&request, &reply);
                old.push(request);
                if scene.dice.chance(50) {
                    scene.clients[index].revoke();
                }
            }
        }
    });
}
