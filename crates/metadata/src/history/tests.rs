//! The history: what it says of stories, that it is bounded, and that snapshots and replays agree on it.

use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{self as schema, Cause, MetadataBatch};
use klamm_types::{NodeId, PartitionId, Timestamp};
use proptest::prelude::*;

use super::{BROKER_ENTRIES_MAX, CONTROLLER_ENTRIES_MAX, DEPARTED_MAX, PARTITION_ENTRIES_MAX, render};
use crate::decide::tests::script::World;
use crate::decide::{Elected, Fence, announce, fence};
use crate::image::Image;
use crate::record;

fn story(world: &World, topic: &str) -> Vec<String> {
    let topic = world.image.topic_by_name(topic).unwrap().id;
    let entries = world.image.partition_history(topic, PartitionId(0));
    entries.iter().map(render::partition).collect()
}

fn brokers_story(image: &Image) -> Vec<String> {
    let entries = image.broker_history();
    entries.map(|(id, entry)| render::broker(id, entry)).collect()
}

/// The broker's process is found dead so long after it was last heard of.
fn kill(world: &mut World, broker: i32, noticed_after_ms: i64) {
    let mut overlay = world.overlay();
    let call = Fence {
        broker: NodeId(broker),
        broker_epoch: world.image.broker(NodeId(broker)).unwrap().epoch,
        cause: Cause::ProcessEnded,
        evidence: format!("host-{broker}:9190 refuses connections"),
        last_contact: Some(Timestamp(overlay.now().0 - noticed_after_ms)),
    };
    assert!(fence(&mut overlay, &call));
    world.commit(overlay);
}

#[test]
fn a_partition_tells_who_lost_it_and_for_how_long() {
    let mut world = World::with_brokers(3);
    world.run("create t replicas=1,2,3 min.insync.replicas=1");
    assert_eq!(story(&world, "t"), [""; 0], "its creation is no change");
    kill(&mut world, 1, 84);
    world.run("alter 2 t-0 isr=2");
    world.run("alter 2 t-0 isr=2");
    kill(&mut world, 2, 20);
    world.run("register 2 same-boot");
    world.now = Timestamp(6_400);
    world.run("unfence 2");
    world.run("alter 2 t-0 isr=2,3");
    world.run("shutdown 2");
    world.run("damage 2 t-0");
    assert_eq!(
        story(&world, "t"),
        [
            "leader 1 → 2, epoch 1, ISR 1,2,3 → 2,3: broker 1's process ended (host-1:9190 refuses connections); \
             84 ms without a leader",
            "ISR 2,3 → 2: broker 3 did not keep up with leader 2",
            "leader 2 → none, epoch 2, ISR 2 → none, ELR none → 2: \
             broker 2's process ended (host-2:9190 refuses connections)",
            // Since it was last heard of, 20 ms before the decision of 1.000.
            "leader none → 2, epoch 3, ISR none → 2, ELR 2 → none: \
             broker 2 has come up (the leaderless partition has a candidate again); 5420 ms without a leader",
            "ISR 2 → 2,3: broker 3 caught up with leader 2",
            "leader 2 → 3, epoch 4, ISR 2,3 → 3: broker 2 is to stop (the broker is about to stop)",
        ],
    );
}

#[test]
fn an_election_with_loss_says_so() {
    let mut world = World::with_brokers(2);
    world.run("create t replicas=1,2 min.insync.replicas=1 unclean.leader.election.enable=true");
    world.run("alter 1 t-0 isr=1");
    world.run("damage 1 t-0");
    let story = story(&world, "t");
    let last = story.last().unwrap();
    assert!(
        last.starts_with("leader 1 → 2, epoch 1, ISR 1 → 2") && last.ends_with("; acknowledged records may be lost"),
        "{story:?}"
    );
}

