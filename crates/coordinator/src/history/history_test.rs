//! Entries to bytes and back, the ring, what people read, and partitions without an owner.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ::bytes::Bytes;
use klamm_types::{Moment, Timestamp, TopicId};
use klamm_wire::consumer_protocol_assignment::TopicPartition;
use klamm_wire::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, encode_versioned};
use proptest::prelude::*;

use super::bytes::{Numbered, Unreadable};
use super::render::render;
use super::*;
use crate::record::{ClassicGroup, ClassicMember, Committed, EXPIRE_BY_RULE, Record};
use crate::settings::Settings;
use crate::shard::{At, Shard};
use crate::topics::{Topic, Topics};

const START_MS: i64 = 1_795_803_483_123;

fn entry(group: &str, at: i64, happened: Happened) -> Entry {
    Entry {
        group: group.into(),
        at: Timestamp(at),
        happened,
    }
}

fn everything() -> Vec<Happened> {
    let removed = |cause| Happened::MemberRemoved {
        member: "m-1".into(),
        cause,
    };
    vec![
        Happened::MemberJoined {
            member: "m-1".into(),
            client_id: "orders".into(),
            client_host: "/127.0.0.1".into(),
        },
        Happened::MemberLeft {
            member: "m-1".into(),
            reason: Some("the consumer is being closed".into()),
        },
        Happened::MemberLeft {
            member: "m-1".into(),
            reason: None,
        },
        removed(Removal::SessionExpired),
        removed(Removal::RebalanceTimedOut),
        removed(Removal::SyncTimedOut),
        removed(Removal::RevocationTimedOut),
        removed(Removal::Replaced),
        removed(Removal::Administered),
        Happened::RebalanceStarted {
            cause: "m-2 joined".into(),
        },
        Happened::RebalanceEnded {
            generation: 7,
            members: 2,
            took_ms: 3021,
        },
        Happened::Unowned {
            topic: "orders".into(),
            partitions: vec![0, 4],
            since: Timestamp(START_MS - 60_000),
        },
    ]
}

#[test]
fn every_entry_comes_back_from_its_bytes() {
    for (number, happened) in (0..).zip(everything()) {
        let numbered = Numbered {
            number,
            slot: 3,
            entry: entry("a/b", START_MS, happened),
        };
        let (key, value) = numbered.to_bytes();
        assert_eq!(&key[..], b"3/a/b");
        assert_eq!(Numbered::from_bytes(&key, &value).unwrap(), numbered);
    }
}

/// What is in the topic must stay readable: this is the format, not just what the code does.
#[test]
fn an_entry_is_json() {
    let numbered = Numbered {
        number: 12,
        slot: 2,
        entry: entry("orders", START_MS, everything()[3].clone()),
    };
    let (_, value) = numbered.to_bytes();
    let expected = r#"{"format":1,"number":12,"at_ms":1795803483123,"what":"member_removed","member":"m-1","cause":"session_expired"}"#;
    assert_eq!(std::str::from_utf8(&value).unwrap(), expected);
    let later = expected.replace("\"what\"", "\"new_field\":[1],\"what\"");
    assert_eq!(Numbered::from_bytes(b"2/orders", later.as_bytes()).unwrap(), numbered);
}

#[test]
fn what_is_no_entry_is_refused() {
    let read = |key: &[u8], value: &[u8]| Numbered::from_bytes(key, value);
    assert!(matches!(read(b"orders", b"{}"), Err(Unreadable::Key)));
    assert!(matches!(read(b"x/orders", b"{}"), Err(Unreadable::Key)));
    assert!(matches!(read(b"1/orders", b"{}"), Err(Unreadable::Value(_))));
    assert!(matches!(
        read(b"1/orders", b"{\"format\":2}"),
        Err(Unreadable::Format(2))
    ));
    assert!(matches!(
        read(
            b"1/orders",
            b"{\"format\":1,\"number\":1,\"at_ms\":1,\"what\":\"miracle\"}"
        ),
        Err(Unreadable::Value(_))
    ));
}

#[test]
fn long_texts_are_cut() {
    let numbered = Numbered {
        number: 0,
        slot: 0,
        entry: entry(
            "g",
            START_MS,
            Happened::RebalanceStarted {
                cause: "é".repeat(30_000),
            },
        ),
    };
    let (key, value) = numbered.to_bytes();
    let Happened::RebalanceStarted { cause } = Numbered::from_bytes(&key, &value).unwrap().entry.happened else {
        panic!("another kind came back");
    };
    assert_eq!(cause, format!("{}…", "é".repeat(256)));
}

