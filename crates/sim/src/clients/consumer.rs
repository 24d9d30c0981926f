//! A consumer of the KIP-848 protocol: one heartbeat at a time, and what it says is what it owns.

use std::collections::{BTreeMap, BTreeSet};

use klamm_coordinator::call::{
    CommitOffsets, CommitPartition, CommitTopic, ConsumerHeartbeat, FetchOffsets, FetchTopic, MemberIdChoice,
    PartitionsByTopic, Stability,
};
use klamm_coordinator::reply::{ConsumerHeartbeatReply, FetchedOffsets};
use klamm_coordinator::{Call, Client, Reply};
use klamm_types::{ErrorCode, TopicId};

use super::member::{Act, Claim, Heard, Model, Surroundings};
use crate::chance::Chance;
use crate::metadata::TOPIC;
use crate::plan::{MS, Time};

const BACKOFF: Time = 15 * MS;
/// Never longer, so that records are read.
const PACE_MAX: Time = 30 * MS;
const REBALANCE_TIMEOUT_MS: i32 = 300;

/// See the module.
#[derive(Debug)]
pub struct Consumer {
    name: String,
    group: String,
    /// Of this process; member epoch 0 asks to join.
    member: String,
    runs: u32,
    epoch: i32,
    /// With the epoch in which each was given.
    owned: BTreeMap<i32, i32>,
    positions: BTreeMap<i32, i64>,
    /// The last positions whose commit was acknowledged.
    committed: BTreeMap<i32, i64>,
    /// A heartbeat has not been answered.
    waits: bool,
    /// The epoch in which offsets were asked for, while they are not answered.
    asked: Option<i32>,
    /// Whether the next heartbeat says everything.
    says_all: bool,
    wake: Option<Time>,
}

impl Consumer {
    pub fn new(name: String, group: String, start: Time) -> Consumer {
        let mut consumer = Consumer {
            name,
            group,
            member: String::new(),
            runs: 0,
            epoch: 0,
            owned: BTreeMap::new(),
            positions: BTreeMap::new(),
            committed: BTreeMap::new(),
            waits: false,
            asked: None,
            says_all: true,
            wake: None,
        };
        consumer.crash(start);
        consumer
    }

    /// Owns nothing, and joins as whom it was.
    fn rejoin(&mut self, at: Time) {
        self.epoch = 0;
        self.owned.clear();
        self.positions.clear();
        self.committed.clear();
        self.asked = None;
        self.says_all = true;
        self.wake = Some(at);
    }

    fn heartbeat(&mut self, topic: TopicId) -> Call {
        let joins = self.epoch == 0;
        let all = std::mem::take(&mut self.says_all) || joins;
        let owned: BTreeSet<i32> = self.owned.keys().copied().collect();
        let owned = match owned.is_empty() {
            true => PartitionsByTopic::new(),
            false => [(topic, owned)].into(),
        };
        Call::ConsumerHeartbeat(Box::new(ConsumerHeartbeat {
            group: self.group.clone(),
            member: self.member.clone(),
            member_id: MemberIdChoice::Client,
            member_epoch: self.epoch,
            instance: None,
            rack: None,
            client: Client {
                id: self.name.clone(),
                host: "/127.0.0.1".to_owned(),
            },
            rebalance_timeout_ms: if all { REBALANCE_TIMEOUT_MS } else { -1 },
            subscribed_names: all.then(|| vec![TOPIC.to_owned()]),
            subscribed_regex: None,
            server_assignor: None,
            owned: Some(owned),
        }))
    }

    fn fetch(&mut self) -> Option<Call> {
        let owned = self.owned.keys().copied();
        let missing: Vec<i32> = owned.filter(|own| !self.positions.contains_key(own)).collect();
        if missing.is_empty() || self.asked.is_some() {
            return None;
        }
        self.asked = Some(self.epoch);
        Some(Call::FetchOffsets(FetchOffsets {
            group: self.group.clone(),
            member: Some(self.member.clone()),
            member_epoch: self.epoch,
            topics: Some(vec![FetchTopic {
                name: TOPIC.to_owned(),
                id: TopicId::ZERO,
                partitions: missing,
            }]),
            stability: Stability::Required,
        }))
    }

    fn commit(&self) -> Call {
        Call::CommitOffsets(Box::new(CommitOffsets {
            group: self.group.clone(),
            generation: self.epoch,
            member: self.member.clone(),
            instance: None,
            retention_ms: -1,
            version: 9,
            topics: vec![commit_topic(&self.positions)],
        }))
    }

