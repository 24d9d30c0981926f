//! A group coordinator's shell: loads the shard of the offsets partition, feeds it calls and time, appends what it
//! decides, answers what is committed. As in a broker: a refused append drops the shard, which loads again if this broker
//! still leads. It decides nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use klamm_coordinator::record::from_batch_record;
use klamm_coordinator::serving::{Answer, Append, CommitId, Limits, LogRecord, Refused, Unwritable};
use klamm_coordinator::topics::Topic;
use klamm_coordinator::{At, CallId, Change, Loading, Reply, Serving, Settings, Shard, Topics, TopicsAge};
use klamm_invariants::core_orderings;
use klamm_metadata::Image;
use klamm_record::{Batch, BatchBuilder, BatchOptions, BuildError, DECOMPRESSED_SIZE_MAX};
use klamm_replication::{Acks, Event, Isolation, Origin, Produce, RequestId, Role};
use klamm_types::{ErrorCode, LeaderEpoch};

use super::disks::read_batches;
use super::hosted::{Asked, Here};
use crate::plan::{MS, Time};
use crate::world::{AtReplica, CallAsked, Happening, MemberAnswer, World};

const COMMIT_PATIENCE: Duration = Duration::from_secs(3600);
const LOAD_RETRY: Time = 3 * MS;
const RELOAD_PAUSE: Time = 5 * MS;
const READ_BYTES_MAX: usize = 4_000;

/// One run of a shard, in the leader epoch that it lives for.
#[derive(Debug)]
pub struct Coordinating {
    leader_epoch: LeaderEpoch,
    /// Tells this run from others in the same epoch.
    run: u64,
    stage: Stage,
    /// Calls that have come and are in no round yet.
    asks: VecDeque<CallAsked>,
    /// Who waits for which call: the member and its attempt.
    open: BTreeMap<CallId, (usize, u64)>,
    next_call: u64,
    /// Appends under way.
    appends: VecDeque<(RequestId, CommitId)>,
    tick_at: Option<Time>,
    patience_at: Option<Time>,
}

#[derive(Debug)]
enum Stage {
    Loading(Shard, Loading),
    Serving(Serving),
}

impl Coordinating {
    fn core(&mut self) -> Option<&mut Serving> {
        match &mut self.stage {
            Stage::Loading(..) => None,
            Stage::Serving(core) => Some(core),
        }
    }
}

fn settings() -> Settings {
    Settings {
        session_timeout_min: Duration::from_millis(10),
        initial_rebalance_delay: Duration::from_millis(20),
        consumer_session_timeout: Duration::from_millis(400),
        consumer_heartbeat_interval: Duration::from_millis(40),
        consumer_reconcile_interval: Duration::from_millis(10),
        consumer_resting_interval: Duration::from_millis(40),
        ..Settings::default()
    }
}

/// Small rounds, and few of them, so that both run out. Times of groups are a hundredth of what they are in a broker, so
/// that much happens in a seed.
fn limits() -> Limits {
    Limits {
        round_bytes_max: 400,
        waiting_max: 4,
        commit_timeout: Duration::from_millis(100),
        late_max: Duration::from_millis(20),
        ..Limits::default()
    }
}

fn topics_of(image: &Image) -> Topics {
    let mut topics = Topics::default();
    topics.set_version(i64::try_from(image.applied_index()).unwrap_or(i64::MAX));
    for topic in image.topics().values() {
        let known = Topic {
            id: topic.id,
            partitions: vec![std::collections::BTreeSet::new(); topic.partitions.len()],
        };
        topics.insert(topic.name.to_string(), known);
    }
    topics
}

impl World {
    /// The role of a replica of the offsets partition has changed: its coordinator ends, and another begins.
    pub(super) fn coordinate(&mut self, here: &mut Here<'_>, role: Role) {
        if here.partition != self.controller.offsets_partition() {
            return;
        }
        self.drop_shard(here, ErrorCode::NotCoordinator);
        if let Role::Leader { leader_epoch } = role {
            self.begin_to_load(here, leader_epoch);
        }
    }

