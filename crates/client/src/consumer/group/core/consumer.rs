//! A member under KIP-848: heartbeats that carry what changed, and taking over the coordinator's assignment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use klamm_types::{ErrorCode, Moment, TopicId};

use super::coordinator::is_elsewhere;
use super::words::refused;
use super::{Answer, Call, ConsumerHeartbeatAnswer, ConsumerHeartbeatCall, Core, Identity, Told, TopicQuery, TurnKind};
use crate::consumer::group::error::{CommitError, GroupError};
use crate::consumer::record::TopicPartition;
use crate::error::RequestError;

/// Goodbye for good, and the goodbye of a static member that means to come back.
const LEAVE: i32 = -1;
const LEAVE_STATIC: i32 = -2;
/// Whatever the coordinator says, heartbeats come no faster.
const INTERVAL_MIN: Duration = Duration::from_millis(50);

/// What the coordinator was told; `None` if it may not have heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    subscription: Option<Told>,
    owned: Option<BTreeSet<(TopicId, i32)>>,
}

#[derive(Debug, Default)]
pub(super) struct Reconciler {
    /// 0: to join.
    pub epoch: i32,
    /// The heartbeat under way, and what the coordinator knows once it is answered.
    asked: Option<(u64, Known)>,
    known: Known,
    heartbeat_at: Moment,
    retry_at: Moment,
    interval: Duration,
    /// What the coordinator wants this member to own.
    target: BTreeMap<TopicId, BTreeSet<i32>>,
    pub names: BTreeMap<TopicId, Arc<str>>,
    naming: Option<u64>,
    naming_at: Moment,
    /// The topics' ids of what is owned, or is about to be.
    ids: BTreeMap<TopicPartition, TopicId>,
    lost: bool,
    /// The group was not there once already.
    missed: bool,
}

impl Reconciler {
    pub fn waits_for(&self, id: u64) -> bool {
        self.asked.as_ref().is_some_and(|(asked, _)| *asked == id) || self.naming == Some(id)
    }

    /// All is lost, and it has to join anew.
    pub fn fence(&mut self) {
        *self = Reconciler {
            lost: true,
            names: std::mem::take(&mut self.names),
            missed: self.missed,
            ..Reconciler::default()
        };
    }

    /// Nobody will answer the heartbeat under way. The coordinator may have heard it or not; it is told everything.
    pub fn abandon(&mut self) {
        if self.asked.take().is_some() {
            self.known = Known::default();
        }
    }

    /// In no epoch is nothing owned.
    pub fn is_out(&self) -> bool {
        self.lost || self.epoch == 0
    }

    /// The coordinator knows something that this member does not: it is asked at once.
    pub fn beat_soon(&mut self) {
        self.heartbeat_at = Moment::default();
    }

    pub fn forget(&mut self, partitions: &BTreeSet<TopicPartition>) {
        self.ids.retain(|key, _| !partitions.contains(key));
    }
}

impl Core {
    fn consumer_identity(&self, generation: i32) -> Identity {
        Identity {
            generation,
            member_id: self.config.member_id.clone(),
            instance_id: self.config.instance_id.clone(),
        }
    }

    pub(super) fn committing_consumer(&self) -> Result<Identity, CommitError> {
        match self.reconciler.epoch {
            epoch if epoch > 0 => Ok(self.consumer_identity(epoch)),
            _ => Err(CommitError::NotMember),
        }
    }

    pub(super) fn drive_consumer(&mut self, now: Moment) {
        if self.subscription.is_none() || self.failure.is_some() || self.idle && self.reconciler.epoch == 0 {
            return;
        }
        // What was assigned before has to be taken before it can be given up.
        if self.turns.is_empty() && std::mem::take(&mut self.reconciler.lost) && !self.owned.is_empty() {
            self.queue(TurnKind::Lose, self.owned.clone());
        }
        if self.reconciler.epoch > 0 && self.turns.is_empty() {
            self.reconcile(now);
        }
        self.consumer_beat(now);
    }

    /// Queues what differs between what is owned and what should be.
    fn reconcile(&mut self, now: Moment) {
        self.learn_names(now);
        let mut wanted: BTreeMap<TopicPartition, TopicId> = BTreeMap::new();
        for (&id, partitions) in &self.reconciler.target {
            // Those whose names are not known yet come later.
            let Some(name) = self.reconciler.names.get(&id) else {
                continue;
            };
            let keys = partitions
                .iter()
                .map(|&number| TopicPartition::new(Arc::clone(name), number));
            wanted.extend(keys.map(|key| (key, id)));
        }
        let same = |key: &&TopicPartition| wanted.get(key) == self.reconciler.ids.get(key);
        let revoked: BTreeSet<_> = self.owned.iter().filter(|key| !same(key)).cloned().collect();
        // A partition of a topic that was created anew under its name is given up first, and taken next time.
        wanted.retain(|key, _| !self.owned.contains(key));
        if !revoked.is_empty() {
            self.queue(TurnKind::Revoke, revoked);
        }
        if !wanted.is_empty() {
            self.queue(TurnKind::Assign, wanted.keys().cloned().collect());
            self.reconciler.ids.extend(wanted);
        }
    }

    /// Assignments come by topic id.
    fn learn_names(&mut self, now: Moment) {
        let nameless = |id: &&TopicId| !self.reconciler.names.contains_key(id);
        let mut nameless: BTreeSet<TopicId> = self.reconciler.target.keys().filter(nameless).copied().collect();
        for topic in self.cluster.topics.values().filter(|topic| topic.error.is_none()) {
            if nameless.remove(&topic.id) {
                self.reconciler.names.insert(topic.id, Arc::clone(&topic.name));
            }
        }
        if nameless.is_empty() || self.reconciler.naming.is_some() {
            return;
        }
        if self.reconciler.naming_at > now {
            return self.wake_at(self.reconciler.naming_at);
        }
        self.reconciler.naming = Some(self.send(now, None, Call::Topics(TopicQuery::Ids(nameless))));
    }

