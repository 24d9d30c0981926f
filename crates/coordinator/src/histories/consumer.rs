//! A consumer of the KIP-848 protocol: one heartbeat at a time, and what it says is what it owns.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use klamm_types::{ErrorCode, Moment, TopicId};
use rand::RngExt;
use rand::rngs::StdRng;

use super::member::{Act, Answer, Claim, Member};
use super::{GROUP, TOPIC};
use crate::call::{
    Call, Client, CommitOffsets, CommitPartition, CommitTopic, ConsumerHeartbeat, FetchOffsets, FetchTopic,
    MemberIdChoice, PartitionsByTopic, Stability,
};
use crate::reply::{ConsumerHeartbeatReply, FetchedOffsets, Reply};

const BACKOFF: Duration = Duration::from_millis(300);
/// Never longer, so that records are processed.
const PACE_MAX: Duration = Duration::from_secs(3);

/// See the module.
#[derive(Debug)]
pub struct Consumer {
    name: String,
    instance: Option<String>,
    topic: TopicId,
    /// Of this process; 0 asks to join.
    member: String,
    runs: u32,
    epoch: i32,
    /// With the epoch in which each was given.
    owned: BTreeMap<i32, i32>,
    positions: BTreeMap<i32, i64>,
    /// A heartbeat has not been answered.
    waits: bool,
    /// The epoch in which offsets were asked for, while they are not answered.
    asked: Option<i32>,
    /// Whether the next heartbeat says everything.
    says_all: bool,
    stopped: bool,
    wake: Option<Moment>,
}

impl Consumer {
    pub fn new(name: String, instance: Option<String>, topic: TopicId, random: &mut StdRng) -> Consumer {
        let mut consumer = Consumer {
            name,
            instance,
            topic,
            member: String::new(),
            runs: 0,
            epoch: 0,
            owned: BTreeMap::new(),
            positions: BTreeMap::new(),
            waits: false,
            asked: None,
            says_all: true,
            stopped: false,
            wake: None,
        };
        consumer.crash(Moment(random.random_range(0..10_000_000)));
        consumer
    }

    /// Owns nothing, and joins as whom it was.
    fn rejoin(&mut self, now: Moment) {
        self.epoch = 0;
        self.owned.clear();
        self.positions.clear();
        self.asked = None;
        self.says_all = true;
        self.wake = Some(now + BACKOFF);
    }

    fn heartbeat(&mut self) -> Call {
        let joins = self.epoch == 0;
        let all = std::mem::take(&mut self.says_all) || joins;
        let owned: BTreeSet<i32> = self.owned.keys().copied().collect();
        let owned: PartitionsByTopic = if owned.is_empty() {
            BTreeMap::new()
        } else {
            [(self.topic, owned)].into()
        };
        Call::ConsumerHeartbeat(Box::new(ConsumerHeartbeat {
            group: GROUP.to_owned(),
            member: self.member.clone(),
            member_id: MemberIdChoice::Client,
            member_epoch: self.epoch,
            instance: self.instance.clone(),
            rack: None,
            client: Client {
                id: self.name.clone(),
                host: "/127.0.0.1".to_owned(),
            },
            rebalance_timeout_ms: if all { 15_000 } else { -1 },
            subscribed_names: all.then(|| vec![TOPIC.to_owned()]),
            subscribed_regex: None,
            server_assignor: None,
            owned: Some(owned),
        }))
    }

    fn fetch(&self) -> Option<Call> {
        let missing: Vec<i32> = self
            .owned
            .keys()
            .copied()
            .filter(|own| !self.positions.contains_key(own))
            .collect();
        if missing.is_empty() || self.asked.is_some() {
            return None;
        }
        let topic = FetchTopic {
            name: TOPIC.to_owned(),
            id: TopicId::ZERO,
            partitions: missing,
        };
        Some(Call::FetchOffsets(FetchOffsets {
            group: GROUP.to_owned(),
            member: Some(self.member.clone()),
            member_epoch: self.epoch,
            topics: Some(vec![topic]),
            stability: Stability::Required,
        }))
    }

