//! The rules of the protocol, as exact answers and exact records: the group as a whole, and what others ask of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use klamm_types::ErrorCode;

use crate::call::{Call, ConsumerHeartbeat, PartitionsByTopic};
use crate::record::Record;
use crate::reply::{DescribedConsumerGroup, DescribedConsumerMember, MemberKind, Reply};
use crate::settings::Settings;

use super::commit::CommitScope;
use super::exact::{group, refused, told};
use super::world::{GROUP, World, heartbeat, join, partitions, settings, topic_id, topics};

fn world() -> World {
    World::new(settings(), topics(&[("t", 1, 4), ("u", 2, 2)]))
}

#[test]
fn most_votes_choose_the_assignor() {
    let mut world = world();
    let vote = |member: &str, assignor: Option<&str>| ConsumerHeartbeat {
        server_assignor: assignor.map(str::to_owned),
        ..join(member, &["t"])
    };
    world.beat(&vote("a", None));
    assert_eq!(world.group().unwrap().assignor(), "uniform");
    world.beat(&vote("b", Some("range")));
    assert_eq!(world.group().unwrap().assignor(), "range");
    world.beat(&vote("c", Some("uniform")));
    world.beat(&vote("d", Some("uniform")));
    assert_eq!(world.group().unwrap().assignor(), "uniform");
    // A vote alone moves nothing.
    let epoch = world.group().unwrap().epoch;
    world.beat(&ConsumerHeartbeat {
        server_assignor: Some("range".to_owned()),
        ..heartbeat("d", epoch)
    });
    assert_eq!(
        (world.group().unwrap().assignor(), world.group().unwrap().epoch),
        ("range", epoch)
    );
}

#[test]
fn with_an_assignment_interval_a_newcomer_waits() {
    let settings = Settings {
        consumer_assignment_interval: Duration::from_secs(1),
        ..settings()
    };
    let mut world = World::new(settings, topics(&[("t", 1, 4)]));
    world.beat(&join("a", &["t"]));
    assert_eq!(
        world.beat(&join("b", &["t"])),
        told("b", 2, 5000, Some(PartitionsByTopic::new()))
    );
    assert_eq!(world.group().unwrap().state(), "Assigning");
    world.pass(Duration::from_secs(1));
    assert_eq!(world.beat(&heartbeat("b", 2)).member_epoch, 3);
    assert_eq!(world.group().unwrap().state(), "Reconciling");
}

#[test]
fn other_partitions_raise_the_epoch() {
    let mut world = world();
    world.beat(&join("a", &["t"]));
    world.set_topics(topics(&[("t", 1, 4), ("u", 2, 9)]));
    assert_eq!(world.group().unwrap().epoch, 2, "nobody reads u");
    world.set_topics(topics(&[("t", 1, 5), ("u", 2, 9)]));
    assert_eq!(
        (world.group().unwrap().epoch, world.group().unwrap().state()),
        (3, "Assigning")
    );
    assert_eq!(
        world.beat(&heartbeat("a", 2)),
        told("a", 3, 5000, Some(partitions(&[(1, &[0, 1, 2, 3, 4])])))
    );
    // A topic that is made anew is another one.
    world.set_topics(topics(&[("t", 7, 1)]));
    let reply = world.beat(&heartbeat("a", 3));
    assert_eq!(
        (reply.member_epoch, reply.assignment),
        (3, Some(PartitionsByTopic::new()))
    );
    let gave_up = ConsumerHeartbeat {
        owned: Some(PartitionsByTopic::new()),
        ..heartbeat("a", 3)
    };
    assert_eq!(world.beat(&gave_up), told("a", 4, 5000, Some(partitions(&[(7, &[0])]))));
}

/// A coordinator that has just loaded the group compares its topics with those that it sees itself.
#[test]
fn topics_that_changed_unseen_are_noticed_after_a_reload() {
    let mut world = world();
    world.beat(&join("a", &["t"]));
    world.topics = std::sync::Arc::new(topics(&[("t", 1, 5)]));
    world.reload(&mut super::world::Dice(1));
    assert_eq!(
        world.beat(&heartbeat("a", 2)),
        told("a", 3, 5000, Some(partitions(&[(1, &[0, 1, 2, 3, 4])])))
    );
}

