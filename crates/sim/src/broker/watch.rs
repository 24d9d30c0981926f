//! Holds each step of a replica against what must be.

use klamm_invariants::{Broken, Held, core_orderings, isr_superset, no_false_alarm};
use klamm_replication::{Alarm, Durability, Role};
use klamm_types::{NodeId, Offset};

use super::DiskState;
use super::disks::{ReadProblem, read_batches};
use super::hosted::Here;
use crate::world::World;

impl World {
    pub fn role_changed(&mut self, here: &Here<'_>, role: Role) {
        if let Role::Leader { leader_epoch } = role {
            self.counts.leader_changes += 1;
            let broker = &self.brokers[here.broker];
            let leads = self.ledgers[here.partition]
                .leaders
                .leads(leader_epoch, broker.node, broker.life);
            self.hold(leads);
            if self.has_lost_by_permission(here.partition) {
                return;
            }
            let complete = self.ledgers[here.partition].leads(leader_epoch, here.own.log.log_end_offset());
            self.hold(complete.map_err(|broken| broken.at(here.place())));
        }
    }

    /// A disk that is lost is told with the registration. Only an unclean election, or damage that was found and cut a
    /// moment ago, can explain one of these.
    pub fn raised(&mut self, here: &Here<'_>, alarm: Alarm) {
        let excused = self.has_lost_by_permission(here.partition);
        match alarm {
            Alarm::DiskFailed if self.brokers[here.broker].disk_state == DiskState::FailsOnce => {}
            Alarm::DiskFailed => self.brokers[here.broker].disk_state = DiskState::Broken,
            Alarm::Damaged { .. } => {}
            _ if excused => {}
            Alarm::FollowerLostData { follower, .. } if self.has_flipped_bits(follower, here.partition) => {}
            Alarm::FollowerLostData { .. }
            | Alarm::CutBelowHighWatermark { .. }
            | Alarm::FollowerAheadOfMetadata { .. } => {
                self.hold(Err(no_false_alarm(format!("{} raises {alarm:?}", here.place()))));
            }
        }
    }

    fn has_flipped_bits(&self, node: NodeId, partition: usize) -> bool {
        let broker = self.brokers.iter().find(|broker| broker.node == node);
        let files = broker.and_then(|broker| broker.files.get(&partition));
        files.is_some_and(|files| files.bits_flipped)
    }

    /// Compares what the high watermark has newly covered with what is committed.
    pub fn check_replica(&mut self, here: &mut Here<'_>) {
        let begins = self.ledgers[here.partition]
            .front
            .begins(here.own.log.log_start_offset());
        self.hold(begins);
        let replica = &here.own.replica;
        let high_watermark = replica.high_watermark();
        if let Role::Leader { leader_epoch } = replica.role() {
            let leads = self.ledgers[here.partition].marks.leads(leader_epoch, high_watermark);
            self.hold(leads.map_err(|broken| broken.at(here.place())));
        }
        if self.has_lost_by_permission(here.partition) {
            return;
        }
        let bound = Offset::from(high_watermark);
        let role = replica.role();
        let leader_epoch = replica.leader_epoch();
        if here.own.checked > bound {
            here.own.checked = bound;
        }
        here.own.checked = here.own.checked.max(here.own.log.log_start_offset());
        let before = self.ledgers[here.partition].committed_end();
        while here.own.checked < bound && self.violation.is_none() {
            match read_batches(&here.own.log, here.own.checked, 4_000, bound) {
                Ok(batches) if !batches.is_empty() => {
                    for batch in &batches {
                        let covered = self.ledgers[here.partition].covered(batch, leader_epoch);
                        self.hold(covered.map_err(|broken| broken.at(here.place())));
                        here.own.checked = batch.next_offset();
                    }
                }
                Ok(_) => {
                    let what = format!("nothing to read at {} below {bound}", here.own.checked);
                    self.hold(Err(core_orderings(what)));
                }
                // Who watches from outside leaves it to the readers to find the damage.
                Err(ReadProblem::Damaged(_)) if self.files(here.place()).bits_flipped => {
                    let known = self.ledgers[here.partition].committed_end().min(bound);
                    if known <= here.own.checked {
                        let what = format!("damage at {}, where no bit was flipped", here.own.checked);
                        self.hold(Err(no_false_alarm(what)));
                    }
                    here.own.checked = known;
                }
                Err(problem) => {
                    let what = format!("reading at {} below {bound}: {problem:?}", here.own.checked);
                    self.hold(Err(core_orderings(what)));
                }
            }
        }
        let grew = self.ledgers[here.partition].committed_end() > before;
        if grew && matches!(role, Role::Leader { .. }) && self.disk_losses == 0 {
            let held = self.is_held(here);
            self.hold(held.map_err(|broken| broken.at(here.place())));
        }
    }

    /// Whatever a leader has newly committed is held by every member of its ISR, and by enough of them.
    fn is_held(&self, here: &Here<'_>) -> Result<(), Broken> {
        let Some(view) = &here.own.view else {
            return Err(core_orderings("a leader without metadata"));
        };
        let durability = view.settings.durability;
        let held = |node: &NodeId| {
            let index = self.broker_index(*node)?;
            let broker = &self.brokers[index];
            let process = broker.process.as_ref();
            let written = match index == here.broker {
                true => Some((here.host.broker_epoch, here.own.log.log_end_offset())),
                false => process.and_then(|process| {
                    let own = process.hosted.get(&here.partition)?;
                    Some((process.host.broker_epoch, own.log.log_end_offset()))
                }),
            };
            let up_to = match (durability, written) {
                (Durability::Fsync, _) => broker.files.get(&here.partition).map(|files| files.flushed),
                (Durability::Replicated, Some((epoch, end))) if Some(epoch) == view.broker_epoch(*node) => Some(end),
                // What another run of a member's process has written may be lost with its machine.
                (Durability::Replicated, _) => None,
            };
            Some(Held {
                node: *node,
                is_in_sync: view.isr.contains(node),
                up_to,
            })
        };
        let replicas: Vec<Held> = view.replicas.iter().filter_map(held).collect();
        isr_superset(
            here.own.replica.high_watermark(),
            &replicas,
            view.min_insync_effective(),
        )
    }
}