#[test]
fn brokers_and_controllers_tell_what_became_of_them() {
    let mut world = World::with_brokers(2);
    kill(&mut world, 2, 2_003 - 1_000);
    world.run("register 2 other-boot");
    world.run("unfence 2");
    world.run("shutdown 1");
    kill(&mut world, 1, 0);
    world.run("unregister 1");
    assert_eq!(
        brokers_story(&world.image),
        [
            "broker 1 registered, broker epoch 1 (the last run ended clean)",
            "broker 1 unfenced: it has come up",
            "broker 1 gives up its leaders: it is to stop (the broker is about to stop)",
            "broker 1 fenced: its process ended (host-1:9190 refuses connections)",
            "broker 1 unregistered: it was taken out of the cluster (an operator unregistered the broker)",
            "broker 2 registered, broker epoch 2 (the last run ended clean)",
            "broker 2 unfenced: it has come up",
            "broker 2 fenced: its process ended (host-2:9190 refuses connections); noticed after 1003 ms",
            "broker 2 registered, broker epoch 3 (the last run died with its machine)",
            "broker 2 unfenced: it has come up",
        ],
    );
    let ended = crate::decide::Ended {
        node: NodeId(1),
        last_contact: Timestamp(959),
        evidence: "its process ended".into(),
    };
    for (node, ended) in [(1, None), (3, Some(ended)), (3, None)] {
        let node: NodeId = NodeId(node);
        let term = u64::from(node.0.unsigned_abs());
        let mut overlay = world.overlay();
        announce(&mut overlay, &Elected { node, term, ended });
        world.commit(overlay);
    }
    let controllers: Vec<String> = world
        .image
        .controller_history()
        .iter()
        .map(render::controller)
        .collect();
    assert_eq!(
        controllers,
        [
            "controller 1 decides from here on, term 1",
            "controller 3 decides from here on, term 3: controller 1 ended 41 ms before (its process ended)",
        ],
    );
}

#[test]
fn histories_are_bounded() {
    let mut world = World::with_brokers(3);
    world.run("create t replicas=1,2,3");
    world.run("create u replicas=1,2");
    world.now = Timestamp(1_795_000_000_000);
    for round in 0..2 * CONTROLLER_ENTRIES_MAX as i64 {
        let isr = if round % 2 == 0 { "1,2" } else { "1,2,3" };
        world.run(&format!("alter 1 t-0 isr={isr}"));
        kill(&mut world, 3, round);
        world.run("unfence 3");
        let elected = Elected {
            node: NodeId(1),
            term: round.unsigned_abs() + 1,
            ended: None,
        };
        let mut overlay = world.overlay();
        announce(&mut overlay, &elected);
        world.commit(overlay);
    }
    let kept = PARTITION_ENTRIES_MAX / 2..=PARTITION_ENTRIES_MAX;
    assert!(kept.contains(&story(&world, "t").len()));
    assert_eq!(world.image.controller_history().len(), CONTROLLER_ENTRIES_MAX);
    let of_three = world.image.broker_history().filter(|(id, _)| *id == NodeId(3));
    assert_eq!(of_three.count(), BROKER_ENTRIES_MAX);
    let (bytes, partitions) = world.image.partition_history_size();
    assert_eq!(partitions, 1, "one of two changed");
    assert!(bytes < 32 * PARTITION_ENTRIES_MAX, "{bytes} bytes");

    for broker in 10..10 + 2 * DEPARTED_MAX as i32 {
        world.run(&format!("register {broker}"));
        world.run(&format!("unregister {broker}"));
    }
    let mut known: Vec<NodeId> = world.image.broker_history().map(|(id, _)| id).collect();
    known.dedup();
    assert_eq!(known.len(), 3 + DEPARTED_MAX);
    assert_eq!(
        known.last(),
        Some(&NodeId(9 + 2 * DEPARTED_MAX as i32)),
        "the newest stay"
    );

    // Nothing of a deleted topic stays, its texts neither.
    for topic in ["t", "u"] {
        let topic_id = klamm_schema::id_bytes(world.topic_id(topic).as_bytes());
        let remove = record(Record::RemoveTopic(schema::RemoveTopic { topic_id }));
        world.image.apply(&remove).unwrap();
    }
    world.image.validate().unwrap();
    assert_eq!(world.image.partition_history_size(), (0, 0));
}

/// The image that a node has which applied every entry.
fn replayed(log: &[MetadataBatch]) -> Image {
    continued(Image::new(), log)
}

fn continued(mut image: Image, log: &[MetadataBatch]) -> Image {
    let from = usize::try_from(image.applied_index()).unwrap();
    for (index, batch) in (1..).zip(log).skip(from) {
        image.apply_batch(index, 1, batch).unwrap();
    }
    image
}

