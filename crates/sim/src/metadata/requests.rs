//! Requests of brokers and people on the way to a controller, and the answers on the way back.

use klamm_invariants::core_orderings;
use klamm_metadata::core::{Event, RequestId};
use klamm_replication::{AlterOutcome, AlterPartition};
use klamm_schema::requests::ControllerReply;
use klamm_schema::requests::controller_reply::Reply;
use klamm_schema::requests::controller_request::Request;
use klamm_types::{BrokerEpoch, ErrorCode};

use super::quorum::AtController;
use super::{Registration, messages};
use crate::broker::{Place, UNANSWERED};
use crate::plan::{MS, Time};
use crate::world::{AtProcess, AtReplica, CONTROLLER, Happening, World};

/// A request that a controller has in hand.
#[derive(Debug)]
pub struct Pending {
    broker: usize,
    life: u32,
    what: Asked,
}

#[derive(Debug)]
enum Asked {
    Register,
    Alter(usize, Box<AlterPartition>),
    Damage(usize),
    Relieve(Time),
    /// Somebody who does not wait for the answer.
    Person,
}

impl World {
    /// A request reaches the controllers.
    pub fn hear_request(&mut self, happening: Happening) {
        match happening {
            Happening::Register {
                broker,
                life,
                registration,
            } => self.hear_registration(broker, life, &registration),
            Happening::Alter {
                place,
                life,
                epoch,
                asked,
            } => self.hear_alter((place, life), epoch, asked),
            Happening::Relieve {
                broker,
                life,
                epoch,
                down,
            } => {
                let request = messages::controlled_shutdown(self.brokers[broker].node, epoch);
                self.ask((broker, life), Asked::Relieve(down), request);
            }
            Happening::Damage { place, life, epoch } => {
                let node = self.brokers[place.broker].node;
                let request = messages::report_damage(node, epoch, self.controller.partition(place.partition));
                self.ask((place.broker, life), Asked::Damage(place.partition), request);
            }
            _ => {}
        }
    }

    fn hear_registration(&mut self, broker: usize, life: u32, registration: &Registration) {
        if self.brokers[broker].life == life {
            let request = messages::register(registration, &self.controller.partitions);
            self.ask((broker, life), Asked::Register, request);
        }
    }

    fn hear_alter(&mut self, (place, life): (Place, u32), epoch: BrokerEpoch, asked: Box<AlterPartition>) {
        self.note_stale_request(place.partition, &asked);
        let leader = self.brokers[place.broker].node;
        let partition = self.controller.partition(place.partition);
        let request = messages::alter_partition(leader, epoch, partition, &asked);
        self.ask((place.broker, life), Asked::Alter(place.partition, asked), request);
    }

    /// Somebody asks for something, and does not wait for the answer.
    pub fn ask_as_person(&mut self, request: Request) {
        if let Some(node) = self.controller.active() {
            let id = self.pend(0, 0, Asked::Person);
            let event = Event::Request {
                id,
                from: klamm_types::NodeId(0),
                request,
            };
            self.at_controllers(
                self.now,
                AtController::Event {
                    node,
                    event: Box::new(event),
                },
            );
        }
    }

    fn ask(&mut self, (broker, life): (usize, u32), what: Asked, request: Request) {
        let lost = self.is_lost_now();
        if lost || !self.reaches(broker, CONTROLLER) {
            return;
        }
        let node = self.guess_controller();
        let id = self.pend(broker, life, what);
        let event = Event::Request {
            id,
            from: self.brokers[broker].node,
            request,
        };
        self.controller(AtController::Event {
            node,
            event: Box::new(event),
        });
    }

    fn pend(&mut self, broker: usize, life: u32, what: Asked) -> RequestId {
        self.attempts += 1;
        let id = RequestId(self.attempts);
        self.controller.pending.insert(id, Pending { broker, life, what });
        id
    }

    /// Mostly the active controller; now and then one that is not, or not any more.
    pub fn guess_controller(&mut self) -> usize {
        match self.controller.active() {
            Some(node) if !self.chance.per_mille(50) => node,
            _ => self.chance.below(super::CONTROLLERS as u64) as usize,
        }
    }

    pub fn replied(&mut self, id: RequestId, reply: &ControllerReply) {
        let Some(Pending { broker, life, what }) = self.controller.pending.remove(&id) else {
            return self.hold(Err(core_orderings(format!("a controller answers {id:?} twice"))));
        };
        let decided = reply.reply.as_ref().filter(|_| reply.error_code == 0);
        let undecided = i16::try_from(reply.error_code).ok().and_then(ErrorCode::from_code);
        let answer = match (what, decided) {
            (Asked::Register, Some(Reply::RegisterBroker(registered))) => match registered.error_code {
                0 => Some(AtProcess::Registered {
                    epoch: BrokerEpoch(registered.broker_epoch),
                    entries: reply.applied_index,
                }),
                // Its former run may be alive: it asks again.
                code if code == i32::from(ErrorCode::DuplicateBrokerRegistration.code()) => None,
                _ => {
                    let what = format!("the registration of broker {} was refused: {registered:?}", broker + 1);
                    return self.hold(Err(core_orderings(what)));
                }
            },
            (Asked::Alter(partition, asked), decided) => self.altered((broker, partition), &asked, decided, undecided),
            (Asked::Damage(partition), Some(Reply::ReportDamage(told))) if told.error_code == 0 => {
                let entries = reply.applied_index;
                Some(AtProcess::Replica(partition, AtReplica::DamageHeard { entries }))
            }
            (Asked::Relieve(down), Some(_)) => Some(AtProcess::Close { down }),
            _ => None,
        };
        let lost = self.is_lost_now();
        if let Some(what) = answer
            && !lost
            && self.reaches(CONTROLLER, broker)
        {
            let at = self.now + self.chance.delay(600, 40 * MS);
            self.at(at, Happening::Process { broker, life, what });
        }
    }

    fn altered(
        &mut self,
        (broker, partition): (usize, usize),
        asked: &AlterPartition,
        decided: Option<&Reply>,
        undecided: Option<ErrorCode>,
    ) -> Option<AtProcess> {
        let outcome = match (decided, undecided) {
            (Some(reply), _) => messages::alter_outcome(asked, reply)?,
            (None, Some(ErrorCode::NotController)) => AlterOutcome::NotDecided,
            (None, _) => AlterOutcome::Unknown,
        };
        self.counts.isr_changes += u64::from(matches!(outcome, AlterOutcome::Committed { .. }));
        self.say_alter(Place { broker, partition }, asked, outcome);
        let attempt = asked.attempt;
        let answer = AtReplica::AlterAnswer { attempt, outcome };
        (attempt != UNANSWERED).then_some(AtProcess::Replica(partition, answer))
    }

    fn say_alter(&mut self, place: Place, asked: &AlterPartition, outcome: AlterOutcome) {
        if !self.trace.is_on() {
            return;
        }
        let isr = asked.isr.iter();
        let isr: Vec<String> = isr.map(|(node, epoch)| format!("{node}@{epoch}")).collect();
        let state = self.controller.state(place.partition).map(|state| {
            format!(
                "leader {:?} epoch {} isr {:?} elr {:?}",
                state.leader, state.leader_epoch, state.isr, state.elr
            )
        });
        let line = format!(
            "{place} asks for isr {isr:?} on partition epoch {}: {outcome:?}, now {state:?}",
            asked.partition_epoch
        );
        self.say(format_args!("controller"), format_args!("{line}"));
    }
}
