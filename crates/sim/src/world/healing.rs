//! The end of a run: the weather turns good, and within a bound everything must be whole again.

use std::time::Duration;

use klamm_invariants::{Broken, Invariant, core_orderings, progress};
use klamm_log::Log;
use klamm_replication::Role;
use klamm_types::Offset;

use super::{Happening, World};
use crate::broker::read_batches;
use crate::plan::{MS, REPLICAS, Time};

/// So long may healing take. Simulated time is free; a run that needs longer is stuck.
const HEALING_TIME_MAX: Time = 10_000 * MS;

/// So much of the logs is compared at a time.
const COMPARED_BYTES: usize = 4_000;

impl World {
    /// Everything works from now on.
    pub fn heal(&mut self) {
        self.say(
            format_args!("world"),
            format_args!("-------- everything works from now on --------"),
        );
        self.healed_at = Some(self.now);
        self.cut_links.clear();
        self.storm_until = 0;
        self.network.hurry();
        self.slow_until.fill(0);
        self.held_until.fill(0);
        self.held_up.fill((0, 0));
        self.controller.loses_next = false;
        for member in &mut self.members {
            member.paused_until = self.now.min(member.paused_until);
        }
        for broker in 0..self.brokers.len() {
            self.brokers[broker].disk.take_faults();
            self.brokers[broker].is_full = false;
            self.use_disk_again(broker);
            self.replace_disk(broker);
            self.write_ends(broker);
            self.resume(broker);
            if self.brokers[broker].process.is_none() {
                let life = self.brokers[broker].life;
                self.after(10 * MS, Happening::Start { broker, life });
            }
        }
    }

    /// Ends the run once everything is whole, or too late for that.
    pub fn look_around(&mut self) {
        let Some(healed_at) = self.healed_at else {
            return;
        };
        if self.now < healed_at + 400 * MS {
            return self.settle_settings();
        }
        self.settle_settings();
        match self.what_is_missing() {
            None => {
                for partition in 0..self.ledgers.len() {
                    let agree = self.logs_agree(partition);
                    self.hold(agree.map_err(|broken| broken.at(format!("partition {partition}"))));
                }
                self.say(format_args!("world"), format_args!("everything is whole"));
                self.done = true;
            }
            Some(missing) if self.now > healed_at + HEALING_TIME_MAX => {
                self.hold(Err(progress(Duration::from_micros(HEALING_TIME_MAX), missing)));
            }
            Some(_) => {}
        }
    }

    /// All logs hold the same, as far as they reach back.
    fn logs_agree(&self, partition: usize) -> Result<(), Broken> {
        // A bit that turned over where nobody has read since is still to be found.
        let whole = self.brokers.iter().filter(|broker| !broker.has_flipped_bits());
        let logs = whole.filter_map(|broker| Some(&broker.process.as_ref()?.hosted.get(&partition)?.log));
        let logs: Vec<&Log> = logs.collect();
        let mut next = logs.iter().map(|log| log.log_start_offset()).max().unwrap_or_default();
        while let Some((first, others)) = logs.split_first() {
            let end = first.log_end_offset();
            let read = |log: &Log| {
                read_batches(log, next, COMPARED_BYTES, end)
                    .map_err(|problem| core_orderings(format!("reading the logs from {next} to {end}: {problem:?}")))
            };
            let expected = read(first)?;
            let others: Vec<_> = others.iter().map(|other| read(other)).collect::<Result<_, _>>()?;
            // Reads end with the segment, and segments may end elsewhere in another log.
            let common = others.iter().map(Vec::len).fold(expected.len(), usize::min);
            if others.iter().any(|found| found[..common] != expected[..common]) {
                return Err(Broken {
                    invariant: Invariant::LogMatching,
                    what: format!("the logs differ from {next} on"),
                });
            }
            let Some(last) = expected[..common].last() else {
                break;
            };
            next = last.next_offset();
        }
        Ok(())
    }

    fn what_is_missing(&self) -> Option<String> {
        let missing = (0..self.ledgers.len()).find_map(|partition| {
            let missing = self.what_a_partition_lacks(partition)?;
            Some(format!("partition {partition}: {missing}"))
        });
        missing.or_else(|| self.who_waits()).or_else(|| self.what_groups_lack())
    }

    fn what_a_partition_lacks(&self, partition: usize) -> Option<String> {
        let state = self.controller.state(partition)?;
        if state.isr.len() < REPLICAS {
            return Some(format!(
                "the ISR is {:?}, leader {:?}, elr {:?}",
                state.isr, state.leader, state.elr
            ));
        }
        let mut ends = Vec::new();
        for broker in self
            .brokers
            .iter()
            .filter(|broker| broker.files.contains_key(&partition))
        {
            let process = broker.process.as_ref();
            let Some(replica) = process.and_then(|process| process.replica(partition)) else {
                return Some(format!("broker {} does not run", broker.node));
            };
            if matches!(replica.role(), Role::None | Role::Stopped) {
                return Some(format!("broker {} has no role", broker.node));
            }
            ends.push((replica.log_end(), Offset::from(replica.high_watermark())));
        }
        let committed = self.final_end(partition)?;
        let differs = |&(end, high_watermark): &(Offset, Offset)| end != committed || high_watermark != committed;
        ends.iter()
            .any(differs)
            .then(|| format!("log ends and high watermarks {ends:?}, committed {committed}"))
    }

    /// Where a partition ends once everything is whole.
    fn final_end(&self, partition: usize) -> Option<Offset> {
        if !self.has_lost_by_permission(partition) {
            return Some(self.ledgers[partition].committed_end());
        }
        let processes = self.brokers.iter().filter_map(|broker| broker.process.as_ref());
        let mut replicas = processes.filter_map(|process| process.replica(partition));
        replicas.next().map(klamm_replication::Replica::log_end)
    }

    fn who_waits(&self) -> Option<String> {
        if let Some(client) = self.producers.iter().position(|producer| !producer.flights.is_empty()) {
            let count = self.producers[client].flights.len();
            return Some(format!("producer {client} waits for {count} batches"));
        }
        self.readers.iter().enumerate().find_map(|(number, reader)| {
            let end = self.final_end(reader.partition)?;
            (reader.position != end).then(|| format!("reader {number} is at {}, committed {end}", reader.position))
        })
    }
}
