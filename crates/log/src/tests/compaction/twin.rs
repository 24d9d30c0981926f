//! A compacted log against a dumb twin: a map from key to the newest record. A seed decides what happens to both, and
//! at which disk operation the power fails. After each power cut the log must be dense, hold what was flushed, agree
//! with the twin on every key, and hold no record that was not appended.
//!
//! A failure prints its seed and the operations at which the power failed; `one` runs them again.

use std::collections::BTreeMap;
use std::sync::Arc;

use klamm_record::{Batch, BatchOptions, Compression, DECOMPRESSED_SIZE_MAX, Record};
use klamm_types::{HighWatermark, Offset, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{compacted_config, pairs, rules};
use crate::disk::sim::{Effect, Fault, Operation};
use crate::tests::support::*;
use crate::{CompactedTo, CompactionRules, Exchanged, Log, LogConfig, RecoveryHint, SimDisk};

const STEPS: usize = 40;
const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const DELETE_RETENTION_MS: i64 = 500;

struct World {
    disk: SimDisk,
    rng: StdRng,
    log: Option<Log>,
    /// Everything that was appended and may be in the log.
    history: Vec<Batch>,
    flushed: i64,
    recovery_point: i64,
    epoch: i32,
    now: i64,
    clean_stop: bool,
    /// Made by a run, and not in its place yet.
    done: Option<CompactedTo>,
    exchanges: usize,
}

enum Step {
    Done,
    Dead,
}

fn twin_config() -> LogConfig {
    LogConfig {
        segment_bytes: 400,
        index_interval_bytes: 60,
        ..compacted_config(CompactionRules {
            delete_retention_ms: DELETE_RETENTION_MS,
            keys_bytes_max: 250,
            ..rules()
        })
    }
}

impl World {
    fn new(seed: u64) -> World {
        World {
            disk: SimDisk::new(),
            rng: StdRng::seed_from_u64(seed),
            log: None,
            history: Vec::new(),
            flushed: 0,
            recovery_point: 0,
            epoch: 1,
            now: 1000,
            clean_stop: false,
            done: None,
            exchanges: 0,
        }
    }

    fn below(&mut self, bound: i64) -> i64 {
        self.rng.random_range(0..bound.max(1))
    }

    fn end(&self) -> i64 {
        self.history.last().map_or(0, |batch| batch.next_offset().0)
    }

    fn live(&mut self) {
        if let Step::Dead = self.open() {
            return;
        }
        for _ in 0..STEPS {
            if let Step::Dead = self.step() {
                self.log = None;
                self.done = None;
                return;
            }
        }
    }

    fn lose_power(&mut self) {
        (self.log, self.done) = (None, None);
        let World { disk, rng, .. } = self;
        disk.crash(&mut |count| rng.random_range(0..count));
    }

    fn open(&mut self) -> Step {
        let hint = RecoveryHint {
            recovery_point: Some(Offset(self.recovery_point)),
            clean_stop: self.clean_stop,
        };
        self.clean_stop = false;
        let Ok((log, recovery)) = Log::open(Arc::new(self.disk.clone()), &dir(), twin_config(), hint) else {
            return Step::Dead;
        };
        let faults = self.disk.take_faults();
        assert_eq!(recovery.damage, None);
        let end = log.log_end_offset().0;
        assert!(end >= self.flushed, "{end} is left of {} flushed", self.flushed);
        self.history.retain(|batch| batch.base_offset().0 < end);
        assert_eq!(end, self.end(), "the log ends where no batch did");
        self.flushed = log.flushed_offset().0;
        let replayed: Vec<Batch> = recovery.replay.map(Result::unwrap).collect();
        assert_eq!(replayed, read_all(&log, 0, 700));
        self.compare(&log);
        faults.into_iter().for_each(|fault| self.disk.inject(fault));
        self.log = Some(log);
        Step::Done
    }

    /// The log against the twin.
    fn compare(&mut self, log: &Log) {
        let batches = read_all(log, 0, 700);
        let mut next = 0;
        for batch in &batches {
            assert_eq!(batch.base_offset().0, next, "a gap");
            next = batch.next_offset().0;
        }
        assert_eq!(next, self.end());
        let originals: BTreeMap<i64, Record> = by_offset(&self.history);
        let left = by_offset(&batches);
        for (offset, record) in &left {
            assert_eq!(originals.get(offset), Some(record), "another record at {offset}");
        }
        let expected = newest(&originals);
        let found = newest(&left);
        for (key, record) in &expected {
            // Only a tombstone may be gone, and then nothing of its key is left.
            match found.get(key) {
                Some(found) => assert_eq!(found, record, "another newest record of a key"),
                None => assert_eq!(record.value, None, "{key:?} is lost"),
            }
        }
        self.compare_epochs(log);
        let from = self.below(next);
        let tail = read_all(log, from, 300);
        if let Some(first) = tail.first() {
            assert!(first.base_offset().0 <= from && first.next_offset().0 > from);
            let is_inside = first.base_offset().0 < from;
            assert!(!is_inside || !first.is_filler(), "a placeholder from before {from}");
        }
    }

    fn compare_epochs(&self, log: &Log) {
        let mut epochs: Vec<(i32, i64)> = Vec::new();
        for batch in &self.history {
            if epochs.last().map(|(epoch, _)| *epoch) != Some(batch.leader_epoch().0) {
                epochs.push((batch.leader_epoch().0, batch.base_offset().0));
            }
        }
        let told: Vec<(i32, i64)> = log
            .epochs()
            .iter()
            .map(|entry| (entry.epoch.0, entry.start.0))
            .collect();
        assert_eq!(told, epochs);
    }

    fn step(&mut self) -> Step {
        let mut log = self.log.take().expect("the process lives");
        self.now += self.below(100);
        let step = match self.below(100) {
            0..45 => self.append(&mut log),
            45..58 => self.flush(&mut log),
            58..63 => {
                self.recovery_point = self.flushed;
                Step::Done
            }
            63..70 => self.start_compaction(&log),
            70..88 => self.finish_compaction(&mut log),
            88..91 => self.truncate(&mut log),
            91..94 => {
                log.release_files();
                Step::Done
            }
            94..97 => return self.restart(log),
            // A run may have met the power cut, which nothing tells the log.
            _ if self.disk.is_powered_off() => Step::Dead,
            _ => {
                let faults = self.disk.take_faults();
                self.compare(&log);
                faults.into_iter().for_each(|fault| self.disk.inject(fault));
                Step::Done
            }
        };
        self.log = Some(log);
        step
    }

    fn append(&mut self, log: &mut Log) -> Step {
        self.epoch += i32::from(self.below(10) == 0);
        let values = [
            "1",
            "2",
            "a longer value than the others, which takes some room in a segment",
        ];
        let records: Vec<(&str, Option<&str>)> = (0..1 + self.below(3))
            .map(|_| {
                let key = KEYS[self.below(6) as usize];
                let value = (self.below(4) > 0).then(|| values[self.below(3) as usize]);
                (key, value)
            })
            .collect();
        let options = BatchOptions {
            compression: [Compression::None, Compression::Lz4][self.below(2) as usize],
            ..BatchOptions::default()
        };
        let batch = pairs(self.end(), self.epoch, &records, options);
        self.history.push(batch.clone());
        match log.append(&[batch], Timestamp(self.now)) {
            Ok(_) => Step::Done,
            Err(_) => {
                self.epoch += 1;
                Step::Dead
            }
        }
    }

    fn flush(&mut self, log: &mut Log) -> Step {
        match log.flush() {
            Ok(_) => {
                self.flushed = log.flushed_offset().0;
                Step::Done
            }
            Err(_) => Step::Dead,
        }
    }

    fn start_compaction(&mut self, log: &Log) -> Step {
        if self.done.is_some() {
            return Step::Done;
        }
        // What is committed lies anywhere below what is flushed.
        let committed = self.flushed - self.below(4);
        let Some(job) = log.start_compaction(Timestamp(self.now), HighWatermark(committed)) else {
            return Step::Done;
        };
        match job.run(&|| true) {
            Ok(done) => self.done = Some(done),
            // A power cut is met by the next step; any other fault leaves the log as it was.
            Err(error) => assert!(matches!(error, crate::ReadError::Disk(_)), "{error:?}"),
        }
        Step::Done
    }

    fn finish_compaction(&mut self, log: &mut Log) -> Step {
        let Some(done) = self.done.take() else {
            return Step::Done;
        };
        // One segment at a time: other things happen in between.
        match log.exchange_compacted(done) {
            Ok(Exchanged::Partly(rest)) => {
                self.exchanges += 1;
                self.done = Some(rest);
                Step::Done
            }
            Ok(Exchanged::Wholly(_)) => Step::Done,
            Err(_) => Step::Dead,
        }
    }

    /// Followers only cut what was not committed, so what was compacted is not touched.
    fn truncate(&mut self, log: &mut Log) -> Step {
        let distance = self.below(6);
        let cut = (self.end() - distance).max(self.flushed);
        let Ok(Offset(whole)) = log.truncation_end(Offset(cut)) else {
            return Step::Dead;
        };
        self.recovery_point = self.recovery_point.min(whole);
        self.flushed = self.flushed.min(whole);
        if log.truncate_to(Offset(cut)).is_err() {
            return Step::Dead;
        }
        self.history.retain(|batch| batch.next_offset().0 <= cut);
        self.epoch += 1;
        Step::Done
    }

    fn restart(&mut self, log: Log) -> Step {
        self.done = None;
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
}

fn by_offset(batches: &[Batch]) -> BTreeMap<i64, Record> {
    let records = batches
        .iter()
        .flat_map(|batch| batch.records(DECOMPRESSED_SIZE_MAX).unwrap());
    records
        .map(Result::unwrap)
        .map(|record| (record.offset.0, record))
        .collect()
}

fn newest(records: &BTreeMap<i64, Record>) -> BTreeMap<bytes::Bytes, Record> {
    let keyed = records
        .values()
        .map(|record| (record.key.clone().unwrap(), record.clone()));
    keyed.collect()
}

struct Told(u64, Vec<u64>);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "this was seed {} with power cuts after {:?}: one({0}, &{1:?})",
                self.0, self.1
            );
        }
    }
}

