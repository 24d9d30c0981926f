//! A consumer of the classic protocol, eager: it gives all up before it joins.
//!
//! ```text
//!  Out ── JoinGroup ──► Joining ── SyncGroup ──► Syncing ── OffsetFetch ──► Fetching ──► Consuming
//!   ▲                                                                                        │
//!   └── any error, any sign of a rebalance, a whim (new metadata; the leader's to begin) ────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use klamm_types::{ErrorCode, Moment, TopicId};
use klamm_wire::consumer_protocol_assignment::TopicPartition;
use klamm_wire::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, Decode, Encode};
use rand::RngExt;
use rand::rngs::StdRng;

use super::member::{Act, Answer, Claim, Member};
use super::{GROUP, PARTITIONS, TOPIC};
use crate::call::{
    Call, Client, CommitOffsets, CommitPartition, CommitTopic, FetchOffsets, FetchTopic, Heartbeat, Join, Leave,
    LeavingMember, MemberIdRule, SkipAssignment, Stability, Sync,
};
use crate::reply::{FetchedOffsets, Joined, Reply, Synced};

const BACKOFF: Duration = Duration::from_millis(300);
const PACE: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Out,
    Joining,
    Syncing,
    Fetching,
    Consuming,
    /// Fenced, or told to stop. Only a crash brings it back.
    Stopped,
}

/// See the module.
#[derive(Debug)]
pub struct Classic {
    name: String,
    instance: Option<String>,
    member_id_rule: MemberIdRule,
    phase: Phase,
    member: String,
    generation: i32,
    leads: bool,
    /// To be sent with SyncGroup.
    assignments: Vec<(String, Bytes)>,
    positions: BTreeMap<i32, i64>,
    owned: BTreeSet<i32>,
    /// Whether it waits for the offsets of what it owns.
    asked: bool,
    /// Its metadata; another number is other metadata.
    revision: u32,
    /// Whether it changes its metadata, or rebalances as the leader, for no reason.
    has_whims: bool,
    wake: Option<Moment>,
}

impl Classic {
    pub fn new(name: String, instance: Option<String>, random: &mut StdRng) -> Classic {
        let old = random.random_bool(0.3);
        Classic {
            name,
            instance,
            member_id_rule: if old {
                MemberIdRule::Given
            } else {
                MemberIdRule::Required
            },
            phase: Phase::Out,
            member: String::new(),
            generation: -1,
            leads: false,
            assignments: Vec::new(),
            positions: BTreeMap::new(),
            owned: BTreeSet::new(),
            asked: false,
            revision: 0,
            has_whims: true,
            wake: Some(Moment(random.random_range(0..10_000_000))),
        }
    }

    fn out(&mut self, now: Moment) {
        self.phase = Phase::Out;
        self.owned.clear();
        self.positions.clear();
        self.wake = Some(now + BACKOFF);
    }

    fn forget(&mut self, now: Moment) {
        self.member.clear();
        self.generation = -1;
        self.out(now);
    }

    fn go(&mut self, phase: Phase, now: Moment) {
        self.phase = phase;
        self.wake = Some(now);
    }

    fn join(&self) -> Call {
        Call::Join(Box::new(Join {
            group: GROUP.to_owned(),
            member: self.member.clone(),
            instance: self.instance.clone(),
            client: Client {
                id: self.name.clone(),
                host: "/127.0.0.1".to_owned(),
            },
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 15_000,
            protocol_type: "consumer".to_owned(),
            protocols: vec![("range".to_owned(), subscription(self.revision))],
            reason: None,
            member_id_rule: self.member_id_rule,
            skip_assignment: SkipAssignment::Supported,
        }))
    }

    fn sync(&mut self) -> Call {
        Call::Sync(Box::new(Sync {
            group: GROUP.to_owned(),
            generation: self.generation,
            member: self.member.clone(),
            instance: self.instance.clone(),
            protocol: None,
            assignments: std::mem::take(&mut self.assignments),
        }))
    }

