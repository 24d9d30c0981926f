//! What is done with the logs, on a disk that takes its time.

use klamm_invariants::core_orderings;
use klamm_log::{AppendError, ChangeError, Log, Read, ReadError};
use klamm_record::{Batch, CheckRules};
use klamm_replication::{Event, ProducerTable};
use klamm_types::{HighWatermark, LogStartOffset, Offset};

use super::hosted::{Here, rebuild_producers};
use crate::plan::{MS, Time};
use crate::world::{AtReplica, World};

impl World {
    pub(super) fn append_done(&mut self, here: &mut Here<'_>) {
        here.own.append_running = false;
        let Some((append, batches)) = here.own.appends.pop_front() else {
            return;
        };
        let wall = self.wall(here.broker);
        let mut appended = here.own.log.append(&batches, wall);
        if appended.as_ref().is_err_and(AppendError::is_full) {
            self.run_out_of_room(here.broker);
            // The same bytes at the same offsets, into what was kept back for this.
            appended = here.own.log.append_again(&batches, wall);
        }
        let event = match appended {
            Ok(_) => Event::AppendWritten { append },
            Err(error) => {
                if let AppendError::NotContiguous { .. } | AppendError::FallingEpoch { .. } = &error {
                    self.hold(Err(core_orderings(format!("the log refuses an append: {error}"))));
                }
                // Nothing is written behind a gap.
                here.own.appends.clear();
                Event::AppendFailed { append }
            }
        };
        self.start_append(here);
        self.keep_snapshot(here);
        self.feed(here, event);
    }

    /// Appends are carried out one after another.
    pub fn start_append(&mut self, here: &mut Here<'_>) {
        if here.own.append_running || here.own.appends.is_empty() {
            return;
        }
        here.own.append_running = true;
        let at = self.now + self.disk_delay(here.broker, 60, 10 * MS);
        self.tell_replica(here.place(), at, AtReplica::AppendDone);
    }

    pub(super) fn flush_done(&mut self, here: &mut Here<'_>) {
        let Some((flush, job)) = here.own.flush.take() else {
            return;
        };
        let event = match job.run() {
            Ok(flushed) => {
                let offset = flushed.offset;
                here.own.log.flush_done(flushed);
                let files = self.files(here.place());
                files.flushed = files.flushed.max(here.own.log.flushed_offset());
                Event::FlushedTo { flush, offset }
            }
            Err(_) => Event::FlushFailed { flush },
        };
        self.feed(here, event);
    }

    pub(super) fn cut_done(&mut self, here: &mut Here<'_>, to: Offset, restart: Option<Box<ProducerTable>>) {
        // A cut inside a batch takes the whole batch: the recovery point must lie at or below its beginning.
        let end = here.own.log.log_end_offset();
        let holding = if to < end {
            read_batches(&here.own.log, to, 1, end).unwrap_or_default()
        } else {
            Vec::new()
        };
        let to_batch = holding.first().map_or(to, |batch| batch.base_offset().min(to));
        let wall = self.wall(here.broker);
        let files = self.files(here.place());
        files.recovery_point = Some(files.recovery_point.unwrap_or(Offset(0)).min(to_batch));
        files.high_watermark = files.high_watermark.min(to_batch.into());
        files.flushed = files.flushed.min(to);
        here.own.snapshot = None;
        let cut = if let Some(producers) = restart {
            files.recovery_point = Some(Offset(0));
            files.high_watermark = HighWatermark(0);
            files.log_start = to;
            let log = &mut here.own.log;
            let restarted = log.truncate_fully_and_start_at(to);
            restarted.and_then(|()| log.write_producer_snapshot(producers.end(), &producers.encode()))
        } else {
            here.own.log.truncate_to(to).map(|_| ())
        };
        let rebuilt = cut.map_err(|error| error.to_string()).and_then(|()| {
            let (snapshot, replay) = here.own.log.producer_state().map_err(|error| error.to_string())?;
            let snapshot = snapshot.map(|snapshot| (snapshot.offset, snapshot.bytes));
            let start = here.own.log.log_start_offset();
            rebuild_producers(snapshot, start, replay, wall).map_err(|error| format!("{error:?}"))
        });
        let damage = rebuilt.as_ref().ok().and_then(|(_, damage)| *damage);
        if rebuilt.is_ok() {
            here.own.damaged_from = None;
        }
        let event = match rebuilt {
            Ok((producers, _)) => Event::Truncated {
                log_start: LogStartOffset(here.own.log.log_start_offset().0),
                log_end: here.own.log.log_end_offset(),
                producers: Box::new(producers),
            },
            Err(error) => {
                self.say(
                    format_args!("{}", here.place()),
                    format_args!("fails to cut its log: {error}"),
                );
                Event::DiskFailed
            }
        };
        self.feed(here, event);
        if let Some(from) = damage {
            self.feed(here, Event::DamageFound { from });
        }
    }

    pub(super) fn checkpoint(&mut self, here: &mut Here<'_>) {
        let files = self.files(here.place());
        files.high_watermark = here.own.replica.high_watermark();
        // A log that has failed knows nothing for certain any more.
        if here.own.log.failure().is_none() {
            files.recovery_point = Some(here.own.log.flushed_offset());
        }
        if self.chance.per_mille(100) {
            self.feed(here, Event::FlushDue);
        }
    }

    /// Keeps a snapshot of the producer state once everything it speaks of is written.
    fn keep_snapshot(&mut self, here: &mut Here<'_>) {
        if here.own.snapshot.is_none() && here.own.log.needs_producer_snapshot() {
            let producers = here.own.replica.producers();
            here.own.snapshot = Some((producers.end(), producers.encode()));
        }
        let written = here.own.log.log_end_offset();
        if let Some((offset, bytes)) = here.own.snapshot.take_if(|(offset, _)| *offset <= written) {
            let kept = here.own.log.write_producer_snapshot(offset, &bytes);
            if let Err(error) = kept
                && !matches!(error, ChangeError::Disk(_) | ChangeError::Failed(_))
            {
                self.hold(Err(core_orderings(format!("keeping a producer snapshot: {error}"))));
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
pub fn read_batches(log: &Log, from: Offset, bytes_max: usize, up_to: Offset) -> Result<Vec<Batch>, ReadProblem> {
    let bytes = match log.read(from, bytes_max, up_to)? {
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
    if batches.is_empty() && from < up_to.min(log.log_end_offset()) {
        // Bounds are ends of batches: a batch that reaches past one is not what was written.
        return Err(ReadProblem::Damaged(from));
    }
    Ok(batches)
}