#[test]
fn a_reload_goes_on_with_everybody() {
    let mut world = world();
    world.beat(&join("a", &["t"]));
    let written = world.log.len();
    world.reload(&mut super::world::Dice(1));
    assert_eq!(world.beat(&heartbeat("a", 2)), told("a", 2, 5000, None));
    assert_eq!(world.log.len(), written);
    world.pass(Duration::from_secs(45));
    assert!(world.group().unwrap().is_empty());
}

/// 100 ms after a step; a quarter of the time since then while more is to come, all of it at rest.
#[test]
fn the_interval_is_short_while_steps_are_made() {
    let settings = Settings {
        consumer_resting_interval: Duration::from_secs(5),
        ..Settings::default()
    };
    let mut world = World::new(settings, topics(&[("t", 1, 4)]));
    let mut intervals = vec![world.beat(&join("a", &["t"])).heartbeat_interval_ms];
    for seconds in [1, 3, 2] {
        world.pass(Duration::from_secs(seconds));
        intervals.push(world.beat(&heartbeat("a", 2)).heartbeat_interval_ms);
    }
    assert_eq!(intervals, vec![100, 1000, 4000, 5000]);
    intervals = vec![world.beat(&join("b", &["t"])).heartbeat_interval_ms];
    for seconds in [1, 7, 24] {
        world.pass(Duration::from_secs(seconds));
        intervals.push(world.beat(&heartbeat("b", 3)).heartbeat_interval_ms);
    }
    assert_eq!(intervals, vec![100, 250, 2000, 5000]);
}

/// A second for up to 200 members, 5 ms for each of more, at most the heartbeat interval.
#[test]
fn the_interval_at_rest_grows_with_the_group() {
    let interval = |members: usize| {
        let mut world = World::new(Settings::default(), topics(&[("t", 1, 1)]));
        for member in 0..members {
            world.beat(&join(&format!("m{member}"), &["t"]));
        }
        // The first gives nothing up and the others get nothing, so each is settled with its next heartbeat.
        for member in 0..members {
            world.beat(&heartbeat(&format!("m{member}"), epoch(&world, member)));
        }
        world.pass(Duration::from_secs(30));
        world.beat(&heartbeat("m0", epoch(&world, 0))).heartbeat_interval_ms
    };
    assert_eq!([1, 200, 300, 1001].map(interval), [1000, 1000, 1500, 5000]);
}

fn epoch(world: &World, member: usize) -> i32 {
    let id = format!("m{member}");
    let group = world.group().unwrap();
    group.members().find(|(name, _)| *name == id).unwrap().1.epoch
}

