//! Three members against a coordinator that loses answers, moves, falls silent and throws members out, while programs
//! read, rest, leave and come back.
//!
//! A run is decided by its seed alone. Whatever happens: no partition has two owners whom the coordinator counts as
//! members, nobody begins behind what was dealt with, and once all behave, all partitions are owned and read on. A
//! failure prints the seed.

mod coordinator;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use self::coordinator::Group;
use super::*;

const MEMBERS: usize = 3;
const PARTITIONS: i32 = 5;
const STEPS: usize = 600;
const QUIET_STEPS: usize = 1500;
const SEEDS: u64 = 20;

/// A program with its consumer.
struct Program {
    bench: Bench,
    /// Where it reads on; `None` while it waits for the committed offset.
    positions: BTreeMap<TopicPartition, Option<i64>>,
    processed: BTreeMap<TopicPartition, i64>,
    /// The turn for which a commit is under way.
    revoking: Option<u64>,
    waiters: u64,
    left: bool,
    polling: bool,
}

struct World {
    random: StdRng,
    programs: Vec<Program>,
    group: Group,
    /// The coordinator's node.
    node: i32,
    committed: BTreeMap<TopicPartition, i64>,
    /// Up to where anybody was handed records.
    dealt: BTreeMap<TopicPartition, i64>,
}