/// How many segments were exchanged, if the power failed as often as it should.
fn one(seed: u64, cuts: &[u64]) -> Option<usize> {
    let _told = Told(seed, cuts.to_vec());
    let mut world = World::new(seed);
    for &cut in cuts {
        world.disk.inject(Fault::power_cut_after(cut));
        world.live();
        if !world.disk.is_powered_off() {
            return None;
        }
        world.lose_power();
    }
    world.disk.take_faults();
    world.live();
    Some(world.exchanges)
}

#[test]
fn the_power_may_fail_at_every_operation() {
    let mut exchanges = 0;
    for seed in 0..4 {
        let mut cut = 0;
        while let Some(count) = one(seed, &[cut]) {
            exchanges += count;
            cut += 1;
        }
        assert!(cut > 50, "seed {seed} did next to nothing");
    }
    assert!(exchanges > 500, "only {exchanges} segments were exchanged");
}

#[test]
fn the_power_may_fail_again_and_again() {
    let mut exchanges = 0;
    for seed in 1000..1250 {
        let mut rng = StdRng::seed_from_u64(seed);
        let cuts: Vec<u64> = (0..6).map(|_| rng.random_range(0..200)).collect();
        exchanges += one(seed, &cuts).unwrap_or(0);
    }
    assert!(exchanges > 200, "only {exchanges} segments were exchanged");
}

