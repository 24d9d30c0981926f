//! A member of a classic group: when to join, what to give up before, what the leader shares out, heartbeats. What the
//! answers mean stands in `classic_answers`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use klamm_types::{ErrorCode, Moment};
use klamm_wire::EncodeError;

use super::{Call, Core, Identity, JoinCall, SyncCall, TopicQuery, TurnKind};
use crate::consumer::group::assignor::{Assignor, MemberFacts, PartitionCounts, assign, is_cooperative};
use crate::consumer::group::error::{CommitError, GroupError};
use crate::consumer::group::protocol::{Subscribed, write_assignment, write_subscription};
use crate::consumer::record::TopicPartition;

/// See the table in the module above.
#[derive(Debug, Default)]
pub(super) enum State {
    #[default]
    Out,
    Preparing,
    Joining {
        asked: Option<u64>,
    },
    Assigning(Assigning),
    Syncing {
        asked: Option<u64>,
        assignments: Vec<(String, Bytes)>,
    },
    Settling,
    Stable,
}

/// The leader looks up how many partitions the group's topics have.
#[derive(Debug)]
pub(super) struct Assigning {
    pub asked: Option<u64>,
    pub members: Vec<MemberFacts>,
    /// The coordinator keeps the assignment that there is; topics are watched all the same (KIP-814).
    pub skip: bool,
}

#[derive(Debug)]
pub(super) struct Classic {
    pub state: State,
    pub member_id: String,
    /// -1: in none.
    pub generation: i32,
    /// What the group chose.
    pub protocol: Option<Assignor>,
    /// Why to join again.
    pub rejoin: Option<&'static str>,
    /// The coordinator has forgotten this member, or will: what it owns is lost.
    pub lost: bool,
    pub retry_at: Moment,
    pub heartbeat: Option<(u64, Identity)>,
    pub heartbeat_at: Moment,
    /// The topics this member said it wants.
    pub joined: BTreeSet<Arc<str>>,
    /// What the leader shared out; it watches these topics for changes.
    pub watched: Option<PartitionCounts>,
}

impl Default for Classic {
    fn default() -> Classic {
        Classic {
            state: State::Out,
            member_id: String::new(),
            generation: -1,
            protocol: None,
            rejoin: None,
            lost: false,
            retry_at: Moment::default(),
            heartbeat: None,
            heartbeat_at: Moment::default(),
            joined: BTreeSet::new(),
            watched: None,
        }
    }
}

impl Classic {
    /// Whether the coordinator counts on our heartbeats. While a join waits there, it does not.
    fn beats(&self) -> bool {
        let place = !matches!(self.state, State::Out | State::Joining { .. });
        place && self.generation >= 0 && !self.lost
    }
}

impl Core {
    fn cooperative(&self) -> bool {
        is_cooperative(&self.config.assignors)
    }

    pub(super) fn classic_identity(&self) -> Identity {
        Identity {
            generation: self.classic.generation,
            member_id: self.classic.member_id.clone(),
            instance_id: self.config.instance_id.clone(),
        }
    }

    /// As whom to commit.
    pub(super) fn committing_classic(&self) -> Result<Identity, CommitError> {
        match self.classic.state {
            _ if self.classic.lost => Err(CommitError::NotMember),
            State::Joining { .. } | State::Assigning(_) | State::Syncing { .. } => {
                Err(CommitError::RebalanceInProgress)
            }
            State::Out | State::Preparing if self.classic.generation < 0 => Err(CommitError::NotMember),
            State::Out => Err(CommitError::RebalanceInProgress),
            State::Preparing | State::Settling | State::Stable => Ok(self.classic_identity()),
        }
    }

    pub(super) fn drive_classic(&mut self, now: Moment) {
        if self.subscription.is_none() || self.failure.is_some() {
            return;
        }
        while self.advance(now) {}
        self.beat(now);
    }