impl World {
    fn new(seed: u64, settings: &CoreConfig) -> World {
        let program = |index: usize| {
            let config = CoreConfig {
                member_id: format!("m{index}"),
                max_poll_interval: Duration::from_secs(20),
                auto_commit_interval: Some(Duration::from_secs(1)),
                ..settings.clone()
            };
            let mut bench = Bench::new(config);
            bench.step(Event::Cluster(picture(&[("t", PARTITIONS)])));
            bench.step(Event::Subscribe(topics(&["t"])));
            Program {
                bench,
                positions: BTreeMap::new(),
                processed: BTreeMap::new(),
                revoking: None,
                waiters: 0,
                left: false,
                polling: false,
            }
        };
        World {
            random: StdRng::seed_from_u64(seed),
            programs: (0..MEMBERS).map(program).collect(),
            group: Group::new(settings.protocol, PARTITIONS),
            node: 1,
            committed: BTreeMap::new(),
            dealt: BTreeMap::new(),
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn rough_step(&mut self) {
        match self.random.random_range(0..100) {
            0..1 => self.lose_power(),
            1..2 => {
                self.node = self.random.random_range(1..4);
                let waiting = self.group.drop_waiting();
                for (index, id) in waiting {
                    self.tell(index, id, lost());
                }
            }
            2..4 => {
                let seats = self.group.seats();
                if !seats.is_empty() {
                    let seat = seats[self.random.random_range(0..seats.len())].clone();
                    self.throw_out(&seat);
                }
            }
            4..6 => {
                let index = self.random.random_range(0..MEMBERS);
                let program = &mut self.programs[index];
                program.polling = false;
                program.bench.core.poll_ended(program.bench.now);
            }
            6..8 => self.leave_or_return(),
            8..30 => self.pass_time(),
            30..60 => {
                let index = self.random.random_range(0..MEMBERS);
                self.act(index);
            }
            _ => self.deliver(15),
        }
        self.check();
    }

    /// The coordinator's machine falls silent: what it was asked is never answered, and it goes from the picture.
    fn lose_power(&mut self) {
        let silent = NodeId(self.node);
        self.node = self.node % 3 + 1;
        self.group.drop_waiting();
        let mut without = (*picture(&[("t", PARTITIONS)])).clone();
        without.brokers.remove(&silent);
        let without = Arc::new(without);
        for index in 0..MEMBERS {
            let bench = &mut self.programs[index].bench;
            bench.open.retain(|order| order.node != Some(silent));
            bench.step(Event::Cluster(Arc::clone(&without)));
            self.take_effects(index);
        }
    }

    fn throw_out(&mut self, seat: &str) {
        for (index, id) in self.group.remove(seat) {
            self.tell(index, id, lost());
        }
        self.flush();
    }

    fn leave_or_return(&mut self) {
        let index = self.random.random_range(0..MEMBERS);
        let program = &mut self.programs[index];
        if program.left {
            program.left = false;
            program.bench.step(Event::Subscribe(topics(&["t"])));
        } else if program.revoking.is_none() {
            program.left = true;
            program.positions.clear();
            program.processed.clear();
            let reason = String::new();
            program.bench.step(Event::Leave { waiter: 0, reason });
        }
    }

    fn pass_time(&mut self) {
        let by = Duration::from_millis(self.random.random_range(1..1500));
        for index in 0..MEMBERS {
            self.programs[index].bench.later(by);
            self.take_effects(index);
        }
    }

    /// The program polls: takes a turn, or reads.
    fn act(&mut self, index: usize) {
        let program = &mut self.programs[index];
        if program.left {
            return;
        }
        if !program.polling {
            program.polling = true;
            if program.bench.core.poll_started(program.bench.now) {
                program.bench.step(Event::Tick);
            }
        }
        let turn = program.bench.core.turn().cloned();
        match turn {
            Some(turn) if turn.kind == TurnKind::Revoke => {
                if program.revoking.is_none() {
                    program.revoking = Some(turn.id);
                    program.waiters += 1;
                    let known = program
                        .positions
                        .iter()
                        .filter_map(|(key, at)| Some((key.clone(), (*at)?)));
                    let offsets = known.map(|(key, at)| (key, CommittedOffset::new(Offset(at)))).collect();
                    let waiter = program.waiters;
                    program.bench.step(Event::Commit { waiter, offsets });
                }
            }
            Some(turn) => {
                for key in &turn.partitions {
                    match turn.kind {
                        TurnKind::Assign => program.positions.insert(key.clone(), None),
                        _ => program.positions.remove(key),
                    };
                    program.processed.remove(key);
                }
                let begun = BTreeSet::new();
                program.bench.step(Event::TurnDone { turn: turn.id, begun });
            }
            None => {
                for (key, at) in &mut program.positions {
                    let Some(at) = at else { continue };
                    program.processed.insert(key.clone(), *at);
                    *at += 1;
                    let dealt = self.dealt.entry(key.clone()).or_default();
                    *dealt = (*dealt).max(*at);
                }
            }
        }
        self.take_effects(index);
    }

    /// What the core said that is no request.
    fn take_effects(&mut self, index: usize) {
        loop {
            let happened = std::mem::take(&mut self.programs[index].bench.happened);
            if happened.is_empty() {
                return;
            }
            for effect in happened {
                self.take_effect(index, effect);
            }
        }
    }

    fn take_effect(&mut self, index: usize, effect: Effect) {
        let program = &mut self.programs[index];
        match effect {
            Effect::Begin(parts) => {
                for (key, begin) in parts {
                    let at = match begin {
                        Begin::At { offset, .. } => offset.0,
                        Begin::Nothing => 0,
                        Begin::Refused(code) => panic!("{key}: {code:?}"),
                    };
                    let dealt = self.dealt.get(&key).copied().unwrap_or(0);
                    assert!(
                        at <= dealt,
                        "{key} begins at {at}, but only what is below {dealt} was dealt with"
                    );
                    if let Some(place) = program.positions.get_mut(&key) {
                        *place = Some(at);
                    }
                }
            }
            Effect::CommitProcessed => {
                let processed = program.processed.iter();
                let offsets = processed
                    .map(|(key, at)| (key.clone(), CommittedOffset::new(Offset(*at))))
                    .collect();
                program.bench.step(Event::AutoCommit(offsets));
            }
            Effect::Settle {
                waiter,
                outcome: Settled::Committed(_),
            } if waiter == program.waiters => {
                let Some(turn) = program.revoking.take() else { return };
                // The program may have been thrown out of `poll` meanwhile; then the turn is gone.
                let revoked = program.bench.core.turn().filter(|found| found.id == turn).cloned();
                if let Some(revoked) = revoked {
                    program.positions.retain(|key, _| !revoked.partitions.contains(key));
                    program.processed.retain(|key, _| !revoked.partitions.contains(key));
                    let begun = BTreeSet::new();
                    program.bench.step(Event::TurnDone { turn, begun });
                }
            }
            _ => {}
        }
    }

    /// One request reaches its broker, or not; one answer its member, or not.
    fn deliver(&mut self, loss: u32) {
        let waiting: Vec<usize> = (0..MEMBERS)
            .filter(|&index| !self.programs[index].bench.open.is_empty())
            .collect();
        if waiting.is_empty() {
            return;
        }
        let index = waiting[self.random.random_range(0..waiting.len())];
        let order = self.programs[index].bench.open.remove(0);
        if self.chance(loss) {
            return self.tell(index, order.id, lost());
        }
        let answer_lost = self.chance(loss);
        let answer = match &order.call {
            Call::FindCoordinator => Some(Answer::Coordinator {
                code: ErrorCode::None,
                node: NodeId(self.node),
                message: String::new(),
            }),
            Call::Topics(_) => Some(facts(&[("t", PARTITIONS)])),
            call if order.node != Some(NodeId(self.node)) => Some(elsewhere(call)),
            Call::Commit { identity, offsets } => {
                let code = self.group.may_commit(identity);
                if code == ErrorCode::None {
                    let stored = offsets.iter().map(|(key, committed)| (key.clone(), committed.offset.0));
                    self.committed.extend(stored);
                }
                Some(Answer::Committed(
                    offsets.keys().map(|key| (key.clone(), code)).collect(),
                ))
            }
            Call::Committed { partitions, .. } => {
                let offset = |key: &TopicPartition| self.committed.get(key).map(|at| CommittedOffset::new(Offset(*at)));
                let parts = partitions.iter().map(|key| (key.clone(), ErrorCode::None, offset(key)));
                Some(Answer::Offsets {
                    code: ErrorCode::None,
                    parts: parts.collect(),
                })
            }
            call => self.group.take(index, order.id, call),
        };
        if let Some(answer) = answer {
            let outcome = if answer_lost { lost() } else { Ok(answer) };
            self.tell(index, order.id, outcome);
        }
        self.flush();
    }

    /// Answers to requests that waited for others.
    fn flush(&mut self) {
        for (index, id, answer) in self.group.ready() {
            self.tell(index, id, Ok(answer));
        }
    }

    fn tell(&mut self, index: usize, id: u64, outcome: Result<Answer, Arc<RequestError>>) {
        self.programs[index].bench.step(Event::Answered { id, outcome });
        self.take_effects(index);
    }

    /// Nobody owns what another owns, among those whom the coordinator counts as members.
    fn check(&self) {
        let mut owners: BTreeMap<TopicPartition, usize> = BTreeMap::new();
        for (index, program) in self.programs.iter().enumerate() {
            assert!(
                program.bench.core.failure().is_none(),
                "{:?}",
                program.bench.core.failure()
            );
            if !self.group.counts(&program.bench.core) {
                continue;
            }
            for key in program.bench.core.owned() {
                let before = owners.insert(key.clone(), index);
                let state = |index: usize| {
                    let core = &self.programs[index].bench.core;
                    format!("{index}: {:?} {:?} {:?}", core.classic, core.reconciler, core.turns)
                };
                assert_eq!(before.map(state), None, "{key} has two owners: {}", state(index));
            }
        }
    }

    /// From now on all behave; in the end all is owned, and read on.
    fn quiet(&mut self) {
        for seat in self.group.seats() {
            self.throw_out(&seat);
        }
        for program in self.programs.iter_mut().filter(|program| program.left) {
            program.left = false;
            program.bench.step(Event::Subscribe(topics(&["t"])));
        }
        let before = self.dealt.clone();
        for _ in 0..QUIET_STEPS {
            match self.random.random_range(0..10) {
                0 => self.pass_time(),
                1..4 => {
                    let index = self.random.random_range(0..MEMBERS);
                    self.act(index);
                }
                _ => self.deliver(0),
            }
            self.check();
        }
        let owned: Vec<usize> = self
            .programs
            .iter()
            .map(|program| program.bench.core.owned().len())
            .collect();
        assert_eq!(owned.iter().sum::<usize>(), PARTITIONS as usize, "{owned:?}");
        assert!(owned.iter().all(|&owned| owned == 1 || owned == 2), "{owned:?}");
        for number in 0..PARTITIONS {
            let key = TopicPartition::new("t", number);
            assert!(self.dealt.get(&key) > before.get(&key), "{key} is not read on");
        }
    }
}

fn elsewhere(call: &Call) -> Answer {
    let code = ErrorCode::NotCoordinator;
    match call {
        Call::Join(_) => Answer::Joined(coordinator::refused_join(code)),
        Call::Sync(_) => Answer::Synced {
            code,
            assignment: bytes::Bytes::new(),
        },
        Call::Heartbeat(_) => Answer::Heartbeat(code),
        Call::ConsumerHeartbeat(_) => Answer::ConsumerHeartbeat(coordinator::refused_beat(code)),
        Call::Commit { offsets, .. } => Answer::Committed(offsets.keys().map(|key| (key.clone(), code)).collect()),
        Call::Committed { .. } => Answer::Offsets { code, parts: vec![] },
        Call::Leave { .. } | Call::FindCoordinator | Call::Topics(_) => Answer::Left(code),
    }
}

fn run(settings: &CoreConfig) {
    for seed in 0..SEEDS {
        let done = std::panic::catch_unwind(|| {
            let mut world = World::new(seed, settings);
            for _ in 0..STEPS {
                world.rough_step();
            }
            world.quiet();
        });
        assert!(done.is_ok(), "seed {seed}");
    }
}

#[test]
fn eager_members() {
    run(&config(GroupProtocol::Classic));
}

#[test]
fn cooperative_members() {
    run(&CoreConfig {
        assignors: vec![Assignor::CooperativeSticky],
        ..config(GroupProtocol::Classic)
    });
}

#[test]
fn members_under_kip_848() {
    run(&config(GroupProtocol::Consumer));
}