    fn begin_to_load(&mut self, here: &mut Here<'_>, leader_epoch: LeaderEpoch) {
        self.counts.coordinator_loads += 1;
        let image = &self.brokers[here.broker].image;
        let offsets = self.controller.partition(here.partition).topic;
        let state = image.partition(offsets, klamm_types::PartitionId(0));
        let age = TopicsAge::of(state.map(|state| state.leader_epoch), leader_epoch);
        let topics = Arc::new(topics_of(image));
        let mut shard = Shard::new(Arc::new(settings()), topics.clone());
        shard.set_topics(topics, age);
        // A broker's log has written whatever was accepted; here an append takes its time, and an earlier shard of the
        // same epoch may have left one.
        let log_end = here.own.replica.producers().end();
        self.attempts += 1;
        let run = self.attempts;
        here.own.shard = Some(Box::new(Coordinating {
            leader_epoch,
            run,
            stage: Stage::Loading(shard, Loading::new(here.own.log.log_start_offset(), log_end)),
            asks: VecDeque::new(),
            open: BTreeMap::new(),
            next_call: 0,
            appends: VecDeque::new(),
            tick_at: None,
            patience_at: None,
        }));
        self.tell_replica(here.place(), self.now + MS, AtReplica::ShardLoads { run });
    }

    /// Reads on; once everything that may be committed has been read, the shard serves.
    pub(super) fn shard_loads(&mut self, here: &mut Here<'_>, run: u64) {
        let at = self.shard_time(here);
        let Some(own) = here.own.shard.as_mut().filter(|own| own.run == run) else {
            return;
        };
        let Stage::Loading(shard, loading) = &mut own.stage else {
            return;
        };
        let position = loading.position();
        let bound = here.own.replica.fetch_bound(Isolation::ReadUncommitted);
        let read = match position < bound {
            true => read_batches(&here.own.log, position, READ_BYTES_MAX, bound),
            false => Ok(Vec::new()),
        };
        let Ok(read) = read else {
            // A broker's read tells of the damage; whoever leads next loads elsewhere.
            self.tell_replica(here.place(), self.now + LOAD_RETRY, AtReplica::ShardLoads { run });
            return self.feed(here, Event::DamageFound { from: position });
        };
        for batch in &read {
            if let Err(problem) = replay(shard, at, batch) {
                return self.hold(Err(core_orderings(problem)));
            }
            loading.read_to(batch.next_offset());
        }
        let latest = here.own.replica.latest_offset_answer(Isolation::ReadUncommitted);
        if let Ok(latest) = latest {
            loading.committed_to(latest.offset);
        }
        if !loading.is_complete() {
            let wait = if read.is_empty() { LOAD_RETRY } else { MS / 5 };
            return self.tell_replica(here.place(), self.now + wait, AtReplica::ShardLoads { run });
        }
        let mut shard = shard.clone();
        shard.start(at);
        let position = loading.position();
        own.stage = Stage::Serving(Serving::new(shard, limits()));
        self.say(
            format_args!("{}", here.place()),
            format_args!("coordinates, from {position} on"),
        );
        self.set_alarms(here);
    }

    /// A call of a member: it waits for a round, with others that come at about the same time.
    pub(super) fn called(&mut self, here: &mut Here<'_>, asked: CallAsked) {
        let refusal = match here.own.shard.as_ref().map(|own| &own.stage) {
            None => Some(ErrorCode::NotCoordinator),
            Some(Stage::Loading(..)) => Some(ErrorCode::CoordinatorLoadInProgress),
            Some(Stage::Serving(_)) => None,
        };
        if let Some(error) = refusal {
            return self.answer_member(here, (asked.member, asked.attempt), Err(error));
        }
        let soon = self.chance.delay(50, 5 * MS);
        if let Some(own) = here.own.shard.as_mut() {
            own.asks.push_back(asked);
            let run = own.run;
            self.tell_replica(here.place(), self.now + soon, AtReplica::ShardServes { run });
        }
    }

    /// Calls that have come, as far as one round takes them.
    pub(super) fn shard_serves(&mut self, here: &mut Here<'_>, run: u64) {
        let at = self.shard_time(here);
        let Some(own) = here.own.shard.as_mut().filter(|own| own.run == run) else {
            return;
        };
        let Stage::Serving(core) = &mut own.stage else {
            return;
        };
        if !core.has_room() {
            return;
        }
        let mut decided = Vec::new();
        while !core.round_is_full()
            && let Some(CallAsked { member, attempt, call }) = own.asks.pop_front()
        {
            let id = CallId(own.next_call);
            own.next_call += 1;
            own.open.insert(id, (member, attempt));
            let at = At {
                draw: self.random(),
                ..at
            };
            let told = self.trace.is_on().then(|| format!("{id:?} {call:?}"));
            decided.push((told.unwrap_or_default(), core.call(at, id, call)));
        }
        let is_left = !own.asks.is_empty();
        if decided.is_empty() {
            return;
        }
        for (event, changes) in decided {
            self.told_of(here, &event, changes);
        }
        self.end_round(here);
        if is_left {
            self.tell_replica(here.place(), self.now, AtReplica::ShardServes { run });
        }
    }

