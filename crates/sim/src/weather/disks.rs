//! Disks that break, and records that are deleted.

use klamm_log::Disk;
use klamm_log::disk::read_small;
use klamm_log::disk::sim::{Effect, Fault, Operation};
use klamm_record::{Batch, BatchHeader};
use klamm_replication::{Event, Role};
use klamm_types::{DirectoryId, LogStartOffset, Offset};

use crate::broker::{DiskState, End, Here, log_dir, read_batches};
use crate::chance::Chance;
use crate::plan::{MS, Time};
use crate::world::{Happening, World};

/// Files that a log makes anew.
const CACHES: [&str; 4] = [".index", ".timeindex", ".snapshot", "leader-epoch-checkpoint"];

impl World {
    /// The disk answers with an error from some operation on: the replicas must stop, and the disk is replaced later.
    pub(super) fn break_disk(&mut self, victim: usize, lasts: Time, chance: &mut Chance) {
        let running = self.brokers[victim].process.is_some();
        if self.disk_losses >= self.plan.setup.disk_losses_max || !running {
            return;
        }
        self.disk_losses += 1;
        self.counts.disk_faults += 1;
        let (operation, effect) = match chance.below(3) {
            0 => (Operation::SyncData, Effect::Io),
            1 => (Operation::Write, Effect::Io),
            _ => {
                let keep = chance.below(300) as usize;
                (Operation::Write, Effect::Torn { keep })
            }
        };
        // Once, and from then on everything succeeds as if nothing had been; or for good.
        let times = if chance.per_mille(400) { 1 } else { u64::MAX };
        self.brokers[victim].disk.inject(Fault {
            operation: Some(operation),
            path_contains: String::new(),
            skip: chance.below(10),
            times,
            effect,
        });
        self.brokers[victim].disk_state = DiskState::Broken;
        self.after(lasts, Happening::DiskReplaced { broker: victim });
    }

    /// A broken disk is replaced by an empty one, with the process down.
    pub fn replace_disk(&mut self, broker: usize) {
        if self.brokers[broker].disk_state == DiskState::Broken {
            self.end_process(broker, End::Killed);
            let random = self.random();
            self.brokers[broker].replace_disk(DirectoryId::from_u128(random | 1));
            self.say(
                format_args!("broker {}", broker + 1),
                format_args!("gets an empty disk"),
            );
            self.start_after(broker, 20 * MS);
        }
    }

    /// A flush fails, once. The process is started again on the same disk, flushes what it finds there, and is believed;
    /// then its machine dies. What the failed flush did not write must have been written by then.
    ///
    /// The controller takes a failed disk for a lost one, and so does the account of copies.
    pub(super) fn fail_sync(&mut self, victim: usize, lasts: Time, chance: &mut Chance) {
        let has_none_to_spare = self.disk_losses >= self.plan.setup.disk_losses_max;
        let broker = &mut self.brokers[victim];
        if has_none_to_spare || broker.process.is_none() || broker.disk_state != DiskState::Whole {
            return;
        }
        self.disk_losses += 1;
        self.counts.disk_faults += 1;
        broker.disk_state = DiskState::FailsOnce;
        broker.disk.inject(Fault {
            skip: chance.below(2),
            ..Fault::next(Operation::SyncData, ".log", Effect::Io)
        });
        self.after(lasts, Happening::DiskUsedAgain { broker: victim });
        let dies = lasts + chance.between(50 * MS, 250 * MS);
        self.after(dies, Happening::MachineDies { broker: victim });
    }

    /// A disk that has failed a flush is used again, by another run of the process.
    pub fn use_disk_again(&mut self, broker: usize) {
        let known = &mut self.brokers[broker];
        if known.disk_state == DiskState::FailsOnce {
            known.disk_state = DiskState::Whole;
            known.disk.take_faults();
            if known.process.is_some() {
                self.crash_for_a_while(broker, End::Killed, 20 * MS);
            }
        }
    }

    pub fn machine_dies(&mut self, broker: usize) {
        let node = self.brokers[broker].node;
        let counts = |&partition: &usize| {
            self.controller
                .state(partition)
                .is_some_and(|state| state.isr.contains(&node))
        };
        let hosted = self.brokers[broker].process.is_some();
        if hosted && self.brokers[broker].files.keys().all(counts) {
            // It holds everything again: the disk is not lost after all.
            self.disk_losses -= 1;
        }
        if self.healed_at.is_none() && self.brokers[broker].process.is_some() {
            let down = self.chance.delay(30 * MS, 500 * MS);
            self.power_cut(broker, down);
        }
    }

    /// Nothing is taken from producers and leaders any more; or the next write finds no room, and then nothing is taken.
    pub(super) fn fill_disk(&mut self, victim: usize, lasts: Time, chance: &mut Chance) {
        self.counts.disk_faults += 1;
        self.brokers[victim].full_until = self.now + lasts;
        if chance.per_mille(700) {
            self.brokers[victim].disk.inject(Fault {
                operation: Some(Operation::Write),
                path_contains: ".log".to_owned(),
                skip: chance.below(3),
                times: 1,
                effect: Effect::Full {
                    keep: chance.below(300) as usize,
                },
            });
        } else {
            self.run_out_of_room(victim);
        }
    }

    /// From now on nothing is appended, until there is room again.
    pub fn run_out_of_room(&mut self, broker: usize) {
        self.brokers[broker].is_full = true;
        if self.brokers[broker].disk_state == DiskState::Whole {
            // What was kept back is enough for what is under way.
            self.brokers[broker].disk.take_faults();
        }
        let until = self.brokers[broker].full_until.max(self.now + MS);
        self.say(
            format_args!("broker {}", broker + 1),
            format_args!("has no room until {}", until / MS),
        );
        self.after(until - self.now, Happening::RoomAgain { broker });
    }

