//! The task of one shard: loads it, feeds it calls and time, appends what it decides, answers what is committed.
//!
//! Which decisions make a batch, and which answer waits for which append, is decided in the core (`Serving`). A round is
//! given to the log when the one before it has its place there, so nothing follows a refused one. A refused append ends
//! the task, and with it the shard's state; open calls are then answered NOT_COORDINATOR, and the supervisor starts
//! another shard if this broker still leads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use klamm_coordinator::serving::{Answer, Append, CommitId, Limits, LogRecord, Refused, Told, Unwritable};
use klamm_coordinator::{At, CallId, Reply, Serving, Settings, Shard, Topics, TopicsAge, history};
use klamm_record::{Batch, BatchBuilder, BatchOptions, BuildError};
use klamm_types::{ErrorCode, LeaderEpoch, Moment};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Interval};

use super::load::Source;
use super::{Ask, Inner, Stage};
use crate::api::{Acks, ProduceRequest};

/// How long the log waits for a commit; callers less.
const COMMIT_PATIENCE: Duration = Duration::from_secs(3600);
/// Between a refused append and the next load: what refused it may last.
const RELOAD_PAUSE: Duration = Duration::from_millis(100);
const LOAD_RETRY: Duration = Duration::from_millis(100);
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
        let shown = number.and_then(|number| self.epochs.get(number));
        TopicsAge::of(shown.copied(), source.leader_epoch)
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
    Unwritable(#[from] Unwritable),
    #[error("building a batch of group records")]
    Build(#[from] BuildError),
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
            Some(end @ (End::Invalid(_) | End::Unwritable(_) | End::Build(_))) => {
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
        let limits = Limits {
            commit_timeout: self.inner.config.commit_timeout,
            ..Limits::default()
        };
        let mut served = Served {
            source: self.source.clone(),
            inner: self.inner.clone(),
            core: Serving::new(shard, limits),
            open: BTreeMap::new(),
            next_call: 0,
            commits: FuturesOrdered::new(),
            has_ticked: false,
            watch: history::Watch::new(self.inner.config.unowned_patience),
            look: tokio::time::interval(LOOK_INTERVAL),
        };
        self.stage.send_replace(Stage::Serving);
        loop {
            if let Err(end) = served.step(self).await {
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
struct Served {
    source: Source,
    inner: Arc<Inner>,
    core: Serving,
    open: BTreeMap<CallId, oneshot::Sender<Result<Reply, ErrorCode>>>,
    next_call: u64,
    commits: FuturesOrdered<BoxFuture<'static, (CommitId, Result<(), ErrorCode>)>>,
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

impl Served {
    /// Waits for one happening, and deals with it.
    async fn step(&mut self, task: &mut Task) -> Result<(), End> {
        // However often time is due, calls are served.
        if std::mem::take(&mut self.has_ticked)
            && self.core.has_room()
            && let Ok(ask) = task.asks.try_recv()
        {
            return self.asked(ask, &mut task.asks).await;
        }
        let due = self.instant(self.core.shard().next_deadline());
        let patience = self.core.patience_ends();
        let patience_ends = self.instant(patience);
        tokio::select! {
            biased;
            Some((commit, outcome)) = self.commits.next(), if !self.commits.is_empty() => self.committed(commit, outcome),
            () = tokio::time::sleep_until(patience_ends), if patience.is_some() => {
                let impatient = self.core.tell_the_impatient(self.now());
                self.inner.metrics.unknown_outcomes.add(impatient.len() as u64);
                self.answer(impatient);
                Ok(())
            }
            changed = task.surroundings.changed() => {
                changed.map_err(|_| End::Stopping)?;
                let new = task.surroundings.borrow_and_update().clone();
                let age = new.topics_age(&self.source);
                self.core.surroundings_changed(at(&self.source), new.settings, new.topics, age)?;
                self.end_round().await
            }
            () = tokio::time::sleep_until(due) => self.tick().await,
            _ = self.look.tick(), if self.core.shard().groups().next().is_some() => {
                self.look_for_unowned();
                Ok(())
            }
            ask = task.asks.recv(), if self.core.has_room() => {
                let ask = ask.ok_or(End::Stopping)?;
                self.asked(ask, &mut task.asks).await
            }
        }
    }

    fn now(&self) -> Moment {
        self.source.partitions.clock().now().moment
    }

    fn instant(&self, due: Option<Moment>) -> Instant {
        match due {
            Some(moment) => Instant::from_std(self.source.partitions.clock().instant(moment)),
            None => Instant::now() + IDLE,
        }
    }

    /// One call, and those that wait behind it, as far as one round takes them.
    async fn asked(&mut self, first: Ask, asks: &mut mpsc::Receiver<Ask>) -> Result<(), End> {
        let mut next = Some(first);
        while let Some(Ask { call, answer }) = next {
            let id = CallId(self.next_call);
            self.next_call += 1;
            self.open.insert(id, answer);
            self.inner.metrics.calls.add(1);
            if let Err(error) = self.core.call(at(&self.source), id, call) {
                tracing::info!(%error, "a call leads to a record that cannot be written");
            }
            next = match self.core.round_is_full() {
                true => None,
                false => asks.try_recv().ok(),
            };
        }
        self.end_round().await
    }

    async fn tick(&mut self) -> Result<(), End> {
        self.has_ticked = true;
        let ticked = self.core.tick(at(&self.source))?;
        self.inner.metrics.late_ticks.add(u64::from(ticked.was_late));
        self.end_round().await
    }

    async fn end_round(&mut self) -> Result<(), End> {
        if cfg!(debug_assertions) {
            self.core.shard().validate().map_err(End::Invalid)?;
        }
        let (told, append) = self.core.end_round(self.now());
        self.tell(told);
        match append {
            Some(append) => self.append(append).await,
            None => Ok(()),
        }
    }

    async fn append(&mut self, append: Append) -> Result<(), End> {
        let Append { commit, records } = append;
        self.inner.metrics.batches.add(1);
        self.inner.metrics.records.add(records.len() as u64);
        let request = ProduceRequest {
            partition: self.source.partition,
            records: batch_of(&records)?.into_bytes(),
            acks: Acks::All,
            timeout: COMMIT_PATIENCE,
        };
        let partitions = &self.source.partitions;
        let mut ticket = partitions
            .append_as_coordinator(request, self.source.leader_epoch)
            .await;
        let has_place = ticket.accepted().await.is_some();
        let outcome = ticket.into_ticket().wait();
        let outcome = async move { outcome.await.map(drop).map_err(|refused| refused.error.code) };
        if !has_place {
            let outcome = outcome.await;
            return self.committed(commit, outcome);
        }
        self.commits.push_back(Box::pin(async move { (commit, outcome.await) }));
        Ok(())
    }

    fn committed(&mut self, commit: CommitId, outcome: Result<(), ErrorCode>) -> Result<(), End> {
        match self.core.committed(commit, outcome) {
            Ok(told) => {
                self.tell(told);
                Ok(())
            }
            Err(Refused { code, answers }) => {
                self.answer(answers);
                Err(End::Refused(code))
            }
        }
    }

    /// Partitions that a group reads and nobody has: the group looks alive, and lag grows.
    fn look_for_unowned(&mut self) {
        let entries = self.watch.observe(at(&self.source), self.core.shard());
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

    fn tell(&mut self, told: Told) {
        self.inner.write_history(told.history);
        self.answer(told.answers);
    }

    fn answer(&mut self, answers: Vec<Answer>) {
        for (call, reply) in answers {
            if let Some(answer) = self.open.remove(&call) {
                // Whoever asked may be gone.
                let _ = answer.send(reply);
            }
        }
    }
}

fn batch_of(records: &[LogRecord]) -> Result<Batch, BuildError> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for LogRecord { timestamp, key, value } in records {
        builder.append(*timestamp, Some(key), value.as_deref(), &[])?;
    }
    builder.build()
}

fn at(source: &Source) -> At {
    let now = source.partitions.clock().now();
    At {
        moment: now.moment,
        wall: now.wall,
        draw: rand::random(),
    }
}
