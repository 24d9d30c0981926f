//! Static members and patterns: exact answers and exact records.

use std::time::Duration;

use klamm_types::ErrorCode;

use crate::TopicsAge;
use crate::call::{ConsumerHeartbeat, PartitionsByTopic};
use crate::history::{Happened, Removal};
use crate::record::{AssignedPartitions, ConsumerCurrent, ConsumerMember, ConsumerRegex, Record};
use crate::settings::Settings;

use super::exact::{current, described_member, epoch, group, records, refused, since, subscription, target, told};
use super::pattern::Pattern;
use super::world::{World, heartbeat, join, partitions, settings, topics};

fn world() -> World {
    World::new(settings(), topics(&[("t", 1, 2), ("u", 2, 2)]))
}

fn of_instance(request: ConsumerHeartbeat) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        instance: Some("i".to_owned()),
        ..request
    }
}

#[test]
fn a_static_member_keeps_its_partitions_while_it_is_away() {
    let mut world = world();
    world.beat(&of_instance(join("a", &["t"])));
    let written = records(&mut world, &of_instance(heartbeat("a", -2)));
    let away = ConsumerCurrent {
        epoch: -2,
        previous_epoch: 0,
        state: 0,
        assigned: since(&[(1, &[(0, 0), (1, 0)])]),
        pending_revocation: AssignedPartitions::new(),
    };
    assert_eq!(written, vec![current("a", Some(away.clone()))]);
    assert_eq!(world.group().unwrap().epoch, 2);

    let written = records(&mut world, &of_instance(join("b", &["t"])));
    let metadata = ConsumerMember {
        instance: Some("i".to_owned()),
        ..described_member(&["t"])
    };
    let all = partitions(&[(1, &[0, 1])]);
    let back = |epoch| ConsumerCurrent {
        epoch,
        previous_epoch: 0,
        ..away.clone()
    };
    assert_eq!(
        written,
        vec![
            current("a", None),
            target("a", None),
            subscription("a", None),
            subscription("b", Some(metadata)),
            target("b", Some(all.clone())),
            current("b", Some(back(0))),
            current("b", Some(back(2))),
        ]
    );
    assert_eq!(world.beat(&of_instance(heartbeat("b", 2))), told("b", 2, 5000, None));
    assert_eq!(
        refused(&mut world, &of_instance(heartbeat("a", 2))),
        ErrorCode::FencedInstanceId
    );
    assert_eq!(
        refused(&mut world, &of_instance(heartbeat("a", -1))),
        ErrorCode::FencedInstanceId
    );
}

#[test]
fn who_is_away_for_too_long_is_removed() {
    let mut world = world();
    world.beat(&of_instance(join("a", &["t"])));
    assert_eq!(world.beat(&of_instance(heartbeat("a", -2))), told("a", -2, 0, None));
    world.pass(Duration::from_secs(45));
    assert!(world.group().unwrap().is_empty());
    let removed = Happened::MemberRemoved {
        member: "a".to_owned(),
        cause: Removal::SessionExpired,
    };
    assert_eq!(world.history.last(), Some(&removed));
}

#[test]
fn an_instance_id_in_use_is_not_released() {
    let mut world = world();
    world.beat(&of_instance(join("a", &["t"])));
    assert_eq!(
        refused(&mut world, &of_instance(join("b", &["t"]))),
        ErrorCode::UnreleasedInstanceId
    );
    // Its own join, repeated because the answer was lost.
    let all = partitions(&[(1, &[0, 1])]);
    assert_eq!(
        world.beat(&of_instance(join("a", &["t"]))),
        told("a", 2, 5000, Some(all))
    );
    let stranger = ConsumerHeartbeat {
        instance: Some("j".to_owned()),
        ..heartbeat("a", 2)
    };
    assert_eq!(refused(&mut world, &stranger), ErrorCode::UnknownMemberId);
    let stranger = ConsumerHeartbeat {
        member_epoch: -2,
        ..stranger
    };
    assert_eq!(refused(&mut world, &stranger), ErrorCode::UnknownMemberId);
}