#[test]
fn disks_fail_and_the_power_fails_too() {
    for seed in 5000..5200 {
        let _told = Told(seed, Vec::new());
        let mut world = World::new(seed);
        let mut rng = StdRng::seed_from_u64(seed ^ 0xD15C);
        for _ in 0..5 {
            let operations = [
                Operation::Write,
                Operation::SyncData,
                Operation::Open,
                Operation::SyncDir,
                Operation::Rename,
            ];
            let effects = [Effect::Io, Effect::Torn { keep: 70 }, Effect::Full { keep: 0 }];
            world.disk.inject(Fault {
                skip: rng.random_range(0..30),
                ..Fault::next(operations[rng.random_range(0..5)], "", effects[rng.random_range(0..3)])
            });
            world.live();
            world.lose_power();
        }
        world.live();
    }
}

/// The twin of all keys at once: without faults, and with memory for all keys, only the newest records are left.
#[test]
fn nothing_old_is_left_where_a_run_has_been() {
    for seed in 9000..9060 {
        let _told = Told(seed, Vec::new());
        let mut world = World::new(seed);
        world.live();
        let Some(mut log) = world.log.take() else { continue };
        log.flush().unwrap();
        let everything = CompactionRules {
            keys_bytes_max: 1 << 20,
            ..rules()
        };
        log.close_clean().unwrap();
        let config = LogConfig {
            compaction: Some(everything),
            ..twin_config()
        };
        let (mut log, _) = open_with(&world.disk, config, clean(world.end()));
        let closed = log.segments.last().unwrap().base.0;
        if let Some(job) = log.start_compaction(Timestamp(world.now), HighWatermark(i64::MAX)) {
            log.finish_compaction(job.run(&|| true).unwrap()).unwrap();
        }
        let left = by_offset(&read_all(&log, 0, 700));
        let below: BTreeMap<i64, Record> = left.into_iter().filter(|(offset, _)| *offset < closed).collect();
        assert_eq!(below.len(), newest(&below).len());
    }
}
