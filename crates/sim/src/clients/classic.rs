//! A consumer of the classic protocol, eager: it gives all up before it joins.
//!
//! ```text
//!  Out ── JoinGroup ──► Joining ── SyncGroup ──► Syncing ── OffsetFetch ──► Fetching ──► Consuming
//!   ▲                                                                                        │
//!   └── any error, any sign of a rebalance, a whim (new metadata; the leader's to begin) ────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use klamm_coordinator::call::{
    CommitOffsets, FetchOffsets, FetchTopic, Heartbeat, Join, Leave, LeavingMember, MemberIdRule, SkipAssignment,
    Stability, Sync,
};
use klamm_coordinator::reply::{FetchedOffsets, Joined, Synced};
use klamm_coordinator::{Call, Client, Reply};
use klamm_types::{ErrorCode, TopicId};

use super::consumer::{commit_topic, committed_by};
use super::member::{Act, Claim, Heard, Model, Surroundings};
use crate::chance::Chance;
use crate::metadata::TOPIC;
use crate::plan::{MS, Time};

const BACKOFF: Time = 10 * MS;
const PACE: Time = 30 * MS;
const SESSION_TIMEOUT_MS: i32 = 300;
const REBALANCE_TIMEOUT_MS: i32 = 300;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Out,
    Joining,
    Syncing,
    Fetching,
    Consuming,
}

/// See the module.
#[derive(Debug)]
pub struct Classic {
    name: String,
    group: String,
    phase: Phase,
    member: String,
    generation: i32,
    leads: bool,
    /// To be sent with SyncGroup.
    assignments: Vec<(String, Bytes)>,
    positions: BTreeMap<i32, i64>,
    /// The last positions whose commit was acknowledged.
    committed: BTreeMap<i32, i64>,
    owned: BTreeSet<i32>,
    /// Whether it waits for the offsets of what it owns.
    asked: bool,
    /// Its metadata; another number is other metadata.
    revision: u32,
    wake: Option<Time>,
}

impl Classic {
    pub fn new(name: String, group: String, start: Time) -> Classic {
        Classic {
            name,
            group,
            phase: Phase::Out,
            member: String::new(),
            generation: -1,
            leads: false,
            assignments: Vec::new(),
            positions: BTreeMap::new(),
            committed: BTreeMap::new(),
            owned: BTreeSet::new(),
            asked: false,
            revision: 0,
            wake: Some(start),
        }
    }

    fn out(&mut self, at: Time) {
        self.phase = Phase::Out;
        self.owned.clear();
        self.positions.clear();
        self.committed.clear();
        self.wake = Some(at);
    }

    fn forget(&mut self, at: Time) {
        self.member.clear();
        self.generation = -1;
        self.out(at);
    }

    fn go(&mut self, phase: Phase, now: Time) {
        self.phase = phase;
        self.wake = Some(now);
    }

    fn join(&self) -> Call {
        Call::Join(Box::new(Join {
            group: self.group.clone(),
            member: self.member.clone(),
            instance: None,
            client: Client {
                id: self.name.clone(),
                host: "/127.0.0.1".to_owned(),
            },
            session_timeout_ms: SESSION_TIMEOUT_MS,
            rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
            protocol_type: "consumer".to_owned(),
            protocols: vec![("range".to_owned(), Bytes::from(self.revision.to_string()))],
            reason: None,
            member_id_rule: MemberIdRule::Required,
            skip_assignment: SkipAssignment::Supported,
        }))
    }

    fn sync(&mut self) -> Call {
        Call::Sync(Box::new(Sync {
            group: self.group.clone(),
            generation: self.generation,
            member: self.member.clone(),
            instance: None,
            protocol: None,
            assignments: std::mem::take(&mut self.assignments),
        }))
    }

    fn fetch(&self) -> Call {
        Call::FetchOffsets(FetchOffsets {
            group: self.group.clone(),
            // Which the coordinator ignores in a classic group; it tells the answers apart.
            member: Some(self.member.clone()),
            member_epoch: self.generation,
            topics: Some(vec![FetchTopic {
                name: TOPIC.to_owned(),
                id: TopicId::ZERO,
                partitions: self.owned.iter().copied().collect(),
            }]),
            stability: Stability::Required,
        })
    }

    fn heartbeat(&self) -> Call {
        Call::Heartbeat(Heartbeat {
            group: self.group.clone(),
            generation: self.generation,
            member: self.member.clone(),
            instance: None,
        })
    }

    /// Heartbeats do not wait for the offsets.
    fn ask_for_offsets(&mut self, now: Time) -> Act {
        self.wake = Some(now + PACE);
        let mut calls = vec![self.heartbeat()];
        if !self.asked {
            self.asked = true;
            calls.push(self.fetch());
        }
        Act { calls }
    }

    fn commit(&self) -> Call {
        Call::CommitOffsets(Box::new(CommitOffsets {
            group: self.group.clone(),
            generation: self.generation,
            member: self.member.clone(),
            instance: None,
            retention_ms: -1,
            version: 8,
            topics: vec![commit_topic(&self.positions)],
        }))
    }

