//! Compaction: which records stay, what readers see, and what a power cut at any operation leaves.

mod twin;

use klamm_record::{Batch, BatchBuilder, BatchOptions, Compression, DECOMPRESSED_SIZE_MAX, ProducerStamp};
use klamm_types::{HighWatermark, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use super::support::*;
use crate::disk::sim::{Effect, Fault, Operation, PageCache};
use crate::{CompactionOutcome, CompactionRules, Log, LogConfig, ReadError, RecoveryHint, SimDisk};

const ALL: HighWatermark = HighWatermark(i64::MAX);

fn rules() -> CompactionRules {
    CompactionRules {
        dirty_ratio_min_permille: 0,
        ..CompactionRules::default()
    }
}

fn compacted_config(rules: CompactionRules) -> LogConfig {
    LogConfig {
        compaction: Some(rules),
        retention_ms: None,
        ..config()
    }
}

fn open_compacted(disk: &SimDisk) -> Log {
    open_with(disk, compacted_config(rules()), RecoveryHint::default()).0
}

/// Key, value; no value is a tombstone.
type Pair<'a> = (&'a str, Option<&'a str>);

fn pairs(base: i64, epoch: i32, pairs: &[Pair<'_>], options: BatchOptions) -> Batch {
    let mut builder = BatchBuilder::new(options);
    for (index, (key, value)) in (base..).zip(pairs) {
        let value = value.map(str::as_bytes);
        builder
            .append(Timestamp(index), Some(key.as_bytes()), value, &[])
            .unwrap();
    }
    builder.build().unwrap().assigned(Offset(base), LeaderEpoch(epoch))
}

fn append(log: &mut Log, records: &[Pair<'_>]) {
    append_with(log, 1, records, BatchOptions::default());
}

fn append_with(log: &mut Log, epoch: i32, records: &[Pair<'_>], options: BatchOptions) {
    let batch = pairs(log.log_end_offset().0, epoch, records, options);
    log.append(&[batch], NOW).unwrap();
}

/// Closes the open segment: one that is larger than a segment.
fn fill(log: &mut Log) {
    let filling = "f".repeat(1000);
    append(log, &[("filling", Some(&filling))]);
    append(log, &[("filling", None)]);
    log.flush().unwrap();
}

fn compact_at(log: &mut Log, now: i64) -> CompactionOutcome {
    match log.start_compaction(Timestamp(now), ALL) {
        Some(job) => log.finish_compaction(job.run(&|| true).unwrap()).unwrap(),
        None => CompactionOutcome::default(),
    }
}

/// Offset, key, value of every record; the log must be dense and read alike from every offset.
fn records(log: &Log) -> Vec<(i64, String, Option<String>)> {
    let batches = read_all(log, log.log_start_offset().0, 700);
    let mut next = log.log_start_offset();
    for batch in &batches {
        assert_eq!(batch.base_offset(), next);
        next = batch.next_offset();
    }
    let text = |bytes: bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let all = batches
        .iter()
        .flat_map(|batch| batch.records(DECOMPRESSED_SIZE_MAX).unwrap());
    let all = all.map(Result::unwrap);
    all.map(|record| (record.offset.0, text(record.key.unwrap()), record.value.map(text)))
        .collect()
}

/// As `records`, without what `fill` appends.
fn kept(log: &Log) -> Vec<(i64, String, Option<String>)> {
    let mut kept = records(log);
    kept.retain(|(_, key, _)| key != "filling");
    kept
}

fn owned(records: &[(i64, &str, Option<&str>)]) -> Vec<(i64, String, Option<String>)> {
    let own = |(offset, key, value): &(i64, &str, Option<&str>)| (*offset, (*key).to_owned(), value.map(str::to_owned));
    records.iter().map(own).collect()
}

#[test]
fn only_the_newest_record_of_a_key_stays() {
    let disk = SimDisk::new();
    let mut log = open_compacted(&disk);
    append(&mut log, &[("a", Some("1")), ("b", Some("1"))]);
    append(&mut log, &[("a", Some("2"))]);
    append(&mut log, &[("c", Some("1")), ("a", Some("3"))]);
    append(&mut log, &[("d", Some("1"))]);
    fill(&mut log);
    let before = log.size_bytes();
    let outcome = compact_at(&mut log, 1000);
    let expected = CompactionOutcome {
        segments: 1,
        bytes_freed: before - log.size_bytes(),
        // Once for the keys, once to write it anew.
        bytes_read: 2 * before - 2 * log.segments.last().unwrap().size,
    };
    assert_eq!(outcome, expected);
    let expected = [
        (1, "b", Some("1")),
        (3, "c", Some("1")),
        (4, "a", Some("3")),
        (5, "d", Some("1")),
    ];
    assert_eq!(kept(&log), owned(&expected));
    // Nothing is new now.
    assert!(log.start_compaction(Timestamp(1000), ALL).is_none());

    // The next process sees the same, whatever it trusts.
    log.flush().unwrap();
    let end = log.log_end_offset().0;
    let seen = records(&log);
    log.close_clean().unwrap();
    for hint in [clean(end), unclean(end), unclean(0)] {
        let disk = SimDisk::from_state(disk.state());
        let (log, recovery) = open_with(&disk, compacted_config(rules()), hint);
        assert_eq!((recovery.cut, recovery.damage), (None, None));
        assert_eq!(recovery.rebuilt.indexes, [], "{hint:?}");
        assert_eq!(records(&log), seen);
    }
}

#[test]
fn the_open_segment_and_what_is_not_committed_stay() {
    let disk = SimDisk::new();
    let mut log = open_compacted(&disk);
    append(&mut log, &[("a", Some("1"))]);
    append(&mut log, &[("a", Some("2"))]);
    assert!(log.start_compaction(NOW, ALL).is_none());
    fill(&mut log);
    assert!(log.start_compaction(NOW, HighWatermark(1)).is_none());
    append(&mut log, &[("b", Some("1"))]);
    assert!(log.start_compaction(NOW, ALL).is_some());
    // A topic that is not compacted.
    log.set_config(config());
    assert!(log.start_compaction(NOW, ALL).is_none());
}

#[test]
fn a_tombstone_goes_after_its_time_and_never_before_what_it_deletes() {
    const DAY: i64 = 24 * 3600 * 1000;
    let disk = SimDisk::new();
    let mut log = open_compacted(&disk);
    append(&mut log, &[("a", Some("1")), ("b", Some("1"))]);
    append(&mut log, &[("a", None), ("c", Some("1"))]);
    fill(&mut log);
    let with = owned(&[(1, "b", Some("1")), (2, "a", None), (3, "c", Some("1"))]);
    compact_at(&mut log, 1000);
    assert_eq!(kept(&log), with);
    fill(&mut log);
    compact_at(&mut log, 1000 + DAY - 1);
    assert_eq!(kept(&log), with);
    fill(&mut log);
    compact_at(&mut log, 1000 + DAY);
    assert_eq!(kept(&log), owned(&[(1, "b", Some("1")), (3, "c", Some("1"))]));
}

#[test]
fn codecs_epochs_and_times_stay() {
    for compression in [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let options = BatchOptions {
            compression,
            ..BatchOptions::default()
        };
        let disk = SimDisk::new();
        let mut log = open_compacted(&disk);
        append_with(&mut log, 1, &[("a", Some("1")), ("b", Some("1"))], options);
        append_with(&mut log, 3, &[("a", Some("2"))], options);
        append_with(&mut log, 3, &[("a", Some("3")), ("b", None), ("d", Some("1"))], options);
        append_with(&mut log, 4, &[("d", Some("2"))], options);
        append_with(&mut log, 4, &[("e", Some("1"))], options);
        let epochs = log.epochs().to_vec();
        let filling = "f".repeat(1000);
        append_with(&mut log, 4, &[("filling", Some(&filling))], BatchOptions::default());
        append_with(&mut log, 4, &[("filling", None)], BatchOptions::default());
        log.flush().unwrap();
        compact_at(&mut log, 1000);
        let expected = [
            (3, "a", Some("3")),
            (4, "b", None),
            (6, "d", Some("2")),
            (7, "e", Some("1")),
        ];
        assert_eq!(kept(&log), owned(&expected), "{compression:?}");
        assert_eq!(log.epochs(), epochs);
        for (target, found) in [(0, 3), (3, 3), (5, 6), (6, 6), (7, 7)] {
            let lookup = log.offset_for_timestamp(Timestamp(target)).run().unwrap();
            assert_eq!(lookup.map(|found| found.offset.0), Some(found), "at {target}");
        }
        drop(log);
        disk.kill();
        let (log, _) = open_with(&disk, compacted_config(rules()), unclean(0));
        assert_eq!(log.epochs(), epochs, "{compression:?}");
    }
}

#[test]
fn a_run_takes_as_many_keys_as_memory_allows() {
    let disk = SimDisk::new();
    let small = CompactionRules {
        keys_bytes_max: 300,
        ..rules()
    };
    let (mut log, _) = open_with(&disk, compacted_config(small), RecoveryHint::default());
    let names: Vec<String> = (0..40).map(|number| format!("key-{number:02}")).collect();
    for round in ["1", "2"] {
        for name in &names {
            append(&mut log, &[(name, Some(round))]);
        }
    }
    fill(&mut log);
    let mut runs = 0;
    while let Some(job) = log.start_compaction(Timestamp(1000), ALL) {
        log.finish_compaction(job.run(&|| true).unwrap()).unwrap();
        runs += 1;
    }
    assert!(runs > 5, "{runs} runs");
    let newest = kept(&log)
        .into_iter()
        .filter(|(_, _, value)| value.as_deref() == Some("2"))
        .count();
    assert_eq!(newest, 40);
    // Runs of old values that no map has held together with the new ones stay until everything is looked at anew.
    log.set_config(compacted_config(rules()));
    fill(&mut log);
    log.close_clean().unwrap();
    let mut log = open_compacted(&disk);
    compact_at(&mut log, 1000);
    let expected: Vec<_> = (40..)
        .zip(&names)
        .map(|(offset, name)| (offset, name.clone(), Some("2".to_owned())))
        .collect();
    assert_eq!(kept(&log), expected);
}

/// The last sequence of a producer is found at the next start, though its records are gone.
#[test]
fn the_last_batch_of_a_producer_stays_as_long_as_it_may_go_on() {
    let producer = |id, sequence| BatchOptions {
        producer: ProducerStamp {
            producer_id: ProducerId(id),
            producer_epoch: ProducerEpoch(0),
            base_sequence: Sequence(sequence),
        },
        ..BatchOptions::default()
    };
    let disk = SimDisk::new();
    let mut log = open_compacted(&disk);
    append_with(&mut log, 1, &[("a", Some("1"))], producer(7, 0));
    append_with(&mut log, 1, &[("a", Some("2")), ("a", Some("3"))], producer(7, 1));
    append_with(&mut log, 1, &[("a", Some("4"))], producer(8, 0));
    append(&mut log, &[("a", Some("5"))]);
    fill(&mut log);
    let producers = |log: &Log| {
        let batches = read_all(log, 0, 700);
        let header = |batch: &Batch| *batch.header();
        let named = batches.iter().map(header).filter(|header| header.has_producer_id());
        named
            .map(|header| {
                (
                    header.producer_id.0,
                    header.last_sequence().0,
                    header.base_offset.0,
                    header.records_count,
                )
            })
            .collect::<Vec<_>>()
    };
    compact_at(&mut log, 1000);
    assert_eq!(kept(&log), owned(&[(4, "a", Some("5"))]));
    assert_eq!(producers(&log), [(7, 2, 1, 0), (8, 0, 3, 0)]);
    // Its time does not count as a record's.
    let max = log.max_timestamp_offset().run().unwrap().unwrap();
    assert!(max.offset.0 > 4, "{max:?}");
    // One that goes on is known by its newest batch; one that has been silent for a day is forgotten.
    append_with(&mut log, 1, &[("b", Some("1"))], producer(8, 1));
    fill(&mut log);
    compact_at(&mut log, 1001);
    assert_eq!(producers(&log), [(7, 2, 1, 0), (8, 1, 7, 1)]);
    append(&mut log, &[("b", Some("2"))]);
    fill(&mut log);
    compact_at(&mut log, 100_000_000);
    assert_eq!(producers(&log), []);
}

#[test]
fn batches_of_transactions_are_copied_as_they_are() {
    let transactional = BatchOptions {
        transactional: true,
        producer: ProducerStamp {
            producer_id: ProducerId(7),
            producer_epoch: ProducerEpoch(0),
            base_sequence: Sequence(0),
        },
        ..BatchOptions::default()
    };
    let disk = SimDisk::new();
    let mut log = open_compacted(&disk);
    append(&mut log, &[("a", Some("1"))]);
    append_with(&mut log, 1, &[("a", Some("t")), ("b", Some("t"))], transactional);
    append(&mut log, &[("b", None)]);
    fill(&mut log);
    compact_at(&mut log, 1000);
    fill(&mut log);
    compact_at(&mut log, 1_000_000_000);
    // The transaction may have been aborted, so `a` stays; it may not, so the tombstone of `b` does.
    let expected = [
        (0, "a", Some("1")),
        (1, "a", Some("t")),
        (2, "b", Some("t")),
        (3, "b", None),
    ];
    assert_eq!(kept(&log), owned(&expected));
}

/// A follower whose log ends inside a placeholder gets what it lacks and nothing that it has.
#[test]
fn a_read_from_inside_a_placeholder_begins_there() {
    let disk = SimDisk::new();
    let mut log = open_compacted(&disk);
    for round in 0..6 {
        append(&mut log, &[("a", Some(&round.to_string()))]);
    }
    fill(&mut log);
    compact_at(&mut log, 1000);
    assert_eq!(read_all(&log, 0, 700)[0].next_offset(), Offset(5));
    let seen = records(&log);
    for from in 0..log.log_end_offset().0 {
        let batches = read_all(&log, from, 700);
        assert_eq!(batches[0].base_offset(), Offset(from));
        let other = SimDisk::new();
        let (mut follower, _) = open(&other);
        follower.truncate_fully_and_start_at(Offset(from)).unwrap();
        follower.append(&batches, NOW).unwrap();
        assert_eq!(follower.epochs()[0].epoch, LeaderEpoch(1));
        let expected: Vec<_> = seen.iter().filter(|(offset, _, _)| *offset >= from).cloned().collect();
        assert_eq!(records(&follower), expected);
    }
}

#[test]
fn a_log_may_be_cut_during_a_run() {
    let disk = SimDisk::new();
    let mut log = open_compacted(&disk);
    append(&mut log, &[("a", Some("1"))]);
    append(&mut log, &[("a", Some("2"))]);
    fill(&mut log);
    let done = log.start_compaction(NOW, ALL).unwrap().run(&|| true).unwrap();
    log.truncate_to(Offset(1)).unwrap();
    assert_eq!(log.finish_compaction(done).unwrap().segments, 0);
    assert_eq!(records(&log), owned(&[(0, "a", Some("1"))]));
    assert!(names(&disk).iter().all(|name| !name.ends_with(".tmp")));
}

#[test]
fn readers_that_are_under_way_finish_or_ask_again() {
    let disk = SimDisk::new();
    let mut log = open_compacted(&disk);
    for round in 0..5 {
        append(&mut log, &[("a", Some(&"x".repeat(100 + round)))]);
    }
    fill(&mut log);
    let whole = read_once(&log, 0, 10_000);
    let slice = log.segment_slice(Offset(0), 10_000, Offset(5)).unwrap().unwrap();
    log.release_files();
    disk.set_page_cache(PageCache::Cold);
    let Ok(crate::Read::Cold(held)) = log.read(Offset(2), 10_000, Offset(5)) else {
        panic!("it should have to wait");
    };
    let done = log.start_compaction(NOW, ALL).unwrap().run(&|| true).unwrap();
    log.finish_compaction(done).unwrap();
    // What was opened before goes on reading what was there.
    let mut bytes = vec![0; usize::try_from(slice.size).unwrap()];
    slice.file.read_at(&mut bytes, slice.position).unwrap();
    assert_eq!(bytes, whole[..bytes.len()]);
    match held.run() {
        Ok(read) => assert!(!read.is_empty()),
        Err(error) => assert!(matches!(error, ReadError::Changed), "{error:?}"),
    }
    assert_eq!(kept(&log).len(), 1);
}

#[test]
fn a_full_or_broken_disk_leaves_the_log_as_it_was() {
    for (operation, effect) in [
        (Operation::Write, Effect::Full { keep: 10 }),
        (Operation::SyncData, Effect::Io),
        (Operation::Open, Effect::Io),
    ] {
        let disk = SimDisk::new();
        let mut log = open_compacted(&disk);
        append(&mut log, &[("a", Some("1"))]);
        append(&mut log, &[("a", Some("2"))]);
        fill(&mut log);
        let seen = records(&log);
        disk.inject(Fault::next(operation, ".log.tmp", effect));
        let job = log.start_compaction(NOW, ALL).unwrap();
        assert!(matches!(job.run(&|| true), Err(ReadError::Disk(_))));
        disk.take_faults();
        assert!(names(&disk).iter().all(|name| !name.ends_with(".tmp")));
        assert_eq!((records(&log), log.failure()), (seen, None));
        compact_at(&mut log, 1000);
        assert_eq!(kept(&log), owned(&[(1, "a", Some("2"))]));
    }
}
