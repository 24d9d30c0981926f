//! The worker's part in a log's life: taking partitions in, cutting, retention, letting go, and the clean stop.
//!
//! What may wait for the disk is done by background threads; meanwhile the partition's commands wait here.

use std::sync::Arc;
use std::time::Duration;

use klamm_log::{Log, RemoveJob};
use klamm_replication::{Event, OpenedLog, ProducerTable, Replica};
use klamm_types::{LogStartOffset, Offset, TopicPartition};

use super::carry::chain;
use super::command::{Applying, Aside, Command, CutError, Host, HostOrigin, HostedLog, LogReturned, Release};
use super::hosted::{CutOrder, Hosted, Slot, Waiting};
use super::open;
use super::requests::Damage;
use super::shared::Shared;
use super::worker::Worker;

impl Worker {
    /// Takes a partition in. Its log comes from recovery or is made by a background thread.
    pub(super) fn host(&mut self, host: Host) {
        let Host {
            partition,
            name,
            origin,
            view,
            log_config,
            applying,
        } = host;
        let mut waiting = Waiting::default();
        waiting.commands.extend(view.map(|view| Command::View(Box::new(view))));
        if self.stopping || self.slots.contains_key(&partition) {
            return;
        }
        self.slots.insert(partition, Slot::Opening(waiting));
        match origin {
            HostOrigin::Recovered(opened) => {
                self.hosted(HostedLog {
                    partition,
                    name,
                    opened: Ok(*opened),
                    applying,
                });
            }
            HostOrigin::New => {
                let (shared, inbox) = (Arc::clone(&self.ctx.shared), self.ctx.inbox());
                self.ctx.shared.background.submit_owed(move || {
                    let opened = open::create(&shared, &name, partition, log_config);
                    let _ = inbox.push(Command::Hosted(Box::new(HostedLog {
                        partition,
                        name,
                        opened,
                        applying,
                    })));
                });
            }
        }
    }

    /// The log is open: the partition begins to live.
    pub(super) fn hosted(&mut self, opened: HostedLog) {
        let HostedLog {
            partition,
            name,
            opened,
            applying,
        } = opened;
        let Some(Slot::Opening(waiting)) = self.slots.remove(&partition) else {
            return;
        };
        match opened {
            Ok((log, state)) => self.begin(partition, name, log, state),
            Err(error) => {
                tracing::error!(
                    partition = &*name,
                    error = chain(&error),
                    "a partition cannot be opened"
                );
                self.ctx.shared.metrics.disk_failures.add(1);
                self.broken.push(partition);
                self.report_broken();
                self.ctx.shared.board.set(partition, klamm_replication::Role::Stopped);
            }
        }
        self.resume(waiting);
        drop(applying);
    }

    fn begin(&mut self, partition: TopicPartition, name: Arc<str>, log: Log, state: OpenedLog) {
        let ctx = &mut self.ctx;
        let config = &ctx.shared.config;
        let replica = Replica::open(config.node, ctx.broker_epoch, config.limits, state);
        let mut hosted = Box::new(Hosted::new(partition, name, replica, log.config().clone()));
        hosted.touched = false;
        ctx.touch(&mut hosted);
        let slot = Slot::Ready(hosted, Box::new(log));
        self.slots.insert(partition, slot);
        if self.stopping {
            self.close(partition);
        }
    }

    /// Carries out the cut that the last step has asked for, if it has.
    pub(super) fn settle(&mut self, partition: TopicPartition) {
        let Some(Slot::Ready(hosted, _)) = self.slots.get_mut(&partition) else {
            return;
        };
        let Some(order) = hosted.cut.take() else {
            return;
        };
        let Some(Slot::Ready(hosted, log)) = self.slots.remove(&partition) else {
            return;
        };
        tracing::info!(partition = &*hosted.name, ?order, "cutting the log");
        self.ctx.shared.metrics.truncations.add(1);
        let (shared, inbox, name) = (Arc::clone(&self.ctx.shared), self.ctx.inbox(), Arc::clone(&hosted.name));
        self.slots.insert(partition, Slot::Cutting(hosted, Waiting::default()));
        self.ctx.shared.background.submit_owed(move || {
            let mut log = *log;
            let outcome = cut(&shared, partition, &name, (&mut log, order));
            let _ = inbox.push(Command::LogReturned(Box::new(LogReturned {
                partition,
                log,
                outcome,
            })));
        });
    }

