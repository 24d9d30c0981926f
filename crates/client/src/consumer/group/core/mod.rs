//! A group member's decisions, without I/O, clock or chance: finding the coordinator, joining, heartbeats, what the
//! program has to give up and gets, commits and committed offsets.
//!
//! `step(now, event, &mut effects)` is the only way in; it returns when to come again if nothing happens. Requests are
//! effects with an id, and an answer whose id nobody waits for is dropped.
//!
//! # Turns
//! What concerns the program's partitions happens only while it polls: the core queues *turns* (revoke, lose, assign),
//! and goes on when the program has taken all of them. `owned` changes by turns alone, so what the core says to the
//! group about its partitions is true of the program too.
//!
//! # Life of a classic member
//! | state | entered by | left by |
//! |---|---|---|
//! | out | start, generation lost, leave | a program that polls: preparing |
//! | preparing | out; stable with a reason to rejoin | all turns taken: joining |
//! | joining | preparing | the coordinator's answer: assigning (leader), syncing; refusal: out |
//! | assigning | being the leader | partition counts of all topics of the group: syncing |
//! | syncing | joining, assigning | the assignment: settling; refusal: out |
//! | settling | the assignment | all turns taken: stable |
//! | stable | settling | rebalance, changed subscription or topics: preparing; lost: out |
//!
//! # Life of a member under KIP-848
//! | epoch | entered by | left by |
//! |---|---|---|
//! | 0 | start, fenced, leave; all it had is lost | a heartbeat that is answered: above 0 |
//! | above 0 | answers | 110 or 25: 0 |
//!
//! Above 0 it *reconciles*: when no turn is open and what it owns differs from what it was assigned, it queues the turns
//! for the difference; when they are taken it tells the coordinator at once what it owns now.

mod answers;
mod classic;
mod classic_answers;
mod commits;
mod consumer;
mod coordinator;
mod goodbye;
mod questions;
#[cfg(test)]
mod tests;
mod words;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use klamm_types::{Moment, NodeId};

use self::classic::Classic;
use self::commits::Commits;
use self::consumer::Reconciler;
use self::coordinator::Coordinator;
use self::goodbye::Goodbye;
use self::questions::{Question, Who};
pub(crate) use self::words::Identity;
pub(in crate::consumer) use self::words::*;
use super::config::GroupProtocol;
use super::error::GroupError;
use crate::consumer::record::TopicPartition;
use crate::metadata::Cluster;
use crate::net::backoff::Backoff;

/// Attempts that keep failing are spaced out up to this.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// How often a fresh picture is asked for while a subscribed topic is not there, or an answer is long overdue.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The topics that match a pattern, for a classic member; the coordinator does it for the other kind.
#[derive(Debug, Default)]
struct Matching {
    asked: Option<u64>,
    matched: Option<BTreeSet<Arc<str>>>,
    due: Moment,
}

/// All of a member's state.
#[derive(Debug)]
pub(in crate::consumer) struct Core {
    config: CoreConfig,
    cluster: Arc<Cluster>,
    coordinator: Coordinator,
    backoff: Backoff,
    subscription: Option<Subscription>,
    matching: Matching,
    classic: Classic,
    reconciler: Reconciler,
    /// What the program reads for the group.
    owned: BTreeSet<TopicPartition>,
    turns: VecDeque<Turn>,
    failure: Option<GroupError>,
    /// Whether the program is inside `poll`, and since when it is, or is not.
    polling: bool,
    polled: Moment,
    /// The program has not polled since the start, or since it was taken for stuck: the member stays out.
    idle: bool,
    commits: Commits,
    auto_commit_at: Moment,
    questions: Vec<Question>,
    goodbyes: Vec<Goodbye>,
    looked: Moment,
    last_id: u64,
    out: Vec<Effect>,
    wake: Option<Moment>,
}

