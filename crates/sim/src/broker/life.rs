//! How a broker's process starts, ends and rests.

use std::collections::VecDeque;

use klamm_invariants::{core_orderings, no_false_alarm};
use klamm_replication::Judge;
use klamm_schema::requests::LastRun;
use klamm_types::{BrokerEpoch, Incarnation, Moment};

use super::hosted::{CleanStop, Host, LOOKS, OpenFailure, Process};
use super::{DiskState, Hangs};
use crate::plan::{MS, Time};
use crate::world::{AtProcess, ConnectionId, Happening, Side, World};

/// How often a process writes its checkpoints.
pub const CHECKPOINT_INTERVAL: Time = 25 * MS;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where it stands; what it has written stays in the machine's memory.
    Killed,
    /// With its machine: what it has not flushed may be gone.
    PowerCut,
    /// As it was told to.
    InOrder,
}

impl World {
    pub fn start(&mut self, index: usize) {
        let broker = &mut self.brokers[index];
        broker.life += 1;
        broker.paused = false;
        broker.backlog.clear();
        broker.hangs = None;
        broker.entry_coming = false;
        match self.open_process(index) {
            Ok(process) => {
                self.brokers[index].process = Some(Box::new(process));
                self.register(index);
                let at = self.now + CHECKPOINT_INTERVAL;
                self.tell_process(index, at, AtProcess::Checkpoint);
                let first = self.now + self.chance.between(MS, 10 * MS);
                self.tell_process(index, first, AtProcess::Beat);
                self.tell_process(index, first, AtProcess::Look);
            }
            // It stays down until the disk is replaced.
            Err(_) if self.brokers[index].disk_state == DiskState::Broken => {}
            Err(OpenFailure::Open(error)) => self.hold(Err(core_orderings(format!("opening a log: {error:?}")))),
            Err(OpenFailure::Other(error)) => self.hold(Err(core_orderings(format!("opening a log: {error}")))),
        }
    }

    fn open_process(&mut self, index: usize) -> Result<Process, OpenFailure> {
        let random = self.random();
        let host = Host {
            incarnation: Incarnation::from_u128(random | 1),
            is_registered: false,
            broker_epoch: BrokerEpoch::NONE,
            following: std::collections::BTreeMap::new(),
            serving: std::collections::BTreeMap::new(),
            clock_offset: self.chance.below(1_000_000_000),
            drift: self.brokers[index].drift,
            // To it the first look comes late, and everything counts from there.
            judge: Judge::new(LOOKS, Moment::default(), 1),
        };
        let wall = self.wall(index);
        let clean_stop = match std::mem::take(&mut self.brokers[index].clean_stop) {
            true => CleanStop::Marked,
            false => CleanStop::NotMarked,
        };
        let partitions: Vec<usize> = self.brokers[index].files.keys().copied().collect();
        let mut process = Process {
            host,
            hosted: std::collections::BTreeMap::new(),
        };
        for partition in partitions {
            let own = self.brokers[index].open(partition, wall, clean_stop)?;
            let (end, flushed) = (own.log.log_end_offset(), own.log.flushed_offset());
            let damage = own.damaged_from;
            self.say(
                format_args!("broker {}/{partition}", index + 1),
                format_args!("starts: log end {end}, flushed {flushed}, damaged {damage:?}"),
            );
            let flipped = self.brokers[index]
                .files
                .get(&partition)
                .is_some_and(|files| files.bits_flipped);
            if let Some(from) = damage.filter(|_| !flipped) {
                // Otherwise the weather damages nothing below a recovery point, so recovery must not find it there.
                let broker = index + 1;
                let what = format!("broker {broker}/{partition} finds damage from {from} on at its start");
                self.hold(Err(no_false_alarm(what)));
            }
            process.hosted.insert(partition, own);
        }
        Ok(process)
    }

    pub fn register(&mut self, index: usize) {
        let life = self.brokers[index].life;
        let Some(registration) = self.brokers[index].registration() else {
            return;
        };
        let delay = self.chance.delay(500, 20 * MS);
        self.after(
            delay,
            Happening::Register {
                broker: index,
                life,
                registration: Box::new(registration),
            },
        );
        let again = self.now + 60 * MS;
        self.tell_process(index, again, AtProcess::RegisterAgain);
    }