    pub(super) fn log_returned(&mut self, returned: LogReturned) {
        let LogReturned {
            partition,
            log,
            outcome,
        } = returned;
        let Some(Slot::Cutting(hosted, waiting)) = self.slots.remove(&partition) else {
            return;
        };
        let event = match outcome {
            Ok(producers) => Event::Truncated {
                log_start: LogStartOffset::from(log.log_start_offset()),
                log_end: log.log_end_offset(),
                producers: Box::new(producers),
            },
            Err(error) => {
                tracing::error!(partition = &*hosted.name, error = chain(&error), "cutting a log failed");
                Event::DiskFailed
            }
        };
        self.slots.insert(partition, Slot::Ready(hosted, Box::new(log)));
        self.feed(partition, event);
        self.resume(waiting);
        if self.stopping {
            self.close(partition);
        }
    }

    /// Handles what came while the log was away.
    fn resume(&mut self, waiting: Waiting) {
        for command in waiting.commands {
            self.handle(command);
        }
        if let Some(release) = waiting.release {
            self.release(release);
        }
    }

    /// Stops hosting a partition. Who still waits for it is answered by the drop of what they wait on.
    pub(super) fn release(&mut self, release: Box<Release>) {
        match self.slots.get_mut(&release.partition) {
            Some(Slot::Opening(waiting) | Slot::Cutting(_, waiting)) => {
                waiting.release = Some(release);
                return;
            }
            Some(Slot::Ready(..)) | None => {}
        }
        let Some(Slot::Ready(mut hosted, log)) = self.slots.remove(&release.partition) else {
            return;
        };
        self.ctx.forget_deadline(&mut hosted);
        self.ctx.shared.board.remove(hosted.id);
        for (_, wake) in hosted.fetches.drain() {
            wake.notify_one();
        }
        let shared = Arc::clone(&self.ctx.shared);
        let delay = Duration::from_millis(hosted.log_config.file_delete_delay_ms);
        self.ctx.shared.background.submit_owed(move || {
            drop(log);
            put_aside(&shared, &hosted, release.aside, delay);
            shared.release_name(&hosted.name);
            drop(release.applying);
        });
    }

    /// Reports partitions that could not be opened, until an image shows that it was heard.
    pub(super) fn report_broken(&mut self) {
        let (image, node) = (self.ctx.shared.image.load_full(), self.ctx.shared.config.node);
        self.broken
            .retain(|at| image.partition(at.topic, at.partition).is_some());
        for at in &self.broken {
            let counts = image.partition(at.topic, at.partition).is_some_and(|state| {
                state.isr.contains(&node) || state.elr.contains(&node) || state.leader == Some(node)
            });
            if counts {
                self.ctx.shared.wishes.damage(*at, Damage::Disk);
            }
        }
    }

    /// Deletes segments past their retention.
    pub(super) fn retain(&mut self) {
        let wall = self.ctx.shared.clock.now().wall;
        let partitions: Vec<TopicPartition> = self.slots.keys().copied().collect();
        for partition in partitions {
            let Some(Slot::Ready(hosted, log)) = self.slots.get_mut(&partition) else {
                continue;
            };
            match log.delete_old_segments(wall, hosted.replica.high_watermark()) {
                Ok(Some(retired)) => {
                    self.ctx
                        .shared
                        .metrics
                        .segments_deleted
                        .add(retired.segments.len() as u64);
                    remove_segments_later(&self.ctx.shared, retired.remove);
                    let log_start = LogStartOffset::from(retired.log_start_offset);
                    self.ctx.touch(hosted);
                    self.feed(partition, Event::LogStartAdvanced { log_start });
                }
                Ok(None) => {}
                Err(error) => {
                    let cause = chain(&error);
                    tracing::warn!(partition = &*hosted.name, error = cause, "deleting old segments failed");
                }
            }
        }
    }