    /// What `owned` is in the coordinator's words; only true while no turn is open.
    fn owned_by_id(&self) -> BTreeSet<(TopicId, i32)> {
        let by_id = |key: &TopicPartition| Some((*self.reconciler.ids.get(key)?, key.partition.0));
        self.owned.iter().filter_map(by_id).collect()
    }

    fn consumer_beat(&mut self, now: Moment) {
        let (Some(node), Some(subscription)) = (self.coordinator.node(), &self.subscription) else {
            return;
        };
        let joins = self.reconciler.epoch == 0;
        // Joining means owning nothing.
        if self.reconciler.asked.is_some() || (joins && !self.turns.is_empty()) {
            return;
        }
        let told = subscription.told();
        let mut after = self.reconciler.known.clone();
        let subscription = (after.subscription.as_ref() != Some(&told)).then_some(told);
        let owned = self.owned_by_id();
        let settled = self.turns.is_empty();
        let owned = (settled && after.owned.as_ref() != Some(&owned)).then_some(owned);
        let news = joins || subscription.is_some() || owned.is_some();
        let due = if news {
            self.reconciler.retry_at
        } else {
            self.reconciler.heartbeat_at.max(self.reconciler.retry_at)
        };
        if due > now {
            return self.wake_at(due);
        }
        let full = subscription.is_some() && owned.is_some();
        after.subscription = subscription.clone().or(after.subscription);
        after.owned = owned.clone().or(after.owned);
        let call = Call::ConsumerHeartbeat(ConsumerHeartbeatCall {
            identity: self.consumer_identity(self.reconciler.epoch),
            rebalance_timeout: full.then_some(self.config.max_poll_interval),
            rack: self.config.rack.clone().filter(|_| full),
            assignor: self.config.remote_assignor.clone().filter(|_| full),
            subscription,
            owned,
        });
        let id = self.send(now, Some(node), call);
        self.reconciler.asked = Some((id, after));
        self.reconciler.heartbeat_at = now + self.reconciler.interval;
    }

    pub(super) fn consumer_goodbye(&self) -> Option<Call> {
        if self.reconciler.epoch == 0 && self.reconciler.asked.is_none() {
            return None;
        }
        let epoch = if self.config.instance_id.is_some() {
            LEAVE_STATIC
        } else {
            LEAVE
        };
        let call = ConsumerHeartbeatCall {
            identity: self.consumer_identity(epoch),
            rebalance_timeout: None,
            rack: None,
            assignor: None,
            subscription: None,
            owned: None,
        };
        Some(Call::ConsumerHeartbeat(call))
    }

    pub(super) fn consumer_answered(&mut self, now: Moment, id: u64, outcome: Result<Answer, Arc<RequestError>>) {
        if self.reconciler.naming == Some(id) {
            self.reconciler.naming = None;
            self.reconciler.naming_at = now + super::LOOK_INTERVAL;
            if let Ok(Answer::Topics(topics)) = outcome {
                let named = topics.into_iter().filter(|topic| topic.partitions.is_some());
                self.reconciler.names.extend(named.map(|topic| (topic.id, topic.name)));
            }
            return;
        }
        let Some((_, known)) = self.reconciler.asked.take() else {
            return;
        };
        match outcome {
            Ok(Answer::ConsumerHeartbeat(answer)) => self.consumer_beaten(now, known, answer),
            Ok(_) => {}
            Err(cause) => {
                // The coordinator may have heard it or not; next time it is told everything.
                self.reconciler.known = Known::default();
                if !self.unanswered(now, &cause) {
                    self.fail(GroupError::Request(cause));
                }
            }
        }
    }

    fn consumer_beaten(&mut self, now: Moment, known: Known, answer: ConsumerHeartbeatAnswer) {
        match answer.code {
            ErrorCode::None => {
                self.backoff.reset();
                let reconciler = &mut self.reconciler;
                reconciler.known = known;
                reconciler.missed = false;
                reconciler.epoch = answer.epoch.max(0);
                reconciler.interval = answer.interval.max(INTERVAL_MIN);
                reconciler.heartbeat_at = now + reconciler.interval;
                if let Some(target) = answer.assignment
                    && target != reconciler.target
                {
                    tracing::debug!(epoch = answer.epoch, topics = target.len(), "assigned anew");
                    reconciler.target = target;
                    // Said again once it is taken over, even if it is what was owned before: until then the coordinator
                    // counts on what it had assigned in between.
                    reconciler.known.owned = None;
                }
                return;
            }
            code if is_elsewhere(code) => self.lose_coordinator(now),
            ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId => {
                tracing::info!(code = %answer.code, "fallen out of the group; joining anew");
                self.reconciler.fence();
            }
            // The group was lost with its members. A member that joins is told so only by a group of the other kind.
            ErrorCode::GroupIdNotFound if self.reconciler.epoch > 0 && !self.reconciler.missed => {
                self.reconciler.fence();
                self.reconciler.missed = true;
            }
            code if code.is_retriable() => self.reconciler.retry_at = now + self.backoff.next(),
            ErrorCode::FencedInstanceId => self.refuse(answer.code),
            code => self.fail(refused(code, &answer.message)),
        }
        self.reconciler.known = Known::default();
    }
}
