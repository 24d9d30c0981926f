//! The task of one shard: loads it, feeds it calls and time, appends what it decides, answers what is committed.
//!
//! Decisions are applied at once and appended in rounds; answers wait for the commit of all that was appended before
//! them, also those that wrote nothing. Whoever has waited too long is told so, and the answers behind still wait. A
//! round is given to the log when the one before it has its place there, so nothing follows a refused one. A refused
//! append ends the task, and with it the shard's state; open calls are then answered NOT_COORDINATOR, and the
//! supervisor starts another shard if this broker still leads.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use klamm_coordinator::{At, CallId, Event, Reply, Settings, Shard, Topics, TopicsAge, history};
use klamm_types::{ErrorCode, LeaderEpoch};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Interval};

use super::load::Source;
use super::round::{Round, RoundError};
use super::{Ask, Inner, Stage};
use crate::api::{Acks, ProduceError, ProduceRequest, Produced};

/// How long the shard itself waits for a commit; callers less.
const COMMIT_PATIENCE: Duration = Duration::from_secs(3600);
/// Between a refused append and the next load: what refused it may last.
const RELOAD_PAUSE: Duration = Duration::from_millis(100);
/// Appends under way at a time; further calls wait in the queue.
const COMMITS_MAX: usize = 64;
const LOAD_RETRY: Duration = Duration::from_millis(100);
/// Whoever finds its own clock so late has slept, and judges nobody's silence by it.
const LATE: Duration = Duration::from_millis(500);
/// How often partitions without an owner are looked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How long a shard without a deadline sleeps.
const IDLE: Duration = Duration::from_secs(3600);

/// What decisions rest on besides the shard.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub settings: Arc<Settings>,
    pub topics: Arc<Topics>,
    /// The leader epochs of `__consumer_offsets` in the same image.
    pub epochs: Arc<[LeaderEpoch]>,
}

impl Surroundings {
    /// What a leader in this epoch may conclude from a topic's absence: it leads by an image that this one may precede.
    fn topics_age(&self, source: &Source) -> TopicsAge {
        let number = usize::try_from(source.partition.partition.0).ok();
        match number.and_then(|number| self.epochs.get(number)) {
            Some(epoch) if *epoch >= source.leader_epoch => TopicsAge::Current,
            _ => TopicsAge::MayBeOlder,
        }
    }
}

/// See the module.
pub(super) struct Task {
    pub source: Source,
    pub inner: Arc<Inner>,
    pub surroundings: watch::Receiver<Surroundings>,
    pub asks: mpsc::Receiver<Ask>,
    pub stage: watch::Sender<Stage>,
    /// Closed when this broker leads in the epoch no more.
    pub lease: watch::Receiver<()>,
    pub ended: mpsc::UnboundedSender<()>,
}

/// Why a shard ends though nobody took its lease.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("an append was refused: {}", .0.name())]
    Refused(ErrorCode),
    #[error(transparent)]
    Round(#[from] RoundError),
    #[error("the state of the groups is broken: {0}")]
    Invalid(String),
    #[error("the node stops")]
    Stopping,
}

impl Task {
    pub async fn run(mut self) {
        let mut lease = self.lease.clone();
        let leader_epoch = self.source.leader_epoch;
        let partition = self.source.partition.partition;
        // Also if this task panics.
        let ending = Ending {
            stage: self.stage.clone(),
            ended: self.ended.clone(),
        };
        let end = tokio::select! {
            biased;
            _ = lease.changed() => None,
            end = self.work() => Some(end),
        };
        self.inner.metrics.drops.add(1);
        match end {
            None => tracing::debug!(%partition, %leader_epoch, "a group shard ends with its leadership"),
            Some(End::Stopping) => {}
            Some(end @ (End::Invalid(_) | End::Round(_))) => {
                tracing::error!(%partition, %leader_epoch, %end, "a group shard is dropped and loads again");
            }
            Some(end) => tracing::info!(%partition, %leader_epoch, %end, "a group shard is dropped and loads again"),
        }
        // The calls that wait have been dropped, and those that come find nobody.
        self.asks.close();
        while self.asks.try_recv().is_ok() {}
        tokio::select! {
            _ = lease.changed() => {}
            () = tokio::time::sleep(RELOAD_PAUSE) => {}
        }
        drop(ending);
    }