    /// The process ends. After [`End::InOrder`] its logs are closed already.
    pub fn end_process(&mut self, index: usize, end: End) {
        self.counts.crashes += u64::from(end != End::InOrder);
        let broker = &mut self.brokers[index];
        // How a run ended is told at the next registration; a run that never registered tells of the one before it.
        let registered = broker
            .process
            .as_ref()
            .is_some_and(|process| process.host.is_registered);
        let mut lost = false;
        if let Some(process) = broker.process.take() {
            let logs = process.hosted.values().map(|own| &own.log);
            lost = logs.into_iter().any(|log| log.flushed_offset() < log.log_end_offset());
        }
        broker.paused = false;
        broker.backlog.clear();
        broker.hangs = None;
        broker.entry_coming = false;
        broker.life += 1;
        let disk = broker.disk.clone();
        match end {
            // A machine that dies after a clean stop takes nothing with it.
            End::PowerCut if broker.clean_stop => {}
            End::PowerCut => {
                broker.last_run = LastRun::DiedOtherBoot;
                self.counts.lossy_crashes += u64::from(lost);
                let chance = &mut self.chance;
                disk.crash(&mut |bound| chance.below(bound));
            }
            End::Killed if registered => broker.last_run = LastRun::DiedSameBoot,
            End::Killed => {}
            End::InOrder => broker.last_run = LastRun::Clean,
        }
        if end != End::PowerCut {
            disk.kill();
        }
        self.say(
            format_args!("broker {}", index + 1),
            format_args!("ends: {end:?}, unflushed records: {lost}"),
        );
        self.break_connections(index, None);
        self.end_session(index, end);
    }

    pub fn pause(&mut self, index: usize, duration: Time) {
        let broker = &mut self.brokers[index];
        if broker.process.is_none() || broker.paused {
            return;
        }
        broker.paused = true;
        let life = broker.life;
        self.say(
            format_args!("broker {}", index + 1),
            format_args!("is stopped for {} ms", duration / MS),
        );
        self.after(duration, Happening::Resume { broker: index, life });
    }

    pub fn resume(&mut self, index: usize) {
        let broker = &mut self.brokers[index];
        if !broker.paused {
            return;
        }
        broker.paused = false;
        let backlog = std::mem::take(&mut broker.backlog);
        let has_its_disk = broker.hangs.as_ref().is_some_and(|hangs| hangs.is_over);
        self.say(format_args!("broker {}", index + 1), format_args!("goes on"));
        if has_its_disk {
            self.write_ends(index);
        }
        self.take_up(backlog);
    }

    /// What has waited comes before whatever else happens now.
    fn take_up(&mut self, waiting: VecDeque<Happening>) {
        for happening in waiting {
            if self.violation.is_none() {
                self.handle(happening);
            }
        }
    }

    /// From now on a write does not end, and the worker waits for it.
    pub fn hang(&mut self, index: usize, duration: Time) {
        let broker = &mut self.brokers[index];
        let process = broker.process.as_ref();
        if !broker.acts() || !process.is_some_and(|process| process.host.is_registered) {
            return;
        }
        self.counts.disk_faults += 1;
        broker.hangs = Some(Hangs {
            since: self.now,
            waiting: VecDeque::new(),
            shard_waits: false,
            is_over: false,
        });
        let life = broker.life;
        self.say(
            format_args!("broker {}", index + 1),
            format_args!("waits for its disk for {} ms", duration / MS),
        );
        self.after(duration, Happening::WriteEnds { broker: index, life });
    }

    /// The write has ended: the worker takes up what has happened meanwhile.
    pub fn write_ends(&mut self, index: usize) {
        let broker = &mut self.brokers[index];
        if let Some(hangs) = broker.hangs.as_mut().filter(|_| broker.paused) {
            hangs.is_over = true;
            return;
        }
        let Some(hangs) = broker.hangs.take() else {
            return;
        };
        // Requests to go on without it may be under way: for a while nobody relies on it.
        self.held_until[index] = self.held_until[index].max(self.now);
        self.say(format_args!("broker {}", index + 1), format_args!("has its disk back"));
        if let Some(mut process) = self.brokers[index].process.take() {
            self.for_each_replica(index, &mut process, World::show_image);
            self.brokers[index].process = Some(process);
        }
        self.take_up(hangs.waiting);
    }

    /// Breaks all connections of a broker, or those between two.
    pub fn break_connections(&mut self, one: usize, other: Option<usize>) {
        for connection in self.network.between(one, other) {
            self.break_connection(connection);
        }
    }

    pub fn break_connection(&mut self, id: ConnectionId) {
        let Some(last) = self.network.break_now(id, self.now, &mut self.chance) else {
            return;
        };
        let Some(connection) = self.network.get(id) else {
            return;
        };
        let ends = [(connection.follower, Side::Follower), (connection.leader, Side::Leader)];
        for (((broker, life), side), last) in ends.into_iter().zip(last) {
            let at = last + self.chance.delay(2 * MS, 100 * MS);
            let what = AtProcess::Ended { connection: id, side };
            self.at(at, Happening::Process { broker, life, what });
        }
    }
}
