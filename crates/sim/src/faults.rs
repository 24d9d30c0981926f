//! Bad weather: what breaks, how long, and how it is mended.

use std::path::Path;

use klamm_log::Disk;
use klamm_log::disk::read_small;
use klamm_log::disk::sim::{Effect as DiskEffect, Fault, Operation};
use klamm_record::{Batch, BatchHeader};
use klamm_replication::{Event, Role};
use klamm_schema::metadata::Cause;
use klamm_types::{DirectoryId, LogStartOffset, Offset};

use crate::broker::{Broker, LOG_DIR};
use crate::plan::{BROKERS, MS, Time};
use crate::process::{End, read_batches};
use crate::world::{CONTROLLER, Happening, World};

impl World {
    /// One thing goes wrong, and the next one is on its way.
    pub fn fault(&mut self) {
        if self.healed_at.is_some() {
            return;
        }
        let wait = self
            .chance
            .between(self.plan.fault_interval / 4, self.plan.fault_interval * 2);
        self.after(wait, Happening::Fault);
        if self.now < self.quiet_until {
            return;
        }
        let victim = self.victim();
        match self.chance.below(100) {
            0..15 => self.crash_for_a_while(victim, End::Killed),
            15..28 => self.power_cut(victim),
            28..31 => self.blackout(),
            31..42 => {
                let duration = self.chance.between(5 * MS, 900 * MS);
                self.pause(victim, duration);
            }
            42..53 => self.cut_off(victim),
            53..63 => self.reset(),
            63..67 => self.silence_controller(),
            67..72 => self.fence_wrongly(victim),
            72..76 => self.elect(),
            76..79 => self.delete_records(),
            79..83 => self.stop_in_order(victim),
            83..88 => self.change_setting(),
            88..94 => self.lay_ambush(),
            94..96 => {
                let until = self.now + self.chance.between(20 * MS, 800 * MS);
                self.slow_until[victim] = until;
                self.say(
                    format_args!("broker {}", victim + 1),
                    format_args!("has a slow disk until {}", until / MS),
                );
            }
            96..98 => self.break_disk(victim),
            _ => self.flip_bit(victim),
        }
        self.mend_disks();
    }

    /// The leader more often than chance would have it.
    fn victim(&mut self) -> usize {
        match self.leader_index() {
            Some(leader) if self.chance.per_mille(450) => leader,
            _ => self.chance.below(BROKERS as u64) as usize,
        }
    }

    pub fn crash_for_a_while(&mut self, victim: usize, end: End) {
        self.end_process(victim, end);
        let down = self.chance.delay(30 * MS, 500 * MS);
        self.start_after(victim, down);
    }

    pub fn start_after(&mut self, broker: usize, down: Time) {
        let life = self.brokers[broker].life;
        self.after(down, Happening::Start { broker, life });
    }

    pub fn power_cut(&mut self, victim: usize) {
        let judged = self.plan.judges_power_cuts();
        let allowed = !judged || self.survives_power_cut(&[victim]);
        let leans_on_others = judged && self.holds_unflushed(victim);
        self.crash_for_a_while(victim, if allowed { End::PowerCut } else { End::Killed });
        if allowed && leans_on_others {
            // Otherwise the others may leave the ISR first, and with a minimum of one the dead one is all that is left.
            self.fence(victim, Cause::ProcessEnded);
        }
    }

    /// All machines at once.
    fn blackout(&mut self) {
        let all: Vec<usize> = (0..BROKERS).collect();
        let allowed = !self.plan.judges_power_cuts() || self.survives_power_cut(&all);
        for broker in all {
            self.crash_for_a_while(broker, if allowed { End::PowerCut } else { End::Killed });
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
            self.hold_link(victim, other, duration);
        }
    }

