//! The image: what applying refuses, snapshots as the identity, deltas that lead from one image to the next.

use klamm_schema::Message;
use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{self as schema, MetadataBatch, MetadataRecord};
use klamm_types::{NodeId, PartitionId};

use super::*;
use crate::decide::tests::script::World;
use crate::record;

/// A cluster in which everything that an image can hold is there.
fn rich_world() -> World {
    let mut world = World::with_brokers(3);
    world.run("create t partitions=3 rf=3 retention.ms=5 klamm.durability=replicated");
    world.run("create u replicas=1,2/2,3");
    world.run("set cluster num.partitions=4");
    world.run("fence 3");
    world.run("fence 2");
    world.run("register 3 other-boot rack=a log=t-0:1:9");
    world.run("register 4");
    world.run("shutdown 1");
    let request = klamm_schema::requests::AllocateProducerIdsRequest {
        broker: 1,
        broker_epoch: 1,
    };
    world.request(klamm_schema::requests::controller_request::Request::AllocateProducerIds(request));
    world
}

#[test]
fn a_snapshot_gives_the_same_image() {
    let image = rich_world().image;
    let parts = image.to_snapshot();
    assert_eq!(Image::from_snapshot(&parts), Ok(image.clone()));
    assert_eq!(Image::from_snapshot(&Image::new().to_snapshot()), Ok(Image::new()));
    assert_eq!(Image::from_snapshot(&parts[..0]), Err(SnapshotError::Parts));
}

#[test]
fn a_large_snapshot_comes_in_small_parts() {
    let mut world = World::with_brokers(3);
    world.run("create t partitions=5000 rf=3");
    let parts = world.image.to_snapshot();
    assert!(parts.len() > 5, "{}", parts.len());
    assert!(parts.iter().all(|part| part.encoded_len() <= 64 * 1024));
    assert_eq!(Image::from_snapshot(&parts).as_ref(), Ok(&world.image));
    let mut gap = parts.clone();
    gap.remove(1);
    assert_eq!(Image::from_snapshot(&gap), Err(SnapshotError::Parts));
    assert_eq!(
        Image::from_snapshot(&parts[..parts.len() - 1]),
        Err(SnapshotError::Parts)
    );
    let mut other = parts;
    other[1].index += 1;
    assert_eq!(Image::from_snapshot(&other), Err(SnapshotError::Parts));
}

#[test]
fn a_delta_names_what_changed_and_nothing_else() {
    let mut world = World::with_brokers(2);
    world.run("create t partitions=2 rf=2");
    world.run("create gone partitions=1 rf=1");
    let before = world.image.clone();
    assert!(before.changes_since(&before).is_empty());
    world.run("create new partitions=1 rf=1 retention.ms=7");
    world.run("set t segment.ms=9");
    world.run("fence 2");
    let topic = |image: &Image, name: &str| Arc::clone(image.topic_by_name(name).unwrap());
    let remove = schema::RemoveTopic {
        topic_id: klamm_schema::id_bytes(topic(&before, "gone").id.as_bytes()),
    };
    let mut after = world.image.clone();
    after.apply(&record(Record::RemoveTopic(remove))).unwrap();

    let delta = after.changes_since(&before);
    assert_eq!(delta.topics_created, [topic(&after, "new")]);
    assert_eq!(delta.topics_deleted, [topic(&before, "gone")]);
    let broker = |image: &Image| image.brokers().get(&NodeId(2)).cloned();
    assert_eq!(
        delta.brokers,
        [BrokerDelta {
            broker: NodeId(2),
            before: broker(&before),
            after: broker(&after),
        }]
    );
    let t = topic(&after, "t").id;
    let expected: Vec<PartitionDelta> = (0..2)
        .map(|partition| PartitionDelta {
            topic: t,
            partition: PartitionId(partition),
            before: before.partition(t, PartitionId(partition)).cloned(),
            after: Arc::clone(after.partition(t, PartitionId(partition)).unwrap()),
        })
        .collect();
    assert_eq!(delta.partitions, expected);
    let names: Vec<Resource> = ["new", "t"].map(|name| Resource::Topic(name.into())).into();
    assert_eq!(delta.configs.into_iter().collect::<Vec<_>>(), names);
    assert!(!delta.features_changed && !delta.cluster_id_changed);

    // A snapshot of the new image differs from the old one by the same.
    let restored = Image::from_snapshot(&after.to_snapshot()).unwrap();
    assert_eq!(restored.changes_since(&before), after.changes_since(&before));
    assert!(restored.changes_since(&after).is_empty());
}

