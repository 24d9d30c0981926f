//! Records go to bytes and back; bytes of other versions are read; nonsense is refused and nothing panics.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;
use klamm_wire::{
    DecodeError, GroupMetadataKey, GroupMetadataValue, LegacyOffsetCommitKey, LegacyOffsetCommitValue, OffsetCommitKey,
    OffsetCommitValue, encode_record_key, encode_record_value, group_metadata_value,
};

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z.-]{0,12}", any::<String>()]
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn topic_id() -> impl Strategy<Value = TopicId> {
    any::<u128>().prop_map(TopicId::from_u128)
}

fn committed() -> impl Strategy<Value = Committed> {
    let numbers = (any::<i64>(), any::<i32>(), any::<i64>());
    let rest = (text(), option::of(0..i64::MAX), topic_id());
    (numbers, rest).prop_map(
        |((offset, leader_epoch, commit_timestamp), (metadata, expires, topic_id))| Committed {
            offset,
            // The version with an expiry holds neither.
            leader_epoch: if expires.is_some() { -1 } else { leader_epoch },
            metadata,
            commit_timestamp,
            expire_timestamp: expires.unwrap_or(EXPIRE_BY_RULE),
            topic_id: if expires.is_some() { TopicId::ZERO } else { topic_id },
        },
    )
}

fn classic_member() -> impl Strategy<Value = ClassicMember> {
    let names = (text(), option::of(text()), text(), text());
    (names, 0..i32::MAX, any::<i32>(), bytes(), bytes()).prop_map(
        |((member, instance, client_id, client_host), rebalance, session, subscription, assignment)| ClassicMember {
            member,
            instance,
            client_id,
            client_host,
            rebalance_timeout_ms: rebalance,
            session_timeout_ms: session,
            subscription,
            assignment,
        },
    )
}

fn classic_group() -> impl Strategy<Value = ClassicGroup> {
    let names = (text(), option::of(text()), option::of(text()));
    (names, any::<i32>(), any::<i64>(), vec(classic_member(), 0..4)).prop_map(
        |((protocol_type, protocol, leader), generation, state_timestamp, members)| ClassicGroup {
            protocol_type,
            generation,
            protocol,
            leader,
            state_timestamp,
            members,
        },
    )
}

fn consumer_member() -> impl Strategy<Value = ConsumerMember> {
    let who = (option::of(text()), option::of(text()), text(), text());
    let what = (vec(text(), 0..4), option::of(text()), any::<i32>(), option::of(text()));
    let classic = (any::<i32>(), vec((text(), bytes()), 0..3));
    let classic = option::of(
        classic.prop_map(|(session_timeout_ms, protocols)| ClassicMemberMetadata {
            session_timeout_ms,
            protocols,
        }),
    );
    (who, what, classic).prop_map(|(who, what, classic)| ConsumerMember {
        instance: who.0,
        rack: who.1,
        client_id: who.2,
        client_host: who.3,
        subscribed_names: what.0,
        subscribed_regex: what.1,
        rebalance_timeout_ms: what.2,
        server_assignor: what.3,
        classic,
    })
}

fn partitions() -> impl Strategy<Value = PartitionsByTopic> {
    btree_map(topic_id(), btree_set(any::<i32>(), 0..5), 0..4)
}

fn assigned() -> impl Strategy<Value = AssignedPartitions> {
    btree_map(topic_id(), btree_map(any::<i32>(), any::<i32>(), 0..5), 0..4)
}

fn consumer_current() -> impl Strategy<Value = ConsumerCurrent> {
    (any::<i32>(), any::<i32>(), any::<i8>(), assigned(), assigned()).prop_map(
        |(epoch, previous_epoch, state, assigned, pending_revocation)| ConsumerCurrent {
            epoch,
            previous_epoch,
            state,
            assigned,
            pending_revocation,
        },
    )
}

fn consumer_regex() -> impl Strategy<Value = ConsumerRegex> {
    (vec(text(), 0..5), any::<i64>(), any::<i64>()).prop_map(|(topics, version, timestamp)| ConsumerRegex {
        topics,
        version,
        timestamp,
    })
}