    /// A process dies, and its next run finds neither indexes nor snapshots, or some of them only.
    pub(super) fn lose_caches(&mut self, victim: usize, down: Time, chance: &mut Chance) {
        if self.brokers[victim].disk_state != DiskState::Whole {
            return;
        }
        self.counts.disk_faults += 1;
        self.crash_for_a_while(victim, End::Killed, down);
        let disk = self.brokers[victim].disk.clone();
        let partitions: Vec<usize> = self.brokers[victim].files.keys().copied().collect();
        for directory in partitions.into_iter().map(log_dir) {
            for entry in disk.list(&directory).unwrap_or_default() {
                let is_cache = CACHES.iter().any(|cache| entry.name.ends_with(cache));
                if is_cache && chance.per_mille(600) {
                    // A fault that was told to the disk before may strike here; then the file stays.
                    let _ = disk.remove_file(&directory.join(&entry.name));
                }
            }
        }
    }

    /// A bit turns over in a follower's log, below its recovery point. One copy is lost with it, as with a disk.
    ///
    /// Above the recovery point damage and a torn write look alike, and offsets and epochs of batches lie outside their
    /// checksums: neither can be told by anybody, so neither is simulated.
    pub(super) fn flip_bit(&mut self, victim: usize, chance: &mut Chance) {
        let lost = (0..self.ledgers.len()).any(|partition| self.has_lost_by_permission(partition));
        if self.disk_losses >= self.plan.setup.disk_losses_max || lost || !self.brokers[victim].acts() {
            return;
        }
        let broker = &self.brokers[victim];
        let Some(process) = &broker.process else {
            return;
        };
        let hosted: Vec<usize> = process.hosted.keys().copied().collect();
        if hosted.is_empty() {
            return;
        }
        let partition = hosted[chance.below(hosted.len() as u64) as usize];
        let own = &process.hosted[&partition];
        let end = own.log.log_end_offset();
        let whole = own.log.failure().is_none() && own.log.flushed_offset() == end;
        if !whole || !matches!(own.replica.role(), Role::Follower { .. }) {
            return;
        }
        let disk = broker.disk.clone();
        let directory = log_dir(partition);
        let entries = disk.list(&directory).unwrap_or_default();
        let names = entries.into_iter().map(|entry| entry.name);
        let logs: Vec<String> = names.filter(|name| name.ends_with(".log")).collect();
        if logs.is_empty() {
            return;
        }
        let path = directory.join(&logs[chance.below(logs.len() as u64) as usize]);
        let Ok(Some(bytes)) = read_small(&disk, &path) else {
            return;
        };
        let wanted = chance.below(bytes.len() as u64) as usize;
        let Some(position) = checked_position(&bytes, wanted, self.ledgers[partition].committed_end()) else {
            return;
        };
        let done = match chance.per_mille(700) {
            true => disk.flip_bit(&path, position as u64, chance.below(8) as u8),
            false => disk.zero(&path, position as u64, 1 + chance.below(4) as usize),
        };
        if done {
            let files = self.brokers[victim].files.entry(partition).or_default();
            files.recovery_point = Some(end);
            files.bits_flipped = true;
            self.disk_losses += 1;
            self.counts.disk_faults += 1;
            self.say(
                format_args!("broker {}/{partition}", victim + 1),
                format_args!("damage in {} at byte {position}", path.display()),
            );
        }
    }

    /// Who leads a partition, by its own word, and runs.
    pub fn acting_leader(&self, partition: usize) -> Option<usize> {
        self.brokers.iter().position(|broker| {
            let process = broker.process.as_ref();
            let role = process
                .and_then(|process| process.replica(partition))
                .map(klamm_replication::Replica::role);
            broker.acts() && matches!(role, Some(Role::Leader { .. }))
        })
    }

    pub(super) fn delete_at(&mut self, here: &mut Here<'_>, chance: &mut Chance) {
        let ledger = &self.ledgers[here.partition];
        // Retention takes old records, never those that a producer may still repeat.
        let of_it = self
            .producers
            .iter()
            .filter(|producer| producer.partition == here.partition);
        let waiting = of_it.filter_map(|producer| producer.oldest_waiting());
        let repeated = waiting
            .filter_map(|(producer, sequence)| ledger.place_of(producer, sequence))
            .min();
        let high_watermark = Offset::from(here.own.replica.high_watermark());
        let end = repeated.map_or(high_watermark, |place| place.min(high_watermark)).0;
        let start = here.own.log.log_start_offset().0;
        let to = Offset(chance.between(start as u64, end.max(start) as u64) as i64);
        // A log begins with a whole batch.
        let log_end = here.own.log.log_end_offset();
        let holding = match to < log_end {
            true => read_batches(&here.own.log, to, 1, log_end).unwrap_or_default(),
            false => Vec::new(),
        };
        let first = holding.first().map_or(Offset(start), Batch::base_offset);
        let to = first.max(Offset(start));
        if here.own.log.advance_log_start(to).is_err() {
            return;
        }
        self.counts.deletions += u64::from(to > Offset(start));
        self.ledgers[here.partition].front.may_delete(to);
        self.files(here.place()).log_start = to;
        let wall = self.wall(here.broker);
        if let Ok(Some(retired)) = here.own.log.delete_old_segments(wall, high_watermark.into())
            && chance.per_mille(500)
        {
            // Files that could not be removed are removed at the next start.
            let _ = retired.remove.run(&mut || ());
        }
        self.say(
            format_args!("{}", here.place()),
            format_args!("records below {to} are deleted"),
        );
        let log_start = LogStartOffset(to.0);
        self.feed(here, Event::LogStartAdvanced { log_start });
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
