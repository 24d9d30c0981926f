//! What a broker asks of the controller. Requests take their time, some of them very long.

use klamm_replication::{AlterAttempt, AlterOutcome, AlterPartition, Effect};
use klamm_types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch};

use super::hosted::{Here, LOOKS, Process};
use super::view_of;
use crate::plan::{MS, Time};
use crate::world::{AtProcess, AtReplica, Happening, World};

/// The attempt of a request whose answer nobody waits for.
pub const UNANSWERED: AlterAttempt = AlterAttempt(u64::MAX);

impl World {
    pub fn ask_controller(&mut self, here: &mut Here<'_>, effect: Effect) {
        let delay = self.chance.delay(600, 60 * MS);
        let at = self.held_up_until(here.broker, self.now + delay);
        match effect {
            Effect::AlterPartition(asked) => self.ask_for_isr(here, asked, at),
            Effect::AskToBeReplaced { leader_epoch, .. } => self.ask_to_be_replaced(here, leader_epoch, at),
            Effect::ReportDamage { .. } | Effect::ReportDiskFailure => {
                let damage = Happening::Damage {
                    place: here.place(),
                    life: self.brokers[here.broker].life,
                    epoch: here.host.broker_epoch,
                };
                self.at(at, damage);
            }
            _ => {}
        }
    }

    fn ask_for_isr(&mut self, here: &mut Here<'_>, asked: AlterPartition, at: Time) {
        here.own.alter = Some(asked.attempt);
        let unknown = AtReplica::AlterAnswer {
            attempt: asked.attempt,
            outcome: AlterOutcome::Unknown,
        };
        let patience = self.now + self.chance.between(20 * MS, 60 * MS);
        self.tell_replica(here.place(), patience, unknown);
        // Some come long after the leader has given up waiting, and are decided all the same.
        let late = self.chance.per_mille(150);
        let at = if late {
            at.max(self.now + self.chance.between(MS, 300 * MS))
        } else {
            at
        };
        self.send_alter(here, asked, at);
    }

    /// The leader proposes an ISR without itself.
    fn ask_to_be_replaced(&mut self, here: &Here<'_>, leader_epoch: LeaderEpoch, at: Time) {
        let me = self.brokers[here.broker].node;
        let Some(view) = &here.own.view else {
            return;
        };
        if let Some(isr) = view.isr_without(me) {
            self.send_alter(here, replacement((leader_epoch, view.partition_epoch), isr), at);
        }
    }

    /// Somebody who touches no disk looks whether a write has not ended for too long.
    pub fn look_at_worker(&mut self, index: usize, process: &mut Process) {
        let at = self.now + LOOKS.interval.as_micros() as Time;
        self.tell_process(index, at, AtProcess::Look);
        let Process { host, hosted } = process;
        let now = host.moment(self.now);
        let since = self.brokers[index].hangs.as_ref().map(|hangs| host.moment(hangs.since));
        if host
            .judge
            .held_up(now, self.plan.setup.lag_time_max, &[since])
            .is_empty()
        {
            return;
        }
        self.say(
            format_args!("broker {}", index + 1),
            format_args!("is held up by its disk"),
        );
        for (&partition, own) in hosted {
            let here = Here {
                broker: index,
                partition,
                host,
                own,
            };
            self.ask_for_a_lead_elsewhere(&here);
        }
    }

    fn ask_for_a_lead_elsewhere(&mut self, here: &Here<'_>) {
        let broker = &self.brokers[here.broker];
        let partition = self.controller.partition(here.partition);
        let view = view_of(&broker.image, partition, &self.plan.setup);
        let Some(view) = view.filter(|view| view.leader == Some(broker.node)) else {
            return;
        };
        if let Some(isr) = view.isr_without(broker.node) {
            self.counts.stalls += 1;
            let delay = self.chance.delay(600, 60 * MS);
            let at = self.held_up_until(here.broker, self.now + delay);
            self.send_alter(here, replacement((view.leader_epoch, view.partition_epoch), isr), at);
        }
    }

    fn send_alter(&mut self, here: &Here<'_>, asked: AlterPartition, at: Time) {
        let alter = Happening::Alter {
            place: here.place(),
            life: self.brokers[here.broker].life,
            epoch: here.host.broker_epoch,
            asked: Box::new(asked),
        };
        self.at(at, alter);
    }
}

fn replacement(
    (leader_epoch, partition_epoch): (LeaderEpoch, PartitionEpoch),
    isr: Vec<(NodeId, BrokerEpoch)>,
) -> AlterPartition {
    AlterPartition {
        attempt: UNANSWERED,
        leader_epoch,
        partition_epoch,
        isr,
        lost_data: Vec::new(),
    }
}
