//! Members of both protocols in one group, coming and going at random, so that the group changes its kind again and
//! again: a partition has one reader, and in the end everything is read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use klamm_types::{ErrorCode, TopicId};
use klamm_wire::{ConsumerProtocolSubscription, encode_versioned};

use crate::call::{
    Call, CallId, Client as Caller, Heartbeat, Join, Leave, LeavingMember, MemberIdRule, PartitionsByTopic,
    SkipAssignment, Sync,
};
use crate::group::Group as AnyGroup;
use crate::reply::{Joined, Reply};
use crate::settings::Settings;

use super::consumer_protocol;
use super::property_test::with_seeds;
use super::world::{Client, Dice, GROUP, World, heartbeat, topic_id, topics};

const PARTITIONS: usize = 6;

/// A consumer of the classic protocol, an eager one.
#[derive(Clone, Debug, Default)]
struct Classic {
    id: String,
    generation: i32,
    phase: Phase,
    owned: PartitionsByTopic,
    /// What the leader assigns.
    assignments: Vec<(String, Bytes)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Outside,
    Joining(CallId),
    Joined,
    Syncing(CallId),
    Reading,
}

struct Scene {
    world: World,
    dice: Dice,
    modern: Vec<Client>,
    classic: Vec<Classic>,
    born: usize,
}

impl Scene {
    fn new(seed: u64) -> Scene {
        let settings = Settings {
            initial_rebalance_delay: Duration::from_millis(100),
            consumer_session_timeout: Duration::from_secs(10),
            ..Settings::default()
        };
        Scene {
            world: World::new(settings, topics(&[("t", 1, PARTITIONS)])),
            dice: Dice(seed),
            modern: Vec::new(),
            classic: Vec::new(),
            born: 0,
        }
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..35 if !self.classic.is_empty() => {
                let index = usize::try_from(self.dice.below(self.classic.len() as u64)).unwrap();
                self.classic_step(index);
            }
            35..65 if !self.modern.is_empty() => {
                let index = usize::try_from(self.dice.below(self.modern.len() as u64)).unwrap();
                if self.dice.chance(30) {
                    self.modern[index].revoke();
                } else {
                    self.modern_step(index);
                }
            }
            65..72 if self.classic.len() < 4 => self.classic.push(Classic::default()),
            72..79 if self.modern.len() < 4 => {
                self.born += 1;
                self.modern.push(Client::new(&format!("m{}", self.born), &["t"], ""));
            }
            79..83 if !self.modern.is_empty() => {
                let client = self.modern.swap_remove(0);
                if self.dice.chance(70) {
                    self.world.beat(&heartbeat(&client.id, -1));
                }
            }
            83..87 if !self.classic.is_empty() => {
                let client = self.classic.swap_remove(0);
                if !client.id.is_empty() && self.dice.chance(70) {
                    let member = client.id;
                    let members = vec![LeavingMember {
                        member,
                        instance: None,
                        reason: None,
                    }];
                    self.world.send(Call::Leave(Leave {
                        group: GROUP.to_owned(),
                        members,
                    }));
                }
            }
            87..89 => {
                self.world.reload(&mut self.dice);
                // The connections to the former coordinator are gone.
                self.world.inbox.clear();
                for client in &mut self.classic {
                    if let Phase::Joining(_) | Phase::Syncing(_) = client.phase {
                        client.phase = Phase::Outside;
                    }
                }
            }
            _ => {
                let time = self.dice.below(1500);
                self.world.pass(Duration::from_millis(time));
            }
        }
        self.hear();
        self.check();
    }

    fn modern_step(&mut self, index: usize) {
        let request = self.modern[index].request();
        let reply = self.world.beat(&request);
        if self.dice.chance(10) {
            self.modern[index].give_up();
        } else {
            self.modern[index].hear(&request, &reply);
        }
    }

    fn classic_step(&mut self, index: usize) {
        let client = &mut self.classic[index];
        match client.phase {
            Phase::Outside => {
                client.owned.clear();
                let call = Call::Join(Box::new(join(&client.id)));
                let call = self.world.send(call);
                self.classic[index].phase = Phase::Joining(call);
            }
            Phase::Joined => {
                let call = Call::Sync(Box::new(Sync {
                    group: GROUP.to_owned(),
                    generation: client.generation,
                    member: client.id.clone(),
                    instance: None,
                    protocol: None,
                    assignments: std::mem::take(&mut client.assignments),
                }));
                let call = self.world.send(call);
                self.classic[index].phase = Phase::Syncing(call);
            }
            Phase::Reading => {
                let call = Call::Heartbeat(Heartbeat {
                    group: GROUP.to_owned(),
                    generation: client.generation,
                    member: client.id.clone(),
                    instance: None,
                });
                let (reply, _) = self.world.call(call);
                match reply {
                    Reply::Heartbeat(ErrorCode::None) => {}
                    Reply::Heartbeat(ErrorCode::UnknownMemberId) => self.classic[index] = Classic::default(),
                    Reply::Heartbeat(_) => {
                        self.classic[index].owned.clear();
                        self.classic[index].phase = Phase::Outside;
                    }
                    other => panic!("{other:?} answers Heartbeat"),
                }
            }
            Phase::Joining(_) | Phase::Syncing(_) => {}
        }
    }

    /// Answers that have come.
    fn hear(&mut self) {
        for (call, reply) in std::mem::take(&mut self.world.inbox) {
            let waits =
                |client: &&mut Classic| client.phase == Phase::Joining(call) || client.phase == Phase::Syncing(call);
            let Some(client) = self.classic.iter_mut().find(waits) else {
                continue;
            };
            match reply {
                Reply::Join(joined) if joined.error == ErrorCode::None => {
                    client.assignments = assign(&joined, &self.world);
                    client.id = joined.member;
                    client.generation = joined.generation;
                    client.phase = Phase::Joined;
                }
                Reply::Join(joined) => {
                    client.phase = Phase::Outside;
                    client.id = match joined.error {
                        ErrorCode::MemberIdRequired => joined.member,
                        ErrorCode::UnknownMemberId => String::new(),
                        _ => std::mem::take(&mut client.id),
                    };
                }
                Reply::Sync(synced) if synced.error == ErrorCode::None => {
                    client.owned = consumer_protocol::assigned(&synced.assignment, &self.world.topics).unwrap();
                    client.phase = Phase::Reading;
                }
                Reply::Sync(synced) => {
                    client.phase = Phase::Outside;
                    if synced.error == ErrorCode::UnknownMemberId {
                        client.id.clear();
                    }
                }
                other => panic!("{other:?} answers a classic client"),
            }
        }
    }

    /// Of those who are still members, each partition has one reader.
    fn check(&self) {
        let group = self.world.shard.group(GROUP);
        let is_member = |id: &str| match group {
            Some(AnyGroup::Consumer(group)) => group.members.contains_key(id),
            Some(AnyGroup::Classic(group)) => group.member(id).is_some(),
            None => false,
        };
        let modern = self.modern.iter().map(|client| (&client.id, &client.owned));
        let classic = self.classic.iter().map(|client| (&client.id, &client.owned));
        let mut read: BTreeMap<(TopicId, i32), &str> = BTreeMap::new();
        for (id, owned) in modern.chain(classic).filter(|(id, _)| is_member(id)) {
            for (topic, partitions) in owned {
                for partition in partitions {
                    let other = read.insert((*topic, *partition), id);
                    assert_eq!(other, None, "{partition} is read by {id} too");
                }
            }
        }
    }

    /// Nobody comes or goes any more, and no answer is lost.
    fn heal(&mut self) {
        for _ in 0..60 {
            self.world.pass(Duration::from_secs(1));
            self.hear();
            for index in 0..self.classic.len() {
                self.classic_step(index);
                self.hear();
                self.check();
            }
            for index in 0..self.modern.len() {
                let request = self.modern[index].request();
                let reply = self.world.beat(&request);
                self.modern[index].hear(&request, &reply);
                self.hear();
                self.check();
                self.modern[index].revoke();
            }
        }
        let modern = self.modern.iter().map(|client| &client.owned);
        let classic = self.classic.iter().map(|client| &client.owned);
        let read: BTreeSet<i32> = modern
            .chain(classic)
            .flat_map(|owned| owned.values().flatten().copied())
            .collect();
        if self.modern.is_empty() && self.classic.is_empty() {
            return;
        }
        let all: BTreeSet<i32> = (0..i32::try_from(PARTITIONS).unwrap()).collect();
        assert_eq!(
            read,
            all,
            "{:?} {:?} {:?}",
            self.modern,
            self.classic,
            self.world.shard.group(GROUP)
        );
        let is_modern = matches!(self.world.shard.group(GROUP), Some(AnyGroup::Consumer(_)));
        assert_eq!(is_modern, !self.modern.is_empty());
    }
}

