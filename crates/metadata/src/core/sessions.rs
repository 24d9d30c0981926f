//! Which brokers live: sessions, suspicions, probes and time-outs, and the fences and unfences they call for.
//!
//! Crash is not silence. A killed process's connections end at once, so an end of file from the broker's side is a
//! suspicion, and the answer at the broker's address decides: refused, or another process: dead; the same process:
//! alive; nobody within the probe's time: dead after an end of file, unproven otherwise. Silence alone is judged by
//! the session time-out. Evidence is about one broker epoch; about an older one it is dropped.
//!
//! A broker fenced on a probe's word that proves alive afterwards is unfenced without restart, and for a while only
//! time-outs count for it: its address lies.

mod standing;

use std::collections::BTreeMap;
use std::time::Duration;

use klamm_schema::metadata::Cause;
use klamm_schema::requests::RegisterBrokerRequest;
use klamm_types::{BrokerEpoch, ErrorCode, Moment, NodeId};

use standing::{Probing, Proof, Standing, Verdict};

use super::Step;
use super::effect::{Effect, ProbeTarget};
use super::event::{Closed, Heartbeat, Hello, ProbeAnswer, ProbeId, SessionId};
use crate::decide::{Claim, Ended, Fence, Overlay, fence, unfence};
use crate::image::{BrokerState, Image, Violation};

/// What is known of the sessions of all registered brokers.
#[derive(Debug)]
pub(super) struct Sessions {
    brokers: BTreeMap<NodeId, Standing>,
    by_session: BTreeMap<SessionId, NodeId>,
    /// Sessions opened before the reign proper, when the image may still lack their registrations.
    early: BTreeMap<SessionId, Hello>,
}

/// What the active controller knows of a broker's session, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerSession {
    pub broker_epoch: BrokerEpoch,
    pub is_open: bool,
    pub last_contact: Moment,
    /// The last entry that the broker has taken up.
    pub applied_index: u64,
    pub is_probed: bool,
}

impl Sessions {
    pub fn new() -> Sessions {
        Sessions {
            brokers: BTreeMap::new(),
            by_session: BTreeMap::new(),
            early: BTreeMap::new(),
        }
    }

    /// Takes over new registrations and forgets what is over: a registration ends every session of an older one.
    pub fn follow_image(&mut self, step: &mut Step<'_>) {
        let image = step.image;
        let gone: Vec<NodeId> = self
            .brokers
            .keys()
            .copied()
            .filter(|&id| image.broker(id).is_none())
            .collect();
        for id in gone {
            self.drop_standing(
                step,
                id,
                ErrorCode::BrokerIdNotRegistered,
                "the broker was unregistered",
            );
        }
        for (&id, state) in image.brokers() {
            match self.brokers.get_mut(&id) {
                Some(standing) if standing.epoch == state.epoch => {
                    if state.fenced {
                        standing.verdict = None;
                        standing.probe = None;
                    }
                }
                _ => {
                    let text = "another process has registered under this broker id";
                    self.drop_standing(step, id, ErrorCode::StaleBrokerEpoch, text);
                    let standing = Standing::new(state.epoch, image.applied_index(), step.now.moment);
                    self.brokers.insert(id, standing);
                }
            }
        }
    }

    fn drop_standing(&mut self, step: &mut Step<'_>, id: NodeId, error: ErrorCode, text: &'static str) {
        if let Some(session) = self.brokers.remove(&id).and_then(|standing| standing.session) {
            self.by_session.remove(&session);
            step.effects.push(Effect::EndSession { session, error, text });
        }
    }

    /// The reign proper begins: every broker is probed, and each has a full time-out from now. Where the controller
    /// before it was seen to end, its broker ended with it.
    pub fn begin(&mut self, step: &mut Step<'_>, predecessor: Option<&Ended>) {
        if let Some(ended) = predecessor
            && let Some(standing) = self.brokers.get_mut(&ended.node)
        {
            standing.last_known = Some(ended.last_contact);
        }
        for (session, hello) in std::mem::take(&mut self.early) {
            self.open(step, session, hello);
        }
        let unknown: Vec<NodeId> = self
            .brokers
            .iter()
            .filter(|(id, standing)| standing.session.is_none() && step.image.is_alive(**id))
            .map(|(&id, _)| id)
            .collect();
        for id in unknown {
            self.probe(step, id, Proof::Unsuspected);
        }
    }