    async fn work(&mut self) -> End {
        let shard = self.load().await;
        let mut serving = Serving {
            source: self.source.clone(),
            inner: self.inner.clone(),
            shard,
            open: BTreeMap::new(),
            next_call: 0,
            commits: FuturesOrdered::new(),
            appended: 0,
            patience: VecDeque::new(),
            has_ticked: false,
            watch: history::Watch::new(self.inner.config.unowned_patience),
            look: tokio::time::interval(LOOK_INTERVAL),
        };
        self.stage.send_replace(Stage::Serving);
        loop {
            if let Err(end) = serving.step(self).await {
                return end;
            }
        }
    }

    async fn load(&mut self) -> Shard {
        loop {
            let surroundings = self.surroundings.borrow_and_update().clone();
            let age = surroundings.topics_age(&self.source);
            let mut shard = Shard::new(surroundings.settings, surroundings.topics.clone());
            shard.set_topics(surroundings.topics, age);
            let at = at(&self.source);
            match self.source.load(&mut shard, at, &self.inner.metrics).await {
                Ok(()) => {
                    shard.start(self::at(&self.source));
                    return shard;
                }
                // Leadership may be on its way elsewhere; the lease ends then.
                Err(error) => {
                    tracing::info!(partition = %self.source.partition.partition, %error, "a group shard does not load yet");
                }
            }
            tokio::time::sleep(LOAD_RETRY).await;
        }
    }
}

/// A loaded shard at work.
struct Serving {
    source: Source,
    inner: Arc<Inner>,
    shard: Shard,
    open: BTreeMap<CallId, oneshot::Sender<Result<Reply, ErrorCode>>>,
    next_call: u64,
    commits: FuturesOrdered<BoxFuture<'static, Commit>>,
    /// How many commits were begun.
    appended: u64,
    /// Who waits for each commit, and until when; in the order of the commits.
    patience: VecDeque<Patience>,
    /// Time has had its turn, and a call is next.
    has_ticked: bool,
    watch: history::Watch,
    look: Interval,
}

/// Tells the supervisor that the shard is no more.
struct Ending {
    stage: watch::Sender<Stage>,
    ended: mpsc::UnboundedSender<()>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.stage.send_replace(Stage::Ended);
        // The supervisor ends only with the node.
        let _ = self.ended.send(());
    }
}

/// Callers of one commit, who do not wait for ever.
struct Patience {
    commit: u64,
    until: Instant,
    callers: Vec<CallId>,
}

/// An append that has ended, and who waited for it.
struct Commit {
    number: u64,
    outcome: Result<Produced, ProduceError>,
    replies: Vec<(CallId, Result<Reply, ErrorCode>)>,
    history: Vec<history::Entry>,
}

impl Serving {
    /// Waits for one happening, and deals with it.
    async fn step(&mut self, task: &mut Task) -> Result<(), End> {
        // However often time is due, calls are served.
        if std::mem::take(&mut self.has_ticked)
            && self.commits.len() < COMMITS_MAX
            && let Ok(ask) = task.asks.try_recv()
        {
            return self.asked(ask, &mut task.asks).await;
        }
        let due = self.due();
        let patience = self.patience.front().map(|first| first.until);
        tokio::select! {
            biased;
            Some(commit) = self.commits.next(), if !self.commits.is_empty() => self.committed(commit),
            () = tokio::time::sleep_until(patience.unwrap_or(due)), if patience.is_some() => {
                self.tell_the_impatient();
                Ok(())
            }
            changed = task.surroundings.changed() => {
                changed.map_err(|_| End::Stopping)?;
                let surroundings = task.surroundings.borrow_and_update().clone();
                let age = surroundings.topics_age(&self.source);
                self.shard.set_settings(surroundings.settings);
                self.shard.set_topics(surroundings.topics, age);
                self.round([Event::TopicsChanged]).await
            }
            () = tokio::time::sleep_until(due) => self.tick().await,
            _ = self.look.tick(), if self.shard.groups().next().is_some() => {
                self.look_for_unowned();
                Ok(())
            }
            ask = task.asks.recv(), if self.commits.len() < COMMITS_MAX => {
                let ask = ask.ok_or(End::Stopping)?;
                self.asked(ask, &mut task.asks).await
            }
        }
    }

