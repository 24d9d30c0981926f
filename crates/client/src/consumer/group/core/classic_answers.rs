//! What the coordinator's answers mean for a member of a classic group; code by code as Kafka's own consumer takes them.

use std::sync::Arc;

use bytes::Bytes;
use klamm_types::{ErrorCode, Moment};

use super::classic::{Assigning, Awaited, Classic, State, counts};
use super::coordinator::is_elsewhere;
use super::words::refused;
use super::{Answer, Core, JoinAnswer, TopicFacts};
use crate::consumer::group::assignor::Assignor;
use crate::consumer::group::error::GroupError;
use crate::consumer::group::protocol::{PROTOCOL_TYPE, read_assignment, read_subscription};
use crate::error::RequestError;

impl Core {
    pub(super) fn classic_answered(&mut self, now: Moment, id: u64, outcome: Result<Answer, Arc<RequestError>>) {
        let Some(awaited) = self.awaited(id) else { return };
        let answer = match outcome {
            Ok(answer) => answer,
            Err(cause) => return self.classic_unanswered(now, awaited, cause),
        };
        match (awaited, answer) {
            (Awaited::Heartbeat, Answer::Heartbeat(code)) => self.beaten(now, code),
            (Awaited::Join, Answer::Joined(answer)) => self.joined(now, answer),
            (Awaited::Topics, Answer::Topics(topics)) => self.counted(&topics),
            (Awaited::Sync, Answer::Synced { code, assignment }) => self.synced(now, code, &assignment),
            _ => {}
        }
    }

    fn classic_unanswered(&mut self, now: Moment, awaited: Awaited, cause: Arc<RequestError>) {
        if awaited == Awaited::Topics {
            self.classic.retry_at = now + self.backoff.next();
            if let State::Assigning(assigning) = &mut self.classic.state {
                assigning.asked = None;
            }
            return;
        }
        if awaited == Awaited::Heartbeat {
            self.classic.heartbeat = None;
        }
        if !self.unanswered(now, &cause) {
            self.fail(GroupError::Request(cause));
        }
    }

    fn joined(&mut self, now: Moment, answer: JoinAnswer) {
        self.classic.state = State::Joining { asked: None };
        match answer.code {
            ErrorCode::None => self.enter(now, answer),
            // The id comes with the refusal; the coordinator waits for us to come back with it.
            ErrorCode::MemberIdRequired => self.classic.member_id = answer.member_id,
            ErrorCode::UnknownMemberId => self.start_over(now, answer.code),
            code if is_elsewhere(code) => self.lose_coordinator(now),
            ErrorCode::CoordinatorLoadInProgress | ErrorCode::RebalanceInProgress => {
                self.classic.retry_at = now + self.backoff.next();
            }
            code => self.refuse(code),
        }
    }

    fn enter(&mut self, now: Moment, answer: JoinAnswer) {
        // Even if it is of no use: then it is given back.
        self.classic.member_id = answer.member_id.clone();
        let protocol = Assignor::from_name(&answer.protocol_name);
        let protocol = protocol.filter(|chosen| self.config.assignors.contains(chosen));
        let type_differs = answer
            .protocol_type
            .as_deref()
            .is_some_and(|kind| kind != PROTOCOL_TYPE);
        if protocol.is_none() || type_differs {
            return self.fail(GroupError::InconsistentProtocol {
                protocol_type: answer.protocol_type.unwrap_or_default(),
                protocol_name: answer.protocol_name,
            });
        }
        self.backoff.reset();
        let leads = answer.leader == answer.member_id;
        self.classic.generation = answer.generation;
        self.classic.protocol = protocol;
        self.classic.rejoin = None;
        self.classic.heartbeat = None;
        self.classic.heartbeat_at = now + self.config.heartbeat_interval;
        tracing::debug!(generation = answer.generation, leads, "joined the group");
        if !leads {
            self.classic.state = State::Syncing {
                asked: None,
                assignments: Vec::new(),
            };
            return;
        }
        let mut members = Vec::with_capacity(answer.members.len());
        for member in &answer.members {
            match read_subscription(&member.member_id, member.instance_id.as_deref(), &member.metadata) {
                Ok(facts) => members.push(facts),
                Err(_) => {
                    let member_id = member.member_id.clone();
                    return self.fail(GroupError::Malformed { member_id });
                }
            }
        }
        self.classic.state = State::Assigning(Assigning {
            asked: None,
            members,
            skip: answer.skip_assignment,
        });
    }

    fn counted(&mut self, topics: &[TopicFacts]) {
        self.share_out(counts(topics));
    }

    fn synced(&mut self, now: Moment, code: ErrorCode, assignment: &Bytes) {
        self.classic.state = State::Out;
        match code {
            ErrorCode::None => match read_assignment(assignment) {
                Ok(assigned) => self.take_over(assigned),
                Err(_) => {
                    let member_id = "the leader".to_owned();
                    self.fail(GroupError::Malformed { member_id });
                }
            },
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => self.start_over(now, code),
            ErrorCode::RebalanceInProgress => {}
            code if is_elsewhere(code) => self.lose_coordinator(now),
            code if code.is_retriable() => self.classic.retry_at = now + self.backoff.next(),
            code => self.refuse(code),
        }
    }

    fn beaten(&mut self, now: Moment, code: ErrorCode) {
        let Some((_, identity)) = self.classic.heartbeat.take() else {
            return;
        };
        let current = identity == self.classic_identity();
        match code {
            ErrorCode::None => {}
            ErrorCode::RebalanceInProgress => {
                // While joining it is known already.
                if matches!(self.classic.state, State::Settling | State::Stable) {
                    self.classic.rejoin = Some("the group is rebalancing");
                }
            }
            code if is_elsewhere(code) => self.lose_coordinator(now),
            // It was said of a generation that is over.
            ErrorCode::IllegalGeneration | ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId if !current => {}
            ErrorCode::IllegalGeneration | ErrorCode::UnknownMemberId => self.start_over(now, code),
            code if code.is_retriable() => {}
            code => self.refuse(code),
        }
    }

    /// The coordinator does not know this member, or not in its generation: what it owns is lost, and it joins anew.
    pub(super) fn start_over(&mut self, now: Moment, code: ErrorCode) {
        tracing::info!(%code, "fallen out of the group; joining anew");
        let member_id = match code {
            ErrorCode::IllegalGeneration => std::mem::take(&mut self.classic.member_id),
            _ => String::new(),
        };
        self.classic = Classic {
            member_id,
            lost: true,
            retry_at: now,
            ..Classic::default()
        };
    }

    /// Says to the group that it has to come together again.
    pub(super) fn rejoin_soon(&mut self, reason: &'static str) {
        if matches!(self.classic.state, State::Settling | State::Stable) {
            self.classic.rejoin = Some(reason);
        }
    }

    pub(super) fn refuse(&mut self, code: ErrorCode) {
        let instance = self.config.instance_id.clone();
        self.fail(match (code, instance) {
            (ErrorCode::FencedInstanceId, Some(group_instance_id)) => GroupError::FencedInstance { group_instance_id },
            (code, _) => refused(code, ""),
        });
    }
}