proptest! {
    #[test]
    fn no_bytes_do_harm(key in proptest::collection::vec(any::<u8>(), 0..20), value in ".{0,80}") {
        let _ = Numbered::from_bytes(&key, value.as_bytes());
        let _ = History::new(3).replay(&key, Some(value.as_bytes()));
        let _ = History::new(3).replay(&key, None);
    }

    /// The topic holds the last entries of each group, also over changes of coordinator and of the number of slots.
    #[test]
    fn the_topic_keeps_the_last_entries(steps in proptest::collection::vec((0..3usize, 0..8u32), 1..80)) {
        // As compaction leaves it.
        let mut topic: std::collections::BTreeMap<Bytes, Bytes> = std::collections::BTreeMap::new();
        let mut written: Vec<Entry> = Vec::new();
        let mut slots = 4;
        let mut history = History::new(slots);
        for (at, (group, action)) in (0..).zip(steps) {
            if action == 7 {
                slots = 2 + slots % 4;
                history = History::new(slots);
                for (key, value) in &topic {

                    history.replay(key, Some(value)).unwrap();
                }
                for key in history.outdated(Timestamp(0), 100) {
                    topic.remove(&key);
                }
                written.clear();
                continue;
            }
            let new = entry(["a", "b", "c"][group], at, Happened::RebalanceStarted { cause: at.to_string() });
            let (key, value) = history.append(&new);
            topic.insert(key, value);
            written.push(new);
        }
        let mut kept: Vec<Numbered> =
            topic.iter().map(|(key, value)| Numbered::from_bytes(key, value).unwrap()).collect();
        kept.sort_by_key(|numbered| numbered.number);
        prop_assert_eq!(kept.len(), history.len());
        for group in ["a", "b", "c"] {
            let of_group = |entry: &&Entry| entry.group == group;
            let kept: Vec<&Entry> = kept.iter().map(|numbered| &numbered.entry).filter(of_group).collect();
            let written: Vec<&Entry> = written.iter().filter(of_group).collect();
            prop_assert!(kept.len() <= slots as usize);
            let last = written.len().min(slots as usize);
            prop_assert!(kept.ends_with(&written[written.len() - last..]), "{:?} {:?}", kept, written);
        }
    }
}

#[test]
fn old_entries_have_had_their_time() {
    let mut history = History::new(10);
    for at in 0..5 {
        history.append(&entry("g", at, everything()[2].clone()));
    }
    history.append(&entry("h", 1, everything()[2].clone()));
    let keys = |keys: &[&'static str]| {
        keys.iter()
            .map(|key| Bytes::from_static(key.as_bytes()))
            .collect::<Vec<_>>()
    };
    assert_eq!(history.outdated(Timestamp(3), 2), keys(&["0/g", "1/g"]));
    assert_eq!(history.outdated(Timestamp(3), 100), keys(&["2/g", "0/h"]));
    assert_eq!(history.outdated(Timestamp(3), 100), keys(&[]));
    assert_eq!(history.len(), 2);
}

#[test]
fn people_read_a_line_per_entry() {
    let entries: Vec<Entry> = everything()
        .into_iter()
        .map(|what| entry("g", START_MS, what))
        .collect();
    let expected = "\
2026-11-27 18:18:03.123Z  member m-1 joined (client orders at /127.0.0.1)
2026-11-27 18:18:03.123Z  member m-1 left: the consumer is being closed
2026-11-27 18:18:03.123Z  member m-1 left
2026-11-27 18:18:03.123Z  member m-1 was removed: no heartbeat within its session timeout
2026-11-27 18:18:03.123Z  member m-1 was removed: it did not join the rebalance in time
2026-11-27 18:18:03.123Z  member m-1 was removed: it did not ask for its assignment in time
2026-11-27 18:18:03.123Z  member m-1 was removed: it did not give up its partitions in time
2026-11-27 18:18:03.123Z  member m-1 was removed: another process took its instance id
2026-11-27 18:18:03.123Z  member m-1 was removed: by an operator
2026-11-27 18:18:03.123Z  rebalance began: m-2 joined
2026-11-27 18:18:03.123Z  rebalance ended after 3021 ms: generation 7 with 2 members
2026-11-27 18:18:03.123Z  nobody has read orders [0, 4] since 2026-11-27 18:17:03.123Z
";
    assert_eq!(render(&entries), expected);
}

#[test]
fn days_are_those_of_the_calendar() {
    let at = |ms| {
        let text = render(&[entry("g", ms, everything()[2].clone())]);
        text[..24].to_owned()
    };
    assert_eq!(at(0), "1970-01-01 00:00:00.000Z");
    assert_eq!(at(951_782_400_000), "2000-02-29 00:00:00.000Z");
    assert_eq!(at(4_107_542_399_999), "2100-02-28 23:59:59.999Z");
    assert_eq!(at(4_107_542_400_000), "2100-03-01 00:00:00.000Z");
}

