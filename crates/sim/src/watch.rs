//! Holds each step of a replica against what must be.

use klamm_replication::{Alarm, Role};
use klamm_types::{NodeId, Offset};

use crate::broker::{Process, counts_flushed};
use crate::process::{ReadProblem, read_batches};
use crate::world::World;

impl World {
    pub fn role_changed(&mut self, process: &Process, role: Role) {
        if let Role::Leader { leader_epoch } = role {
            self.counts.leader_changes += 1;
            let leads = self.checker.leads(leader_epoch, process.log.log_end_offset());
            self.hold(leads);
        }
    }

    /// No election here is unclean, and a disk that is lost is told with the registration: only damage that was found
    /// and cut a moment ago can explain one of these.
    pub fn raised(&mut self, index: usize, alarm: Alarm) {
        match alarm {
            Alarm::FollowerLostData { follower, .. } if self.has_flipped_bits(follower) => {}
            Alarm::FollowerLostData { .. }
            | Alarm::CutBelowHighWatermark { .. }
            | Alarm::FollowerAheadOfMetadata { .. } => {
                self.hold(Err(format!("broker {} raises {alarm:?}", index + 1)));
            }
            Alarm::DiskFailed => self.brokers[index].disk_failed = true,
            Alarm::Damaged { .. } => {}
        }
    }

    fn has_flipped_bits(&self, node: NodeId) -> bool {
        self.brokers
            .iter()
            .any(|broker| broker.node == node && broker.bits_flipped)
    }

    /// Compares what the high watermark has newly covered with what is committed.
    pub fn check_replica(&mut self, index: usize, process: &mut Process) {
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
        if grew && matches!(role, Role::Leader { .. }) && counts_flushed(self.plan.durability) && self.disk_losses == 0
        {
            let flushed: Vec<Offset> = self.brokers.iter().map(|broker| broker.flushed).collect();
            let copies = self.plan.min_insync_replicas;
            let durable = self.checker.is_durable(high_watermark, &flushed, copies);
            self.hold(durable);
        }
    }
}
