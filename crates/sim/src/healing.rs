//! The end of a run: the weather turns good, and within a bound everything must be whole again.

use klamm_replication::Role;
use klamm_types::Offset;

use crate::broker::Process;
use crate::controller::PARTITION;
use crate::plan::{BROKERS, MS, Time};
use crate::process::read_batches;
use crate::world::{Happening, World};

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
        self.network.hurry();
        self.slow_until = [0; BROKERS];
        self.held_until = [0; BROKERS];
        self.held_up = [(0, 0); BROKERS];
        if self.controller_silent {
            self.at_controller(Happening::ControllerBack);
        }
        self.settle_settings();
        self.mend_disks();
        for broker in 0..BROKERS {
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
            return;
        }
        match self.what_is_missing() {
            None => {
                let agree = self.logs_agree();
                self.hold(agree);
                self.say(format_args!("world"), format_args!("everything is whole"));
                self.done = true;
            }
            Some(missing) if self.now > healed_at + HEALING_TIME_MAX => {
                self.hold(Err(format!(
                    "not whole {} ms after the last fault: {missing}",
                    HEALING_TIME_MAX / MS
                )));
            }
            Some(_) => {}
        }
    }

    /// All logs hold the same, as far as they reach back.
    fn logs_agree(&self) -> Result<(), String> {
        // A bit that turned over where nobody has read since is still to be found.
        let whole = self.brokers.iter().filter(|broker| !broker.bits_flipped);
        let processes: Vec<&Process> = whole.filter_map(|broker| broker.process.as_ref()).collect();
        let starts = processes.iter().map(|process| process.log.log_start_offset());
        let mut next = starts.max().unwrap_or_default();
        while let Some((first, others)) = processes.split_first() {
            let end = first.log.log_end_offset();
            let read = |process: &Process| {
                read_batches(process, next, COMPARED_BYTES, end)
                    .map_err(|problem| format!("reading the logs from {next} to {end}: {problem:?}"))
            };
            let expected = read(first)?;
            let others: Vec<_> = others.iter().map(|other| read(other)).collect::<Result<_, _>>()?;
            // Reads end with the segment, and segments may end elsewhere in another log.
            let common = others.iter().map(Vec::len).fold(expected.len(), usize::min);
            if others.iter().any(|found| found[..common] != expected[..common]) {
                return Err(format!("the logs differ from {next} on"));
            }
            let Some(last) = expected[..common].last() else {
                break;
            };
            next = last.next_offset();
        }
        Ok(())
    }

    fn what_is_missing(&self) -> Option<String> {
        let state = self.controller.image().partition(self.controller.topic(), PARTITION)?;
        if state.isr.len() < BROKERS {
            return Some(format!(
                "the ISR is {:?}, leader {:?}, elr {:?}",
                state.isr, state.leader, state.elr
            ));
        }
        let mut ends = Vec::new();
        for broker in &self.brokers {
            let Some(replica) = broker.process.as_ref().map(|process| &process.replica) else {
                return Some(format!("broker {} does not run", broker.node));
            };
            if matches!(replica.role(), Role::None | Role::Stopped) {
                return Some(format!("broker {} has no role", broker.node));
            }
            ends.push((replica.log_end(), Offset::from(replica.high_watermark())));
        }
        let committed = match self.has_lost_by_permission() {
            true => ends[0].0,
            false => self.checker.committed_end(),
        };
        if ends
            .iter()
            .any(|&(end, high_watermark)| end != committed || high_watermark != committed)
        {
            return Some(format!("log ends and high watermarks {ends:?}, committed {committed}"));
        }
        if let Some(client) = self.producers.iter().position(|producer| !producer.flights.is_empty()) {
            return Some(format!(
                "producer {client} waits for {} batches",
                self.producers[client].flights.len()
            ));
        }
        let behind = self.readers.iter().position(|reader| reader.position != committed);
        behind.map(|reader| {
            format!(
                "reader {reader} is at {}, committed {committed}",
                self.readers[reader].position
            )
        })
    }
}