    fn commit(&self) -> Call {
        let partition = |(&partition, &offset): (&i32, &i64)| CommitPartition {
            partition,
            offset,
            leader_epoch: -1,
            metadata: None,
        };
        Call::CommitOffsets(Box::new(CommitOffsets {
            group: GROUP.to_owned(),
            generation: self.epoch,
            member: self.member.clone(),
            instance: self.instance.clone(),
            retention_ms: -1,
            version: 9,
            topics: vec![CommitTopic {
                name: TOPIC.to_owned(),
                id: TopicId::ZERO,
                partitions: self.positions.iter().map(partition).collect(),
            }],
        }))
    }

    fn heard(&mut self, now: Moment, reply: &ConsumerHeartbeatReply) {
        match reply.error {
            ErrorCode::None => {
                self.epoch = reply.member_epoch;
                if let Some(assignment) = &reply.assignment {
                    let assigned = assignment.get(&self.topic).cloned().unwrap_or_default();
                    self.owned.retain(|partition, _| assigned.contains(partition));
                    self.positions.retain(|partition, _| assigned.contains(partition));
                    for partition in assigned {
                        self.owned.entry(partition).or_insert(self.epoch);
                    }
                }
                let interval = u64::try_from(reply.heartbeat_interval_ms).expect("an interval is not negative");
                self.wake = Some(now + Duration::from_millis(interval).min(PACE_MAX));
            }
            ErrorCode::FencedInstanceId => {
                self.rejoin(now);
                self.stopped = true;
                self.wake = None;
            }
            _ => self.rejoin(now),
        }
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

impl Member for Consumer {
    fn next_wake(&self) -> Option<Moment> {
        self.wake
    }

    fn wake(&mut self, now: Moment, random: &mut StdRng) -> Act {
        self.wake = None;
        let mut act = Act::default();
        if self.stopped {
            return act;
        }
        for (&partition, position) in &mut self.positions {
            for _ in 0..random.random_range(0..3) {
                act.processed.push((partition, *position));
                *position += 1;
            }
        }
        if !self.positions.is_empty() {
            act.calls.push(self.commit());
        }
        if let Some(fetch) = self.fetch() {
            self.asked = Some(self.epoch);
            act.calls.push(fetch);
        }
        if self.waits {
            self.wake = Some(now + PACE_MAX);
        } else {
            self.waits = true;
            act.calls.push(self.heartbeat());
        }
        act
    }

    fn hear(&mut self, now: Moment, call: &Call, answer: &Answer) {
        match (call, answer) {
            _ if self.stopped => {}
            (Call::ConsumerHeartbeat(said), answer) if said.member == self.member => {
                self.waits = false;
                match answer {
                    Answer::Reply(Reply::ConsumerHeartbeat(reply)) => self.heard(now, reply),
                    _ => {
                        self.says_all = true;
                        self.wake = Some(now + BACKOFF);
                    }
                }
            }
            (Call::FetchOffsets(asked), answer) if asked.member.as_ref() == Some(&self.member) => {
                self.asked = None;
                if let Answer::Reply(Reply::FetchOffsets(fetched)) = answer {
                    self.fetched(asked, fetched);
                }
            }
            _ => {}
        }
    }

    fn crash(&mut self, now: Moment) {
        self.rejoin(now);
        self.runs += 1;
        self.member = format!("{}-run-{}", self.name, self.runs);
        self.waits = false;
        self.stopped = false;
    }

    fn settle(&mut self) {}

    fn stop(&mut self) -> Option<Call> {
        self.stopped = true;
        self.wake = None;
        self.epoch = -1;
        self.owned.clear();
        let mut goodbye = self.heartbeat();
        if let Call::ConsumerHeartbeat(heartbeat) = &mut goodbye {
            heartbeat.owned = None;
            heartbeat.subscribed_names = None;
        }
        Some(goodbye)
    }

    fn claim(&self) -> Option<Claim> {
        (!self.stopped && self.epoch > 0).then(|| Claim {
            owner: self.instance.clone().unwrap_or_else(|| self.member.clone()),
            epoch: self.epoch,
            partitions: self.owned.keys().copied().collect(),
        })
    }
}
