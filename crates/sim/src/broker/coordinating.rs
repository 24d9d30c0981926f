//! A group coordinator's shell: loads the shard of the offsets partition, feeds it calls and time, appends what it
//! decides, answers what is committed. As in a broker: decisions are applied at once and answers wait for the commit of
//! all that was appended before them; a refused append drops the shard, which loads again if this broker still leads.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use klamm_coordinator::record::from_batch_record;
use klamm_coordinator::topics::Topic;
use klamm_coordinator::{At, CallId, Change, Decision, Event as ShardEvent, Reply, Settings, Shard, Topics, TopicsAge};
use klamm_invariants::core_orderings;
use klamm_metadata::Image;
use klamm_record::{Batch, BatchBuilder, BatchOptions, DECOMPRESSED_SIZE_MAX};
use klamm_replication::{Acks, Event, Isolation, Origin, Produce, RequestId, Role};
use klamm_types::{ErrorCode, LeaderEpoch, Offset};

use super::disks::read_batches;
use super::hosted::{Asked, Here};
use crate::plan::{MS, Time};
use crate::world::{AtReplica, CallAsked, Happening, MemberAnswer, World};

/// Whoever finds its own clock so late has slept, and judges nobody's silence by it. Times of groups are a hundredth of
/// what they are in a broker, so that much happens in a seed.
const LATE: Duration = Duration::from_millis(20);
const COMMIT_PATIENCE: Duration = Duration::from_secs(3600);
/// So long do callers wait for a commit.
const CALLERS_PATIENCE: Time = 100 * MS;
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
    shard: Shard,
    /// Who waits for which call: the member and its attempt.
    open: BTreeMap<CallId, (usize, u64)>,
    next_call: u64,
    rounds: VecDeque<Round>,
    tick_at: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Loading {
        position: Offset,
        log_end: Offset,
        end: Option<Offset>,
    },
    Serving,
}