    /// A session states who it is. Before the reign proper it waits: the image may not know its registration yet.
    pub fn opened(&mut self, step: &mut Step<'_>, session: SessionId, hello: Hello, leading: bool) {
        if leading {
            self.open(step, session, hello);
        } else {
            self.early.insert(session, hello);
        }
    }

    fn open(&mut self, step: &mut Step<'_>, session: SessionId, hello: Hello) {
        let refusal = match step.image.broker(hello.broker) {
            _ if step.image.cluster_id().is_some_and(|ours| ours != hello.cluster) => Some((
                ErrorCode::InconsistentClusterId,
                "the broker belongs to another cluster",
            )),
            None => Some((ErrorCode::BrokerIdNotRegistered, "the broker is not registered")),
            Some(state) if state.epoch != hello.broker_epoch || state.incarnation != hello.incarnation => Some((
                ErrorCode::StaleBrokerEpoch,
                "another registration of this broker is current",
            )),
            Some(_) => None,
        };
        let standing = self.brokers.get_mut(&hello.broker);
        let (Some(standing), None) = (standing, refusal) else {
            let (error, text) = refusal.unwrap_or((ErrorCode::BrokerIdNotRegistered, "the broker is not registered"));
            step.effects.push(Effect::EndSession { session, error, text });
            return;
        };
        standing.sign_of_life(step.now);
        standing.applied_index = hello.applied_index;
        standing.ready = false;
        let replaced = standing.session.replace(session);
        self.by_session.insert(session, hello.broker);
        if let Some(old) = replaced {
            self.by_session.remove(&old);
            step.effects.push(Effect::EndSession {
                session: old,
                error: ErrorCode::None,
                text: "the broker has opened another session",
            });
        }
        reply(step, session, hello.broker);
    }

    pub fn heartbeat(&mut self, step: &mut Step<'_>, session: SessionId, heartbeat: Heartbeat) {
        let Some(&broker) = self.by_session.get(&session) else {
            return;
        };
        if let Some(standing) = self.brokers.get_mut(&broker) {
            standing.sign_of_life(step.now);
            standing.applied_index = standing.applied_index.max(heartbeat.applied_index);
            standing.ready = heartbeat.ready;
            reply(step, session, broker);
        }
    }

    pub fn closed(&mut self, step: &mut Step<'_>, session: SessionId, how: Closed) {
        self.early.remove(&session);
        let Some(broker) = self.by_session.remove(&session) else {
            return;
        };
        let Some(standing) = self.brokers.get_mut(&broker) else {
            return;
        };
        standing.session = None;
        standing.ready = false;
        // A process that works does not end it; one that hangs was silent before, and a time-out judges that.
        standing.last_known = Some(step.now.timestamp);
        match how {
            Closed::Goodbye => {
                standing.suspected = true;
                standing.verdict = None;
                standing.condemn(Cause::Goodbye, "the broker said goodbye".into());
            }
            Closed::EndOfFile => {
                standing.suspected = true;
                self.probe(step, broker, Proof::AfterEndOfFile);
            }
            Closed::StreamError => self.probe(step, broker, Proof::Unsuspected),
        }
    }

    /// Another node thinks that the broker died; that only starts a probe.
    pub fn hint(&mut self, step: &mut Step<'_>, broker: NodeId, epoch: BrokerEpoch) {
        let current = self.brokers.get(&broker);
        if current.is_some_and(|standing| standing.epoch == epoch && standing.probe.is_none()) {
            self.probe(step, broker, Proof::Unsuspected);
        }
    }

