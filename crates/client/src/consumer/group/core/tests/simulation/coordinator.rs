//! A coordinator for the simulation, as simple as can be: it knows both kinds of groups, keeps nothing on disk, and has
//! no time-outs; members are thrown out from outside.

use bytes::Bytes;

use super::super::*;

/// A request that waits: whose it is, and its id.
type Waiting = (usize, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Joining,
    Syncing,
    Stable,
}

#[derive(Default)]
struct Seat {
    protocols: Vec<(&'static str, Bytes)>,
    joined: bool,
    join: Option<Waiting>,
    sync: Option<Waiting>,
    assignment: Bytes,
    // Under KIP-848:
    epoch: i32,
    previous: i32,
    told: BTreeSet<i32>,
    owned: BTreeSet<i32>,
    to_revoke: BTreeSet<i32>,
    target: BTreeSet<i32>,
}

pub struct Group {
    protocol: GroupProtocol,
    partitions: i32,
    seats: BTreeMap<String, Seat>,
    /// The generation, or the group's epoch.
    generation: i32,
    phase: Phase,
    leader: String,
    ids: u32,
    ready: Vec<(usize, u64, Answer)>,
}

pub fn refused_join(code: ErrorCode) -> JoinAnswer {
    JoinAnswer {
        code,
        generation: -1,
        protocol_type: None,
        protocol_name: String::new(),
        leader: String::new(),
        skip_assignment: false,
        member_id: String::new(),
        members: vec![],
    }
}

pub fn refused_beat(code: ErrorCode) -> ConsumerHeartbeatAnswer {
    ConsumerHeartbeatAnswer {
        code,
        message: String::new(),
        epoch: 0,
        interval: Duration::ZERO,
        assignment: None,
    }
}

impl Group {
    pub fn new(protocol: GroupProtocol, partitions: i32) -> Group {
        Group {
            protocol,
            partitions,
            seats: BTreeMap::new(),
            generation: 1,
            phase: Phase::Stable,
            leader: String::new(),
            ids: 0,
            ready: Vec::new(),
        }
    }

    pub fn seats(&self) -> Vec<String> {
        self.seats.keys().cloned().collect()
    }

    /// Answers to requests that have waited.
    pub fn ready(&mut self) -> Vec<(usize, u64, Answer)> {
        std::mem::take(&mut self.ready)
    }

    /// The coordinator moves: what waits there is never answered.
    pub fn drop_waiting(&mut self) -> Vec<Waiting> {
        let seats = self.seats.values_mut();
        seats
            .flat_map(|seat| [seat.join.take(), seat.sync.take()])
            .flatten()
            .collect()
    }

    /// A member's session is over. Says which requests of its waited.
    pub fn remove(&mut self, member_id: &str) -> Vec<Waiting> {
        let Some(seat) = self.seats.remove(member_id) else {
            return Vec::new();
        };
        match self.protocol {
            GroupProtocol::Classic => self.rebalance(),
            GroupProtocol::Consumer => self.retarget(),
        }
        [seat.join, seat.sync].into_iter().flatten().collect()
    }

    /// Whether the coordinator takes this consumer's word on what it owns.
    pub fn counts(&self, core: &Core) -> bool {
        match self.protocol {
            GroupProtocol::Classic => self.seats.contains_key(&core.classic.member_id) && !core.classic.lost,
            GroupProtocol::Consumer => self.seats.contains_key(&core.config.member_id) && core.reconciler.epoch > 0,
        }
    }

    pub fn may_commit(&self, identity: &Identity) -> ErrorCode {
        let Some(seat) = self.seats.get(&identity.member_id) else {
            return ErrorCode::UnknownMemberId;
        };
        match self.protocol {
            GroupProtocol::Classic if identity.generation != self.generation => ErrorCode::IllegalGeneration,
            GroupProtocol::Classic if self.phase == Phase::Syncing => ErrorCode::RebalanceInProgress,
            GroupProtocol::Consumer if identity.generation != seat.epoch => ErrorCode::StaleMemberEpoch,
            GroupProtocol::Classic | GroupProtocol::Consumer => ErrorCode::None,
        }
    }