fn new_backoff(config: &CoreConfig) -> Backoff {
    Backoff::new(config.retry_backoff, BACKOFF_MAX)
}

impl Core {
    pub fn new(config: CoreConfig, cluster: Arc<Cluster>) -> Core {
        let backoff = new_backoff(&config);
        Core {
            config,
            cluster,
            coordinator: Coordinator::new(backoff),
            backoff,
            subscription: None,
            matching: Matching::default(),
            classic: Classic::default(),
            reconciler: Reconciler::default(),
            owned: BTreeSet::new(),
            turns: VecDeque::new(),
            failure: None,
            polling: false,
            polled: Moment::default(),
            idle: true,
            commits: Commits::new(backoff),
            auto_commit_at: Moment::default(),
            questions: Vec::new(),
            goodbyes: Vec::new(),
            looked: Moment::default(),
            last_id: 0,
            out: Vec::new(),
            wake: None,
        }
    }

    /// Takes in what happened, says what to do, and when to come again at the latest.
    pub fn step(&mut self, now: Moment, event: Event, effects: &mut Vec<Effect>) -> Option<Moment> {
        self.wake = None;
        self.handle(now, event);
        self.drive(now);
        effects.append(&mut self.out);
        self.wake
    }

    /// The program asks for records, and has dealt with what it got before. True if the core has waited for that: then
    /// it wants a step.
    pub fn poll_started(&mut self, now: Moment) -> bool {
        (self.polling, self.polled) = (true, now);
        std::mem::take(&mut self.idle)
    }

    pub fn poll_ended(&mut self, now: Moment) {
        (self.polling, self.polled) = (false, now);
    }

    /// What the program has to do next.
    pub fn turn(&self) -> Option<&Turn> {
        self.turns.front()
    }

    /// Why this consumer takes no part in the group. Turns come first.
    pub fn failure(&self) -> Option<&GroupError> {
        self.failure.as_ref()
    }

    pub fn is_subscribed(&self) -> bool {
        self.subscription.is_some()
    }

    pub fn subscribed_topics(&self) -> BTreeSet<Arc<str>> {
        self.wanted_topics().unwrap_or_default()
    }

    pub fn owned(&self) -> &BTreeSet<TopicPartition> {
        &self.owned
    }

    /// Whether what is owned is gone already, though no turn has said so yet.
    pub fn has_lost(&self) -> bool {
        let lost = match self.config.protocol {
            GroupProtocol::Classic => self.classic.lost || self.classic.generation < 0,
            GroupProtocol::Consumer => self.reconciler.is_out(),
        };
        self.subscription.is_some() && (lost || self.failure.is_some())
    }

    /// Whether the member has its place in the group and nothing is under way, and as whom.
    pub fn membership(&self) -> Option<Identity> {
        self.subscription.as_ref()?;
        self.identity().ok().filter(|identity| identity.generation >= 0)
    }

    fn handle(&mut self, now: Moment, event: Event) {
        match event {
            Event::Tick => {}
            Event::Cluster(cluster) => self.take_picture(now, cluster),
            Event::Answered { id, outcome } => self.answered(now, id, outcome),
            Event::Subscribe(subscription) => self.subscribe(now, subscription),
            Event::Leave { waiter, reason } => self.leave(waiter, reason),
            Event::TurnDone { turn, begun } => self.turn_done(turn, &begun),
            Event::Commit { waiter, offsets } => self.commit(now, Some(waiter), offsets),
            Event::AutoCommit(offsets) => self.auto_commit(now, offsets),
            Event::AskCommitted { waiter, partitions } => self.ask(now, Who::Program(waiter), partitions),
        }
    }