    pub(super) fn shard_ticks(&mut self, here: &mut Here<'_>, run: u64) {
        let at = self.shard_time(here);
        let Some(own) = here.own.shard.as_mut().filter(|own| own.run == run) else {
            return;
        };
        if own.tick_at.take_if(|due| *due <= self.now).is_none() {
            return;
        }
        if let Some(core) = own.core() {
            let ticked = core.tick(at).map(|ticked| ticked.changes);
            self.told_of(here, "a tick", ticked);
            self.end_round(here);
        }
    }

    pub(super) fn shard_loses_patience(&mut self, here: &mut Here<'_>, run: u64) {
        let now = here.host.moment(self.now);
        let Some(own) = here.own.shard.as_mut().filter(|own| own.run == run) else {
            return;
        };
        if own.patience_at.take_if(|due| *due <= self.now).is_none() {
            return;
        }
        let impatient = own.core().map(|core| core.tell_the_impatient(now));
        self.answer_calls(here, impatient.unwrap_or_default());
        self.set_alarms(here);
    }

    fn shard_time(&mut self, here: &Here<'_>) -> At {
        At {
            moment: here.host.moment(self.now),
            wall: self.wall(here.broker),
            draw: self.random(),
        }
    }

    /// What was decided, for the timeline. No decision of these groups is one that cannot be written.
    fn told_of(&mut self, here: &Here<'_>, event: &str, decided: Result<Vec<Change>, Unwritable>) {
        let place = here.place();
        match decided {
            Ok(changes) if self.trace.is_on() && !changes.is_empty() => {
                self.say(format_args!("{place}"), format_args!("<= {event}"));
                for change in changes {
                    self.say(format_args!("{place}"), format_args!("   => {change:?}"));
                }
            }
            Ok(_) => {}
            Err(error) => self.hold(Err(core_orderings(format!("{event}: {error}")))),
        }
    }

    fn end_round(&mut self, here: &mut Here<'_>) {
        let now = here.host.moment(self.now);
        let Some(core) = here.own.shard.as_mut().and_then(|own| own.core()) else {
            return;
        };
        let (told, append) = core.end_round(now);
        let valid = core.shard().validate().map_err(core_orderings);
        self.hold(valid);
        self.answer_calls(here, told.answers);
        if let Some(append) = append {
            self.append_round(here, append);
        }
        self.set_alarms(here);
    }

    fn append_round(&mut self, here: &mut Here<'_>, append: Append) {
        let batch = match batch_of(&append.records) {
            Ok(batch) => batch,
            Err(problem) => return self.hold(Err(core_orderings(problem.to_string()))),
        };
        let request = here.own.new_request(Asked::Round);
        let Some(own) = here.own.shard.as_mut() else {
            return;
        };
        own.appends.push_back((request, append.commit));
        let leader_epoch = own.leader_epoch;
        let produce = Produce {
            request,
            batch,
            acks: Acks::All,
            timeout: COMMIT_PATIENCE,
            origin: Origin::Coordinator { leader_epoch },
            disk_full: self.brokers[here.broker].is_full,
        };
        let event = Event::Produce(Box::new(produce));
        match &mut self.brokers[here.broker].hangs {
            Some(hangs) => {
                // Nothing follows what has no place in the log yet: the shard waits for the worker.
                hangs.shard_waits = true;
                self.tell_replica(here.place(), self.now, AtReplica::Event(Box::new(event)));
            }
            None => self.feed(here, event),
        }
    }

    fn answer_calls(&mut self, here: &mut Here<'_>, answers: Vec<Answer>) {
        for (call, result) in answers {
            let caller = here.own.shard.as_mut().and_then(|own| own.open.remove(&call));
            if let Some(caller) = caller {
                self.say(
                    format_args!("{}", here.place()),
                    format_args!("   => {call:?} hears {result:?}"),
                );
                self.answer_member(here, caller, result);
            }
        }
    }