fn join(id: &str) -> Join {
    let subscription = ConsumerProtocolSubscription {
        topics: vec!["t"],
        ..Default::default()
    };
    Join {
        group: GROUP.to_owned(),
        member: id.to_owned(),
        instance: None,
        client: Caller::default(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 5000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), encode_versioned(&subscription, 1).unwrap())],
        reason: None,
        member_id_rule: MemberIdRule::Required,
        skip_assignment: SkipAssignment::Supported,
    }
}

/// A leader deals the partitions out in turn.
fn assign(joined: &Joined, world: &World) -> Vec<(String, Bytes)> {
    let count = joined.members.len();
    let members = joined.members.iter().enumerate();
    members
        .map(|(place, member)| {
            let mine = (0..PARTITIONS).filter(|partition| partition % count == place);
            let mine = mine.map(|partition| i32::try_from(partition).unwrap()).collect();
            let target = PartitionsByTopic::from([(topic_id(1), mine)]);
            let assignment = consumer_protocol::assignment(&target, &member.metadata, &world.topics);
            (member.member.clone(), assignment)
        })
        .collect()
}

#[test]
fn members_of_both_protocols_share_a_group() {
    with_seeds(60, |seed| {
        let mut scene = Scene::new(seed);
        for _ in 0..250 {
            scene.step();
        }
        scene.heal();
    });
}
