//! What a broker asks of the controller. Requests take their time, some of them very long.

use klamm_replication::{AlterAttempt, AlterOutcome, AlterPartition, Effect};
use klamm_types::{BrokerEpoch, LeaderEpoch};

use super::hosted::Here;
use crate::plan::{MS, Time};
use crate::world::{AtReplica, Happening, World};

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
        let Some(view) = &here.own.view else {
            return;
        };
        let me = self.brokers[here.broker].node;
        let others = view.isr.iter().filter(|&&node| node != me);
        let asked = AlterPartition {
            attempt: UNANSWERED,
            leader_epoch,
            partition_epoch: view.partition_epoch,
            isr: others
                .map(|&node| (node, view.broker_epoch(node).unwrap_or(BrokerEpoch::NONE)))
                .collect(),
            lost_data: Vec::new(),
        };
        if !asked.isr.is_empty() {
            self.send_alter(here, asked, at);
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