    /// Closes every log cleanly. Logs that are away are closed when they come back.
    pub(super) fn stop(&mut self, stopped: Applying) {
        self.stopping = true;
        self.stopped = Some(stopped);
        let partitions: Vec<TopicPartition> = self.slots.keys().copied().collect();
        for partition in partitions {
            self.close(partition);
        }
    }

    fn close(&mut self, partition: TopicPartition) {
        if !matches!(self.slots.get(&partition), Some(Slot::Ready(..))) {
            return;
        }
        let Some(Slot::Ready(mut hosted, mut log)) = self.slots.remove(&partition) else {
            return;
        };
        self.ctx.forget_deadline(&mut hosted);
        keep_last_producers(&hosted, &mut log);
        let mut marks = hosted.marks(&log);
        let (shared, stopped) = (Arc::clone(&self.ctx.shared), self.stopped.clone());
        // Thousands of logs may close at once, and nothing else is flushed any more: all threads help.
        let pools = [&self.ctx.shared.background, &self.ctx.shared.flushes];
        let pool = pools
            .into_iter()
            .min_by_key(|pool| pool.open())
            .expect("there are two pools");
        pool.submit_owed(move || {
            match log.close_clean() {
                Ok(recovery_point) => {
                    marks.recovery_point = recovery_point;
                    shared.checkpoints.update(partition, marks);
                }
                Err(error) => {
                    tracing::error!(partition = &*hosted.name, error = chain(&error), "closing a log failed");
                    shared.stopped_unclean();
                }
            }
            drop(stopped);
        });
    }
}

/// Keeps the producers as of the log end, so that the next start replays nothing.
fn keep_last_producers(hosted: &Hosted, log: &mut Log) {
    let producers = hosted.replica.producers();
    let whole = producers.end() == log.log_end_offset() && log.failure().is_none();
    if whole {
        write_snapshot(&hosted.name, log, producers);
    }
}

fn write_snapshot(partition: &str, log: &mut Log, producers: &ProducerTable) {
    if !producers.is_empty()
        && let Err(error) = log.write_producer_snapshot(producers.end(), &producers.encode())
    {
        tracing::warn!(partition, error = chain(&error), "writing a producer snapshot failed");
    }
}

fn cut(
    shared: &Shared,
    partition: TopicPartition,
    name: &str,
    (log, order): (&mut Log, CutOrder),
) -> Result<ProducerTable, CutError> {
    match order {
        CutOrder::To(to) => {
            shared.checkpoints.lower(partition, log.truncation_end(to)?)?;
            log.truncate_to(to)?;
        }
        CutOrder::RestartAt(at, producers) => {
            shared.checkpoints.lower(partition, Offset(0))?;
            log.truncate_fully_and_start_at(at)?;
            write_snapshot(name, log, &producers);
        }
    }
    let (snapshot, replay) = log.producer_state()?;
    Ok(open::producers(name, snapshot, replay, log.log_start_offset())?)
}

fn put_aside(shared: &Arc<Shared>, hosted: &Hosted, aside: Aside, delay: Duration) {
    hosted.mark_gate.shut();
    let (disk, data) = (shared.disk.as_ref(), shared.config.data_dir.as_path());
    let topic = hosted.id.topic;
    let moved = match aside {
        Aside::Delete => super::directory::mark_deleted(disk, data, &hosted.name, topic),
        Aside::Stray => super::directory::mark_stray(disk, data, &hosted.name, topic),
    };
    let forgotten = shared.checkpoints.forget(hosted.id);
    if let Err(error) = forgotten {
        tracing::error!(
            partition = &*hosted.name,
            error = chain(&error),
            "forgetting a partition's marks failed"
        );
    }
    match moved {
        Ok(path) if aside == Aside::Delete => {
            shared.remove_later(delay, move |shared| shared.remove_directory(&path));
        }
        Ok(path) => tracing::warn!(path = %path.display(), "the metadata does not know this partition; it is kept"),
        Err(error) => {
            tracing::error!(
                partition = &*hosted.name,
                error = chain(&error),
                "putting a partition aside failed"
            );
        }
    }
}

fn remove_segments_later(shared: &Arc<Shared>, remove: RemoveJob) {
    let delay = Duration::from_millis(remove.delay_ms);
    shared.remove_later(delay, move |shared| shared.remove_segments(remove));
}
