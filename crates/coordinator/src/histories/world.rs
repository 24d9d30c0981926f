//! The world of a history: time, chance, the coordinator and its log, the members.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use klamm_types::{Moment, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::classic::Classic;
use super::consumer::Consumer;
use super::member::{Answer, Claim, Member};
use super::network::{Letter, Network, Waiting};
use super::recent::Recent;
use super::watch::Watch;
use super::{GROUP, PARTITIONS, TOPIC, TOPIC_ID};
use crate::call::{Call, CallId, Leave, LeavingMember};
use crate::group::Group;
use crate::record::Record;
use crate::reply::Reply;
use crate::settings::Settings;
use crate::shard::{At, Event, Shard};
use crate::topics::{Topic, Topics};

/// What may go wrong, in percent or so.
#[derive(Clone, Copy)]
struct Faults {
    lost: u32,
    doubled: u32,
    latency_ms_max: u64,
    /// Mean time between crashes and moves; none if zero.
    mishap_ms_mean: u64,
}

const CALM: Faults = Faults {
    lost: 0,
    doubled: 0,
    latency_ms_max: 20,
    mishap_ms_mean: 0,
};

/// By then every letter has arrived.
const STRAGGLERS: Duration = Duration::from_secs(3);

/// See the module.
pub struct World {
    random: StdRng,
    at: At,
    settings: Arc<Settings>,
    topics: Arc<Topics>,
    shard: Shard,
    log: Vec<Record>,
    committed: usize,
    next_commit: Option<Moment>,
    /// Answers that wait until so many records are committed.
    parked: Vec<(usize, CallId, Reply)>,
    /// By call: the ticket of who asked.
    open: BTreeMap<CallId, u64>,
    network: Network,
    members: Vec<Box<dyn Member>>,
    /// Members that are told to stop do not come back.
    stopped: Vec<bool>,
    faults: Faults,
    next_mishap: Option<Moment>,
    watch: Watch,
    calls: u64,
    trace: u64,
    recent: Recent,
    /// Which kind the group was.
    kind: Option<std::mem::Discriminant<Group>>,
}