    fn drive(&mut self, now: Moment) {
        self.notice_a_stuck_program(now);
        self.look_for_coordinator(now);
        // Before joins: who leaves and comes back may have the same member id.
        self.drive_goodbyes(now);
        self.match_pattern(now);
        match self.config.protocol {
            GroupProtocol::Classic => self.drive_classic(now),
            GroupProtocol::Consumer => self.drive_consumer(now),
        }
        self.drive_auto_commit(now);
        self.drive_commits(now);
        self.drive_questions(now);
        self.look_for_news(now);
        self.lose_after_failure();
    }

    fn subscribe(&mut self, now: Moment, subscription: Subscription) {
        if let Subscription::Topics(topics) = &subscription {
            self.out.push(Effect::Want(topics.iter().cloned().collect()));
        }
        if self.subscription.is_none() {
            self.auto_commit_at = now + self.config.auto_commit_interval.unwrap_or_default();
        }
        self.matching = Matching::default();
        self.subscription = Some(subscription);
        self.failure = None;
    }

    fn leave(&mut self, waiter: u64, reason: String) {
        self.turns.clear();
        self.owned.clear();
        self.questions.retain(|question| question.who != Who::Begin);
        let member = self.subscription.take().is_some() && self.failure.is_none();
        self.failure = None;
        if member {
            self.say_goodbye(reason);
        }
        (self.classic, self.reconciler) = (Classic::default(), Reconciler::default());
        self.await_goodbye(waiter);
    }

    /// What waiting does not mend keeps this consumer out of its group. If the coordinator still counts on it, it is told
    /// at once. Not by one who was fenced: the member is another by now.
    fn fail(&mut self, failure: GroupError) {
        tracing::warn!(error = %failure, "no member of the group any more");
        if !matches!(failure, GroupError::FencedInstance { .. }) {
            self.say_goodbye(failure.to_string());
        }
        self.failure = Some(failure);
        (self.classic, self.reconciler) = (Classic::default(), Reconciler::default());
    }

    /// Who is no member has nothing.
    fn lose_after_failure(&mut self) {
        if self.failure.is_some() && self.turns.is_empty() && !self.owned.is_empty() {
            self.queue(TurnKind::Lose, self.owned.clone());
        }
    }

    /// A program that does not poll gets no more records, so others shall have its partitions.
    fn notice_a_stuck_program(&mut self, now: Moment) {
        if self.subscription.is_none() || self.polling || self.idle || self.failure.is_some() {
            return;
        }
        let due = self.polled + self.config.max_poll_interval;
        if due > now {
            return self.wake_at(due);
        }
        tracing::warn!("the program has not polled for max_poll_interval: leaving the group until it does");
        self.idle = true;
        // Not begun: nobody takes turns outside of `poll`.
        self.turns.clear();
        let reason = "the program did not poll within max_poll_interval".to_owned();
        self.say_goodbye(reason);
        match self.config.protocol {
            GroupProtocol::Classic => {
                self.classic = Classic {
                    lost: true,
                    ..Classic::default()
                };
            }
            GroupProtocol::Consumer => self.reconciler.fence(),
        }
    }

    fn queue(&mut self, kind: TurnKind, partitions: BTreeSet<TopicPartition>) {
        let id = self.next_id();
        self.turns.push_back(Turn { id, kind, partitions });
    }

    fn turn_done(&mut self, id: u64, begun: &BTreeSet<TopicPartition>) {
        let Some(turn) = self.turns.pop_front_if(|turn| turn.id == id) else {
            return;
        };
        match turn.kind {
            TurnKind::Revoke | TurnKind::Lose => {
                self.owned.retain(|key| !turn.partitions.contains(key));
                self.reconciler.forget(&turn.partitions);
                self.forget_questions(&turn.partitions);
            }
            TurnKind::Assign => {
                let ask: BTreeSet<_> = turn.partitions.difference(begun).cloned().collect();
                let mut topics: Vec<Arc<str>> = turn.partitions.iter().map(|key| Arc::clone(&key.topic)).collect();
                topics.dedup();
                self.out.push(Effect::Want(topics));
                self.owned.extend(turn.partitions);
                if !ask.is_empty() {
                    self.ask(Moment::default(), Who::Begin, ask);
                }
            }
        }
    }