fn record() -> impl Strategy<Value = Record> {
    let member = || (text(), text());
    let epoch = (any::<i32>(), any::<i64>());
    let target_epoch = epoch.prop_map(|(epoch, timestamp)| ConsumerTargetEpoch { epoch, timestamp });
    let consumer_group = epoch.prop_map(|(epoch, metadata_hash)| ConsumerGroup { epoch, metadata_hash });
    prop_oneof![
        (text(), text(), any::<i32>(), option::of(committed())).prop_map(|(group, topic, partition, value)| {
            Record::Offset {
                group,
                topic,
                partition,
                value,
            }
        }),
        (text(), option::of(classic_group())).prop_map(|(group, value)| Record::ClassicGroup { group, value }),
        (text(), option::of(consumer_group)).prop_map(|(group, value)| Record::ConsumerGroup { group, value }),
        (member(), option::of(consumer_member())).prop_map(|((group, member), value)| Record::ConsumerMember {
            group,
            member,
            value
        }),
        (text(), option::of(target_epoch)).prop_map(|(group, value)| Record::ConsumerTargetEpoch { group, value }),
        (member(), option::of(partitions())).prop_map(|((group, member), value)| Record::ConsumerTarget {
            group,
            member,
            value
        }),
        (member(), option::of(consumer_current())).prop_map(|((group, member), value)| Record::ConsumerCurrent {
            group,
            member,
            value
        }),
        (member(), option::of(consumer_regex())).prop_map(|((group, regex), value)| Record::ConsumerRegex {
            group,
            regex,
            value
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(record in record()) {
        let (key, value) = record.to_bytes().unwrap();
        prop_assert_eq!(from_batch_record(Some(&key), value.as_ref()), Ok(Some(record)));
    }

    /// A tombstone has the key of the record that it removes.
    #[test]
    fn a_key_does_not_depend_on_the_value(group in text(), topic in text(), value in committed()) {
        let with = |value| Record::Offset { group: group.clone(), topic: topic.clone(), partition: 3, value };
        prop_assert_eq!(with(Some(value)).to_bytes().unwrap().0, with(None).to_bytes().unwrap().0);
    }

    #[test]
    fn no_bytes_do_harm(kind in -1i16..24, key in vec(any::<u8>(), 0..60), value in vec(any::<u8>(), 0..200)) {
        let key = Bytes::from([kind.to_be_bytes().as_slice(), &key].concat());
        let _ = from_batch_record(Some(&key), Some(&Bytes::from(value)));
    }

    /// Every prefix of a value is refused or read; a shortened key is always refused.
    #[test]
    fn records_that_end_early_do_no_harm(record in record(), cut in any::<prop::sample::Index>()) {
        let (key, value) = record.to_bytes().unwrap();
        if let Some(value) = value {
            let _ = from_batch_record(Some(&key), Some(&value.slice(..cut.index(value.len()))));
        }
        let short = key.slice(..cut.index(key.len()));
        prop_assert!(matches!(from_batch_record(Some(&short), None), Err(Unreadable::Malformed(_))));
    }
}

fn committed_at(offset: i64) -> Committed {
    Committed {
        offset,
        leader_epoch: -1,
        metadata: "note".into(),
        commit_timestamp: 1_700_000_000_000,
        expire_timestamp: EXPIRE_BY_RULE,
        topic_id: TopicId::ZERO,
    }
}

#[test]
fn offsets_of_all_versions_are_read() {
    let key = OffsetCommitKey {
        group: "g",
        topic: "t",
        partition: 5,
    };
    let key = encode_record_key(&key).unwrap();
    for version in 0..=4 {
        let value = OffsetCommitValue {
            offset: 42,
            leader_epoch: 7,
            metadata: "note",
            commit_timestamp: 1_700_000_000_000,
            expire_timestamp: 1_800_000_000_000,
            topic_id: TopicId::from_u128(9).0,
        };
        let bytes = encode_record_value(&value, version).unwrap();
        let expected = Committed {
            leader_epoch: if version >= 3 { 7 } else { -1 },
            expire_timestamp: if version == 1 { 1_800_000_000_000 } else { -1 },
            topic_id: TopicId::from_u128(if version == 4 { 9 } else { 0 }),
            ..committed_at(42)
        };
        let read = from_batch_record(Some(&key), Some(&bytes));
        let expected = Record::Offset {
            group: "g".into(),
            topic: "t".into(),
            partition: 5,
            value: Some(expected),
        };
        assert_eq!(read, Ok(Some(expected)), "version {version}");
    }
}

#[test]
fn the_ancient_key_is_read() {
    let key = LegacyOffsetCommitKey {
        group: "g",
        topic: "t",
        partition: 5,
    };
    let value = LegacyOffsetCommitValue {
        offset: 42,
        metadata: "note",
        commit_timestamp: 1_700_000_000_000,
    };
    let key = encode_record_key(&key).unwrap();
    let value = encode_record_value(&value, 0).unwrap();
    let record = |value| Record::Offset {
        group: "g".into(),
        topic: "t".into(),
        partition: 5,
        value,
    };
    let read = from_batch_record(Some(&key), Some(&value));
    assert_eq!(read, Ok(Some(record(Some(committed_at(42))))));
    assert_eq!(from_batch_record(Some(&key), None), Ok(Some(record(None))));
}

#[test]
fn classic_groups_of_all_versions_are_read() {
    let key = encode_record_key(&GroupMetadataKey { group: "g" }).unwrap();
    for version in 0..=4 {
        let value = GroupMetadataValue {
            protocol_type: "consumer",
            generation: 3,
            protocol: Some("range"),
            leader: Some("m"),
            current_state_timestamp: 11,
            members: vec![group_metadata_value::MemberMetadata {
                member_id: "m",
                group_instance_id: Some("i"),
                client_id: "c",
                client_host: "/127.0.0.1",
                rebalance_timeout: 60_000,
                session_timeout: 45_000,
                subscription: Bytes::from_static(b"s"),
                assignment: Bytes::from_static(b"a"),
            }],
        };
        let bytes = encode_record_value(&value, version).unwrap();
        let expected = ClassicGroup {
            protocol_type: "consumer".into(),
            generation: 3,
            protocol: Some("range".into()),
            leader: Some("m".into()),
            state_timestamp: if version >= 2 { 11 } else { -1 },
            members: vec![ClassicMember {
                member: "m".into(),
                instance: (version >= 3).then(|| "i".into()),
                client_id: "c".into(),
                client_host: "/127.0.0.1".into(),
                rebalance_timeout_ms: if version >= 1 { 60_000 } else { 45_000 },
                session_timeout_ms: 45_000,
                subscription: Bytes::from_static(b"s"),
                assignment: Bytes::from_static(b"a"),
            }],
        };
        let expected = Record::ClassicGroup {
            group: "g".into(),
            value: Some(expected),
        };
        assert_eq!(
            from_batch_record(Some(&key), Some(&bytes)),
            Ok(Some(expected)),
            "version {version}"
        );
    }
}

/// The bytes that Kafka 4.3.1 writes: type, group, topic, partition; version 4, offset, epoch, compact metadata, time, tags.
#[test]
fn an_offset_has_kafkas_bytes() {
    let record = |expire_timestamp| Record::Offset {
        group: "g".into(),
        topic: "t".into(),
        partition: 5,
        value: Some(Committed {
            expire_timestamp,
            topic_id: TopicId::from_u128(0x0102),
            ..committed_at(42)
        }),
    };
    let (key, value) = record(EXPIRE_BY_RULE).to_bytes().unwrap();
    assert_eq!(&key[..], b"\x00\x01\x00\x01g\x00\x01t\x00\x00\x00\x05");
    let mut expected = b"\x00\x04\x00\x00\x00\x00\x00\x00\x00\x2a\xff\xff\xff\xff\x05note".to_vec();
    expected.extend(1_700_000_000_000i64.to_be_bytes());
    expected.extend(b"\x01\x00\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x02");
    assert_eq!(value.unwrap(), expected);

    let mut expected = b"\x00\x01\x00\x00\x00\x00\x00\x00\x00\x2a\x00\x04note".to_vec();
    expected.extend(1_700_000_000_000i64.to_be_bytes());
    expected.extend(99i64.to_be_bytes());
    assert_eq!(record(99).to_bytes().unwrap().1.unwrap(), expected);
}

/// A member of the consumer protocol has no classic metadata, and says so by leaving the tag out.
#[test]
fn what_a_member_lacks_takes_no_bytes() {
    let member = ConsumerMember {
        instance: None,
        rack: None,
        client_id: "c".into(),
        client_host: "h".into(),
        subscribed_names: Vec::new(),
        subscribed_regex: None,
        rebalance_timeout_ms: 5,
        server_assignor: None,
        classic: None,
    };
    let record = Record::ConsumerMember {
        group: "g".into(),
        member: "m".into(),
        value: Some(member),
    };
    let (_, value) = record.to_bytes().unwrap();
    assert_eq!(
        &value.unwrap()[..],
        b"\x00\x00\x00\x00\x02c\x02h\x01\x00\x00\x00\x00\x05\x00\x00"
    );
}

#[test]
fn partitions_without_epochs_have_the_members() {
    let value: &[u8] = b"\x00\x00\x00\x00\x00\x09\x00\x00\x00\x08\x00\
        \x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x03\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01\x00";
    let key = Record::ConsumerCurrent {
        group: "g".into(),
        member: "m".into(),
        value: None,
    };
    let (key, _) = key.to_bytes().unwrap();
    let expected = ConsumerCurrent {
        epoch: 9,
        previous_epoch: 8,
        state: 0,
        assigned: BTreeMap::from([(TopicId::from_u128(1), BTreeMap::from([(0, 9), (1, 9)]))]),
        pending_revocation: BTreeMap::new(),
    };
    let read = from_batch_record(Some(&key), Some(&Bytes::from_static(value)));
    let expected = Record::ConsumerCurrent {
        group: "g".into(),
        member: "m".into(),
        value: Some(expected),
    };
    assert_eq!(read, Ok(Some(expected)));
}

#[test]
fn what_is_not_known_is_told_apart() {
    let of_type = |kind: i16| Bytes::from([kind.to_be_bytes().as_slice(), b"\x00\x01g"].concat());
    let unknown = [9, 10, 17, 23, 99, -1].map(|kind| from_batch_record(Some(&of_type(kind)), None));
    let expected = [9, 10, 17, 23, 99, -1].map(|kind| Err(Unreadable::UnknownType(kind)));
    assert_eq!(unknown, expected);
    assert_eq!(from_batch_record(None, None), Err(Unreadable::NoKey));
    assert_eq!(from_batch_record(Some(&of_type(4)), None), Ok(None));
    let later = Bytes::from_static(b"\x00\x05\x00\x00");
    let error = DecodeError::UnknownVersion {
        message: "GroupMetadataValue",
        version: 5,
    };
    assert_eq!(
        from_batch_record(Some(&of_type(2)), Some(&later)),
        Err(Unreadable::Malformed(error))
    );
}
