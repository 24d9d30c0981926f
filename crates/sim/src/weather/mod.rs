//! Bad weather: what a fault of the plan does, and how it is mended. A fault that nobody could survive proves nothing, so
//! it is softened where it happens; see `settings`.

mod ambush;
mod disks;
mod links;
mod settings;

pub use ambush::Ambush;
pub use settings::Change;

use klamm_types::{BrokerEpoch, NodeId};

use crate::broker::End;
use crate::chance::Chance;
use crate::metadata::elect_preferred;
use crate::plan::{Fault, MS, Time, What, Whom};
use crate::world::{Happening, World};

impl World {
    pub fn begin_fault(&mut self, fault: Fault) {
        let victim = self.victim(&fault);
        let lasts = fault.lasts;
        let chance = &mut fault.chance();
        if self.trace.is_on() {
            self.say(format_args!("fault"), format_args!("{fault}"));
        }
        match fault.what {
            What::Kill => self.crash_for_a_while(victim, End::Killed, lasts),
            What::PowerCut => self.power_cut(victim, lasts),
            What::Blackout => self.blackout(lasts, chance),
            What::Pause => self.pause(victim, lasts),
            What::Isolate | What::LoseController | What::LosePeer => self.cut_off(victim, &fault, chance),
            What::OneWay => self.cut_one_way(victim, lasts, chance),
            What::Ring => self.stand_in_a_ring(lasts, chance),
            What::Storm => self.storm(lasts),
            What::Reset => self.reset(chance),
            What::SilenceController => self.silence_controller(lasts),
            What::MoveController => self.elect_another(lasts),
            What::LoseProposal => self.controller.loses_next = true,
            What::FenceWrongly => {
                // The probe errs: a broker that lives is fenced.
                self.held_until[victim] = self.now + lasts;
                self.suspect(victim);
            }
            What::ElectPreferred => {
                self.ask_as_person(elect_preferred());
            }
            What::DeleteRecords => self.delete_records(&fault, chance),
            What::StopInOrder => self.stop_in_order(victim, lasts),
            What::ChangeSetting => self.change_setting(chance),
            What::Ambush => self.lay_ambush(&fault, chance),
            What::SlowDisk => {
                self.counts.disk_faults += 1;
                self.slow_until[victim] = self.now + lasts;
            }
            What::HangDisk => self.hang(victim, lasts),
            What::FullDisk => self.fill_disk(victim, lasts, chance),
            What::BreakDisk => self.break_disk(victim, lasts, chance),
            What::FailSync => self.fail_sync(victim, lasts, chance),
            What::FlipBit => self.flip_bit(victim, chance),
            What::LoseCaches => self.lose_caches(victim, lasts, chance),
            What::KillMember | What::PauseMember | What::MemberLeaves => self.trouble_member(&fault),
            What::ClockJump => {
                let hour = 3_600_000;
                self.brokers[victim].wall_offset += chance.between(0, 2 * hour) as i64 - hour as i64;
            }
        }
    }

    fn victim(&self, fault: &Fault) -> usize {
        let drawn = fault.salt as usize % self.brokers.len();
        match fault.whom {
            Whom::All => drawn,
            Whom::Broker(broker) => broker % self.brokers.len(),
            Whom::LeaderOf(partition) => self.leader_index(partition).unwrap_or(drawn),
        }
    }

    /// The partition that a fault is about.
    fn partition_of(&self, fault: &Fault) -> usize {
        match fault.whom {
            Whom::LeaderOf(partition) => partition % self.ledgers.len(),
            Whom::All | Whom::Broker(_) => fault.salt as usize % self.ledgers.len(),
        }
    }

    pub fn crash_for_a_while(&mut self, victim: usize, end: End, down: Time) {
        self.end_process(victim, end);
        self.start_after(victim, down);
    }

    pub fn start_after(&mut self, broker: usize, down: Time) {
        let life = self.brokers[broker].life;
        self.after(down, Happening::Start { broker, life });
    }

    pub fn power_cut(&mut self, victim: usize, down: Time) {
        let judged = self.plan.setup.judges_power_cuts();
        let leans_on_others = judged && self.holds_unflushed(victim);
        // Who leans on others must be fenced soon: the controller has to hear of it.
        let allowed = !leans_on_others || self.is_safe(victim) && self.survives_power_cut(&[victim]);
        self.count_power_cut(allowed);
        let end = if allowed { End::PowerCut } else { End::Killed };
        self.crash_for_a_while(victim, end, down);
        if allowed && leans_on_others {
            // Otherwise the others may leave the ISR first, and with a minimum of one the dead one is all that is left.
            self.suspect(victim);
            self.quiet_until = self.quiet_until.max(self.now + 50 * MS);
            let node = self.brokers[victim].node;
            if let Some(registered) = self.controller.image().broker(node) {
                self.unmissed.push((node, registered.epoch));
            }
        }
    }

    /// Whether the controller knows of every broker that leaned on others when it lost power. One that is back soon
    /// answers its probe, and is known only when it registers.
    pub fn all_are_missed(&mut self) -> bool {
        let image = self.controller.image();
        let is_unmissed = |&(node, epoch): &(NodeId, BrokerEpoch)| {
            let registered = image.broker(node);
            image.is_alive(node) && registered.is_some_and(|registered| registered.epoch == epoch)
        };
        self.unmissed.retain(is_unmissed);
        self.unmissed.is_empty()
    }

    fn count_power_cut(&mut self, allowed: bool) {
        self.counts.power_cuts += 1;
        self.counts.softened_power_cuts += u64::from(!allowed);
    }

    /// All machines at once. They come back one by one.
    fn blackout(&mut self, lasts: Time, chance: &mut Chance) {
        let all: Vec<usize> = (0..self.brokers.len()).collect();
        let allowed = !self.plan.setup.judges_power_cuts() || self.survives_power_cut(&all);
        self.count_power_cut(allowed);
        let end = if allowed { End::PowerCut } else { End::Killed };
        for broker in all {
            let down = chance.between(lasts / 2, lasts * 2).max(MS);
            self.crash_for_a_while(broker, end, down);
        }
    }

    /// Somebody deletes committed records at the leader.
    fn delete_records(&mut self, fault: &Fault, chance: &mut Chance) {
        // What coordinators write is never deleted.
        let partition = self.partition_of(fault) % self.plan.setup.partitions;
        let Some(index) = self.acting_leader(partition) else {
            return;
        };
        if let Some(mut process) = self.brokers[index].process.take() {
            let place = crate::broker::Place {
                broker: index,
                partition,
            };
            if let Some(mut here) = process.here(place) {
                self.delete_at(&mut here, chance);
            }
            self.brokers[index].process = Some(process);
        }
    }
}
