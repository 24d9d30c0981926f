//! Bad weather: what breaks, how long, and how it is mended.

use klamm_log::disk::sim::{Effect as DiskEffect, Fault, Operation};
use klamm_schema::metadata::Cause;
use klamm_types::DirectoryId;

use crate::plan::{BROKERS, MS, Time};
use crate::world::{CONTROLLER, Happening, World};

impl World {
    /// One thing goes wrong, and the next one is on its way.
    pub fn fault(&mut self) {
        if self.healed_at.is_some() {
            return;
        }
        let wait = self.chance.between(self.plan.fault_interval / 4, self.plan.fault_interval * 2);
        self.after(wait, Happening::Fault);
        let victim = self.victim();
        match self.chance.below(100) {
            0..18 => self.crash_for_a_while(victim, false),
            18..32 => self.power_cut(victim),
            32..35 => self.blackout(),
            35..49 => {
                let duration = self.chance.between(5 * MS, 900 * MS);
                self.pause(victim, duration);
            }
            49..62 => self.cut_off(victim),
            62..75 => self.reset(),
            75..79 => self.silence_controller(),
            79..84 => self.fence_wrongly(victim),
            84..89 => self.elect(),
            89..95 => {
                let until = self.now + self.chance.between(20 * MS, 800 * MS);
                self.slow_until[victim] = until;
                self.say(format_args!("broker {}", victim + 1), format_args!("has a slow disk until {}", until / MS));
            }
            _ => self.break_disk(victim),
        }
        self.mend_disks();
    }

    /// The leader more often than chance would have it.
    fn victim(&mut self) -> usize {
        let state = self.controller.image().partition(self.controller.topic(), crate::controller::PARTITION);
        let leader = state.and_then(|state| state.leader).and_then(|leader| self.broker_index(leader));
        match leader {
            Some(leader) if self.chance.per_mille(450) => leader,
            _ => self.chance.below(BROKERS as u64) as usize,
        }
    }

    fn crash_for_a_while(&mut self, victim: usize, power: bool) {
        self.crash(victim, power);
        let down = self.chance.delay(30 * MS, 500 * MS);
        self.start_after(victim, down);
    }

    fn start_after(&mut self, broker: usize, down: Time) {
        let life = self.brokers[broker].life;
        self.after(down, Happening::Start { broker, life });
    }

    fn power_cut(&mut self, victim: usize) {
        let allowed = self.power_cuts < self.plan.power_cuts_max;
        self.power_cuts += u32::from(allowed);
        self.crash_for_a_while(victim, allowed);
    }

    /// All machines at once.
    fn blackout(&mut self) {
        let power = self.plan.power_cuts_max == u32::MAX;
        for broker in 0..BROKERS {
            self.crash_for_a_while(broker, power);
        }
    }

    /// One broker loses one link, or all of them.
    fn cut_off(&mut self, victim: usize) {
        let others: Vec<usize> = (0..=CONTROLLER).filter(|&other| other != victim).collect();
        let chosen = match self.chance.below(3) {
            0 => others,
            1 => vec![CONTROLLER],
            _ => vec![others[self.chance.below(others.len() as u64) as usize]],
        };
        let duration = self.chance.between(5 * MS, 700 * MS);
        self.say(
            format_args!("network"),
            format_args!("{victim} does not hear {chosen:?} for {} ms", duration / MS),
        );
        for other in chosen {
            let link = (victim.min(other), victim.max(other));
            self.cut_links.insert(link);
            self.after(duration, Happening::LinkBack { one: link.0, other: link.1 });
            if other != CONTROLLER {
                self.break_connections(victim, Some(other));
            }
        }
    }

    fn reset(&mut self) {
        let open = self.network.unbroken();
        if !open.is_empty() {
            let chosen = open[self.chance.below(open.len() as u64) as usize];
            self.say(format_args!("network"), format_args!("resets {chosen:?}"));
            self.break_connection(chosen);
        }
    }

    fn silence_controller(&mut self) {
        if !self.controller_silent {
            self.controller_silent = true;
            self.say(format_args!("controller"), format_args!("is silent"));
            let duration = self.chance.between(10 * MS, 200 * MS);
            self.after(duration, Happening::ControllerBack);
        }
    }

    /// The probe errs: a broker that lives is fenced.
    fn fence_wrongly(&mut self, victim: usize) {
        self.held_until[victim] = self.now + self.chance.between(0, 60 * MS);
        self.fence(victim, Cause::NoAnswer);
    }

    fn elect(&mut self) {
        if !self.controller_silent {
            let elected = self.controller.elect_preferred();
            self.hold(elected);
        }
    }

    /// The disk answers with an error from some operation on: the replica must stop, and the disk is replaced later.
    fn break_disk(&mut self, victim: usize) {
        let running = self.brokers[victim].process.is_some();
        if self.disk_losses >= self.plan.disk_losses_max || !running {
            return;
        }
        self.disk_losses += 1;
        let operation = if self.chance.per_mille(500) { Operation::SyncData } else { Operation::Write };
        self.say(format_args!("broker {}", victim + 1), format_args!("its disk breaks: {operation:?}"));
        self.brokers[victim].disk.inject(Fault {
            operation: Some(operation),
            path_contains: String::new(),
            skip: self.chance.below(10),
            times: u64::MAX,
            effect: DiskEffect::Io,
        });
        self.brokers[victim].disk_failed = true;
    }

    /// A broken disk is replaced by an empty one, with the process down.
    pub fn mend_disks(&mut self) {
        for broker in 0..BROKERS {
            let stopped = self.brokers[broker].disk_failed;
            if stopped && (self.healed_at.is_some() || self.chance.per_mille(150)) {
                self.crash(broker, false);
                let random = (u128::from(self.chance.number()) << 64) | u128::from(self.chance.number());
                self.brokers[broker].replace_disk(DirectoryId::from_u128(random | 1));
                self.say(format_args!("broker {}", broker + 1), format_args!("gets an empty disk"));
                self.start_after(broker, 20 * MS);
            }
        }
    }
}