    /// The answer, unless it has to wait.
    pub fn take(&mut self, index: usize, id: u64, call: &Call) -> Option<Answer> {
        match call {
            Call::Join(call) => self.join((index, id), call),
            Call::Sync(call) => self.sync((index, id), call),
            Call::Heartbeat(identity) => Some(Answer::Heartbeat(self.heartbeat(identity))),
            Call::Leave { identity, .. } => {
                let waiting = self.remove(&identity.member_id);
                assert!(waiting.len() <= 2);
                Some(Answer::Left(ErrorCode::None))
            }
            Call::ConsumerHeartbeat(call) => Some(Answer::ConsumerHeartbeat(self.beat(call))),
            _ => None,
        }
    }

    fn join(&mut self, waiting: Waiting, call: &JoinCall) -> Option<Answer> {
        let member_id = call.identity.member_id.clone();
        if member_id.is_empty() {
            self.ids += 1;
            let member_id = format!("id{}", self.ids);
            return Some(Answer::Joined(JoinAnswer {
                member_id,
                ..refused_join(ErrorCode::MemberIdRequired)
            }));
        }
        let fresh = !self.seats.contains_key(&member_id);
        // One that was thrown out is told so; one that was given an id a moment ago, is not.
        if fresh && member_id != format!("id{}", self.ids) {
            return Some(Answer::Joined(refused_join(ErrorCode::UnknownMemberId)));
        }
        if self.phase != Phase::Joining || fresh {
            self.seats.entry(member_id.clone()).or_default();
            if self.phase != Phase::Joining {
                self.rebalance();
            }
        }
        let seat = self.seats.entry(member_id).or_default();
        (seat.protocols, seat.joined, seat.join) = (call.protocols.clone(), true, Some(waiting));
        self.complete();
        None
    }

    /// All have to come together anew. Who waits for an assignment is told so.
    fn rebalance(&mut self) {
        self.phase = Phase::Joining;
        for seat in self.seats.values_mut() {
            seat.joined = seat.join.is_some();
            if let Some((index, id)) = seat.sync.take() {
                let answer = Answer::Synced {
                    code: ErrorCode::RebalanceInProgress,
                    assignment: Bytes::new(),
                };
                self.ready.push((index, id, answer));
            }
        }
        self.complete();
    }

    fn complete(&mut self) {
        if self.phase != Phase::Joining || self.seats.is_empty() || self.seats.values().any(|seat| !seat.joined) {
            return;
        }
        self.generation += 1;
        self.phase = Phase::Syncing;
        if !self.seats.contains_key(&self.leader) {
            self.leader = self.seats.keys().next().cloned().unwrap_or_default();
        }
        let member = |(id, seat): (&String, &Seat)| JoinedMember {
            member_id: id.clone(),
            instance_id: None,
            metadata: seat.protocols[0].1.clone(),
        };
        let members: Vec<JoinedMember> = self.seats.iter().map(member).collect();
        for (id, seat) in &mut self.seats {
            let Some((index, request)) = seat.join.take() else {
                continue;
            };
            let answer = JoinAnswer {
                code: ErrorCode::None,
                generation: self.generation,
                protocol_type: Some("consumer".to_owned()),
                protocol_name: seat.protocols[0].0.to_owned(),
                leader: self.leader.clone(),
                skip_assignment: false,
                member_id: id.clone(),
                members: if *id == self.leader { members.clone() } else { vec![] },
            };
            self.ready.push((index, request, Answer::Joined(answer)));
        }
    }

    fn sync(&mut self, waiting: Waiting, call: &SyncCall) -> Option<Answer> {
        let refused = |code| {
            Some(Answer::Synced {
                code,
                assignment: Bytes::new(),
            })
        };
        let Some(seat) = self.seats.get_mut(&call.identity.member_id) else {
            return refused(ErrorCode::UnknownMemberId);
        };
        if call.identity.generation != self.generation {
            return refused(ErrorCode::IllegalGeneration);
        }
        match self.phase {
            Phase::Joining => return refused(ErrorCode::RebalanceInProgress),
            Phase::Stable => {
                return Some(Answer::Synced {
                    code: ErrorCode::None,
                    assignment: seat.assignment.clone(),
                });
            }
            Phase::Syncing => seat.sync = Some(waiting),
        }
        if call.identity.member_id == self.leader {
            self.phase = Phase::Stable;
            let given: BTreeMap<&String, &Bytes> = call.assignments.iter().map(|(id, bytes)| (id, bytes)).collect();
            for (id, seat) in &mut self.seats {
                seat.assignment = given.get(id).map(|&bytes| bytes.clone()).unwrap_or_default();
                if let Some((index, request)) = seat.sync.take() {
                    let answer = Answer::Synced {
                        code: ErrorCode::None,
                        assignment: seat.assignment.clone(),
                    };
                    self.ready.push((index, request, answer));
                }
            }
        }
        None
    }