#[test]
fn histories_begin_and_end_with_the_level() {
    let mut world = World::with_brokers(2);
    world.run("create t replicas=1,2");
    kill(&mut world, 1, 5);
    let level = |level| {
        let name = crate::feature::METADATA_LEVEL.to_owned();
        record(Record::FeatureLevel(schema::FeatureLevel { name, level }))
    };
    let mut image = world.image.clone();
    image.apply(&level(1)).unwrap();
    assert_eq!(
        (brokers_story(&image).len(), image.partition_history_size()),
        (0, (0, 0))
    );
    assert_eq!(Image::from_snapshot(&image.to_snapshot()), Ok(image.clone()));
    let known_by_level_one = |record: &schema::MetadataRecord| {
        let history = matches!(
            record.record,
            Some(
                Record::ControllerChange(_)
                    | Record::HistoryText(_)
                    | Record::PartitionHistory(_)
                    | Record::BrokerHistory(_)
                    | Record::ControllerHistory(_)
            )
        );
        !history
    };
    assert!(image.to_records().iter().all(known_by_level_one));
    assert!(!image.to_records().is_empty());
    world.image = image;
    let mut overlay = world.overlay();
    let elected = Elected {
        node: NodeId(1),
        term: 1,
        ended: None,
    };
    assert!(!announce(&mut overlay, &elected));
    // Brokers that registered at level 1 have no history after the rise; a snapshot must not invent one.
    world.image.apply(&level(2)).unwrap();
    assert_eq!(
        Image::from_snapshot(&world.image.to_snapshot()),
        Ok(world.image.clone())
    );
    world.run("unfence 1");
    assert_eq!(brokers_story(&world.image), ["broker 1 unfenced: it has come up"]);
}

#[test]
fn snapshots_with_broken_histories_are_refused() {
    let mut world = World::with_brokers(2);
    world.run("create t replicas=1,2");
    kill(&mut world, 1, 5);
    let broken = |edit: &dyn Fn(&mut schema::PartitionHistory)| {
        let mut parts = world.image.to_snapshot();
        for record in &mut parts[0].records {
            if let Some(Record::PartitionHistory(history)) = &mut record.record {
                edit(history);
            }
        }
        Image::from_snapshot(&parts).unwrap_err();
    };
    broken(&|history| history.entries = history.entries.slice(1..));
    broken(&|history| history.entries = history.entries.slice(..history.entries.len() - 1));
    broken(&|history| history.entries = klamm_schema::Bytes::new());
    broken(&|history| history.entries = history.entries.repeat(40).into());
    broken(&|history| history.partition = 1);
    let mut parts = world.image.to_snapshot();
    parts[0]
        .records
        .retain(|record| !matches!(record.record, Some(Record::HistoryText(_))));
    Image::from_snapshot(&parts).unwrap_err();
}

fn command() -> impl Strategy<Value = String> {
    let broker = 1..=3;
    prop_oneof![
        broker.clone().prop_map(|id| format!("fence {id}")),
        broker.clone().prop_map(|id| format!("unfence {id}")),
        broker.clone().prop_map(|id| format!("register {id} other-boot")),
        broker.clone().prop_map(|id| format!("shutdown {id}")),
        broker.clone().prop_map(|id| format!("unregister {id}")),
        (broker.clone(), 0..2).prop_map(|(id, partition)| format!("damage {id} t-{partition}")),
        (0..2, 1..=3).prop_map(|(partition, id)| format!("alter {id} t-{partition} isr={id}")),
        (0..2).prop_map(|partition| format!("prefer t-{partition}")),
        (0..2).prop_map(|partition| format!("operator t-{partition}")),
        Just("set t min.insync.replicas=1".to_owned()),
        Just("recover".to_owned()),
        Just("recover backup".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// A node that began with a snapshot has the same history as one that applied every entry.
    #[test]
    fn a_snapshot_and_the_rest_is_the_replay(commands in proptest::collection::vec(command(), 1..80), cut in 0usize..80) {
        let mut world = World::with_brokers(3);
        world.run("create t replicas=1,2,3/2,3,1");
        for command in commands {
            let named = command.split(' ').nth(1).and_then(|id| id.parse().ok()).map(NodeId);
            let registered = named.is_none_or(|id| world.image.broker(id).is_some());
            if registered || command.starts_with("register") {
                world.now = Timestamp(world.now.0 + 7);
                world.run(&command);
            }
        }
        let whole = replayed(&world.log);
        prop_assert_eq!(&whole, &world.image);
        let cut = cut.min(world.log.len());
        let early = replayed(&world.log[..cut]);
        let restored = Image::from_snapshot(&early.to_snapshot()).unwrap();
        prop_assert_eq!(&restored, &early);
        let continued = continued(restored, &world.log);
        continued.validate().unwrap();
        prop_assert_eq!(continued, whole);
    }
}