    fn heard(&mut self, around: Surroundings, reply: &ConsumerHeartbeatReply) {
        if reply.error != ErrorCode::None {
            return self.rejoin(around.now + BACKOFF);
        }
        self.epoch = reply.member_epoch;
        if let Some(assignment) = &reply.assignment {
            let assigned = assignment.get(&around.topic).cloned().unwrap_or_default();
            self.owned.retain(|partition, _| assigned.contains(partition));
            self.positions.retain(|partition, _| assigned.contains(partition));
            for partition in assigned {
                self.owned.entry(partition).or_insert(self.epoch);
            }
        }
        let interval = reply.heartbeat_interval_ms.unsigned_abs();
        self.wake = Some(around.now + (u64::from(interval) * MS).min(PACE_MAX));
    }

    fn fetched(&mut self, asked: &FetchOffsets, fetched: &FetchedOffsets) {
        for fetched in fetched.topics.iter().flat_map(|topic| &topic.partitions) {
            let given = self.owned.get(&fetched.partition);
            if fetched.error == ErrorCode::None && given.is_some_and(|given| *given <= asked.member_epoch) {
                self.positions.entry(fetched.partition).or_insert(fetched.offset.max(0));
            }
        }
    }
}

/// The offsets of the one topic, to be committed.
pub fn commit_topic(positions: &BTreeMap<i32, i64>) -> CommitTopic {
    let partition = |(&partition, &offset): (&i32, &i64)| CommitPartition {
        partition,
        offset,
        leader_epoch: -1,
        metadata: None,
    };
    CommitTopic {
        name: TOPIC.to_owned(),
        id: TopicId::ZERO,
        partitions: positions.iter().map(partition).collect(),
    }
}

/// The positions whose commit is acknowledged by this.
pub fn committed_by(call: &Call, heard: Heard<'_>) -> Option<BTreeMap<i32, i64>> {
    let (Call::CommitOffsets(asked), Some(Reply::CommitOffsets(told))) = (call, heard) else {
        return None;
    };
    let mut told = told.iter().flat_map(|topic| &topic.partitions);
    let asked = asked.topics.iter().flat_map(|topic| &topic.partitions);
    let is_taken = told.all(|(_, error)| *error == ErrorCode::None);
    is_taken.then(|| asked.map(|asked| (asked.partition, asked.offset)).collect())
}

impl Model for Consumer {
    fn next_wake(&self) -> Option<Time> {
        self.wake
    }

    fn wake(&mut self, around: Surroundings, _chance: &mut Chance) -> Act {
        self.wake = None;
        let mut act = Act::default();
        if !self.positions.is_empty() && (!around.settled || self.positions != self.committed) {
            act.calls.push(self.commit());
        }
        act.calls.extend(self.fetch());
        if self.waits {
            self.wake = Some(around.now + PACE_MAX);
        } else {
            self.waits = true;
            act.calls.push(self.heartbeat(around.topic));
        }
        act
    }

    fn hear(&mut self, around: Surroundings, call: &Call, heard: Heard<'_>) {
        if let Some(positions) = committed_by(call, heard) {
            self.committed = positions;
        }
        match (call, heard) {
            (Call::ConsumerHeartbeat(said), heard) if said.member == self.member && said.member_epoch >= 0 => {
                self.waits = false;
                match heard {
                    Some(Reply::ConsumerHeartbeat(reply)) => self.heard(around, reply),
                    _ => {
                        self.says_all = true;
                        self.wake = Some(around.now + BACKOFF);
                    }
                }
            }
            (Call::FetchOffsets(asked), heard) if asked.member.as_ref() == Some(&self.member) => {
                self.asked = None;
                if let Some(Reply::FetchOffsets(fetched)) = heard {
                    self.fetched(asked, fetched);
                }
            }
            _ => {}
        }
    }

    fn crash(&mut self, now: Time) {
        self.rejoin(now + BACKOFF);
        self.runs += 1;
        self.member = format!("{}-run-{}", self.name, self.runs);
        self.waits = false;
    }

    fn leave(&mut self, again_at: Time) -> Option<Call> {
        self.owned.clear();
        self.epoch = -1;
        let mut goodbye = self.heartbeat(TopicId::ZERO);
        if let Call::ConsumerHeartbeat(heartbeat) = &mut goodbye {
            heartbeat.owned = None;
            heartbeat.subscribed_names = None;
        }
        self.crash(again_at);
        Some(goodbye)
    }

    fn claim(&self) -> Option<Claim> {
        (self.epoch > 0).then(|| Claim {
            owner: self.member.clone(),
            epoch: self.epoch,
            partitions: self.owned.keys().copied().collect(),
        })
    }

    fn positions(&mut self) -> &mut BTreeMap<i32, i64> {
        &mut self.positions
    }
}