    /// Two do not hear each other for a while.
    pub fn hold_link(&mut self, one: usize, other: usize, duration: Time) {
        let link = (one.min(other), one.max(other));
        self.cut_links.insert(link);
        self.after(
            duration,
            Happening::LinkBack {
                one: link.0,
                other: link.1,
            },
        );
        if link.1 != CONTROLLER {
            self.break_connections(one, Some(other));
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
    pub fn break_disk(&mut self, victim: usize) {
        let running = self.brokers[victim].process.is_some();
        if self.disk_losses >= self.plan.disk_losses_max || !running {
            return;
        }
        self.disk_losses += 1;
        let operation = if self.chance.per_mille(500) {
            Operation::SyncData
        } else {
            Operation::Write
        };
        self.say(
            format_args!("broker {}", victim + 1),
            format_args!("its disk breaks: {operation:?}"),
        );
        self.brokers[victim].disk.inject(Fault {
            operation: Some(operation),
            path_contains: String::new(),
            skip: self.chance.below(10),
            times: u64::MAX,
            effect: DiskEffect::Io,
        });
        self.brokers[victim].disk_failed = true;
    }

    /// A bit turns over in a follower's log, below its recovery point. One copy is lost with it, as with a disk.
    ///
    /// Above the recovery point damage and a torn write look alike, and offsets and epochs of batches lie outside their
    /// checksums: neither can be told by anybody, so neither is simulated.
    fn flip_bit(&mut self, victim: usize) {
        let gone = self.disk_losses >= self.plan.disk_losses_max || self.has_lost_by_permission();
        let broker = &mut self.brokers[victim];
        let Some(process) = &broker.process else {
            return;
        };
        let end = process.log.log_end_offset();
        let whole = process.log.failure().is_none() && process.log.flushed_offset() == end;
        let follows = matches!(process.replica.role(), Role::Follower { .. });
        if gone || !whole || !follows || broker.paused {
            return;
        }
        let disk = broker.disk.clone();
        let Ok(entries) = disk.list(Path::new(LOG_DIR)) else {
            return;
        };
        let names = entries.into_iter().map(|entry| entry.name);
        let logs: Vec<String> = names.filter(|name| name.ends_with(".log")).collect();
        if logs.is_empty() {
            return;
        }
        let path = Path::new(LOG_DIR).join(&logs[self.chance.below(logs.len() as u64) as usize]);
        let Ok(Some(bytes)) = read_small(&disk, &path) else {
            return;
        };
        let wanted = self.chance.below(bytes.len() as u64) as usize;
        let Some(position) = checked_position(&bytes, wanted, self.checker.committed_end()) else {
            return;
        };
        let bit = self.chance.below(8) as u8;
        if disk.flip_bit(&path, position as u64, bit) {
            broker.recovery_point = Some(end);
            broker.bits_flipped = true;
            self.disk_losses += 1;
            self.say(
                format_args!("broker {}", victim + 1),
                format_args!("a bit flips in {} at byte {position}", path.display()),
            );
        }
    }

    /// Somebody deletes committed records at the leader.
    fn delete_records(&mut self) {
        let leads = |broker: &Broker| {
            let role = broker.process.as_ref().map(|process| process.replica.role());
            !broker.paused && matches!(role, Some(Role::Leader { .. }))
        };
        let Some(index) = self.brokers.iter().position(leads) else {
            return;
        };
        let Some(mut process) = self.brokers[index].process.take() else {
            return;
        };
        // Retention takes old records, never those that a producer may still repeat.
        let waiting = self.producers.iter().filter_map(|producer| producer.oldest_waiting());
        let repeated = waiting
            .filter_map(|(producer, sequence)| self.checker.place_of(producer, sequence))
            .min();
        let high_watermark = Offset::from(process.replica.high_watermark());
        let end = repeated.map_or(high_watermark, |place| place.min(high_watermark)).0;
        let start = process.log.log_start_offset().0;
        let to = Offset(self.chance.between(start as u64, end.max(start) as u64) as i64);
        // A log begins with a whole batch.
        let log_end = process.log.log_end_offset();
        let holding = if to < log_end {
            read_batches(&process, to, 1, log_end).unwrap_or_default()
        } else {
            Vec::new()
        };
        let to = holding
            .first()
            .map_or(Offset(start), Batch::base_offset)
            .max(Offset(start));
        if process.log.advance_log_start(to).is_ok() {
            self.counts.deletions += u64::from(to > Offset(start));
            self.checker.may_delete(to);
            self.brokers[index].log_start = to;
            let wall = process.now(self.now).wall;
            if let Ok(Some(retired)) = process.log.delete_old_segments(wall, high_watermark.into())
                && self.chance.per_mille(500)
            {
                // Files that could not be removed are removed at the next start.
                let _ = retired.remove.run();
            }
            self.say(
                format_args!("broker {}", index + 1),
                format_args!("records below {to} are deleted"),
            );
            let log_start = LogStartOffset(to.0);
            self.feed(index, &mut process, Event::LogStartAdvanced { log_start });
        }
        self.brokers[index].process = Some(process);
    }

    /// A broken disk is replaced by an empty one, with the process down.
    pub fn mend_disks(&mut self) {
        for broker in 0..BROKERS {
            let stopped = self.brokers[broker].disk_failed;
            if stopped && (self.healed_at.is_some() || self.chance.per_mille(150)) {
                self.end_process(broker, End::Killed);
                let random = (u128::from(self.chance.number()) << 64) | u128::from(self.chance.number());
                self.brokers[broker].replace_disk(DirectoryId::from_u128(random | 1));
                self.say(
                    format_args!("broker {}", broker + 1),
                    format_args!("gets an empty disk"),
                );
                self.start_after(broker, 20 * MS);
            }
        }
    }
}

/// The position at or behind `wanted` that a checksum covers, in a batch below `bound`: what is not committed yet nobody
/// has seen intact, and nobody could say what it was.
fn checked_position(bytes: &[u8], wanted: usize, bound: Offset) -> Option<usize> {
    let mut start = 0;
    while let Some(header) = bytes.get(start..).and_then(|rest| BatchHeader::parse(rest).ok()) {
        if wanted < start + header.size() {
            return (header.next_offset() <= bound).then_some(wanted.max(start + 17));
        }
        start += header.size();
    }
    None
}
