//! Holds each step of a replica against what must be.

use klamm_replication::{Alarm, Durability, Role};
use klamm_types::{NodeId, Offset};

use crate::broker::Process;
use crate::process::{ReadProblem, read_batches};
use crate::world::World;

impl World {
    pub fn role_changed(&mut self, process: &Process, role: Role) {
        if let Role::Leader { leader_epoch } = role {
            self.counts.leader_changes += 1;
            if self.has_lost_by_permission() {
                return;
            }
            let leads = self.checker.leads(leader_epoch, process.log.log_end_offset());
            self.hold(leads);
        }
    }

    /// Unless an election was unclean, by permission: a disk that is lost is told with the registration: only damage that was found
    /// and cut a moment ago can explain one of these.
    pub fn raised(&mut self, index: usize, alarm: Alarm) {
        let excused = self.has_lost_by_permission();
        match alarm {
            Alarm::DiskFailed => self.brokers[index].disk_failed = true,
            Alarm::Damaged { .. } => {}
            _ if excused => {}
            Alarm::FollowerLostData { follower, .. } if self.has_flipped_bits(follower) => {}
            Alarm::FollowerLostData { .. }
            | Alarm::CutBelowHighWatermark { .. }
            | Alarm::FollowerAheadOfMetadata { .. } => {
                self.hold(Err(format!("broker {} raises {alarm:?}", index + 1)));
            }
        }
    }

    fn has_flipped_bits(&self, node: NodeId) -> bool {
        self.brokers
            .iter()
            .any(|broker| broker.node == node && broker.bits_flipped)
    }

    /// Compares what the high watermark has newly covered with what is committed.
    pub fn check_replica(&mut self, index: usize, process: &mut Process) {
        let begins = self.checker.begins(process.log.log_start_offset());
        self.hold(begins);
        if self.has_lost_by_permission() {
            return;
        }
        let replica = &process.replica;
        let high_watermark = replica.high_watermark();
        let bound = Offset::from(high_watermark);
        let role = replica.role();
        let leader_epoch = replica.leader_epoch();
        if process.checked > bound {
            process.checked = bound;
        }
        process.checked = process.checked.max(process.log.log_start_offset());
        let before = self.checker.committed_end();
        while process.checked < bound && self.violation.is_none() {
            match read_batches(process, process.checked, 4_000, bound) {
                Ok(batches) if !batches.is_empty() => {
                    for batch in &batches {
                        let covered = self.checker.covered(batch, leader_epoch);
                        self.hold(covered.map_err(|problem| format!("broker {}: {problem}", index + 1)));
                        process.checked = batch.next_offset();
                    }
                }
                Ok(_) => self.hold(Err(format!("nothing to read at {} below {bound}", process.checked))),
                // Who watches from outside leaves it to the readers to find the damage.
                Err(ReadProblem::Damaged(_)) if self.brokers[index].bits_flipped => {
                    let known = self.checker.committed_end().min(bound);
                    if known <= process.checked {
                        self.hold(Err(format!("damage at {}, where no bit was flipped", process.checked)));
                    }
                    process.checked = known;
                }
                Err(problem) => self.hold(Err(format!(
                    "reading at {} below {bound}: {problem:?}",
                    process.checked
                ))),
            }
        }
        let grew = self.checker.committed_end() > before;
        if grew && matches!(role, Role::Leader { .. }) && self.disk_losses == 0 {
            let held = self.is_held(index, process);
            self.hold(held.map_err(|problem| format!("broker {}: {problem}", index + 1)));
        }
    }

    /// Whatever a leader has newly committed is held by every member of its ISR, and by enough of them.
    fn is_held(&self, index: usize, leader: &Process) -> Result<(), String> {
        let Some(view) = &leader.view else {
            return Err("a leader without metadata".to_owned());
        };
        let high_watermark = leader.replica.high_watermark();
        let durability = view.settings.durability;
        let mut copies = 0;
        for (other, broker) in self.brokers.iter().enumerate() {
            let process = match other == index {
                true => Some(leader),
                false => broker.process.as_ref(),
            };
            let reached = match (durability, process) {
                (Durability::Fsync, _) => broker.flushed,
                (Durability::Replicated, Some(process))
                    if Some(process.broker_epoch) == view.broker_epoch(broker.node) =>
                {
                    process.log.log_end_offset()
                }
                // What another run of a member's process has written may be lost with its machine.
                (Durability::Replicated, _) => continue,
            };
            let holds = reached >= high_watermark.into();
            copies += usize::from(holds);
            if !holds && view.isr.contains(&broker.node) {
                return Err(format!(
                    "the high watermark is {high_watermark}, broker {} of the ISR has only {reached} ({durability:?})",
                    other + 1
                ));
            }
        }
        let enough = view.min_insync_effective();
        if durability == Durability::Fsync && copies < enough {
            return Err(format!(
                "the high watermark is {high_watermark}, held on {copies} disks instead of {enough}"
            ));
        }
        Ok(())
    }
}