#[test]
fn a_static_member_leaves_for_good() {
    let mut world = world();
    world.beat(&of_instance(join("a", &["t"])));
    assert_eq!(world.beat(&of_instance(heartbeat("a", -1))), told("a", -1, 0, None));
    assert!(world.group().unwrap().is_empty());
    assert_eq!(world.beat(&of_instance(join("b", &["t"]))).error, ErrorCode::None);
}

/// Coming back to a group that has moved on, and with less to have.
#[test]
fn back_from_away_it_takes_the_newest_target() {
    let mut world = world();
    world.beat(&of_instance(join("a", &["t"])));
    world.beat(&of_instance(heartbeat("a", -2)));
    world.beat(&join("c", &["t"]));
    let reply = world.beat(&of_instance(join("b", &["t"])));
    assert_eq!(
        (reply.member_epoch, reply.assignment),
        (3, Some(partitions(&[(1, &[0])])))
    );
    assert_eq!(
        world.beat(&heartbeat("c", 3)),
        told("c", 3, 5000, Some(partitions(&[(1, &[1])])))
    );
}

fn by_pattern(member: &str, pattern: &str) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        subscribed_regex: Some(pattern.to_owned()),
        subscribed_names: None,
        ..join(member, &[])
    }
}

fn regex(pattern: &str, value: Option<ConsumerRegex>) -> Record {
    Record::ConsumerRegex {
        group: group(),
        regex: pattern.to_owned(),
        value,
    }
}

#[test]
fn a_pattern_is_resolved_at_once_and_again_when_topics_come() {
    let mut world = world();
    let written = records(&mut world, &by_pattern("a", "t.*"));
    let resolved = |world: &World, names: &[&str]| ConsumerRegex {
        topics: names.iter().map(|name| (*name).to_owned()).collect(),
        version: 0,
        timestamp: world.at().wall.0,
    };
    assert_eq!(
        written[1..3],
        [regex("t.*", Some(resolved(&world, &["t"]))), epoch(&world, 2)]
    );
    assert_eq!(
        world.group().unwrap().subscribed_topics().collect::<Vec<_>>(),
        vec!["t"]
    );
    let before = world.log.len();
    world.set_topics(topics(&[("t", 1, 2), ("u", 2, 2), ("tt", 3, 1)]));
    assert_eq!(
        world.log[before..],
        [regex("t.*", Some(resolved(&world, &["t", "tt"]))), epoch(&world, 3)]
    );
    let reply = world.beat(&heartbeat("a", 2));
    assert_eq!(reply, told("a", 3, 5000, Some(partitions(&[(1, &[0, 1]), (3, &[0])]))));
    world.set_topics(topics(&[("u", 2, 2)]));
    assert_eq!(world.group().unwrap().epoch, 4);
    assert_eq!(
        world.beat(&heartbeat("a", 3)).assignment,
        Some(PartitionsByTopic::new())
    );
}

#[test]
fn a_pattern_goes_with_its_last_subscriber() {
    let mut world = world();
    world.beat(&by_pattern("a", "t.*"));
    world.beat(&by_pattern("b", "t.*"));
    let change = ConsumerHeartbeat {
        subscribed_regex: Some("u".to_owned()),
        ..heartbeat("a", 2)
    };
    assert!(!records(&mut world, &change).contains(&regex("t.*", None)));
    assert!(records(&mut world, &heartbeat("b", -1)).contains(&regex("t.*", None)));
    assert_eq!(
        world.group().unwrap().subscribed_topics().collect::<Vec<_>>(),
        vec!["u"]
    );
    let epoch = world.group().unwrap().members["a"].epoch;
    let none = ConsumerHeartbeat {
        subscribed_regex: Some(String::new()),
        ..heartbeat("a", epoch)
    };
    assert!(records(&mut world, &none).contains(&regex("u", None)));
    assert_eq!(world.group().unwrap().subscribed_topics().count(), 0);
}

