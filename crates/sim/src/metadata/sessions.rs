//! What the controller does with requests, and whom it holds for dead.
//!
//! Sessions and probes are not simulated message by message: a broker that can be reached counts as heard of.

use klamm_replication::{AlterOutcome, AlterPartition};
use klamm_schema::metadata::Cause;
use klamm_types::BrokerEpoch;

use super::Registration;
use crate::broker::{Place, UNANSWERED};
use crate::plan::MS;
use crate::world::{AtProcess, AtReplica, CONTROLLER, Happening, World};

impl World {
    pub fn at_controller(&mut self, happening: Happening) {
        match happening {
            Happening::ControllerTick => {
                self.controller_tick();
                self.look_around();
                self.after(5 * MS, Happening::ControllerTick);
            }
            Happening::ControllerBack => {
                self.controller_silent = false;
                // A new controller gives everybody a whole time-out.
                self.last_seen.fill(self.now);
                self.say(format_args!("controller"), format_args!("is back"));
            }
            Happening::CrashNoticed { broker, life } => {
                let gone = self.brokers[broker].life == life && self.brokers[broker].process.is_none();
                if gone {
                    self.fence(broker, Cause::ProcessEnded);
                }
            }
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
            } => self.hear_alter((place, life), epoch, &asked),
            Happening::Relieve {
                broker,
                life,
                epoch,
                down,
            } => self.relieve((broker, life), epoch, down),
            Happening::Damage { place, life, epoch } => self.damage(place, life, epoch),
            _ => {}
        }
        self.spread_entries();
    }

    fn hear_registration(&mut self, broker: usize, life: u32, registration: &Registration) {
        let stale = self.brokers[broker].life != life;
        if stale || !self.hears(broker) {
            return;
        }
        match self.controller.register(registration) {
            Ok(epoch) => {
                self.last_seen[broker] = self.now;
                self.reply(broker, life, AtProcess::Registered { epoch });
            }
            Err(problem) => self.hold(Err(problem)),
        }
    }

    fn hear_alter(&mut self, (place, life): (Place, u32), epoch: BrokerEpoch, asked: &AlterPartition) {
        if !self.hears(place.broker) {
            return;
        }
        self.note_stale_request(place.partition, asked);
        let leader = self.brokers[place.broker].node;
        let before = self.controller.entries_count();
        match self.controller.alter_partition(leader, epoch, place.partition, asked) {
            Ok(outcome) => {
                let wrote = self.controller.entries_count() > before;
                self.counts.isr_changes += u64::from(wrote);
                self.say_alter(place, asked, outcome, wrote);
                let attempt = asked.attempt;
                if attempt != UNANSWERED {
                    let answer = AtReplica::AlterAnswer { attempt, outcome };
                    self.reply(place.broker, life, AtProcess::Replica(place.partition, answer));
                }
            }
            Err(problem) => self.hold(Err(problem)),
        }
    }

    /// Requests get lost, and so do replies.
    pub fn hears(&mut self, broker: usize) -> bool {
        let lost = self.is_lost_now();
        !lost && !self.controller_silent && self.reaches(broker, CONTROLLER)
    }

    pub fn reply(&mut self, broker: usize, life: u32, what: AtProcess) {
        let lost = self.is_lost_now();
        if !lost && !self.controller_silent && self.reaches(CONTROLLER, broker) {
            let at = self.now + self.chance.delay(600, 40 * MS);
            self.at(at, Happening::Process { broker, life, what });
        }
    }

    fn damage(&mut self, place: Place, life: u32, epoch: BrokerEpoch) {
        if !self.hears(place.broker) {
            return;
        }
        let node = self.brokers[place.broker].node;
        match self.controller.report_damage(node, epoch, place.partition) {
            Ok(true) => {
                let entries = self.controller.entries_count();
                let heard = AtReplica::DamageHeard { entries };
                self.reply(place.broker, life, AtProcess::Replica(place.partition, heard));
            }
            Ok(false) => {}
            Err(problem) => self.hold(Err(problem)),
        }
    }

    fn controller_tick(&mut self) {
        if self.controller_silent {
            return;
        }
        for broker in 0..self.brokers.len() {
            if self.has_session(broker) {
                self.last_seen[broker] = self.now;
            }
            let node = self.brokers[broker].node;
            let Some((fenced, epoch)) = self.controller.image().broker(node).map(|it| (it.fenced, it.epoch)) else {
                continue;
            };
            let silent = self.now - self.last_seen[broker];
            if !fenced && silent > self.plan.setup.session_timeout {
                self.fence(broker, Cause::SessionTimeout);
            } else if fenced && silent == 0 && self.now >= self.held_until[broker] && self.is_ready(broker, epoch) {
                match self.controller.unfence(node, epoch) {
                    Ok(true) => self.say(format_args!("controller"), format_args!("unfences broker {node}")),
                    Ok(false) => {}
                    Err(problem) => self.hold(Err(problem)),
                }
            }
        }
    }

    /// Whether the run of the process that is registered is heard of. Another run does not keep its session alive.
    fn has_session(&self, broker: usize) -> bool {
        let broker_epoch = self.brokers[broker]
            .process
            .as_ref()
            .map(|process| process.host.broker_epoch);
        let registered = self
            .controller
            .image()
            .broker(self.brokers[broker].node)
            .map(|it| it.epoch);
        let up = broker_epoch.is_some() && broker_epoch == registered && !self.brokers[broker].paused;
        up && self.reaches(broker, CONTROLLER)
    }

    /// The broker has stored its epoch and its image shows its own registration.
    fn is_ready(&self, broker: usize, epoch: BrokerEpoch) -> bool {
        let broker = &self.brokers[broker];
        let shown = broker.image.broker(broker.node).map(|registered| registered.epoch);
        let process = broker.process.as_ref();
        process.is_some_and(|process| process.host.broker_epoch == epoch) && shown == Some(epoch)
    }

    pub fn fence(&mut self, broker: usize, cause: Cause) {
        if self.controller_silent {
            return;
        }
        let node = self.brokers[broker].node;
        match self.controller.fence(node, cause) {
            Ok(true) => self.say(
                format_args!("controller"),
                format_args!("fences broker {node}: {cause:?}"),
            ),
            Ok(false) => {}
            Err(problem) => self.hold(Err(problem)),
        }
    }

    /// Sends every broker on its way to the newest entry.
    fn spread_entries(&mut self) {
        let newest = self.controller.entries_count();
        for index in 0..self.brokers.len() {
            let reachable = self.reaches(CONTROLLER, index) && !self.controller_silent;
            let broker = &mut self.brokers[index];
            let behind = broker.process.is_some() && broker.image.applied_index() < newest;
            if behind && reachable && !broker.entry_coming {
                broker.entry_coming = true;
                let at = self.now + self.chance.delay(600, 80 * MS);
                self.tell_process(index, at, AtProcess::Entry);
            }
        }
    }

    fn say_alter(&mut self, place: Place, asked: &AlterPartition, outcome: AlterOutcome, wrote: bool) {
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
            "{place} asks for isr {isr:?} on partition epoch {}: {outcome:?}, written {wrote}, now {state:?}",
            asked.partition_epoch
        );
        self.say(format_args!("controller"), format_args!("{line}"));
    }
}