    /// Asks at the broker's address, unless it is fenced anyway or its address has lied before.
    fn probe(&mut self, step: &mut Step<'_>, broker: NodeId, proof: Proof) {
        let Some(standing) = self.brokers.get_mut(&broker) else {
            return;
        };
        let Some(state) = step.image.broker(broker).filter(|state| !state.fenced) else {
            return;
        };
        if standing.verdict.is_some() || standing.is_distrusted(step.now.moment) {
            return;
        }
        // A probe that began before the end of file may have met the dying process: it is asked again.
        let stands = standing
            .probe
            .is_some_and(|probe| probe.proof == proof || proof == Proof::Unsuspected);
        if stands {
            return;
        }
        let id = step.numbers.probe();
        standing.probe = Some(Probing { id, proof, void: false });
        let target = target(broker, state);
        step.effects.push(Effect::Probe { probe: id, target });
    }

    pub fn probe_answered(&mut self, step: &mut Step<'_>, probe: ProbeId, answer: ProbeAnswer) {
        let found = self.brokers.iter_mut().find_map(|(&id, standing)| {
            let probing = standing.probe.take_if(|probing| probing.id == probe)?;
            Some((id, standing, probing))
        });
        let Some((broker, standing, probing)) = found else {
            return;
        };
        let Some(state) = step.image.broker(broker) else {
            return;
        };
        let address = &state.grpc_address;
        match answer {
            ProbeAnswer::Refused => {
                standing.condemn(Cause::ProcessEnded, format!("{address} refuses connections"));
            }
            ProbeAnswer::Identified { incarnation } if incarnation == state.incarnation => {
                standing.sign_of_life(step.now);
            }
            ProbeAnswer::Identified { .. } => {
                standing.condemn(Cause::ProcessReplaced, format!("another process answers at {address}"));
            }
            ProbeAnswer::NoAnswer if probing.void => self.probe(step, broker, probing.proof),
            ProbeAnswer::NoAnswer if probing.proof == Proof::AfterEndOfFile => {
                let evidence = format!("its session ended and nobody answers at {address}");
                standing.condemn(Cause::NoAnswer, evidence);
            }
            ProbeAnswer::NoAnswer => {}
        }
    }

    pub fn judge_time_outs(&mut self, step: &mut Step<'_>) {
        let time_out = session_time_out(step.image);
        for (&id, standing) in &mut self.brokers {
            let silent = step.now.moment.since(standing.last_contact);
            if silent > time_out && step.image.is_alive(id) {
                standing.condemn(Cause::SessionTimeout, format!("silent for {} ms", silent.as_millis()));
            }
        }
    }

    /// This process did not run for a while: what it did not hear meanwhile says nothing.
    pub fn restart_waits(&mut self, now: Moment) {
        for standing in self.brokers.values_mut() {
            standing.last_contact = now;
            if let Some(probe) = &mut standing.probe {
                probe.void = true;
            }
            let by_silence = |verdict: &mut Verdict| matches!(verdict.cause, Cause::SessionTimeout | Cause::NoAnswer);
            standing.verdict.take_if(by_silence);
        }
    }

    /// Decides every fence and unfence that is called for.
    pub fn decide(&mut self, step: &Step<'_>, overlay: &mut Overlay) {
        for (&broker, standing) in &mut self.brokers {
            let broker_epoch = standing.epoch;
            if let Some(verdict) = &mut standing.verdict {
                let cause = verdict.cause;
                let call = Fence {
                    broker,
                    broker_epoch,
                    cause,
                    evidence: verdict.evidence.clone(),
                    last_contact: standing.last_known,
                };
                if fence(overlay, &call) && !std::mem::replace(&mut verdict.told, true) {
                    tracing::info!(%broker, %broker_epoch, ?cause, evidence = call.evidence, "fencing a broker");
                }
                continue;
            }
            let Some(state) = step.image.broker(broker).filter(|state| state.fenced) else {
                continue;
            };
            let caught_up = standing.applied_index >= standing.registered_at;
            if standing.session.is_none() || !standing.ready || !caught_up {
                continue;
            }
            let cause = match state.cause {
                Cause::Registration => Cause::CaughtUp,
                _ => Cause::AliveAgain,
            };
            let on_a_probes_word = matches!(
                state.cause,
                Cause::ProcessEnded | Cause::ProcessReplaced | Cause::NoAnswer
            );
            if unfence(overlay, broker, broker_epoch, cause) {
                standing.last_contact = step.now.moment;
                if on_a_probes_word {
                    standing.distrust_until = Some(step.now.moment + step.settings.probe_distrust);
                }
                tracing::info!(%broker, %broker_epoch, ?cause, "unfencing a broker");
            }
        }
    }

