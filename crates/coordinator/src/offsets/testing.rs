//! What the tests of this module share: a shard that serves, its clock and its log.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use klamm_types::{ErrorCode, Moment, Timestamp, TopicId};

use crate::call::{Call, CallId, CommitOffsets, CommitPartition, CommitTopic, FetchOffsets, FetchTopic, Stability};
use crate::change::Change;
use crate::draft::Decision;
use crate::record::{ClassicGroup, ClassicMember, Committed, EXPIRE_BY_RULE, Record};
use crate::reply::{CommittedTopic, Reply};
use crate::settings::Settings;
use crate::shard::{At, Event, Shard};
use crate::topics::{Topic, Topics};

pub(super) const START_MS: i64 = 1_700_000_000_000;
pub(super) const DAY_MS: i64 = 86_400_000;

pub(super) fn topics(names: &[(&str, u128, usize)]) -> Arc<Topics> {
    let mut topics = Topics::default();
    for &(name, id, partitions) in names {
        let topic = Topic {
            id: TopicId::from_u128(id),
            partitions: vec![BTreeSet::new(); partitions],
        };
        topics.insert(name.to_owned(), topic);
    }
    Arc::new(topics)
}

/// A shard that serves, and its clock.
pub(super) struct Served {
    pub(super) shard: Shard,
    pub(super) now_ms: i64,
    /// Every record that was appended.
    pub(super) log: Vec<Record>,
}

impl Served {
    pub(super) fn new(topics: Arc<Topics>, records: &[Record]) -> Served {
        let mut shard = Shard::new(Arc::new(Settings::default()), topics);
        for record in records {
            shard.replay(at(0), record.clone());
        }
        shard.start(at(0));
        let log = records.to_vec();
        Served { shard, now_ms: 0, log }
    }

    pub(super) fn orders(records: &[Record]) -> Served {
        Served::new(topics(&[("orders", 1, 3), ("other", 2, 1)]), records)
    }

    pub(super) fn decide(&mut self, event: Event) -> Decision {
        let decision = self.shard.decide(at(self.now_ms), event);
        self.shard.apply(at(self.now_ms), &decision.changes);
        self.shard.validate().unwrap();
        self.log.extend(records(&decision));
        decision
    }

    pub(super) fn call(&mut self, call: Call) -> Reply {
        let decision = self.decide(Event::Call(CallId(7), call));
        let [(CallId(7), reply)] = decision.replies.as_slice() else {
            panic!("one answer was expected: {:?}", decision.replies);
        };
        reply.clone()
    }

    pub(super) fn commit(&mut self, call: CommitOffsets) -> Vec<CommittedTopic> {
        match self.call(Call::CommitOffsets(Box::new(call))) {
            Reply::CommitOffsets(topics) => topics,
            other => panic!("{other:?}"),
        }
    }

    /// The code of partition 0 of `orders`.
    pub(super) fn commit_code(&mut self, call: CommitOffsets) -> ErrorCode {
        self.commit(call)[0].partitions[0].1
    }

    pub(super) fn tick(&mut self) -> Decision {
        let decision = self.decide(Event::Tick);
        self.shard.ticked(at(self.now_ms));
        decision
    }

    /// Ticks as long as one is due.
    pub(super) fn tick_all(&mut self) -> Vec<usize> {
        let mut sizes = Vec::new();
        while self
            .shard
            .next_deadline()
            .is_some_and(|due| due <= at(self.now_ms).moment)
        {
            sizes.push(self.tick().changes.len());
            assert!(sizes.len() < 100, "it does not come to rest: {sizes:?}");
        }
        sizes
    }

    pub(super) fn offsets(&self, group: &str) -> Vec<(String, i32, i64)> {
        let offsets = self.shard.offsets().of_group(group);
        offsets
            .map(|(topic, partition, committed)| (topic.to_owned(), partition, committed.offset))
            .collect()
    }
}

pub(super) fn at(ms: i64) -> At {
    At {
        moment: Moment(u64::try_from(ms).unwrap() * 1000),
        wall: Timestamp(START_MS + ms),
        draw: 0,
    }
}

pub(super) fn records(decision: &Decision) -> Vec<Record> {
    let records = decision.changes.iter().filter_map(|change| match change {
        Change::Record(record) => Some(record.clone()),
        Change::Transient { .. } => None,
    });
    records.collect()
}

pub(crate) fn partition(partition: i32, offset: i64) -> CommitPartition {
    CommitPartition {
        partition,
        offset,
        leader_epoch: 4,
        metadata: None,
    }
}

/// Of a client without membership.
pub(crate) fn simple(partitions: Vec<CommitPartition>) -> CommitOffsets {
    CommitOffsets {
        group: "g".into(),
        generation: -1,
        member: String::new(),
        instance: None,
        retention_ms: -1,
        version: 9,
        topics: vec![CommitTopic {
            name: "orders".into(),
            id: TopicId::ZERO,
            partitions,
        }],
    }
}

pub(crate) fn fetch(topics: Option<&[(&str, &[i32])]>, stability: Stability) -> Call {
    Call::FetchOffsets(FetchOffsets {
        group: "g".into(),
        member: None,
        member_epoch: -1,
        topics: topics.map(|topics| {
            let topics = topics.iter().map(|(name, partitions)| FetchTopic {
                name: (*name).into(),
                id: TopicId::from_u128(9),
                partitions: partitions.to_vec(),
            });
            topics.collect()
        }),
        stability,
    })
}

pub(super) fn of_member(member: &str, generation: i32) -> CommitOffsets {
    CommitOffsets {
        generation,
        member: member.into(),
        ..simple(vec![partition(0, 42)])
    }
}

pub(super) fn committed(offset: i64) -> Committed {
    Committed {
        offset,
        leader_epoch: 4,
        metadata: String::new(),
        commit_timestamp: START_MS,
        expire_timestamp: EXPIRE_BY_RULE,
        topic_id: TopicId::from_u128(1),
    }
}

pub(super) fn offset(group: &str, topic: &str, partition: i32, value: Option<Committed>) -> Record {
    Record::Offset {
        group: group.into(),
        topic: topic.into(),
        partition,
        value,
    }
}

/// `orders` in the consumer protocol, version 0.
pub(super) const SUBSCRIPTION: &[u8] = b"\x00\x00\x00\x00\x00\x01\x00\x06orders\xff\xff\xff\xff";

pub(super) fn classic(protocol_type: &str, members: &[&str]) -> Record {
    let members = members.iter().map(|member| ClassicMember {
        member: (*member).into(),
        instance: Some(format!("i-{member}")),
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        rebalance_timeout_ms: 60_000,
        session_timeout_ms: 45_000,
        subscription: Bytes::from_static(SUBSCRIPTION),
        assignment: Bytes::from_static(b"assigned"),
    });
    let members: Vec<ClassicMember> = members.collect();
    Record::ClassicGroup {
        group: "g".into(),
        value: Some(ClassicGroup {
            protocol_type: protocol_type.into(),
            generation: 5,
            protocol: (!members.is_empty()).then(|| "range".into()),
            leader: members.first().map(|member| member.member.clone()),
            state_timestamp: START_MS - DAY_MS,
            members,
        }),
    }
}

pub(super) fn no_group() -> Record {
    Record::ClassicGroup {
        group: "g".into(),
        value: None,
    }
}

pub(super) fn noted(offset: i64) -> Committed {
    Committed {
        metadata: "note".into(),
        ..committed(offset)
    }
}
