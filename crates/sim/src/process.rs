//! A broker's process: how it starts, ends and rests, what reaches it, and what is done with the log.

use klamm_log::{AppendError, ChangeError, Read, ReadError};
use klamm_record::{Batch, CheckRules};
use klamm_replication::{AlterAttempt, AlterOutcome, Event};
use klamm_schema::requests::LastRun;
use klamm_types::{HighWatermark, Incarnation, LogStartOffset, Offset, Timestamp};

use crate::broker::{OpenFailure, Process, rebuild_producers, view_of};
use crate::network::Side;
use crate::plan::{MS, Time};
use crate::world::{AtProcess, CONTROLLER, Happening, World};

/// How often a process writes its checkpoints.
const CHECKPOINT_INTERVAL: Time = 25 * MS;

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
        let random = (u128::from(self.chance.number()) << 64) | u128::from(self.chance.number());
        let clock_offset = self.chance.below(1_000_000_000);
        let wall = Timestamp((self.now / 1000) as i64);
        let broker = &mut self.brokers[index];
        broker.life += 1;
        broker.paused = false;
        broker.backlog.clear();
        broker.entry_coming = false;
        match broker.open(wall, Incarnation::from_u128(random | 1), clock_offset) {
            Ok(process) => {
                let (end, flushed) = (process.log.log_end_offset(), process.log.flushed_offset());
                let damage = process.damaged_from;
                broker.process = Some(process);
                self.say(
                    format_args!("broker {}", index + 1),
                    format_args!("starts: log end {end}, flushed {flushed}, damaged {damage:?}"),
                );
                if let Some(from) = damage.filter(|_| !self.brokers[index].bits_flipped) {
                    // Otherwise the weather damages nothing below a recovery point, so recovery must not find it there.
                    self.hold(Err(format!(
                        "broker {} finds damage from {from} on at its start",
                        index + 1
                    )));
                }
                self.register(index);
                let at = self.now + CHECKPOINT_INTERVAL;
                self.tell_process(index, at, AtProcess::Checkpoint);
            }
            // It stays down until the disk is replaced.
            Err(_) if self.brokers[index].disk_failed => {}
            Err(OpenFailure::Open(error)) => self.hold(Err(format!("opening a log: {error:?}"))),
            Err(OpenFailure::Other(error)) => self.hold(Err(format!("opening a log: {error}"))),
        }
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
                registration,
            },
        );
        let again = self.now + 60 * MS;
        self.tell_process(index, again, AtProcess::RegisterAgain);
    }

    /// The process ends. After [`End::InOrder`] its log is closed already.
    pub fn end_process(&mut self, index: usize, end: End) {
        self.counts.crashes += u64::from(end != End::InOrder);
        let broker = &mut self.brokers[index];
        let mut lost = false;
        // How a run ended is told at the next registration; a run that never registered tells of the one before it.
        let registered = broker.process.as_ref().is_some_and(|process| process.is_registered);
        if let Some(process) = broker.process.take() {
            lost = process.log.flushed_offset() < process.log.log_end_offset();
            drop(process);
        }
        broker.paused = false;
        broker.backlog.clear();
        broker.entry_coming = false;
        broker.life += 1;
        let (life, disk) = (broker.life, broker.disk.clone());
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
        if self.chance.per_mille(700) && self.is_link_up(index, CONTROLLER) {
            let delay = self.chance.between(MS, 15 * MS);
            self.after(delay, Happening::CrashNoticed { broker: index, life });
        }
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
        self.say(format_args!("broker {}", index + 1), format_args!("goes on"));
        for happening in backlog {
            self.at(self.now, happening);
        }
    }

    /// Breaks all connections of a broker, or those between two.
    pub fn break_connections(&mut self, one: usize, other: Option<usize>) {
        for connection in self.network.between(one, other) {
            self.break_connection(connection);
        }
    }

    pub fn break_connection(&mut self, id: crate::network::ConnectionId) {
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

    /// Something reaches a process that runs.
    pub fn at_process(&mut self, index: usize, what: AtProcess) {
        let Some(mut process) = self.brokers[index].process.take() else {
            return;
        };
        match what {
            AtProcess::Replica(event) => self.feed(index, &mut process, *event),
            AtProcess::AppendDone => self.append_done(index, &mut process),
            AtProcess::FlushDone => self.flush_done(index, &mut process),
            AtProcess::CutDone { to, restart } => self.cut_done(index, &mut process, to, restart),
            AtProcess::ReadDone(wish) => {
                let event = self.push(index, &mut process, wish);
                self.feed(index, &mut process, event);
            }
            AtProcess::Message {
                connection,
                side,
                lane,
                message,
                has_arrived,
            } => {
                if has_arrived || !self.network.is_lost(connection, side, lane, self.now) {
                    self.message(index, &mut process, (connection, side), message);
                }
            }
            AtProcess::Ended { connection, side } => self.ended(index, &mut process, connection, side),
            AtProcess::Entry => self.entry(index, &mut process),
            AtProcess::Registered { epoch } => self.registered(index, &mut process, epoch),
            AtProcess::RegisterAgain => {
                if !process.is_registered {
                    self.brokers[index].process = Some(process);
                    self.register(index);
                    return;
                }
            }
            AtProcess::AlterAnswer { attempt, outcome } => self.alter_answered(index, &mut process, (attempt, outcome)),
            AtProcess::DamageHeard { entries } => {
                process.damage_heard_at = Some(entries);
                self.show_image(index, &mut process);
            }
            AtProcess::Produce {
                client,
                attempt,
                batch,
                acks,
            } => {
                self.produce(index, &mut process, (client, attempt), batch, acks);
            }
            AtProcess::Fetch(fetch) => self.fetch(index, &mut process, fetch),
            AtProcess::Latest => self.latest(&process),
            AtProcess::Close => {
                self.brokers[index].process = Some(process);
                self.close(index);
                return;
            }
            AtProcess::Tick => self.tick(index, &mut process),
            AtProcess::Checkpoint => self.checkpoint(index, &mut process),
        }
        self.brokers[index].process = Some(process);
    }

    fn tick(&mut self, index: usize, process: &mut Process) {
        if process.tick_at.is_some_and(|at| at <= self.now) {
            process.tick_at = None;
            self.feed(index, process, Event::Tick);
        }
    }

    fn alter_answered(
        &mut self,
        index: usize,
        process: &mut Process,
        (attempt, outcome): (AlterAttempt, AlterOutcome),
    ) {
        if process.alter == Some(attempt) {
            process.alter = None;
            self.feed(index, process, Event::AlterPartitionAnswered { attempt, outcome });
        }
    }

    fn registered(&mut self, index: usize, process: &mut Process, epoch: klamm_types::BrokerEpoch) {
        if process.is_registered {
            return;
        }
        process.is_registered = true;
        self.brokers[index].stored_epoch = epoch;
        process.broker_epoch = epoch;
        self.say(
            format_args!("broker {}", index + 1),
            format_args!("is registered with epoch {epoch}"),
        );
        if process.damaged_from.is_some() {
            // The registration has told it; the entry that granted the epoch is the one to wait for.
            process.damage_heard_at = Some(self.controller.entries_count());
        }
        self.feed(index, process, Event::Registered { broker_epoch: epoch });
        self.show_image(index, process);
    }

    /// Applies the next entries of the metadata.
    fn entry(&mut self, index: usize, process: &mut Process) {
        self.brokers[index].entry_coming = false;
        if !self.is_link_up(index, CONTROLLER) {
            return;
        }
        let mut wanted = self.chance.between(1, 4);
        while wanted > 0 {
            let image = &mut self.brokers[index].image;
            let next = image.applied_index() + 1;
            let Some(batch) = self.controller.entry(next) else {
                break;
            };
            let applied = image.apply_batch(next, 1, &batch).map_err(|error| error.to_string());
            self.hold(applied);
            wanted -= 1;
        }
        self.show_image(index, process);
    }

    /// Tells the replica what the image shows, if that is new.
    pub fn show_image(&mut self, index: usize, process: &mut Process) {
        let image = &self.brokers[index].image;
        let applied = image.applied_index();
        let view = view_of(image, self.controller.topic(), &self.plan);
        if view != process.view {
            process.view.clone_from(&view);
            if let Some(view) = view {
                self.feed(index, process, Event::MetadataChanged(Box::new(view)));
            }
        }
        if process.damage_heard_at.is_some_and(|at| at <= applied) {
            process.damage_heard_at = None;
            self.feed(index, process, Event::DamageReported);
        }
    }

    fn append_done(&mut self, index: usize, process: &mut Process) {
        process.append_running = false;
        let Some((append, batches)) = process.appends.pop_front() else {
            return;
        };
        let wall = process.now(self.now).wall;
        let event = match process.log.append(&batches, wall) {
            Ok(_) => Event::AppendWritten { append },
            Err(error) => {
                if let AppendError::NotContiguous { .. } | AppendError::FallingEpoch { .. } = &error {
                    self.hold(Err(format!("the log refuses an append: {error}")));
                }
                // Nothing is written behind a gap.
                process.appends.clear();
                Event::AppendFailed { append }
            }
        };
        self.start_append(index, process);
        self.keep_snapshot(process);
        self.feed(index, process, event);
    }

    /// Appends are carried out one after another.
    pub fn start_append(&mut self, index: usize, process: &mut Process) {
        if process.append_running || process.appends.is_empty() {
            return;
        }
        process.append_running = true;
        let at = self.now + self.disk_delay(index, 60, 10 * MS);
        self.tell_process(index, at, AtProcess::AppendDone);
    }

    fn flush_done(&mut self, index: usize, process: &mut Process) {
        let Some((flush, job)) = process.flush.take() else {
            return;
        };
        let event = match job.run() {
            Ok(flushed) => {
                let offset = flushed.offset;
                process.log.flush_done(flushed);
                self.brokers[index].flushed = self.brokers[index].flushed.max(process.log.flushed_offset());
                Event::FlushedTo { flush, offset }
            }
            Err(_) => Event::FlushFailed { flush },
        };
        self.feed(index, process, event);
    }

    fn cut_done(&mut self, index: usize, process: &mut Process, to: Offset, restart: bool) {
        let broker = &mut self.brokers[index];
        // A cut inside a batch takes the whole batch: the recovery point must lie at or below its beginning.
        let end = process.log.log_end_offset();
        let holding = if to < end {
            read_batches(process, to, 1, end).unwrap_or_default()
        } else {
            Vec::new()
        };
        let to_batch = holding.first().map_or(to, |batch| batch.base_offset().min(to));
        broker.recovery_point = Some(broker.recovery_point.unwrap_or(Offset(0)).min(to_batch));
        broker.high_watermark = broker.high_watermark.min(to_batch.into());
        broker.flushed = broker.flushed.min(to);
        let wall = process.now(self.now).wall;
        process.snapshot = None;
        let cut = if restart {
            broker.recovery_point = Some(Offset(0));
            broker.high_watermark = HighWatermark(0);
            broker.log_start = to;
            process.log.truncate_fully_and_start_at(to)
        } else {
            process.log.truncate_to(to).map(|_| ())
        };
        let rebuilt = cut.map_err(|error| error.to_string()).and_then(|()| {
            let (snapshot, replay) = process.log.producer_state().map_err(|error| error.to_string())?;
            let snapshot = snapshot.map(|snapshot| (snapshot.offset, snapshot.bytes));
            let start = process.log.log_start_offset();
            rebuild_producers(snapshot, start, replay, wall).map_err(|error| format!("{error:?}"))
        });
        let damage = rebuilt.as_ref().ok().and_then(|(_, damage)| *damage);
        if rebuilt.is_ok() {
            process.damaged_from = None;
        }
        let event = match rebuilt {
            Ok((producers, _)) => Event::Truncated {
                log_start: LogStartOffset(process.log.log_start_offset().0),
                log_end: process.log.log_end_offset(),
                producers: Box::new(producers),
            },
            Err(error) => {
                let who = format!("broker {}", index + 1);
                self.say(format_args!("{who}"), format_args!("fails to cut its log: {error}"));
                Event::DiskFailed
            }
        };
        self.feed(index, process, event);
        if let Some(from) = damage {
            process.log.mark_damaged();
            self.feed(index, process, Event::DamageFound { from });
        }
    }

    fn checkpoint(&mut self, index: usize, process: &mut Process) {
        let at = self.now + CHECKPOINT_INTERVAL;
        self.tell_process(index, at, AtProcess::Checkpoint);
        let broker = &mut self.brokers[index];
        broker.high_watermark = process.replica.high_watermark();
        // A log that has failed knows nothing for certain any more.
        if process.log.failure().is_none() {
            broker.recovery_point = Some(process.log.flushed_offset());
        }
        if self.chance.per_mille(100) {
            self.feed(index, process, Event::FlushDue);
        }
    }

    /// Keeps a snapshot of the producer state once everything it speaks of is written.
    fn keep_snapshot(&mut self, process: &mut Process) {
        if process.snapshot.is_none() && process.log.needs_producer_snapshot() {
            let producers = process.replica.producers();
            process.snapshot = Some((producers.end(), producers.encode()));
        }
        let written = process.log.log_end_offset();
        if let Some((offset, bytes)) = process.snapshot.take_if(|(offset, _)| *offset <= written) {
            let kept = process.log.write_producer_snapshot(offset, &bytes);
            if let Err(error) = kept
                && !matches!(error, ChangeError::Disk(_) | ChangeError::Failed(_))
            {
                self.hold(Err(format!("keeping a producer snapshot: {error}")));
            }
        }
    }

    /// How long the disk takes for something.
    pub fn disk_delay(&mut self, index: usize, usual: Time, worst: Time) -> Time {
        let slow = self.slow_until[index].saturating_sub(self.now);
        self.chance.delay(usual, worst) + slow
    }
}