    /// A round is committed, or refused.
    pub(super) fn round_done(&mut self, here: &mut Here<'_>, request: RequestId, result: Result<(), ErrorCode>) {
        let Some(own) = here.own.shard.as_mut() else {
            return;
        };
        let Some(position) = own.appends.iter().position(|(append, _)| *append == request) else {
            return;
        };
        let Some((_, commit)) = own.appends.drain(..=position).next_back() else {
            return;
        };
        let (epoch, run, is_left) = (own.leader_epoch, own.run, !own.asks.is_empty());
        match own.core().map(|core| core.committed(commit, result)) {
            Some(Ok(told)) => {
                self.answer_calls(here, told.answers);
                if is_left {
                    self.tell_replica(here.place(), self.now, AtReplica::ShardServes { run });
                }
                self.set_alarms(here);
            }
            Some(Err(Refused { answers, .. })) => {
                self.answer_calls(here, answers);
                self.drop_shard(here, ErrorCode::NotCoordinator);
                let again = AtReplica::ShardAgain { epoch };
                self.tell_replica(here.place(), self.now + RELOAD_PAUSE, again);
            }
            None => {}
        }
    }

    /// After a refused append: if this broker still leads, it loads once more.
    pub(super) fn shard_again(&mut self, here: &mut Here<'_>, leader_epoch: LeaderEpoch) {
        if here.own.shard.is_none() && here.own.replica.role() == (Role::Leader { leader_epoch }) {
            self.begin_to_load(here, leader_epoch);
        }
    }

    fn drop_shard(&mut self, here: &mut Here<'_>, told: ErrorCode) {
        if let Some(own) = here.own.shard.take() {
            let waiting = own.asks.into_iter().map(|asked| (asked.member, asked.attempt));
            for caller in own.open.into_values().chain(waiting) {
                self.answer_member(here, caller, Err(told));
            }
        }
    }

    /// Time is told when the core next wants it.
    fn set_alarms(&mut self, here: &mut Here<'_>) {
        let (place, soonest) = (here.place(), self.now + 100);
        let Some(own) = here.own.shard.as_mut() else {
            return;
        };
        let (run, tick_at, patience_at) = (own.run, own.tick_at, own.patience_at);
        let Some(core) = own.core() else {
            return;
        };
        let (tick, patience) = (core.shard().next_deadline(), core.patience_ends());
        let time = |moment| here.host.time_of(moment).max(soonest);
        let sooner = |due: Option<Time>, set: Option<Time>| due.filter(|due| set.is_none_or(|set| *due < set));
        let (tick, patience) = (sooner(tick.map(time), tick_at), sooner(patience.map(time), patience_at));
        if let Some(at) = tick {
            own.tick_at = Some(at);
            self.tell_replica(place, at, AtReplica::ShardTicks { run });
        }
        if let Some(at) = patience {
            own.patience_at = Some(at);
            self.tell_replica(place, at, AtReplica::ShardLosesPatience { run });
        }
    }

    fn answer_member(&mut self, here: &Here<'_>, (member, attempt): (usize, u64), result: Result<Reply, ErrorCode>) {
        let newest = self.controller.state(here.partition).map(|state| state.leader_epoch);
        let is_current = here
            .own
            .shard
            .as_ref()
            .is_some_and(|own| Some(own.leader_epoch) == newest);
        if self.is_lost_now() {
            return;
        }
        let delay = self.chance.delay(200, 10 * MS);
        let answer = MemberAnswer { result, is_current };
        self.after(
            delay,
            Happening::MemberHears {
                member,
                attempt,
                answer: Some(Box::new(answer)),
            },
        );
    }
}

/// The records of a batch of the offsets partition.
fn replay(shard: &mut Shard, at: At, batch: &Batch) -> Result<(), String> {
    for record in batch.records(DECOMPRESSED_SIZE_MAX).into_iter().flatten().flatten() {
        let record = from_batch_record(record.key.as_ref(), record.value.as_ref());
        if let Some(record) = record.map_err(|error| format!("a record of a group: {error}"))? {
            shard.replay(at, record);
        }
    }
    Ok(())
}

fn batch_of(records: &[LogRecord]) -> Result<Batch, BuildError> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for LogRecord { timestamp, key, value } in records {
        builder.append(*timestamp, Some(key), value.as_deref(), &[])?;
    }
    builder.build()
}