    /// Whether a registration may take the broker id. If its holder may be alive, it is asked.
    pub fn claim(&mut self, step: &mut Step<'_>, image: &Image, request: &RegisterBrokerRequest) -> Claim {
        let broker = NodeId(request.broker);
        let holder = image.broker(broker).filter(|state| !state.fenced);
        if holder.is_none_or(|state| state.incarnation.as_bytes()[..] == request.incarnation[..]) {
            return Claim::Free;
        }
        // While a probe is under way its answer decides; where none is trusted, the end of the session does.
        let gone = |standing: &Standing| standing.suspected && standing.probe.is_none();
        if self.brokers.get(&broker).is_some_and(gone) {
            return Claim::Free;
        }
        self.probe(step, broker, Proof::Unsuspected);
        Claim::Held
    }

    /// Whether the broker has taken up this entry, or cannot be asked because it has no session here.
    pub fn has_taken_up(&self, broker: NodeId, index: u64) -> bool {
        let standing = self.brokers.get(&broker);
        standing.is_none_or(|standing| standing.session.is_none() || standing.applied_index >= index)
    }

    pub fn describe(&self, broker: NodeId) -> Option<BrokerSession> {
        self.brokers.get(&broker).map(|standing| BrokerSession {
            broker_epoch: standing.epoch,
            is_open: standing.session.is_some(),
            last_contact: standing.last_contact,
            applied_index: standing.applied_index,
            is_probed: standing.probe.is_some(),
        })
    }

    /// Leadership is lost: brokers look for the next controller.
    pub fn end(&mut self, step: &mut Step<'_>) {
        let early = std::mem::take(&mut self.early).into_keys();
        for session in std::mem::take(&mut self.by_session).into_keys().chain(early) {
            step.effects.push(Effect::EndSession {
                session,
                error: ErrorCode::NotController,
                text: "this node is the active controller no longer",
            });
        }
    }

    pub fn validate(&self, image: &Image) -> Result<(), Violation> {
        let violation = |broker: NodeId, what| {
            Err(Violation {
                place: format!("session of broker {broker}"),
                what,
            })
        };
        for (&session, broker) in &self.by_session {
            if self.brokers.get(broker).and_then(|standing| standing.session) != Some(session) {
                return violation(*broker, "a broker has one session, and the session has the broker");
            }
        }
        for (&id, standing) in &self.brokers {
            if image.broker(id).map(|state| state.epoch) != Some(standing.epoch) {
                return violation(id, "what is known is about the current registration");
            }
            if standing
                .session
                .is_some_and(|session| !self.by_session.contains_key(&session))
            {
                return violation(id, "an open session can be found");
            }
        }
        Ok(())
    }
}

fn session_time_out(image: &Image) -> Duration {
    let millis = image.cluster_config().broker_session_timeout_ms;
    Duration::from_millis(u64::from(millis.unsigned_abs()))
}

fn target(broker: NodeId, state: &BrokerState) -> ProbeTarget {
    ProbeTarget {
        broker,
        broker_epoch: state.epoch,
        incarnation: state.incarnation,
        address: state.grpc_address.clone(),
    }
}

fn reply(step: &mut Step<'_>, session: SessionId, broker: NodeId) {
    step.effects.push(Effect::SessionReply {
        session,
        fenced: !step.image.is_alive(broker),
        committed_index: step.image.applied_index(),
    });
}