    fn due(&self) -> Instant {
        match self.shard.next_deadline() {
            Some(moment) => Instant::from_std(self.source.partitions.clock().instant(moment)),
            None => Instant::now() + IDLE,
        }
    }

    /// One call, and those that wait behind it, as far as one batch holds them.
    async fn asked(&mut self, first: Ask, asks: &mut mpsc::Receiver<Ask>) -> Result<(), End> {
        let mut round = Round::new();
        let mut next = Some(first);
        while let Some(Ask { call, answer }) = next {
            let id = CallId(self.next_call);
            self.next_call += 1;
            self.open.insert(id, answer);
            self.inner.metrics.calls.add(1);
            self.decide(&mut round, Event::Call(id, call))?;
            next = if round.is_full() { None } else { asks.try_recv().ok() };
        }
        self.end_round(round).await
    }

    async fn tick(&mut self) -> Result<(), End> {
        self.has_ticked = true;
        let now = at(&self.source);
        if self.shard.late_by(now.moment) > LATE {
            self.inner.metrics.late_ticks.add(1);
            self.shard.restart_waits(now);
        }
        let mut round = Round::new();
        let at = self.decide(&mut round, Event::Tick)?;
        self.shard.ticked(at);
        self.end_round(round).await
    }

    async fn round(&mut self, events: impl IntoIterator<Item = Event>) -> Result<(), End> {
        let mut round = Round::new();
        for event in events {
            self.decide(&mut round, event)?;
        }
        self.end_round(round).await
    }

    fn decide(&mut self, round: &mut Round, event: Event) -> Result<At, End> {
        let at = at(&self.source);
        let caller = match &event {
            Event::Call(id, _) => Some(*id),
            Event::Tick | Event::TopicsChanged => None,
        };
        let decision = self.shard.decide(at, event);
        let changes = decision.changes.clone();
        match (round.add(at.wall, decision), caller) {
            (Ok(()), _) => self.shard.apply(at, &changes),
            (Err(error), Some(caller)) => {
                // A name longer than the schema can hold, for one: the caller's fault, and nothing has changed.
                tracing::info!(%error, "a call leads to a record that cannot be written");
                round.replies.push((caller, Err(ErrorCode::UnknownServerError)));
            }
            (Err(error), None) => return Err(error.into()),
        }
        if cfg!(debug_assertions) {
            self.shard.validate().map_err(End::Invalid)?;
        }
        Ok(at)
    }

    async fn end_round(&mut self, mut round: Round) -> Result<(), End> {
        let replies = std::mem::take(&mut round.replies);
        let history = std::mem::take(&mut round.history);
        if !round.has_records() {
            self.inner.write_history(history);
            if self.commits.is_empty() {
                self.answer(replies);
            } else if !replies.is_empty() {
                self.after_the_last_commit(replies);
            }
            return Ok(());
        }
        self.inner.metrics.batches.add(1);
        self.inner.metrics.records.add(round.records);
        let batch = round.batch().map_err(RoundError::from)?;
        let request = ProduceRequest {
            partition: self.source.partition,
            records: batch.into_bytes(),
            acks: Acks::All,
            timeout: COMMIT_PATIENCE,
        };
        let partitions = &self.source.partitions;
        let mut ticket = partitions
            .append_as_coordinator(request, self.source.leader_epoch)
            .await;
        let has_place = ticket.accepted().await.is_some();
        let outcome = ticket.into_ticket().wait();
        let number = self.await_commit(&replies);
        if !has_place {
            let outcome = outcome.await;
            return self.committed(Commit {
                number,
                outcome,
                replies,
                history,
            });
        }
        self.commits.push_back(Box::pin(async move {
            Commit {
                number,
                outcome: outcome.await,
                replies,
                history,
            }
        }));
        Ok(())
    }