    /// One step on, if one can be made.
    fn advance(&mut self, now: Moment) -> bool {
        match &self.classic.state {
            State::Out => self.start(now),
            State::Preparing if self.turns.is_empty() => {
                self.classic.state = State::Joining { asked: None };
                true
            }
            State::Joining { asked: None } if self.may_send(now) => {
                self.join(now);
                false
            }
            State::Assigning(assigning) if assigning.asked.is_none() && self.classic.retry_at <= now => {
                let names = assigning
                    .members
                    .iter()
                    .flat_map(|member| member.topics.iter().cloned());
                let names = names.collect();
                let id = self.send(now, None, Call::Topics(TopicQuery::Names(names)));
                if let State::Assigning(assigning) = &mut self.classic.state {
                    assigning.asked = Some(id);
                }
                false
            }
            State::Syncing { asked: None, .. } if self.may_send(now) => {
                self.sync(now);
                false
            }
            State::Settling if self.turns.is_empty() => {
                self.classic.state = State::Stable;
                true
            }
            State::Stable => self.notice_changes(),
            State::Joining { asked: None } | State::Assigning(Assigning { asked: None, .. }) => {
                self.wake_at_retry(now);
                false
            }
            _ => false,
        }
    }

    fn may_send(&self, now: Moment) -> bool {
        self.coordinator.node().is_some() && self.classic.retry_at <= now
    }

    fn wake_at_retry(&mut self, now: Moment) {
        if self.classic.retry_at > now {
            self.wake_at(self.classic.retry_at);
        }
    }

    /// Joins only for a program that polls; and what was assigned before has to be taken before it can be given up.
    fn start(&mut self, now: Moment) -> bool {
        if self.idle || self.wanted_topics().is_none() || !self.turns.is_empty() {
            return false;
        }
        if self.classic.retry_at > now {
            self.wake_at(self.classic.retry_at);
            return false;
        }
        self.prepare();
        true
    }

    /// Gives up what may not be held while others get it.
    fn prepare(&mut self) {
        self.classic.rejoin = None;
        self.classic.watched = None;
        let wanted = self.wanted_topics().unwrap_or_default();
        if std::mem::take(&mut self.classic.lost) || self.classic.generation < 0 {
            self.give_back(TurnKind::Lose, self.owned.clone());
        } else if self.cooperative() {
            let unwanted = self
                .owned
                .iter()
                .filter(|key| !wanted.contains(&key.topic))
                .cloned()
                .collect();
            self.give_back(TurnKind::Revoke, unwanted);
        } else {
            self.give_back(TurnKind::Revoke, self.owned.clone());
        }
        self.classic.state = State::Preparing;
    }

    fn give_back(&mut self, kind: TurnKind, partitions: BTreeSet<TopicPartition>) {
        if !partitions.is_empty() {
            self.queue(kind, partitions);
        }
    }

    fn join(&mut self, now: Moment) {
        let topics = self.wanted_topics().unwrap_or_default();
        let subscribed = Subscribed {
            topics: topics.clone(),
            owned: self.owned.clone(),
            generation: self.classic.generation,
            rack: self.config.rack.clone(),
        };
        let offer = |&assignor: &Assignor| Ok((assignor.name(), write_subscription(assignor, &subscribed)?));
        let protocols: Result<Vec<_>, EncodeError> = self.config.assignors.iter().map(offer).collect();
        let Ok(protocols) = protocols else {
            return self.fail(GroupError::BadSetting {
                reason: "a topic's name or the rack is too long to be sent",
            });
        };
        let identity = Identity {
            generation: -1,
            ..self.classic_identity()
        };
        let reason = self.classic.rejoin.unwrap_or_default().to_owned();
        let call = Call::Join(JoinCall {
            identity,
            protocols,
            reason,
        });
        self.classic.joined = topics;
        let asked = Some(self.send(now, self.coordinator.node(), call));
        self.classic.state = State::Joining { asked };
    }

    /// The leader's share-out, once all counts are known.
    pub(super) fn share_out(&mut self, counts: PartitionCounts) {
        let State::Assigning(assigning) = std::mem::take(&mut self.classic.state) else {
            return;
        };
        let mut assignments = Vec::new();
        if !assigning.skip {
            let assignor = self.classic.protocol.unwrap_or(Assignor::Range);
            for (member, given) in assign(assignor, &assigning.members, &counts) {
                let Ok(bytes) = write_assignment(&given) else {
                    return self.fail(GroupError::Malformed { member_id: member });
                };
                assignments.push((member, bytes));
            }
        }
        self.out.push(super::Effect::Want(counts.keys().cloned().collect()));
        self.classic.watched = Some(counts);
        self.classic.state = State::Syncing {
            asked: None,
            assignments,
        };
    }

    fn sync(&mut self, now: Moment) {
        let State::Syncing { assignments, .. } = &self.classic.state else {
            return;
        };
        let assignments = assignments.clone();
        let call = Call::Sync(SyncCall {
            identity: self.classic_identity(),
            protocol: self.classic.protocol.unwrap_or(Assignor::Range).name(),
            assignments: assignments.clone(),
        });
        let asked = Some(self.send(now, self.coordinator.node(), call));
        self.classic.state = State::Syncing { asked, assignments };
    }