#[test]
fn names_do_not_steer_the_terminal() {
    let left = Happened::MemberLeft {
        member: "m\u{1b}[2J\n".into(),
        reason: None,
    };
    let text = render(&[entry("g", 0, left)]);
    assert_eq!(text, "1970-01-01 00:00:00.000Z  member m\\u{1b}[2J\\n left\n");
}

fn at(seconds: u64) -> At {
    At {
        moment: Moment(seconds * 1_000_000),
        wall: Timestamp(START_MS + i64::try_from(seconds).unwrap() * 1000),
        draw: 0,
    }
}

/// A stable group of one member that reads `orders` and has these partitions of it.
fn group(partitions: Option<&[i32]>) -> Record {
    let subscription = ConsumerProtocolSubscription {
        topics: vec!["orders"],
        ..Default::default()
    };
    let assignment = ConsumerProtocolAssignment {
        assigned_partitions: vec![TopicPartition {
            topic: "orders",
            partitions: partitions.unwrap_or_default().to_vec(),
        }],
        ..Default::default()
    };
    let member = ClassicMember {
        member: "m".into(),
        instance: None,
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        rebalance_timeout_ms: 60_000,
        session_timeout_ms: 45_000,
        subscription: encode_versioned(&subscription, 0).unwrap(),
        assignment: encode_versioned(&assignment, 0).unwrap(),
    };
    Record::ClassicGroup {
        group: "g".into(),
        value: Some(ClassicGroup {
            protocol_type: "consumer".into(),
            generation: 5,
            protocol: Some("range".into()),
            leader: Some("m".into()),
            state_timestamp: START_MS,
            members: partitions.is_some().then_some(member).into_iter().collect(),
        }),
    }
}

fn offset(topic: &str, partition: i32) -> Record {
    Record::Offset {
        group: "g".into(),
        topic: topic.into(),
        partition,
        value: Some(Committed {
            offset: 1,
            leader_epoch: -1,
            metadata: String::new(),
            commit_timestamp: START_MS,
            expire_timestamp: EXPIRE_BY_RULE,
            topic_id: TopicId::ZERO,
        }),
    }
}

#[test]
fn a_partition_without_an_owner_is_told_once() {
    let mut topics = Topics::default();
    for (id, name) in [(1, "orders"), (2, "other")] {
        let topic = Topic {
            id: TopicId::from_u128(id),
            partitions: vec![BTreeSet::new(); 4],
        };
        topics.insert(name.into(), topic);
    }
    let mut shard = Shard::new(Arc::new(Settings::default()), Arc::new(topics));
    // Partition 7 does not exist, and nobody reads `other`.
    for record in [
        group(Some(&[0])),
        offset("orders", 0),
        offset("orders", 1),
        offset("orders", 2),
        offset("orders", 7),
        offset("other", 1),
    ] {
        shard.replay(at(0), record);
    }
    let mut watch = Watch::new(Duration::from_secs(300));
    assert_eq!(watch.observe(at(10), &shard), []);
    shard.replay(at(100), group(Some(&[0, 2])));
    assert_eq!(watch.observe(at(200), &shard), []);
    assert_eq!(watch.observe(at(309), &shard), []);
    assert_eq!(watch.unowned(), 0);
    let unowned = |partitions: &[i32], since: u64, told: u64| {
        let happened = Happened::Unowned {
            topic: "orders".into(),
            partitions: partitions.to_vec(),
            since: at(since).wall,
        };
        entry("g", at(told).wall.0, happened)
    };
    assert_eq!(watch.observe(at(310), &shard), [unowned(&[1], 10, 310)]);
    assert_eq!(watch.observe(at(320), &shard), []);
    assert_eq!(watch.unowned(), 1);
    // An owner ends it; the next time counts anew.
    shard.replay(at(330), group(Some(&[1, 2])));
    assert_eq!(watch.observe(at(330), &shard), []);
    assert_eq!(watch.unowned(), 0);
    shard.replay(at(340), group(Some(&[])));
    assert_eq!(watch.observe(at(340), &shard), []);
    assert_eq!(watch.observe(at(630), &shard), [unowned(&[0], 330, 630)]);
    assert_eq!(watch.observe(at(640), &shard), [unowned(&[1, 2], 340, 640)]);
    // Without members the group is left alone.
    shard.replay(at(650), group(None));
    assert_eq!(watch.observe(at(1000), &shard), []);
    assert_eq!(watch.unowned(), 0);
}
