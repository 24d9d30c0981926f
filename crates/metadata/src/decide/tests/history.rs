//! One long random history per seed: every command in any order. The invariants are checked after each entry, and
//! those that need the past: epochs only grow, and nobody is elected cleanly who may lack a committed record.

use std::collections::{BTreeMap, BTreeSet};

use klamm_schema::metadata::Cause;
use klamm_schema::metadata::metadata_record::Record;
use klamm_types::{NodeId, PartitionId, TopicId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::script::{World, directory_id};
use crate::config::Durability;
use crate::image::{Image, PartitionState, Topic};

const STEPS: usize = 400;
const SEEDS: u64 = 40;

#[test]
fn random_histories_keep_the_invariants() {
    let first: u64 = rand::random();
    for seed in first..first.saturating_add(SEEDS) {
        println!("seed {seed}");
        run(seed);
    }
}

fn run(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::with_brokers(4);
    world.run("create a partitions=3 rf=3");
    world.run("create b partitions=2 rf=3 klamm.durability=replicated");
    world.run("create c partitions=2 rf=2 min.insync.replicas=1");
    world.run("create d partitions=1 rf=3 unclean.leader.election.enable=true");
    let mut whole = WholeLogs::default();
    whole.follow(&Image::new(), &world.image, "", "the start");
    for step in 0..STEPS {
        let command = command(&mut random, &world.image);
        let before = world.image.clone();
        let outcome = world.run(&command);
        let story = format!("seed {seed} step {step}: {command} -> {outcome:?}");
        check_step(&before, &world.image, &story);
        whole.follow(&before, &world.image, &command, &story);
    }
    let parts = world.image.to_snapshot();
    assert_eq!(
        Image::from_snapshot(&parts).expect("a snapshot reads back"),
        world.image,
        "seed {seed}"
    );
}

fn command(random: &mut StdRng, image: &Image) -> String {
    let broker = random.random_range(1..=4);
    let places: Vec<(String, PartitionState)> = image
        .partitions()
        .map(|(topic, partition, state)| (format!("{}-{partition}", topic.name), state.clone()))
        .collect();
    let (place, state) = &places[random.random_range(0..places.len())];
    let fenced = image.broker(NodeId(broker)).is_none_or(|state| state.fenced);
    match random.random_range(0..20) {
        0..=3 => format!("fence {broker}").replace("fence", if fenced { "unfence" } else { "fence" }),
        4 => {
            let log = format!("log={place}:{}:{}", state.leader_epoch, random.random_range(0..100));
            let end = ["clean", "same-boot", "other-boot", "other-boot"][random.random_range(0..4)];
            let disk = ["", "", "", "dir=1 stored=-1", "stored=1", "damaged="][random.random_range(0..6)];
            let disk = if disk == "damaged=" {
                format!("damaged={place}")
            } else {
                disk.to_string()
            };
            format!("register {broker} {end} {log} {disk}")
        }
        5..=7 if fenced => format!("unfence {broker}"),
        5..=13 => alter(random, image, place, state),
        14 => format!("damage {broker} {place}"),
        15 => format!("shutdown {broker}"),
        16 => format!("prefer {place}"),
        17 => format!("operator {place}"),
        18 => {
            let (topic, _) = place.rsplit_once('-').expect("a place");
            format!("set {topic} min.insync.replicas={}", random.random_range(1..4))
        }
        _ => "balance".into(),
    }
}

/// A leader's honest wish: itself and some live replicas, or now and then without itself.
fn alter(random: &mut StdRng, image: &Image, place: &str, state: &PartitionState) -> String {
    let Some(leader) = state.leader else {
        return "balance".into();
    };
    let mut isr = Vec::new();
    for &replica in &state.replicas {
        let keep = if replica == leader { 95 } else { 60 };
        if random.random_range(0..100) < keep && image.is_alive(replica) {
            isr.push(replica.to_string());
        }
    }
    let lost = state
        .replicas
        .iter()
        .find(|replica| !isr.contains(&replica.to_string()));
    let lost = lost
        .filter(|_| random.random_range(0..10) == 0)
        .map_or(String::new(), |id| format!("lost={id}"));
    format!("alter {leader} {place} isr={} {lost}", isr.join(","))
}

fn check_step(before: &Image, after: &Image, story: &str) {
    let mut old: BTreeMap<(TopicId, PartitionId), &PartitionState> = BTreeMap::new();
    for (topic, partition, state) in before.partitions() {
        old.insert((topic.id, partition), state);
    }
    for (topic, partition, new) in after.partitions() {
        let Some(old) = old.get(&(topic.id, partition)) else {
            continue;
        };
        assert!(new.leader_epoch >= old.leader_epoch, "{story}");
        assert!(new.partition_epoch >= old.partition_epoch, "{story}");
        if new.leader != old.leader {
            assert!(
                new.leader_epoch > old.leader_epoch,
                "a leader epoch has one leader: {story}"
            );
        }
        if *old != new {
            assert!(
                new.partition_epoch > old.partition_epoch,
                "every change is counted: {story}"
            );
        }
        if new.leader.is_none() {
            let waiting = new.elr.iter().chain(&new.isr).any(|&broker| after.may_lead(broker));
            assert!(!waiting, "an eligible live replica leads: {story}");
        }
    }
}

/// A dumb twin of the ELR rules: which replicas hold every record that can be committed by now. It knows what
/// happened to the disks; the controller knows only what it was told.
#[derive(Default)]
struct WholeLogs {
    replicas: BTreeMap<(TopicId, PartitionId), BTreeSet<NodeId>>,
}

impl WholeLogs {
    fn follow(&mut self, before: &Image, after: &Image, command: &str, story: &str) {
        for (topic, partition, state) in after.partitions() {
            let place = (topic.id, partition);
            let Some(old) = before.partition(topic.id, partition) else {
                self.replicas.insert(place, state.isr.iter().copied().collect());
                continue;
            };
            let whole = self.replicas.entry(place).or_default();
            let name = format!("{}-{partition}", topic.name);
            let refused = command.starts_with("alter") && **old == *state;
            let lost = lost_records(before, topic, old, &name, command);
            if let Some(broker) = lost.filter(|_| !refused) {
                whole.remove(&broker);
            }
            if command.starts_with("alter") && command.contains(&name) {
                // The leader let them in because they had caught up with it.
                whole.extend(state.isr.iter().filter(|member| !old.isr.contains(member)));
            }
            let elected = state.leader.filter(|&leader| old.leader != Some(leader));
            if let Some(leader) = elected.filter(|leader| !whole.contains(leader)) {
                let candidates = old.isr.iter().chain(&old.elr).filter(|broker| whole.contains(broker));
                let candidates: Vec<_> = candidates.collect();
                let allowed = candidates.is_empty()
                    || command.starts_with("operator")
                    || after.allows_unclean_election(&topic.name);
                assert!(allowed, "{name} loses records that {candidates:?} had: {story}");
                assert_eq!((&state.isr, &state.elr), (&vec![leader], &vec![]), "{name}: {story}");
                *whole = BTreeSet::from([leader]);
            }
            if state.leader.is_some() && state.isr.len() >= after.effective_min_isr(topic, state) {
                whole.retain(|broker| state.isr.contains(broker));
            }
            for member in state.isr.iter().chain(&state.elr) {
                assert!(
                    whole.contains(member),
                    "{name}: {member} is in ISR or ELR and may lack records: {story}"
                );
            }
        }
    }
}

/// Whose log of this partition is not what it was, by the command alone.
fn lost_records(before: &Image, topic: &Topic, old: &PartitionState, name: &str, command: &str) -> Option<NodeId> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let named = |key: &str| words.iter().find_map(|word| word.strip_prefix(key));
    let broker = NodeId(words.get(1).and_then(|word| word.parse().ok()).unwrap_or(0));
    let lost = match words.first() {
        Some(&"damage") => words.get(2) == Some(&name),
        Some(&"alter") if words.get(2) == Some(&name) => {
            return named("lost=").and_then(|id| id.parse().ok()).map(NodeId);
        }
        Some(&"register") => {
            let disk = directory_id(broker.0, named("dir=").map_or(0, |number| number.parse().unwrap()));
            let registered = before.broker(broker);
            let stored = named("stored=").and_then(|epoch| epoch.parse().ok());
            let current = registered.map_or(-1, |state| state.epoch.0);
            let lived = registered.map_or(-1, |state| state.last_unfenced_epoch.0);
            let old_disk = stored.unwrap_or(current) < lived || stored == Some(-1);
            let cache_lost = words.contains(&"other-boot") && before.durability(&topic.name) == Durability::Replicated;
            named("damaged=") == Some(name) || old_disk || cache_lost || old.directory_of(broker) != Some(disk)
        }
        _ => false,
    };
    lost.then_some(broker)
}

/// Elections outside ISR and ELR say so in their records; all others stay inside.
#[test]
fn clean_elections_stay_within_isr_and_elr() {
    let mut world = World::with_brokers(3);
    world.run("create t replicas=1,2,3 klamm.durability=replicated");
    world.run("fence 1");
    world.run("fence 2");
    world.run("fence 3");
    world.run("register 2 other-boot log=t-0:1:5");
    world.run("register 3 other-boot log=t-0:1:9");
    let epoch = world.image.broker(NodeId(3)).unwrap().epoch;
    let mut overlay = world.overlay();
    crate::decide::unfence(&mut overlay, NodeId(3), epoch, Cause::CaughtUp);
    let changes: Vec<(bool, i32, i64)> = overlay
        .records()
        .iter()
        .filter_map(|record| match &record.record {
            Some(Record::PartitionChange(change)) => {
                let decision = change.decision.clone().expect("changes carry a decision");
                Some((change.possible_loss, decision.cause, decision.decided_at_ms))
            }
            _ => None,
        })
        .collect();
    assert_eq!(changes, [(true, i32::from(Cause::LastKnownElection), 1_000)]);
}