    /// Begins the patience of those who wait for the next commit; its number.
    fn await_commit(&mut self, replies: &[(CallId, Result<Reply, ErrorCode>)]) -> u64 {
        self.appended += 1;
        self.patience.push_back(Patience {
            commit: self.appended,
            until: Instant::now() + self.inner.config.commit_timeout,
            callers: replies.iter().map(|(call, _)| *call).collect(),
        });
        self.appended
    }

    /// What they asked for may yet be committed; the state stays, and so does the wait of everybody behind.
    fn tell_the_impatient(&mut self) {
        let now = Instant::now();
        while let Some(patience) = self.patience.pop_front_if(|first| first.until <= now) {
            self.inner.metrics.unknown_outcomes.add(1);
            let replies = patience.callers.into_iter();
            self.answer(
                replies
                    .map(|call| (call, Err(ErrorCode::CoordinatorNotAvailable)))
                    .collect(),
            );
        }
    }

    /// An answer that wrote nothing rests on what was appended before it.
    fn after_the_last_commit(&mut self, replies: Vec<(CallId, Result<Reply, ErrorCode>)>) {
        let outcome = Ok(Produced {
            base_offset: klamm_types::Offset::NONE,
            log_append_time: klamm_types::Timestamp::NONE,
            log_start_offset: klamm_types::LogStartOffset(-1),
        });
        let commit = Commit {
            number: self.await_commit(&replies),
            outcome,
            replies,
            history: Vec::new(),
        };
        self.commits.push_back(Box::pin(std::future::ready(commit)));
    }

    fn committed(&mut self, commit: Commit) -> Result<(), End> {
        while self
            .patience
            .pop_front_if(|first| first.commit <= commit.number)
            .is_some()
        {}
        let Err(error) = commit.outcome else {
            self.inner.write_history(commit.history);
            self.answer(commit.replies);
            return Ok(());
        };
        let code = error.error.code;
        let told = code_for_callers(code);
        self.answer(commit.replies.into_iter().map(|(call, _)| (call, Err(told))).collect());
        // Appended or not: the next shard loads what the log says.
        Err(End::Refused(code))
    }

    /// Partitions that a group reads and nobody has: the group looks alive, and lag grows.
    fn look_for_unowned(&mut self) {
        let entries = self.watch.observe(at(&self.source), &self.shard);
        for entry in &entries {
            if let history::Happened::Unowned { topic, partitions, .. } = &entry.happened {
                self.inner.metrics.unowned_partitions.add(partitions.len() as u64);
                tracing::warn!(
                    group = entry.group,
                    topic,
                    ?partitions,
                    "partitions with committed offsets have no owner"
                );
            }
        }
        self.inner.write_history(entries);
    }

    fn answer(&mut self, replies: Vec<(CallId, Result<Reply, ErrorCode>)>) {
        for (call, reply) in replies {
            if let Some(answer) = self.open.remove(&call) {
                // Whoever asked may be gone.
                let _ = answer.send(reply);
            }
        }
    }
}

fn at(source: &Source) -> At {
    let now = source.partitions.clock().now();
    At {
        moment: now.moment,
        wall: now.wall,
        draw: rand::random(),
    }
}

/// What a failed append means to a client: ask again, find the coordinator again, or give up.
fn code_for_callers(code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut
        | ErrorCode::ThrottlingQuotaExceeded => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        _ => ErrorCode::UnknownServerError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_appends_are_told_as_kafka_tells_them() {
        let told = |code| code_for_callers(code);
        assert_eq!(told(ErrorCode::RequestTimedOut), ErrorCode::CoordinatorNotAvailable);
        assert_eq!(told(ErrorCode::NotEnoughReplicas), ErrorCode::CoordinatorNotAvailable);
        assert_eq!(told(ErrorCode::NotLeaderOrFollower), ErrorCode::NotCoordinator);
        assert_eq!(told(ErrorCode::MessageTooLarge), ErrorCode::UnknownServerError);
    }
}