#[test]
fn a_commit_with_an_older_epoch_counts_for_what_the_member_had_then() {
    let mut world = world();
    world.beat(&join("a", &["t"]));
    world.beat(&join("b", &["u"]));
    world.beat(&heartbeat("a", 2));
    let group = world.group().unwrap();
    assert_eq!(group.validate_commit("a", 3, 9), Ok(CommitScope::All));
    assert_eq!(group.validate_commit("a", 4, 9), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(group.validate_commit("a", 3, 8), Err(ErrorCode::UnsupportedVersion));
    assert_eq!(group.validate_commit("c", 3, 9), Err(ErrorCode::UnknownMemberId));
    assert_eq!(group.validate_commit("", -1, 9), Err(ErrorCode::UnknownMemberId));
    let scope = group.validate_commit("a", 2, 9).unwrap();
    assert_eq!(scope.check(topic_id(1), 0), ErrorCode::None);
    assert_eq!(scope.check(topic_id(1), 4), ErrorCode::StaleMemberEpoch);
    assert_eq!(scope.check(topic_id(2), 0), ErrorCode::StaleMemberEpoch);
    let scope = group.validate_commit("a", 1, 9).unwrap();
    assert_eq!(scope.check(topic_id(1), 0), ErrorCode::StaleMemberEpoch);
    // What is to be given up may still be committed.
    world.beat(&join("c", &["t"]));
    world.beat(&heartbeat("a", 3));
    let scope = world.group().unwrap().validate_commit("a", 2, 9).unwrap();
    assert_eq!(scope.check(topic_id(1), 3), ErrorCode::None);
}

#[test]
fn who_may_commit_to_an_empty_group_and_who_may_fetch() {
    let mut world = world();
    world.beat(&join("a", &["t"]));
    let group = world.group().unwrap();
    assert_eq!(group.validate_fetch(None, -1), Ok(()));
    assert_eq!(group.validate_fetch(None, 2), Err(ErrorCode::UnknownMemberId));
    assert_eq!(group.validate_fetch(Some("a"), 2), Ok(()));
    assert_eq!(group.validate_fetch(Some("a"), -1), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(group.validate_fetch(Some("b"), 2), Err(ErrorCode::UnknownMemberId));
    world.beat(&heartbeat("a", -1));
    assert_eq!(world.group().unwrap().validate_commit("", -1, 2), Ok(CommitScope::All));
}

#[test]
fn described_with_what_a_member_holds_and_should_hold() {
    let mut world = world();
    world.beat(&join("a", &["t"]));
    world.beat(&join("b", &["t"]));
    world.beat(&heartbeat("a", 2));
    let all: Vec<i32> = (0..4).collect();
    let member = |id: &str, epoch, assignment: &[i32], target: &[i32]| DescribedConsumerMember {
        member: id.to_owned(),
        instance: None,
        rack: None,
        member_epoch: epoch,
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        subscribed_names: vec!["t".to_owned()],
        subscribed_regex: Some(String::new()),
        assignment: if assignment.is_empty() {
            Vec::new()
        } else {
            vec![(topic_id(1), "t".to_owned(), assignment.to_vec())]
        },
        target: vec![(topic_id(1), "t".to_owned(), target.to_vec())],
        kind: MemberKind::Consumer,
    };
    let (reply, _) = world.call(Call::DescribeConsumerGroup { group: group() });
    assert_eq!(
        reply,
        Reply::DescribeConsumerGroup(Box::new(DescribedConsumerGroup {
            error: ErrorCode::None,
            message: None,
            group: group(),
            state: "Reconciling".to_owned(),
            group_epoch: 3,
            assignment_epoch: 3,
            assignor: "uniform".to_owned(),
            members: vec![member("a", 2, &all, &[0, 1]), member("b", 3, &[], &[2, 3])],
        }))
    );
    let (reply, _) = world.call(Call::DescribeConsumerGroup { group: "h".to_owned() });
    let Reply::DescribeConsumerGroup(reply) = reply else {
        panic!("{reply:?}");
    };
    assert_eq!(
        (reply.error, reply.state.as_str(), reply.members.len()),
        (ErrorCode::GroupIdNotFound, "", 0)
    );
}

#[test]
fn deleting_leaves_a_tombstone_for_every_key() {
    let mut world = world();
    world.beat(&ConsumerHeartbeat {
        subscribed_regex: Some("u.*".to_owned()),
        ..join("a", &["t"])
    });
    let written: BTreeSet<String> = world
        .log
        .iter()
        .map(|record| format!("{:?}", std::mem::discriminant(record)))
        .collect();
    let tombstones = world.group().unwrap().tombstones(GROUP);
    let removed: BTreeSet<String> = tombstones
        .iter()
        .map(|record| format!("{:?}", std::mem::discriminant(record)))
        .collect();
    assert_eq!(removed, written);
    let mut left: BTreeMap<String, Option<crate::group::Group>> = BTreeMap::new();
    let at = world.at();
    let slot = left.entry(group()).or_insert_with(|| world.shard.group(GROUP).cloned());
    for tombstone in tombstones {
        super::apply_record(slot, at, &tombstone);
    }
    assert_eq!(*slot, None);
}

/// A later version has written a state that this one does not know.
#[test]
fn a_member_in_an_unknown_state_begins_anew() {
    let mut world = world();
    world.beat(&join("a", &["t"]));
    let member = &world.group().unwrap().members["a"];
    let mut value = member.current();
    value.state = 9;
    world.write(Record::ConsumerCurrent {
        group: group(),
        member: "a".to_owned(),
        value: Some(value),
    });
    assert_eq!(refused(&mut world, &heartbeat("a", 2)), ErrorCode::FencedMemberEpoch);
    let all = partitions(&[(1, &[0, 1, 2, 3])]);
    assert_eq!(world.beat(&join("a", &["t"])), told("a", 2, 5000, Some(all)));
    assert_eq!(world.group().unwrap().state(), "Stable");
}