    /// Takes over an assignment by turns.
    pub(super) fn take_over(&mut self, assigned: BTreeSet<TopicPartition>) {
        let unwanted = |key: &&TopicPartition| !self.classic.joined.contains(&key.topic);
        if assigned.iter().any(|key| unwanted(&key)) {
            self.classic.rejoin = Some("the assignment has topics that this member does not want");
        }
        let assigned: BTreeSet<_> = assigned.into_iter().filter(|key| !unwanted(&key)).collect();
        let revoked: BTreeSet<_> = self.owned.difference(&assigned).cloned().collect();
        let added = assigned.difference(&self.owned).cloned().collect();
        if !revoked.is_empty() {
            // Others wait for these; the next round gives them.
            self.classic.rejoin = Some("partitions were revoked");
            self.queue(TurnKind::Revoke, revoked);
        }
        self.queue(TurnKind::Assign, added);
        self.classic.state = State::Settling;
    }

    /// Whether a stable member has a reason to join again.
    fn notice_changes(&mut self) -> bool {
        let Some(wanted) = self.wanted_topics() else {
            return false;
        };
        if wanted != self.classic.joined {
            self.classic.rejoin = Some("the subscription changed");
        } else if self.watched_changed() {
            self.classic.rejoin = Some("the topics' partitions changed");
        }
        let Some(reason) = self.classic.rejoin else {
            return false;
        };
        tracing::debug!(reason, "joining again");
        self.prepare();
        self.classic.rejoin = Some(reason);
        true
    }

    fn watched_changed(&self) -> bool {
        let changed = |(topic, &count): (&Arc<str>, &i32)| {
            let now = self.cluster.topics.get(topic).and_then(|topic| match topic.error {
                None => i32::try_from(topic.partitions.len()).ok(),
                Some(ErrorCode::UnknownTopicOrPartition) => Some(0),
                // It cannot be told now.
                Some(_) => None,
            });
            now.is_some_and(|now| now != count)
        };
        self.classic.watched.iter().flatten().any(changed)
    }

    fn beat(&mut self, now: Moment) {
        if !self.classic.beats() || self.classic.heartbeat.is_some() {
            return;
        }
        let Some(node) = self.coordinator.node() else { return };
        if self.classic.heartbeat_at > now {
            return self.wake_at(self.classic.heartbeat_at);
        }
        let identity = self.classic_identity();
        let id = self.send(now, Some(node), Call::Heartbeat(identity.clone()));
        self.classic.heartbeat = Some((id, identity));
        self.classic.heartbeat_at = now + self.config.heartbeat_interval;
    }

    /// A static member comes back, and says nothing.
    pub(super) fn classic_goodbye(&self, reason: String) -> Option<Call> {
        let identity = self.classic_identity();
        if identity.member_id.is_empty() || identity.instance_id.is_some() {
            return None;
        }
        Some(Call::Leave { identity, reason })
    }

    /// Nobody will answer what is waiting at the coordinator.
    pub(super) fn abandon_classic(&mut self) {
        match &mut self.classic.state {
            State::Joining { asked } => *asked = None,
            State::Syncing { .. } => self.classic.state = State::Out,
            _ => {}
        }
        self.classic.heartbeat = None;
    }

    /// By whom an answer is awaited.
    pub(super) fn awaited(&self, id: u64) -> Option<Awaited> {
        let heartbeat = self.classic.heartbeat.as_ref();
        match &self.classic.state {
            _ if heartbeat.is_some_and(|(beat, _)| *beat == id) => Some(Awaited::Heartbeat),
            State::Joining { asked } if *asked == Some(id) => Some(Awaited::Join),
            State::Assigning(assigning) if assigning.asked == Some(id) => Some(Awaited::Topics),
            State::Syncing { asked, .. } if *asked == Some(id) => Some(Awaited::Sync),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    Heartbeat,
    Join,
    Topics,
    Sync,
}

/// How many partitions each topic has, of those that exist.
pub(super) fn counts(topics: &[super::TopicFacts]) -> PartitionCounts {
    topics
        .iter()
        .map(|topic| (Arc::clone(&topic.name), topic.partitions.unwrap_or(0)))
        .collect::<BTreeMap<_, _>>()
}
