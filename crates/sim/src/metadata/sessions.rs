//! Sessions of brokers with the active controller: heartbeats, ends, and the dials that tell a dead broker from a silent
//! one.

use klamm_metadata::core::{Closed, Event, Heartbeat, Hello, ProbeAnswer, ProbeId, ProbeTarget, SessionId};
use klamm_types::NodeId;

use super::quorum::AtController;
use crate::broker::{End, Process};
use crate::plan::{MS, Time};
use crate::world::{AtProcess, CONTROLLER, World};

/// How often a broker tells that it lives.
pub const BEAT: Time = 20 * MS;
/// How long an address is dialled; a tenth of what it is in a broker, as all times here.
const PROBE_TIME: Time = 15 * MS;

/// A broker's session, open as far as the broker knows.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    pub node: usize,
    pub id: SessionId,
}

impl World {
    /// A broker's process tells the controller that it lives.
    pub fn beat(&mut self, index: usize, process: &Process) {
        let at = self.now + BEAT;
        self.tell_process(index, at, AtProcess::Beat);
        let held = self.now < self.held_until[index];
        if !process.host.is_registered || held {
            return;
        }
        let lost = self.is_lost_now();
        match self.sessions[index] {
            Some(session) => {
                let image = &self.brokers[index].image;
                let shown = image
                    .broker(self.brokers[index].node)
                    .map(|registered| registered.epoch);
                let heartbeat = Heartbeat {
                    applied_index: image.applied_index(),
                    ready: shown == Some(process.host.broker_epoch),
                };
                let event = Event::SessionHeartbeat {
                    session: session.id,
                    heartbeat,
                };
                if !lost && self.reaches(index, CONTROLLER) {
                    self.heard_at[index] = self.now;
                    self.send_to_controller(session.node, event);
                }
            }
            None => {
                if !lost && self.is_link_up(index, CONTROLLER) {
                    self.heard_at[index] = self.now;
                    self.open_session(index, process);
                }
            }
        }
    }

    fn open_session(&mut self, index: usize, process: &Process) {
        let node = self.guess_controller();
        self.attempts += 1;
        let id = SessionId(self.attempts);
        let cluster = self.controller.image().cluster_id().unwrap_or_default();
        self.sessions[index] = Some(Session { node, id });
        let hello = Hello {
            cluster,
            broker: self.brokers[index].node,
            broker_epoch: process.host.broker_epoch,
            incarnation: process.host.incarnation,
            applied_index: self.brokers[index].image.applied_index(),
        };
        self.send_to_controller(node, Event::SessionOpened { session: id, hello });
    }

    fn send_to_controller(&mut self, node: usize, event: Event) {
        let at = self.now + self.chance.delay(300, 10 * MS);
        let event = Box::new(event);
        self.at_controllers(at, AtController::Event { node, event });
    }

    /// A controller closes a session; the broker looks for another one.
    pub fn session_ended(&mut self, id: SessionId) {
        let is_it = |session: &Option<Session>| session.is_some_and(|session| session.id == id);
        if let Some(index) = self.sessions.iter().position(is_it) {
            self.sessions[index] = None;
        }
    }

    /// A broker's process has ended; its connections end with it, if anything gets through.
    pub fn end_session(&mut self, index: usize, end: End) {
        let Some(session) = self.sessions[index].take() else {
            return;
        };
        let how = match end {
            End::InOrder => Closed::Goodbye,
            End::Killed | End::PowerCut => Closed::EndOfFile,
        };
        // A machine that dies says nothing, mostly.
        if self.reaches(index, CONTROLLER) && self.chance.per_mille(700) {
            let at = self.now + self.chance.between(MS, 15 * MS);
            let event = Event::SessionClosed {
                session: session.id,
                how,
            };
            let event = Box::new(event);
            self.at_controllers(
                at,
                AtController::Event {
                    node: session.node,
                    event,
                },
            );
        }
    }

    /// The session of a broker ends as if its process had; whoever dials its address finds out.
    pub fn suspect(&mut self, index: usize) {
        if let Some(session) = self.sessions[index].take() {
            let event = Event::SessionClosed {
                session: session.id,
                how: Closed::EndOfFile,
            };
            let event = Box::new(event);
            self.at_controllers(
                self.now,
                AtController::Event {
                    node: session.node,
                    event,
                },
            );
        } else if let Some(node) = self.controller.active() {
            let broker = self.brokers[index].node;
            let registered = self
                .controller
                .image()
                .broker(broker)
                .map(|registered| registered.epoch);
            if let Some(broker_epoch) = registered {
                let event = Box::new(Event::FollowerHint { broker, broker_epoch });
                self.at_controllers(self.now, AtController::Event { node, event });
            }
        }
    }

    /// A controller dials a broker's address.
    pub fn probe(&mut self, node: usize, probe: ProbeId, target: &ProbeTarget) {
        let NodeId(number) = target.broker;
        let index = (number - 1) as usize;
        let broker = &self.brokers[index];
        let is_deaf = broker.paused || self.now < self.held_until[index];
        let (answer, delay) = match &broker.process {
            _ if is_deaf || !self.is_link_up(index, CONTROLLER) => (ProbeAnswer::NoAnswer, PROBE_TIME),
            None => (ProbeAnswer::Refused, self.chance.between(200, 3 * MS)),
            Some(process) => {
                let incarnation = process.host.incarnation;
                (
                    ProbeAnswer::Identified { incarnation },
                    self.chance.between(200, 3 * MS),
                )
            }
        };
        let event = Box::new(Event::ProbeAnswered { probe, answer });
        self.at_controllers(self.now + delay, AtController::Event { node, event });
    }

    /// Sends every broker on its way to the newest entry.
    pub fn spread_entries(&mut self) {
        let newest = self.controller.entries_count();
        for index in 0..self.brokers.len() {
            let reachable = self.reaches(CONTROLLER, index) && !self.controller_silent();
            let broker = &mut self.brokers[index];
            let behind = broker.process.is_some() && broker.image.applied_index() < newest;
            if behind && reachable && !broker.entry_coming {
                broker.entry_coming = true;
                let at = self.now + self.chance.delay(600, 80 * MS);
                self.tell_process(index, at, AtProcess::Entry);
            }
        }
    }

    /// Whether nobody decides just now.
    pub fn controller_silent(&self) -> bool {
        self.controller.active().is_none()
    }
}