    fn heartbeat(&self, identity: &Identity) -> ErrorCode {
        match self.phase {
            _ if !self.seats.contains_key(&identity.member_id) => ErrorCode::UnknownMemberId,
            _ if identity.generation != self.generation => ErrorCode::IllegalGeneration,
            Phase::Joining => ErrorCode::RebalanceInProgress,
            Phase::Syncing | Phase::Stable => ErrorCode::None,
        }
    }

    /// Shares out anew, without regard to who had what: the more changes hands, the better for the test.
    fn retarget(&mut self) {
        self.generation += 1;
        let (count, shift) = (self.seats.len(), self.generation.unsigned_abs() as usize);
        for (place, seat) in self.seats.values_mut().enumerate() {
            let mine = |number: &i32| (number.unsigned_abs() as usize + shift) % count == place;
            seat.target = (0..self.partitions).filter(mine).collect();
        }
    }

    fn beat(&mut self, call: &ConsumerHeartbeatCall) -> ConsumerHeartbeatAnswer {
        let id = call.identity.member_id.clone();
        let epoch = call.identity.generation;
        match epoch {
            0 => {
                assert_eq!(call.owned, Some(BTreeSet::new()), "who joins owns nothing");
                self.seats.insert(id.clone(), Seat::default());
                self.retarget();
            }
            -1 => {
                self.remove(&id);
                return ConsumerHeartbeatAnswer {
                    epoch: -1,
                    ..refused_beat(ErrorCode::None)
                };
            }
            _ => {}
        }
        let Some(seat) = self.seats.get_mut(&id) else {
            return refused_beat(ErrorCode::UnknownMemberId);
        };
        let owned = call
            .owned
            .as_ref()
            .map(|owned| owned.iter().map(|(_, number)| *number).collect::<BTreeSet<i32>>());
        // The answer that brought the present epoch may have been lost.
        let late = epoch == seat.previous && owned.as_ref().is_some_and(|owned| owned.is_subset(&seat.told));
        if epoch > 0 && epoch != seat.epoch && !late {
            return refused_beat(ErrorCode::FencedMemberEpoch);
        }
        if let Some(owned) = owned {
            if seat.to_revoke.is_disjoint(&owned) {
                seat.to_revoke.clear();
            }
            seat.owned = owned;
        }
        self.reconcile(&id)
    }

    fn reconcile(&mut self, id: &str) -> ConsumerHeartbeatAnswer {
        let others = self.seats.iter().filter(|(other, _)| *other != id);
        let held: BTreeSet<i32> = others
            .flat_map(|(_, seat)| seat.told.iter().chain(&seat.owned).chain(&seat.to_revoke))
            .copied()
            .collect();
        let generation = self.generation;
        let seat = self.seats.get_mut(id).expect("it is there");
        let gone: BTreeSet<i32> = seat
            .told
            .union(&seat.owned)
            .filter(|number| !seat.target.contains(number))
            .copied()
            .collect();
        seat.to_revoke.extend(gone);
        if seat.to_revoke.is_empty() {
            if seat.epoch != generation {
                (seat.previous, seat.epoch) = (seat.epoch, generation);
            }
            seat.told = seat.target.difference(&held).copied().collect();
        } else {
            seat.told.retain(|number| seat.target.contains(number));
            // One that has just joined needs an epoch all the same.
            seat.epoch = seat.epoch.max(1);
        }
        ConsumerHeartbeatAnswer {
            epoch: seat.epoch,
            interval: Duration::from_secs(1),
            assignment: Some([(topic_id("t"), seat.told.clone())].into()),
            ..refused_beat(ErrorCode::None)
        }
    }
}