    fn fetch(&self) -> Call {
        let topic = FetchTopic {
            name: TOPIC.to_owned(),
            id: TopicId::ZERO,
            partitions: self.owned.iter().copied().collect(),
        };
        Call::FetchOffsets(FetchOffsets {
            group: GROUP.to_owned(),
            // Which the coordinator ignores in a classic group; it tells the model's answers apart.
            member: Some(self.member.clone()),
            member_epoch: self.generation,
            topics: Some(vec![topic]),
            stability: Stability::Required,
        })
    }

    fn heartbeat(&self) -> Call {
        Call::Heartbeat(Heartbeat {
            group: GROUP.to_owned(),
            generation: self.generation,
            member: self.member.clone(),
            instance: self.instance.clone(),
        })
    }

    /// Heartbeats do not wait for the offsets.
    fn ask_for_offsets(&mut self, now: Moment) -> Act {
        self.wake = Some(now + PACE);
        let mut calls = vec![self.heartbeat()];
        if !self.asked {
            self.asked = true;
            calls.push(self.fetch());
        }
        let processed = Vec::new();
        Act { calls, processed }
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
            generation: self.generation,
            member: self.member.clone(),
            instance: self.instance.clone(),
            retention_ms: -1,
            version: 8,
            topics: vec![CommitTopic {
                name: TOPIC.to_owned(),
                id: TopicId::ZERO,
                partitions: self.positions.iter().map(partition).collect(),
            }],
        }))
    }

    fn consume(&mut self, now: Moment, random: &mut StdRng) -> Act {
        let mut act = Act::default();
        for (&partition, position) in &mut self.positions {
            for _ in 0..random.random_range(0..3) {
                act.processed.push((partition, *position));
                *position += 1;
            }
        }
        act.calls.push(self.heartbeat());
        if !self.positions.is_empty() {
            act.calls.push(self.commit());
        }
        let whim = if self.has_whims {
            random.random_range(0..100)
        } else {
            100
        };
        if whim < 2 {
            self.revision += 1;
        }
        self.wake = Some(now + PACE);
        // The leader may have seen a new topic; anybody may have other metadata.
        if whim < 2 || (whim < 4 && self.leads) {
            self.out(now);
        }
        act
    }

    fn joined(&mut self, now: Moment, joined: &Joined) {
        match joined.error {
            ErrorCode::None => {
                self.member.clone_from(&joined.member);
                self.generation = joined.generation;
                self.leads = joined.leader == joined.member;
                let members: Vec<&str> = joined.members.iter().map(|member| member.member.as_str()).collect();
                self.assignments = if joined.skip_assignment {
                    Vec::new()
                } else {
                    assign(&members)
                };
                self.go(Phase::Syncing, now);
            }
            ErrorCode::MemberIdRequired => {
                self.member.clone_from(&joined.member);
                self.go(Phase::Out, now);
            }
            error => self.refused(now, error),
        }
    }

    fn synced(&mut self, now: Moment, synced: &Synced) {
        match synced.error {
            ErrorCode::None => {
                self.owned = parse(&synced.assignment);
                self.asked = false;
                let next = if self.owned.is_empty() {
                    Phase::Consuming
                } else {
                    Phase::Fetching
                };
                self.go(next, now);
            }
            error => self.refused(now, error),
        }
    }

    fn fetched(&mut self, now: Moment, fetched: &FetchedOffsets) {
        let partitions = fetched.topics.iter().flat_map(|topic| &topic.partitions);
        self.positions = partitions
            .map(|fetched| (fetched.partition, fetched.offset.max(0)))
            .collect();
        self.go(Phase::Consuming, now);
    }

    fn refused(&mut self, now: Moment, error: ErrorCode) {
        match error {
            ErrorCode::UnknownMemberId => self.forget(now),
            ErrorCode::FencedInstanceId => {
                self.forget(now);
                self.phase = Phase::Stopped;
                self.wake = None;
            }
            _ => self.out(now),
        }
    }
}

impl Member for Classic {
    fn next_wake(&self) -> Option<Moment> {
        self.wake
    }