    /// Topics to read; `None` while it is not known which match.
    fn wanted_topics(&self) -> Option<BTreeSet<Arc<str>>> {
        match self.subscription.as_ref()? {
            Subscription::Topics(topics) => Some(topics.clone()),
            Subscription::Pattern { .. } => self.matching.matched.clone(),
        }
    }

    /// Looks through all topics for those that match.
    fn match_pattern(&mut self, now: Moment) {
        let pattern = matches!(self.subscription, Some(Subscription::Pattern { .. }));
        let classic = self.config.protocol == GroupProtocol::Classic;
        if !pattern || !classic || self.matching.asked.is_some() || self.idle || self.failure.is_some() {
            return;
        }
        if self.matching.due > now {
            return self.wake_at(self.matching.due);
        }
        self.matching.asked = Some(self.send(now, None, Call::Topics(TopicQuery::All)));
    }

    /// A fresh picture may show a topic that is not there yet, or that a coordinator that is silent is none any more.
    fn look_for_news(&mut self, now: Moment) {
        let missing = match &self.subscription {
            Some(Subscription::Topics(topics)) if !self.idle => {
                topics.iter().any(|topic| self.cluster.topic(topic).is_none())
            }
            _ => false,
        };
        if !missing && !self.coordinator_is_overdue(now) {
            return;
        }
        let due = self.looked + LOOK_INTERVAL;
        if due <= now {
            self.looked = now;
            self.out.push(Effect::Refresh);
        }
        self.wake_at(self.looked + LOOK_INTERVAL);
    }

    fn coordinator_is_overdue(&mut self, now: Moment) -> bool {
        let Some(since) = self.coordinator.silent_since() else {
            return false;
        };
        let due = since + LOOK_INTERVAL;
        if due > now {
            self.wake_at(due);
        }
        due <= now
    }

    /// A coordinator that is gone, or has another address, may never answer where it was.
    fn take_picture(&mut self, now: Moment, cluster: Arc<Cluster>) {
        let before = std::mem::replace(&mut self.cluster, cluster);
        let Some(node) = self.coordinator.node() else { return };
        let lost = match (before.brokers.get(&node), self.cluster.brokers.get(&node)) {
            (_, None) => !self.cluster.brokers.is_empty(),
            (None, Some(_)) => false,
            (Some(before), Some(after)) => before.address() != after.address(),
        };
        if lost {
            self.lose_coordinator(now);
        }
    }

    fn new_backoff(&self) -> Backoff {
        new_backoff(&self.config)
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// To the coordinator, if there is a node, else to any broker.
    fn send(&mut self, now: Moment, node: Option<NodeId>, call: Call) -> u64 {
        let id = self.next_id();
        if node.is_some() {
            self.coordinator.sent(now, id);
        }
        self.out.push(Effect::Send(Order { id, node, call }));
        id
    }

    fn settle(&mut self, waiter: u64, outcome: Settled) {
        self.out.push(Effect::Settle { waiter, outcome });
    }

    fn wake_at(&mut self, moment: Moment) {
        self.wake = Some(self.wake.map_or(moment, |known| known.min(moment)));
    }

    /// Orderings that hold after each step.
    #[cfg(test)]
    pub fn validate(&self) {
        let waiting = self.questions.iter().filter(|question| question.who == Who::Begin);
        for question in waiting {
            assert!(
                question.partitions.is_subset(&self.owned),
                "begins with what is not owned"
            );
        }
        if self.subscription.is_none() {
            assert!(self.owned.is_empty() && self.turns.is_empty());
        }
        assert!(self.classic.generation >= -1 && self.reconciler.epoch >= 0);
        assert!(
            self.wake
                .is_none_or(|wake| wake > Moment::default() || self.polled == Moment::default())
        );
    }
}