/// Whether the group has just been made, of nobody.
fn is_new(group: &Group) -> bool {
    match group {
        Group::Classic(group) => group.generation() == 0,
        Group::Consumer(group) => group.members().count() <= 1,
    }
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut random = StdRng::seed_from_u64(seed);
        let delay = if random.random_bool(0.5) { 3 } else { 0 };
        let settings = Arc::new(Settings {
            initial_rebalance_delay: Duration::from_secs(delay),
            consumer_session_timeout: Duration::from_secs(10),
            ..Settings::default()
        });
        let mut topics = Topics::default();
        let topic = Topic {
            id: TOPIC_ID,
            partitions: vec![Default::default(); PARTITIONS as usize],
        };
        topics.insert(TOPIC.to_owned(), topic);
        let topics = Arc::new(topics);
        let faults = Faults {
            lost: random.random_range(0..15),
            doubled: random.random_range(0..10),
            latency_ms_max: random.random_range(1..2000),
            mishap_ms_mean: random.random_range(1000..10_000),
        };
        let mut shard = Shard::new(settings.clone(), topics.clone());
        shard.start(At::default());
        let members = World::recruit(&mut random);
        World {
            at: At::default(),
            settings,
            topics,
            shard,
            log: Vec::new(),
            committed: 0,
            next_commit: None,
            parked: Vec::new(),
            open: BTreeMap::new(),
            network: Network::default(),
            stopped: vec![false; members.len()],
            members,
            faults,
            next_mishap: Some(Moment(0)),
            watch: Watch::default(),
            calls: 0,
            trace: 0,
            recent: Recent::default(),
            kind: None,
            random,
        }
    }

    /// Who takes part.
    fn recruit(random: &mut StdRng) -> Vec<Box<dyn Member>> {
        let count = random.random_range(1..=6);
        // Groups of one kind, of the other, and mixed ones.
        let classic = [1.0, 0.0, 0.5][random.random_range(0..3)];
        let mut members: Vec<Box<dyn Member>> = Vec::new();
        for index in 0..count {
            let instance = random.random_bool(0.4).then(|| format!("i{index}"));
            let name = format!("c{index}");
            if random.random_bool(classic) {
                members.push(Box::new(Classic::new(name, instance, random)));
            } else {
                members.push(Box::new(Consumer::new(name, instance, TOPIC_ID, random)));
            }
        }
        members
    }

    /// From now on nothing goes wrong, and every process runs that was not told to stop.
    pub fn heal(&mut self) {
        self.faults = CALM;
        self.next_mishap = None;
        // What is under way arrives, also from processes that are no more: it may fence one that lives.
        self.run(STRAGGLERS);
        let now = self.at.moment;
        for (index, member) in self.members.iter_mut().enumerate() {
            member.settle();
            if !self.stopped[index] && member.claim().is_none() {
                self.network.waiting.retain(|_, waiting| waiting.member != index);
                member.crash(now);
            }
        }
    }

    pub fn run(&mut self, duration: Duration) {
        const TURNS_AT_ONCE_MAX: u32 = 1000;
        let end = self.at.moment + duration;
        let mut at_once = 0;
        while let Some(next) = self.next_event().filter(|next| *next <= end) {
            at_once = if next > self.at.moment { 0 } else { at_once + 1 };
            assert!(at_once < TURNS_AT_ONCE_MAX, "time stands still: {:#?}", self.shard);
            self.set_time(next.max(self.at.moment));
            self.turn();
            if let Err(broken) = self.shard.validate() {
                panic!("{broken}: {:#?}", self.shard);
            }
        }
        self.set_time(end);
    }

    /// A number that depends on all that happened.
    pub fn trace(&self) -> (u64, usize, u64) {
        (self.trace, self.log.len(), self.calls)
    }

    /// Waits until everybody is in, and every partition has one owner; then work must go on.
    pub fn come_to_rest(&mut self, longest: Duration) {
        const LOOK: Duration = Duration::from_secs(2);
        const WORK: Duration = Duration::from_secs(10);
        let end = self.at.moment + longest;
        while let Err(unrest) = self.is_at_rest() {
            assert!(
                self.at.moment < end,
                "no rest: {unrest}: {:#?}",
                self.shard.group(GROUP)
            );
            self.run(LOOK);
        }
        let before = self.watch.processed_count();
        self.run(WORK);
        let after = self.watch.processed_count();
        assert!(
            self.is_at_rest() == Ok(()),
            "the rest did not last: {:?}",
            self.is_at_rest()
        );
        assert!(
            after > before || self.stopped.iter().all(|stopped| *stopped),
            "nothing is processed"
        );
    }

    fn is_at_rest(&self) -> Result<(), String> {
        let living = self.members.iter().zip(&self.stopped).filter(|(_, stopped)| !**stopped);
        let claims: Vec<Option<Claim>> = living.map(|(member, _)| member.claim()).collect();
        let claims: Option<Vec<Claim>> = claims.into_iter().collect();
        let Some(claims) = claims else {
            return Err("a member is out".to_owned());
        };
        if claims.is_empty() {
            return match self.shard.group(GROUP) {
                Some(Group::Classic(group)) if !group.is_empty() => Err("ghosts".to_owned()),
                Some(Group::Consumer(group)) if !group.is_empty() => Err("ghosts".to_owned()),
                _ => Ok(()),
            };
        }
        let epochs: BTreeSet<i32> = claims.iter().map(|claim| claim.epoch).collect();
        let owned: Vec<i32> = claims
            .iter()
            .flat_map(|claim| claim.partitions.iter().copied())
            .collect();
        let distinct: BTreeSet<i32> = owned.iter().copied().collect();
        match self.shard.group(GROUP) {
            Some(Group::Classic(group)) if group.is_stable() && group.member_count() == claims.len() => {}
            Some(Group::Consumer(group)) if group.state() == "Stable" && group.members().count() == claims.len() => {}
            _ => return Err("the group is not stable".to_owned()),
        }
        match (epochs.len(), owned.len(), distinct.len()) {
            (1, owned, distinct) if owned == distinct && owned == PARTITIONS as usize => Ok(()),
            _ => Err(format!("claims {claims:?}")),
        }
    }

    fn next_event(&self) -> Option<Moment> {
        let members = self.members.iter().filter_map(|member| member.next_wake()).min();
        [
            members,
            self.network.next_arrival(),
            self.network.next_surrender(),
            self.shard.next_deadline(),
            self.next_commit,
            self.next_mishap,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn turn(&mut self) {
        let now = self.at.moment;
        self.trace = self.trace.wrapping_mul(31).wrapping_add(now.0);
        while let Some(letter) = self.network.arrive(now) {
            self.deliver(letter);
        }
        for waiting in self.network.surrender(now) {
            self.tell(&waiting, &Answer::Lost);
        }
        if self.shard.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.decide(Event::Tick);
        }
        if self.next_commit.is_some_and(|commit| commit <= now) {
            self.commit();
        }
        if self.next_mishap.is_some_and(|mishap| mishap <= now) {
            self.mishap();
        }
        for index in 0..self.members.len() {
            if self.members[index].next_wake().is_some_and(|wake| wake <= now) {
                self.wake(index);
            }
        }
    }

    fn set_time(&mut self, moment: Moment) {
        self.at.moment = moment;
        self.at.wall = Timestamp(i64::try_from(moment.0 / 1000).expect("histories are short"));
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn latency(&mut self) -> Duration {
        // Mostly fast.
        let max = if self.chance(80) {
            20
        } else {
            self.faults.latency_ms_max
        };
        Duration::from_millis(self.random.random_range(0..=max))
    }

    fn wake(&mut self, index: usize) {
        let act = self.members[index].wake(self.at.moment, &mut self.random);
        for (partition, offset) in act.processed {
            self.watch.processed(partition, offset);
        }
        for call in act.calls {
            self.send(index, call);
        }
    }

    fn send(&mut self, member: usize, call: Call) {
        let patience = match call {
            Call::Join(_) => Duration::from_secs(25),
            // Shorter than a session: one that is lost costs nobody its place.
            _ => Duration::from_secs(5),
        };
        let ticket = self.network.ticket(Waiting {
            member,
            call: call.clone(),
            gives_up: self.at.moment + patience,
        });
        if self.chance(self.faults.lost) {
            return;
        }
        let arrives = self.at.moment + self.latency();
        if self.chance(self.faults.doubled) {
            self.network.send(
                member,
                arrives,
                Letter::Call {
                    ticket,
                    call: call.clone(),
                },
            );
        }
        self.network.send(member, arrives, Letter::Call { ticket, call });
    }

    fn deliver(&mut self, letter: Letter) {
        match letter {
            Letter::Call { ticket, call } => {
                self.calls += 1;
                let id = CallId(self.calls);
                self.open.insert(id, ticket);
                self.decide(Event::Call(id, call));
            }
            Letter::Answer { ticket, answer } => {
                if let Some(waiting) = self.network.waiting.remove(&ticket) {
                    self.tell(&waiting, &answer);
                }
            }
        }
    }

    fn tell(&mut self, waiting: &Waiting, answer: &Answer) {
        if let Answer::Reply(reply) = answer {
            self.watch.heard(&waiting.call, reply);
        }
        let member = &mut self.members[waiting.member];
        member.hear(self.at.moment, &waiting.call, answer);
        let gives = matches!(waiting.call, Call::Sync(_) | Call::ConsumerHeartbeat(_));
        if let (Answer::Reply(_), true, Some(claim)) = (answer, gives, member.claim()) {
            self.watch.claimed(&claim);
        }
    }

    fn decide(&mut self, event: Event) {
        self.at.draw = self.random.random();
        let decision = self.shard.decide(self.at, event.clone());
        // The append may be refused, once in a while: the coordinator is no leader any more.
        if self.faults.mishap_ms_mean > 0 && !decision.changes.is_empty() && self.random.random_range(0..2000) == 0 {
            self.move_coordinator();
            return;
        }
        self.recent.remember(self.at.moment, &event, &decision);
        self.shard.apply(self.at, &decision.changes);
        if event == Event::Tick {
            self.shard.ticked(self.at);
        }
        let kind = self.shard.group(GROUP).map(std::mem::discriminant);
        if kind != self.kind && self.shard.group(GROUP).is_none_or(is_new) {
            self.watch.epochs_begin_anew();
        }
        self.kind = kind;
        let mut wrote_group = false;
        for change in &decision.changes {
            if let crate::Change::Record(record) = change {
                wrote_group |= matches!(record, Record::ClassicGroup { .. });
                self.log.push(record.clone());
            }
        }
        if let Event::Call(_, Call::Sync(sync)) = &event
            && wrote_group
            && let Some(Group::Classic(group)) = self.shard.group(GROUP)
        {
            self.watch.became_stable(sync, group);
        }
        for (id, reply) in decision.replies {
            self.watch.answered(id);
            self.parked.push((self.log.len(), id, reply));
        }
        if self.next_commit.is_none() {
            self.next_commit = Some(self.at.moment + Duration::from_millis(self.random.random_range(0..5)));
        }
    }

    /// All that is in the log now is committed; answers that waited for it go out.
    fn commit(&mut self) {
        self.next_commit = None;
        self.committed = self.log.len();
        for (_, id, reply) in std::mem::take(&mut self.parked) {
            self.answer(id, Answer::Reply(reply));
        }
    }

    fn answer(&mut self, id: CallId, answer: Answer) {
        let Some(ticket) = self.open.remove(&id) else {
            return;
        };
        let Some(member) = self.network.waiting.get(&ticket).map(|waiting| waiting.member) else {
            return;
        };
        if !self.chance(self.faults.lost) {
            let arrives = self.at.moment + self.latency();
            self.network.send(member, arrives, Letter::Answer { ticket, answer });
        }
    }

    fn mishap(&mut self) {
        let mean = self.faults.mishap_ms_mean;
        let wait = Duration::from_millis(self.random.random_range(0..2 * mean));
        self.next_mishap = Some(self.at.moment + wait);
        let index = self.random.random_range(0..self.members.len());
        match self.random.random_range(0..100) {
            0..40 => self.move_coordinator(),
            40..80 if !self.stopped[index] => {
                self.network.close(index);
                self.network.waiting.retain(|_, waiting| waiting.member != index);
                self.members[index].crash(self.at.moment);
            }
            80..85 => {
                self.stopped[index] = true;
                if let Some(goodbye) = self.members[index].stop() {
                    self.send(index, goodbye);
                }
            }
            85..90 => self.remove_by_instance(index),
            _ => {}
        }
    }

    /// An operator removes a static member, whoever that is now.
    fn remove_by_instance(&mut self, index: usize) {
        let member = LeavingMember {
            member: String::new(),
            instance: Some(format!("i{index}")),
            reason: None,
        };
        self.calls += 1;
        let call = Call::Leave(Leave {
            group: GROUP.to_owned(),
            members: vec![member],
        });
        self.decide(Event::Call(CallId(self.calls), call));
    }

    /// Another coordinator reads the log, of which the end may be lost where it was not committed.
    fn move_coordinator(&mut self) {
        let all_kept = self.random.random_bool(0.5) || self.committed == self.log.len();
        let kept = self.random.random_range(self.committed..=self.log.len());
        self.log.truncate(kept);
        self.committed = kept;
        let mut shard = Shard::new(self.settings.clone(), self.topics.clone());
        for record in &self.log {
            shard.replay(self.at, record.clone());
        }
        shard.start(self.at);
        if all_kept && kept == self.log.len() {
            Watch::reloaded(self.shard.group(GROUP), shard.group(GROUP));
        }
        self.shard = shard;
        self.parked.clear();
        for id in self.open.keys().copied().collect::<Vec<_>>() {
            self.answer(id, Answer::NotCoordinator);
        }
    }
}