    fn wake(&mut self, now: Moment, random: &mut StdRng) -> Act {
        self.wake = None;
        let call = match self.phase {
            Phase::Out => {
                self.phase = Phase::Joining;
                self.join()
            }
            Phase::Syncing => self.sync(),
            Phase::Fetching => return self.ask_for_offsets(now),
            Phase::Consuming => return self.consume(now, random),
            Phase::Joining | Phase::Stopped => return Act::default(),
        };
        Act {
            calls: vec![call],
            processed: Vec::new(),
        }
    }

    fn hear(&mut self, now: Moment, call: &Call, answer: &Answer) {
        if self.phase == Phase::Stopped {
            return;
        }
        match (call, answer) {
            (Call::Join(_), Answer::Reply(Reply::Join(joined))) if self.phase == Phase::Joining => {
                self.joined(now, joined);
            }
            (Call::Sync(_), Answer::Reply(Reply::Sync(synced))) if self.phase == Phase::Syncing => {
                self.synced(now, synced);
            }
            (Call::FetchOffsets(asked), answer)
                if self.phase == Phase::Fetching
                    && asked.member.as_ref() == Some(&self.member)
                    && asked.member_epoch == self.generation =>
            {
                match answer {
                    Answer::Reply(Reply::FetchOffsets(fetched)) => self.fetched(now, fetched),
                    _ => self.asked = false,
                }
            }
            (Call::Join(_), _) if self.phase == Phase::Joining => self.out(now),
            (Call::Sync(_), _) if self.phase == Phase::Syncing => self.out(now),
            (Call::Heartbeat(said), Answer::Reply(Reply::Heartbeat(error)))
                if said.generation == self.generation
                    && *error != ErrorCode::None
                    && matches!(self.phase, Phase::Fetching | Phase::Consuming) =>
            {
                self.refused(now, *error);
            }
            _ => {}
        }
    }

    fn crash(&mut self, now: Moment) {
        self.forget(now);
    }

    fn settle(&mut self) {
        self.has_whims = false;
    }

    fn stop(&mut self) -> Option<Call> {
        let member = std::mem::take(&mut self.member);
        self.phase = Phase::Stopped;
        self.owned.clear();
        self.wake = None;
        (self.instance.is_none() && !member.is_empty()).then(|| {
            Call::Leave(Leave {
                group: GROUP.to_owned(),
                members: vec![LeavingMember {
                    member,
                    instance: None,
                    reason: None,
                }],
            })
        })
    }

    fn claim(&self) -> Option<Claim> {
        matches!(self.phase, Phase::Fetching | Phase::Consuming).then(|| Claim {
            owner: self.instance.clone().unwrap_or_else(|| self.member.clone()),
            epoch: self.generation,
            partitions: self.owned.clone(),
        })
    }
}

/// The leader's work: partitions in turn.
fn assign(members: &[&str]) -> Vec<(String, Bytes)> {
    let partitions_of =
        |index: usize| (0..PARTITIONS).filter(move |partition| *partition as usize % members.len() == index);
    let assignment =
        |(index, member): (usize, &&str)| ((*member).to_owned(), assignment(partitions_of(index).collect()));
    members.iter().enumerate().map(assignment).collect()
}

fn subscription(revision: u32) -> Bytes {
    let subscription = ConsumerProtocolSubscription {
        topics: vec![TOPIC],
        user_data: Some(revision.to_string().into()),
        ..ConsumerProtocolSubscription::default()
    };
    versioned(subscription.to_bytes(0).expect("it can be written"))
}

fn assignment(partitions: Vec<i32>) -> Bytes {
    let topic = TOPIC;
    let assignment = ConsumerProtocolAssignment {
        assigned_partitions: vec![TopicPartition { topic, partitions }],
        ..ConsumerProtocolAssignment::default()
    };
    versioned(assignment.to_bytes(0).expect("it can be written"))
}

fn versioned(body: Bytes) -> Bytes {
    [&[0, 0], &body[..]].concat().into()
}

fn parse(assignment: &Bytes) -> BTreeSet<i32> {
    if assignment.is_empty() {
        return BTreeSet::new();
    }
    let body = assignment.slice(2..);
    let assignment = ConsumerProtocolAssignment::from_bytes(&body, 0).expect("it can be read");
    let topics = assignment.assigned_partitions.into_iter();
    topics.flat_map(|topic| topic.partitions).collect()
}
