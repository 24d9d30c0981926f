//! What a broker asks of the controller. Requests take their time, some of them very long.

use klamm_replication::{AlterAttempt, AlterOutcome, AlterPartition, Effect};
use klamm_types::{BrokerEpoch, LeaderEpoch};

use crate::broker::Process;
use crate::plan::{MS, Time};
use crate::world::{AtProcess, Happening, World};

/// The attempt of a request whose answer nobody waits for.
pub const UNANSWERED: AlterAttempt = AlterAttempt(u64::MAX);

impl World {
    pub fn ask_controller(&mut self, index: usize, process: &mut Process, effect: Effect) {
        let delay = self.chance.delay(600, 60 * MS);
        let at = self.held_up_until(index, self.now + delay);
        match effect {
            Effect::AlterPartition(asked) => self.ask_for_isr(index, process, asked, at),
            Effect::AskToBeReplaced { leader_epoch, .. } => self.ask_to_be_replaced(index, process, leader_epoch, at),
            Effect::ReportDamage { .. } | Effect::ReportDiskFailure => {
                let damage = Happening::Damage {
                    broker: index,
                    life: self.brokers[index].life,
                    epoch: process.broker_epoch,
                };
                self.at(at, damage);
            }
            _ => {}
        }
    }

    fn ask_for_isr(&mut self, index: usize, process: &mut Process, asked: AlterPartition, at: Time) {
        process.alter = Some(asked.attempt);
        let unknown = AtProcess::AlterAnswer {
            attempt: asked.attempt,
            outcome: AlterOutcome::Unknown,
        };
        let patience = self.now + self.chance.between(20 * MS, 60 * MS);
        self.tell_process(index, patience, unknown);
        // Some come long after the leader has given up waiting, and are decided all the same.
        let late = self.chance.per_mille(150);
        let at = if late {
            at.max(self.now + self.chance.between(MS, 300 * MS))
        } else {
            at
        };
        self.send_alter(index, process, asked, at);
    }

    /// The leader proposes an ISR without itself.
    fn ask_to_be_replaced(&mut self, index: usize, process: &Process, leader_epoch: LeaderEpoch, at: Time) {
        let Some(view) = &process.view else {
            return;
        };
        let me = self.brokers[index].node;
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
            self.send_alter(index, process, asked, at);
        }
    }

    fn send_alter(&mut self, index: usize, process: &Process, asked: AlterPartition, at: Time) {
        let alter = Happening::Alter {
            broker: index,
            life: self.brokers[index].life,
            epoch: process.broker_epoch,
            asked,
        };
        self.at(at, alter);
    }
}
