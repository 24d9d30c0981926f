//! The twin, and the world in which it and the log live.

use klamm_record::Batch;
use klamm_types::{HighWatermark, LeaderEpoch, Offset, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::tests::support::*;
use crate::{ChangeError, Log, LogConfig, Recovery, RecoveryHint, SimDisk};

/// What one step came to.
enum Step {
    Done,
    /// The disk failed: the process ends.
    Dead,
}

pub struct World {
    pub disk: SimDisk,
    rng: StdRng,
    log: Option<Log>,
    /// Everything that may be in the log, the first one at `start`.
    history: Vec<Batch>,
    start: i64,
    /// What must be in the log after a power cut.
    flushed: i64,
    /// As stored by the broker.
    recovery_point: i64,
    epoch: i32,
    /// The log may also be found empty: it was being started anew.
    starting_anew: bool,
    clean_stop: bool,
}

fn twin_config() -> LogConfig {
    LogConfig {
        tail_bytes_max: 3000,
        retention_ms: None,
        retention_bytes: Some(4000),
        ..config()
    }
}

impl World {
    pub fn new(seed: u64) -> World {
        World {
            disk: SimDisk::new(),
            rng: StdRng::seed_from_u64(seed),
            log: None,
            history: Vec::new(),
            start: 0,
            flushed: 0,
            recovery_point: 0,
            epoch: 1,
            starting_anew: false,
            clean_stop: false,
        }
    }

    fn end(&self) -> i64 {
        self.history.last().map_or(self.start, |batch| batch.next_offset().0)
    }

    fn below(&mut self, bound: i64) -> i64 {
        if bound <= 0 { 0 } else { self.rng.random_range(0..bound) }
    }

    /// The process runs: it opens the log and does things until they are done or the disk fails.
    pub fn live(&mut self, steps: usize) {
        if let Step::Dead = self.open() {
            return;
        }
        for _ in 0..steps {
            if let Step::Dead = self.step() {
                self.log = None;
                return;
            }
        }
    }

    /// The machine starts again with whatever the disk kept.
    pub fn lose_power(&mut self) {
        self.log = None;
        let World { disk, rng, .. } = self;
        disk.crash(&mut |count| rng.random_range(0..count));
    }

    fn open(&mut self) -> Step {
        let hint = RecoveryHint {
            recovery_point: Some(Offset(self.recovery_point)),
            clean_stop: self.clean_stop,
        };
        // The mark of a clean stop is removed before anything is written.
        self.clean_stop = false;
        match Log::open(std::sync::Arc::new(self.disk.clone()), &dir(), twin_config(), hint) {
            Ok((log, recovery)) => {
                // Looking at the log is no part of its life.
                let faults = self.disk.take_faults();
                self.compare_recovered(&log, recovery);
                faults.into_iter().for_each(|fault| self.disk.inject(fault));
                self.log = Some(log);
                Step::Done
            }
            Err(_) => Step::Dead,
        }
    }

    fn compare_recovered(&mut self, log: &Log, recovery: Recovery) {
        assert_eq!(recovery.damage, None);
        let (start, end) = (log.log_start_offset().0, log.log_end_offset().0);
        if self.starting_anew && start == end {
            self.history.clear();
            (self.start, self.flushed) = (start, start);
        }
        self.starting_anew = false;
        assert!(end >= self.flushed, "{end} is left of {} flushed", self.flushed);
        assert!(end <= self.end(), "{end} was never reached");
        assert!(start == self.start || self.history.iter().any(|batch| batch.base_offset().0 == start));
        self.history
            .retain(|batch| (start..end).contains(&batch.base_offset().0));
        self.start = start;
        self.flushed = log.flushed_offset().0;
        assert_eq!(end, self.end(), "the log ends inside a batch");
        self.compare(log);

        let from = recovery
            .producer_snapshot
            .as_ref()
            .map_or(start, |snapshot| snapshot.offset.0);
        // At the very start, what lay below is gone, and the twin has nothing to tell it by.
        if let Some(snapshot) = recovery.producer_snapshot.filter(|snapshot| snapshot.offset.0 > start) {
            assert_eq!(snapshot.bytes, self.digest(from), "a snapshot of other batches");
        }
        let replayed: Vec<Batch> = recovery.replay.map(Result::unwrap).collect();
        assert_eq!(replayed, self.from(from));
    }

    /// The batches from the one that holds `offset` on.
    fn from(&self, offset: i64) -> &[Batch] {
        let index = self.history.partition_point(|batch| batch.next_offset().0 <= offset);
        &self.history[index..]
    }

    /// Stands for what a caller derives from all batches below an offset. Those that retention took do not count.
    fn digest(&self, offset: i64) -> Vec<u8> {
        let below = self.history.iter().filter(|batch| batch.base_offset().0 < offset);
        let last = below
            .last()
            .map(|batch| (batch.base_offset(), batch.leader_epoch(), batch.header().crc));
        format!("{last:?}").into_bytes()
    }

    /// Everything that the log says, held against the twin.
    fn compare(&mut self, log: &Log) {
        assert_eq!(log.log_end_offset().0, self.end());
        assert_eq!(read_all(log, self.start, 600), self.history);
        self.compare_epochs(log);
        let target = self.start + self.below(self.end() - self.start + 2);
        let found = log.offset_for_timestamp(Timestamp(target)).run().unwrap();
        let expected = (target < self.end()).then_some(target);
        assert_eq!(found.map(|found| found.offset.0), expected);
    }

    fn compare_epochs(&self, log: &Log) {
        let mut epochs: Vec<(i32, i64)> = Vec::new();
        for batch in &self.history {
            if epochs.last().map(|(epoch, _)| *epoch) != Some(batch.leader_epoch().0) {
                epochs.push((batch.leader_epoch().0, batch.base_offset().0));
            }
        }
        let mut told: Vec<(i32, i64)> = log
            .epochs()
            .iter()
            .map(|entry| (entry.epoch.0, entry.start.0))
            .collect();
        // Retention may leave an epoch without batches at the front, in a log that it emptied.
        told.retain(|(epoch, _)| epochs.is_empty() || *epoch >= epochs[0].0);
        if !epochs.is_empty() {
            assert_eq!(told, epochs);
        }
    }

    fn step(&mut self) -> Step {
        let mut log = self.log.take().expect("the process lives");
        let kind = self.below(100);
        let step = match kind {
            0..45 => self.append(&mut log),
            45..60 => self.flush(&mut log),
            60..66 => {
                self.recovery_point = self.flushed;
                Step::Done
            }
            66..74 => self.truncate(&mut log),
            74..80 => self.retain(&mut log),
            80..86 => {
                let (end, digest) = (log.log_end_offset(), self.digest(self.end()));
                match log.write_producer_snapshot(end, &digest) {
                    Ok(()) => Step::Done,
                    Err(_) => Step::Dead,
                }
            }
            86..90 => {
                log.release_files();
                Step::Done
            }
            90..92 => self.start_anew(&mut log),
            92..95 => return self.restart(log),
            _ => self.read(&log),
        };
        self.log = Some(log);
        step
    }

    fn append(&mut self, log: &mut Log) -> Step {
        let mut batches = Vec::new();
        let mut base = self.end();
        for _ in 0..1 + self.below(3) {
            self.epoch += i32::from(self.below(12) == 0);
            let size = if self.below(10) == 0 { 1500 } else { self.below(200) };
            let records = 1 + self.below(4);
            batches.push(batch(base, self.epoch, records, (size / records) as usize));
            base += records;
        }
        let appended = log.append(&batches, NOW);
        // What was tried may be found later, whether or not it succeeded.
        let reached = log.log_end_offset().0;
        self.history.extend(batches);
        match appended {
            Ok(appended) => {
                assert_eq!(appended.log_end_offset.0, base);
                Step::Done
            }
            Err(error) if error.is_full() => {
                self.recovery_point = self.recovery_point.min(reached);
                if log.truncate_to(Offset(reached)).is_err() {
                    return Step::Dead;
                }
                self.history.retain(|batch| batch.base_offset().0 < reached);
                // An offset is given once in an epoch.
                self.epoch += 1;
                Step::Done
            }
            Err(_) => {
                self.epoch += 1;
                Step::Dead
            }
        }
    }

    fn flush(&mut self, log: &mut Log) -> Step {
        let Some(job) = log.start_flush() else {
            return Step::Done;
        };
        if self.below(2) == 0
            && let Step::Dead = self.append(log)
        {
            return Step::Dead;
        }
        let Ok(flushed) = job.run() else { return Step::Dead };
        log.flush_done(flushed);
        self.flushed = self.flushed.max(flushed.offset.0.min(log.flushed_offset().0));
        Step::Done
    }

    fn truncate(&mut self, log: &mut Log) -> Step {
        let far = [12, 12, 12, 60][self.below(4) as usize];
        let distance = self.below(far);
        let cut = (self.end() - distance).max(self.start);
        let Ok(Offset(whole)) = log.truncation_end(Offset(cut)) else {
            return Step::Dead;
        };
        self.recovery_point = self.recovery_point.min(whole);
        self.flushed = self.flushed.min(whole);
        let Ok(end) = log.truncate_to(Offset(cut)) else {
            return Step::Dead;
        };
        self.history.retain(|batch| batch.next_offset().0 <= cut);
        assert_eq!((end.0, whole), (self.end(), whole));
        self.epoch += 1;
        Step::Done
    }

    fn retain(&mut self, log: &mut Log) -> Step {
        // As in life: what is deleted is committed, so it was flushed here.
        let watermark = HighWatermark(self.flushed);
        match log.delete_old_segments(NOW, watermark) {
            Ok(None) => Step::Done,
            Ok(Some(retired)) => {
                self.start = retired.log_start_offset.0;
                self.history.retain(|batch| batch.base_offset().0 >= self.start);
                match self.below(2) == 0 || retired.remove.run(&mut || ()).is_ok() {
                    true => Step::Done,
                    false => Step::Dead,
                }
            }
            Err(ChangeError::Disk(error)) if error.is_full() && log.failure().is_none() => Step::Done,
            Err(_) => Step::Dead,
        }
    }

    fn start_anew(&mut self, log: &mut Log) -> Step {
        let offset = self.end() + self.below(100);
        self.recovery_point = 0;
        self.flushed = 0;
        self.starting_anew = true;
        if log.truncate_fully_and_start_at(Offset(offset)).is_err() {
            return Step::Dead;
        }
        self.starting_anew = false;
        self.history.clear();
        (self.start, self.flushed, self.recovery_point) = (offset, offset, offset);
        self.epoch += 1;
        Step::Done
    }

    /// The process ends, cleanly or not, and another one begins on the same machine.
    fn restart(&mut self, log: Log) -> Step {
        if self.below(2) == 0 {
            let Ok(point) = log.close_clean() else {
                return Step::Dead;
            };
            (self.recovery_point, self.flushed, self.clean_stop) = (point.0, point.0, true);
        } else {
            drop(log);
        }
        self.disk.kill();
        self.open()
    }

    fn read(&mut self, log: &Log) -> Step {
        let offset = self.start + self.below(self.end() - self.start);
        let max_bytes = self.below(1500) as usize;
        let up_to = offset + self.below(30);
        let read = match log.read(Offset(offset), max_bytes, Offset(up_to)) {
            Ok(crate::Read::Ready(read)) => Ok(read),
            Ok(crate::Read::Cold(job)) => job.run(),
            Err(error) => Err(error),
        };
        let Ok(read) = read else { return Step::Dead };
        let mut expected: Vec<Batch> = Vec::new();
        let mut size = 0;
        for batch in self.from(offset) {
            size += batch.size();
            if batch.next_offset().0 > up_to || (size > max_bytes && !expected.is_empty()) {
                break;
            }
            expected.push(batch.clone());
        }
        let told = klamm_record::Batches::new(read.into_bytes())
            .map(Result::unwrap)
            .collect::<Vec<_>>();
        // A read may stop early, at the end of a segment or of the memory, but never before the first batch.
        assert_eq!(told, expected[..told.len()]);
        assert_eq!(told.is_empty(), expected.is_empty());
        self.compare_epochs(log);
        assert_eq!(log.end_offset_for_epoch(LeaderEpoch(self.epoch + 1)), None);
        Step::Done
    }
}