/// An append under way, and who waits for it.
#[derive(Debug)]
struct Round {
    request: RequestId,
    /// Answers that rest on it.
    replies: Vec<(CallId, Reply)>,
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
        // A leader that leads by a newer image than this one does not know all topics.
        let state = image.partition(
            self.controller.partition(here.partition).topic,
            klamm_types::PartitionId(0),
        );
        let age = match state.is_some_and(|state| state.leader_epoch >= leader_epoch) {
            true => TopicsAge::Current,
            false => TopicsAge::MayBeOlder,
        };
        let topics = Arc::new(topics_of(image));
        let mut shard = Shard::new(Arc::new(settings()), topics.clone());
        shard.set_topics(topics, age);
        // A broker's log has written whatever was accepted; here an append takes its time, and an earlier shard of the
        // same epoch may have left one.
        let log_end = here.own.replica.producers().end();
        self.attempts += 1;
        here.own.shard = Some(Box::new(Coordinating {
            leader_epoch,
            run: self.attempts,
            stage: Stage::Loading {
                position: here.own.log.log_start_offset(),
                log_end,
                end: None,
            },
            shard,
            open: BTreeMap::new(),
            next_call: 0,
            rounds: VecDeque::new(),
            tick_at: None,
        }));
        let run = self.attempts;
        self.tell_replica(here.place(), self.now + MS, AtReplica::ShardLoads { run });
    }

    /// Reads on; once everything that may be committed has been read, the shard serves.
    pub(super) fn shard_loads(&mut self, here: &mut Here<'_>, run: u64) {
        let at = self.shard_time(here);
        let Some(own) = here.own.shard.as_mut().filter(|own| own.run == run) else {
            return;
        };
        let Stage::Loading {
            mut position,
            log_end,
            mut end,
        } = own.stage
        else {
            return;
        };
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
        let has_read = !read.is_empty();
        for batch in &read {
            let records = batch.records(DECOMPRESSED_SIZE_MAX).into_iter().flatten().flatten();
            for record in records {
                match from_batch_record(record.key.as_ref(), record.value.as_ref()) {
                    Ok(Some(record)) => own.shard.replay(at, record),
                    Ok(None) => {}
                    Err(error) => return self.hold(Err(core_orderings(format!("a record of a group: {error}")))),
                }
            }
            position = batch.next_offset();
        }
        if end.is_none() {
            let latest = here.own.replica.latest_offset_answer(Isolation::ReadUncommitted);
            end = latest.ok().map(|latest| latest.offset).filter(|end| *end >= log_end);
        }
        if end.is_some_and(|end| position >= end) {
            own.stage = Stage::Serving;
            own.shard.start(at);
            self.say(
                format_args!("{}", here.place()),
                format_args!("coordinates, from {position} on"),
            );
            self.set_shard_tick(here);
            return;
        }
        own.stage = Stage::Loading { position, log_end, end };
        let wait = if has_read { MS / 5 } else { LOAD_RETRY };
        self.tell_replica(here.place(), self.now + wait, AtReplica::ShardLoads { run });
    }

    /// A call of a member.
    pub(super) fn called(&mut self, here: &mut Here<'_>, asked: CallAsked) {
        let CallAsked { member, attempt, call } = asked;
        let refusal = match here.own.shard.as_ref().map(|own| own.stage) {
            None => Some(ErrorCode::NotCoordinator),
            Some(Stage::Loading { .. }) => Some(ErrorCode::CoordinatorLoadInProgress),
            Some(Stage::Serving) => None,
        };
        if let Some(error) = refusal {
            return self.answer_member(here, (member, attempt), Err(error));
        }
        if let Some(own) = here.own.shard.as_mut() {
            let id = CallId(own.next_call);
            own.next_call += 1;
            own.open.insert(id, (member, attempt));
            let run = own.run;
            let impatient = AtReplica::CallerLeaves { run, call: id };
            self.tell_replica(here.place(), self.now + CALLERS_PATIENCE, impatient);
            self.decide(here, ShardEvent::Call(id, call));
        }
    }

    /// What was asked for may yet be committed; whoever waits for a commit is told that nobody knows. A join waits for
    /// other members, and is not told.
    pub(super) fn caller_leaves(&mut self, here: &mut Here<'_>, run: u64, call: CallId) {
        let Some(own) = here.own.shard.as_mut().filter(|own| own.run == run) else {
            return;
        };
        let waits = own
            .rounds
            .iter()
            .any(|round| round.replies.iter().any(|(waiting, _)| *waiting == call));
        if let Some(caller) = own.open.get(&call).copied().filter(|_| waits) {
            own.open.remove(&call);
            self.answer_member(here, caller, Err(ErrorCode::CoordinatorNotAvailable));
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
        if own.shard.late_by(at.moment) > LATE {
            own.shard.restart_waits(at);
        }
        self.decide(here, ShardEvent::Tick);
        if let Some(own) = here.own.shard.as_mut().filter(|own| own.run == run) {
            own.shard.ticked(at);
        }
        self.set_shard_tick(here);
    }

    fn shard_time(&mut self, here: &Here<'_>) -> At {
        At {
            moment: here.host.moment(self.now),
            wall: self.wall(here.broker),
            draw: self.random(),
        }
    }

    fn decide(&mut self, here: &mut Here<'_>, event: ShardEvent) {
        let at = self.shard_time(here);
        let Some(own) = here.own.shard.as_mut() else {
            return;
        };
        let told = self.trace.is_on().then(|| format!("{event:?}"));
        let Decision { changes, replies, .. } = own.shard.decide(at, event);
        if let Some(event) = told.filter(|_| !changes.is_empty() || !replies.is_empty()) {
            let place = here.place();
            self.say(format_args!("{place}"), format_args!("<= {event}"));
            changes
                .iter()
                .for_each(|change| self.say(format_args!("{place}"), format_args!("   => {change:?}")));
            replies
                .iter()
                .for_each(|reply| self.say(format_args!("{place}"), format_args!("   => {reply:?}")));
        }
        let Some(own) = here.own.shard.as_mut() else {
            return;
        };
        let batch = match batch_of(&changes, at) {
            Ok(batch) => batch,
            Err(problem) => return self.hold(Err(core_orderings(problem))),
        };
        own.shard.apply(at, &changes);
        let valid = own.shard.validate().map_err(core_orderings);
        self.hold(valid);
        match batch {
            Some(batch) => self.append_round(here, batch, replies),
            None => self.answer_after_commits(here, replies),
        }
        self.set_shard_tick(here);
    }

    fn append_round(&mut self, here: &mut Here<'_>, batch: Batch, replies: Vec<(CallId, Reply)>) {
        let request = here.own.new_request(Asked::Round);
        let Some(own) = here.own.shard.as_mut() else {
            return;
        };
        own.rounds.push_back(Round { request, replies });
        let leader_epoch = own.leader_epoch;
        let produce = Produce {
            request,
            batch,
            acks: Acks::All,
            timeout: COMMIT_PATIENCE,
            origin: Origin::Coordinator { leader_epoch },
            disk_full: self.brokers[here.broker].is_full,
        };
        self.feed(here, Event::Produce(Box::new(produce)));
    }

    /// An answer that wrote nothing rests on what was appended before it.
    fn answer_after_commits(&mut self, here: &mut Here<'_>, replies: Vec<(CallId, Reply)>) {
        let Some(own) = here.own.shard.as_mut() else {
            return;
        };
        match own.rounds.back_mut() {
            Some(last) => last.replies.extend(replies),
            None => self.answer_calls(here, replies),
        }
    }

    fn answer_calls(&mut self, here: &mut Here<'_>, replies: Vec<(CallId, Reply)>) {
        for (call, reply) in replies {
            let caller = here.own.shard.as_mut().and_then(|own| own.open.remove(&call));
            if let Some(caller) = caller {
                self.answer_member(here, caller, Ok(reply));
            }
        }
    }

    /// A round is committed, or refused.
    pub(super) fn round_done(&mut self, here: &mut Here<'_>, request: RequestId, result: Result<(), ErrorCode>) {
        let Some(own) = here.own.shard.as_mut() else {
            return;
        };
        let Some(position) = own.rounds.iter().position(|round| round.request == request) else {
            return;
        };
        if let Err(code) = result {
            let told = match code {
                ErrorCode::NotEnoughReplicas
                | ErrorCode::NotEnoughReplicasAfterAppend
                | ErrorCode::RequestTimedOut
                | ErrorCode::ThrottlingQuotaExceeded => ErrorCode::CoordinatorNotAvailable,
                _ => ErrorCode::NotCoordinator,
            };
            let epoch = own.leader_epoch;
            self.drop_shard(here, told);
            let again = AtReplica::ShardAgain { epoch };
            return self.tell_replica(here.place(), self.now + RELOAD_PAUSE, again);
        }
        let done: Vec<Round> = own.rounds.drain(..=position).collect();
        for round in done {
            self.answer_calls(here, round.replies);
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
            for caller in own.open.into_values() {
                self.answer_member(here, caller, Err(told));
            }
        }
    }

    fn set_shard_tick(&mut self, here: &mut Here<'_>) {
        let Some(own) = here.own.shard.as_mut() else {
            return;
        };
        let Some(due) = own.shard.next_deadline() else {
            return;
        };
        let at = here.host.time_of(due).max(self.now + 100);
        if own.tick_at.is_none_or(|set| at < set) {
            own.tick_at = Some(at);
            let run = own.run;
            self.tell_replica(here.place(), at, AtReplica::ShardTicks { run });
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

/// The records of a decision as one batch; `None` if there are none.
fn batch_of(changes: &[Change], at: At) -> Result<Option<Batch>, String> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for change in changes {
        if let Change::Record(record) = change {
            let (key, value) = record.to_bytes().map_err(|error| error.to_string())?;
            let appended = builder.append(at.wall, Some(&key), value.as_deref(), &[]);
            appended.map_err(|error| error.to_string())?;
        }
    }
    match builder.is_empty() {
        true => Ok(None),
        false => builder.build().map(Some).map_err(|error| error.to_string()),
    }
}