/// Why nothing could be read.
#[derive(Debug)]
pub enum ReadProblem {
    /// The log is damaged from this offset on.
    Damaged(Offset),
    Failed(String),
}

impl From<ReadError> for ReadProblem {
    fn from(error: ReadError) -> ReadProblem {
        match error {
            ReadError::Corrupt(damage) => ReadProblem::Damaged(damage.offset),
            other => ReadProblem::Failed(format!("{other:?}")),
        }
    }
}

/// Reads whole batches below `up_to`, wherever they are, and checks each as a broker does before it sends one.
pub fn read_batches(
    process: &Process,
    from: Offset,
    bytes_max: usize,
    up_to: Offset,
) -> Result<Vec<Batch>, ReadProblem> {
    let bytes = match process.log.read(from, bytes_max, up_to)? {
        Read::Ready(bytes) => bytes,
        Read::Cold(read) => read.run()?,
    };
    let mut next = from;
    let mut batches = Vec::new();
    for batch in klamm_record::Batches::new(bytes.into_bytes()) {
        let batch = batch.map_err(|_| ReadProblem::Damaged(next))?;
        batch
            .check(&CheckRules::stored())
            .map_err(|_| ReadProblem::Damaged(next))?;
        next = batch.next_offset();
        batches.push(batch);
    }
    if batches.is_empty() && from < up_to.min(process.log.log_end_offset()) {
        // Bounds are ends of batches: a batch that reaches past one is not what was written.
        return Err(ReadProblem::Damaged(from));
    }
    Ok(batches)
}