#[test]
fn names_and_a_pattern_together() {
    let mut world = world();
    let both = ConsumerHeartbeat {
        subscribed_regex: Some("t|nothing".to_owned()),
        ..join("a", &["u"])
    };
    let reply = world.beat(&both);
    assert_eq!(reply.assignment, Some(partitions(&[(1, &[0, 1]), (2, &[0, 1])])));
}

/// Only a change that nobody announced is left for it, and there is none here; it must not disturb.
#[test]
fn patterns_are_looked_at_every_ten_minutes() {
    let mut world = world();
    world.beat(&by_pattern("a", "t.*"));
    let written = world.log.len();
    for _ in 0..30 {
        world.pass(Duration::from_secs(30));
        world.beat(&heartbeat("a", 2));
    }
    assert_eq!(world.log.len(), written);
    world.topics = std::sync::Arc::new(topics(&[("t", 1, 2), ("t2", 4, 2)]));
    world.shard.set_topics(world.topics.clone(), TopicsAge::Current);
    for _ in 0..20 {
        world.pass(Duration::from_secs(30));
        let epoch = world.group().unwrap().members["a"].epoch;
        world.beat(&heartbeat("a", epoch));
    }
    assert_eq!(
        world.group().unwrap().subscribed_topics().collect::<Vec<_>>(),
        vec!["t", "t2"]
    );
}

#[test]
fn a_wrong_or_huge_pattern_is_refused() {
    let mut world = world();
    let huge = "x".repeat(10_000);
    let deep = "(".repeat(200) + &")".repeat(200);
    for wrong in ["(", "a)|(b", "a{1000}{1000}{1000}", "(?=t)", "[z-a]", &huge, &deep] {
        assert_eq!(
            refused(&mut world, &by_pattern("a", wrong)),
            ErrorCode::InvalidRegularExpression,
            "{wrong}"
        );
    }
}

#[test]
fn patterns_match_whole_names_as_re2_does() {
    let matches = |pattern: &str, topic: &str| Pattern::new(pattern).unwrap().matches(topic);
    for (pattern, topic, expected) in [
        ("t", "t", true),
        ("t", "tt", false),
        ("a|ab", "ab", true),
        ("t.*", "", false),
        (".*", "anything-1.2_3", true),
        ("\\Qa.b\\E.*", "a.bc", true),
        ("\\Qa.b\\E.*", "axbc", false),
        ("\\Qa.b", "a.b", true),
        ("\\\\Q", "\\Q", true),
        ("\\w+", "ab_1", true),
        ("(?i)T", "t", true),
        ("\\x74", "t", true),
        ("\\pL+", "abc", true),
        ("^t$", "t", true),
        ("[[:alpha:]]+", "abc", true),
    ] {
        assert_eq!(matches(pattern, topic), expected, "{pattern} {topic}");
    }
}

/// A member that no longer wants a topic gives its partitions up though the next targets are not made yet.
#[test]
fn what_is_not_subscribed_to_any_more_is_given_up_at_once() {
    let settings = Settings {
        consumer_assignment_interval: Duration::from_secs(10),
        ..settings()
    };
    let mut world = World::new(settings, topics(&[("t", 1, 2), ("u", 2, 2)]));
    world.beat(&join("a", &["t", "u"]));
    let less = ConsumerHeartbeat {
        subscribed_names: Some(vec!["t".to_owned()]),
        ..heartbeat("a", 2)
    };
    assert_eq!(world.beat(&less), told("a", 2, 5000, Some(partitions(&[(1, &[0, 1])]))));
    let gave_up = ConsumerHeartbeat {
        owned: Some(partitions(&[(1, &[0, 1])])),
        ..heartbeat("a", 2)
    };
    assert_eq!(world.beat(&gave_up), told("a", 2, 5000, None));
    assert_eq!(world.group().unwrap().members["a"].held().count(), 2);
    world.pass(Duration::from_secs(10));
    assert_eq!(world.beat(&heartbeat("a", 2)), told("a", 3, 5000, None));
}