    fn consume(&mut self, around: Surroundings, chance: &mut Chance) -> Act {
        let mut calls = vec![self.heartbeat()];
        if !self.positions.is_empty() && (!around.settled || self.positions != self.committed) {
            calls.push(self.commit());
        }
        self.wake = Some(around.now + PACE);
        let whim = if around.settled { 100 } else { chance.below(100) };
        // The leader may have seen a new topic; anybody may have other metadata.
        if whim < 1 {
            self.revision += 1;
        }
        if whim < 1 || (whim < 3 && self.leads) {
            self.out(around.now + BACKOFF);
        }
        Act { calls }
    }

    fn joined(&mut self, around: Surroundings, joined: &Joined) {
        match joined.error {
            ErrorCode::None => {
                self.member.clone_from(&joined.member);
                self.generation = joined.generation;
                self.leads = joined.leader == joined.member;
                let members: Vec<&str> = joined.members.iter().map(|member| member.member.as_str()).collect();
                self.assignments = match joined.skip_assignment {
                    true => Vec::new(),
                    false => assign(&members, around.partitions),
                };
                self.go(Phase::Syncing, around.now);
            }
            ErrorCode::MemberIdRequired => {
                self.member.clone_from(&joined.member);
                self.go(Phase::Out, around.now);
            }
            error => self.refused(around.now, error),
        }
    }

    fn synced(&mut self, now: Time, synced: &Synced) {
        match synced.error {
            ErrorCode::None => {
                self.owned = synced
                    .assignment
                    .iter()
                    .map(|&partition| i32::from(partition))
                    .collect();
                self.asked = false;
                match self.owned.is_empty() {
                    true => self.go(Phase::Consuming, now),
                    false => self.go(Phase::Fetching, now),
                }
            }
            error => self.refused(now, error),
        }
    }

    fn fetched(&mut self, now: Time, fetched: &FetchedOffsets) {
        let partitions = fetched.topics.iter().flat_map(|topic| &topic.partitions);
        let known = partitions.filter(|fetched| fetched.error == ErrorCode::None);
        self.positions = known
            .map(|fetched| (fetched.partition, fetched.offset.max(0)))
            .collect();
        self.go(Phase::Consuming, now);
    }

    fn refused(&mut self, now: Time, error: ErrorCode) {
        match error {
            ErrorCode::UnknownMemberId => self.forget(now + BACKOFF),
            _ => self.out(now + BACKOFF),
        }
    }
}

impl Model for Classic {
    fn next_wake(&self) -> Option<Time> {
        self.wake
    }

    fn wake(&mut self, around: Surroundings, chance: &mut Chance) -> Act {
        self.wake = None;
        let call = match self.phase {
            Phase::Out => {
                self.phase = Phase::Joining;
                self.join()
            }
            Phase::Syncing => self.sync(),
            Phase::Fetching => return self.ask_for_offsets(around.now),
            Phase::Consuming => return self.consume(around, chance),
            Phase::Joining => return Act::default(),
        };
        Act { calls: vec![call] }
    }

    fn hear(&mut self, around: Surroundings, call: &Call, heard: Heard<'_>) {
        if let Some(positions) = committed_by(call, heard) {
            self.committed = positions;
        }
        match (call, heard) {
            (Call::Join(_), Some(Reply::Join(joined))) if self.phase == Phase::Joining => self.joined(around, joined),
            (Call::Sync(said), Some(Reply::Sync(synced)))
                if self.phase == Phase::Syncing && said.generation == self.generation =>
            {
                self.synced(around.now, synced);
            }
            (Call::FetchOffsets(asked), heard)
                if self.phase == Phase::Fetching
                    && asked.member.as_ref() == Some(&self.member)
                    && asked.member_epoch == self.generation =>
            {
                match heard {
                    Some(Reply::FetchOffsets(fetched)) if fetched.error == ErrorCode::None => {
                        self.fetched(around.now, fetched);
                    }
                    _ => self.asked = false,
                }
            }
            (Call::Join(_), _) if self.phase == Phase::Joining => self.out(around.now + BACKOFF),
            (Call::Sync(_), _) if self.phase == Phase::Syncing => self.out(around.now + BACKOFF),
            (Call::Heartbeat(said), Some(Reply::Heartbeat(error)))
                if said.generation == self.generation
                    && said.member == self.member
                    && *error != ErrorCode::None
                    && matches!(self.phase, Phase::Fetching | Phase::Consuming) =>
            {
                self.refused(around.now, *error);
            }
            _ => {}
        }
    }

    fn crash(&mut self, now: Time) {
        self.forget(now + BACKOFF);
    }

    fn leave(&mut self, again_at: Time) -> Option<Call> {
        let member = std::mem::take(&mut self.member);
        self.forget(again_at);
        (!member.is_empty()).then(|| {
            Call::Leave(Leave {
                group: self.group.clone(),
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
            owner: self.member.clone(),
            epoch: self.generation,
            partitions: self.owned.clone(),
        })
    }

    fn positions(&mut self) -> &mut BTreeMap<i32, i64> {
        &mut self.positions
    }
}

/// The leader's work: partitions in turn. To the coordinator an assignment is bytes, so here it is the numbers.
fn assign(members: &[&str], partitions: usize) -> Vec<(String, Bytes)> {
    let of = |index: usize| (0..partitions).filter(move |partition| partition % members.len() == index);
    let members = members.iter().enumerate();
    members
        .map(|(index, member)| {
            let numbers: Vec<u8> = of(index).map(|partition| partition as u8).collect();
            ((*member).to_owned(), Bytes::from(numbers))
        })
        .collect()
}