#[test]
fn what_is_not_known_stops_the_node() {
    let image = World::with_brokers(1).image;
    let apply = |record: MetadataRecord| image.clone().apply(&record);
    let index = image.applied_index() + 1;
    let unknown = MetadataRecord {
        version: 1,
        record: None,
    };
    assert_eq!(apply(unknown), Err(ApplyError::UnknownRecord { index }));
    let mut newer = record(Record::NoOp(schema::NoOp {}));
    newer.version = 2;
    assert_eq!(apply(newer), Err(ApplyError::UnknownVersion { index, version: 2 }));
    let level = record(Record::FeatureLevel(schema::FeatureLevel {
        name: crate::feature::METADATA_LEVEL.into(),
        level: 3,
    }));
    assert_eq!(apply(level), Err(ApplyError::UnknownLevel { index, level: 3 }));
    // A kind of a newer program, as its bytes look to this one.
    let bytes = [0x08, 0x01, 0xa2, 0x06, 0x00];
    let decoded = MetadataRecord::decode(&bytes[..]).unwrap();
    assert_eq!(apply(decoded), Err(ApplyError::UnknownRecord { index }));
}

fn refusal(image: &Image, message: Record) -> String {
    match image.clone().apply(&record(message)) {
        Err(ApplyError::DoesNotFit { kind, what, .. }) => format!("{kind} {what}"),
        Err(ApplyError::Malformed { source, .. }) => format!("malformed {}", source.field),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_does_not_fit_stops_the_node() {
    let mut world = World::with_brokers(2);
    world.run("create t replicas=1,2");
    let image = world.image;
    let topic = image.topic_by_name("t").unwrap();
    let state = image.partition(topic.id, PartitionId(0)).unwrap();
    let refused = |message: Record| refusal(&image, message);
    let change = |edit: &dyn Fn(&mut schema::PartitionChange)| {
        let mut change = schema::PartitionChange {
            topic_id: klamm_schema::id_bytes(topic.id.as_bytes()),
            partition: 0,
            leadership: Some(schema::Leadership {
                partition_epoch: 1,
                ..state.to_leadership()
            }),
            ..schema::PartitionChange::default()
        };
        assert!(
            image
                .clone()
                .apply(&record(Record::PartitionChange(change.clone())))
                .is_ok()
        );
        edit(&mut change);
        refused(Record::PartitionChange(change))
    };
    let lead = |edit: &dyn Fn(&mut schema::Leadership)| change(&|change| edit(change.leadership.as_mut().unwrap()));
    assert_eq!(
        lead(&|l| l.partition_epoch = 0),
        "PartitionChange does not follow the partition epoch"
    );
    assert_eq!(
        lead(&|l| l.partition_epoch = 2),
        "PartitionChange does not follow the partition epoch"
    );
    let no_epoch = "PartitionChange changes the leader without a new leader epoch";
    assert_eq!(lead(&|l| l.leader = 2), no_epoch);
    assert_eq!(lead(&|l| l.leader_epoch = -1), no_epoch);
    assert_eq!(
        change(&|change| change.partition = 1),
        "PartitionChange names no partition"
    );
    assert_eq!(
        change(&|change| change.partition = -1),
        "PartitionChange names no partition"
    );
    assert_eq!(
        change(&|change| change.leadership = None),
        "PartitionChange has no leadership"
    );
    assert_eq!(change(&|change| change.topic_id.clear()), "malformed topic_id");
}

#[test]
fn what_is_no_change_of_a_partition_does_not_fit_either() {
    let mut world = World::with_brokers(2);
    world.run("create t replicas=1,2");
    let image = world.image;
    let refused = |message: Record| refusal(&image, message);
    let again = schema::Topic {
        topic_id: klamm_schema::id_bytes(&[9; 16]),
        name: "t".into(),
    };
    assert_eq!(refused(Record::Topic(again)), "Topic exists");
    let fence = schema::BrokerChange {
        broker: 1,
        broker_epoch: 7,
        fenced: true,
        ..schema::BrokerChange::default()
    };
    assert_eq!(
        refused(Record::BrokerChange(fence)),
        "BrokerChange names a registration that is not current"
    );
    let stranger = schema::ClusterIdentity {
        cluster_id: klamm_schema::id_bytes(&[9; 16]),
    };
    assert_eq!(
        refused(Record::ClusterIdentity(stranger)),
        "ClusterIdentity names another cluster"
    );
    let batch = MetadataBatch::default();
    let index = image.applied_index();
    let out_of_order = image.clone().apply_batch(index, 1, &batch);
    assert_eq!(out_of_order, Err(ApplyError::OutOfOrder { index, applied: index }));
}

#[test]
fn a_broken_image_is_told() {
    let mut world = World::with_brokers(2);
    world.run("create t replicas=1,2");
    let broken = |edit: &dyn Fn(&mut PartitionState)| {
        let mut image = world.image.clone();
        let topic = Arc::make_mut(Arc::make_mut(&mut image.topics).values_mut().next().unwrap());
        edit(Arc::make_mut(&mut topic.partitions[0]));
        image.validate().unwrap_err().to_string()
    };
    assert_eq!(
        broken(&|state| state.isr.push(NodeId(9))),
        "t-0: ISR, ELR and last known ELR are replicas"
    );
    assert_eq!(
        broken(&|state| state.isr = vec![NodeId(2)]),
        "t-0: the leader is in the ISR"
    );
    assert_eq!(
        broken(&|state| state.elr = vec![NodeId(2)]),
        "t-0: ISR, ELR and last known ELR are disjoint"
    );
    assert_eq!(
        broken(&|state| state.directories.clear()),
        "t-0: one directory per replica"
    );
}
