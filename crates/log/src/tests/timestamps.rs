//! Looking records up by time.

use klamm_record::{BatchBuilder, BatchOptions, Compression};
use klamm_types::{LeaderEpoch, Offset, Timestamp};

use super::support::*;
use crate::{Log, LogConfig, SimDisk};

fn find(log: &Log, target: i64) -> Option<(i64, i64)> {
    let found = log.offset_for_timestamp(Timestamp(target)).run().unwrap();
    found.map(|found| (found.offset.0, found.timestamp.0))
}

fn largest(log: &Log) -> Option<(i64, i64)> {
    let found = log.max_timestamp_offset().run().unwrap();
    found.map(|found| (found.offset.0, found.timestamp.0))
}

#[test]
fn the_answer_is_the_first_record_as_late() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    assert_eq!((find(&log, 0), largest(&log)), (None, None));
    // Out of order within batches and across segments.
    let mut timestamps: Vec<i64> = Vec::new();
    let mut state = 1_u64;
    while timestamps.len() < 600 {
        let base = timestamps.len() as i64;
        let mut batch = Vec::new();
        for _ in 0..3 {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            batch.push(1000 + base * 2 + (state >> 33) as i64 % 50);
        }
        log.append(&[batch_at(base, 4, &batch, 30)], NOW).unwrap();
        timestamps.extend(batch);
    }
    assert!(log.segments_count() > 10);
    let expected = |target: i64, start: usize| {
        let late = |index: &usize| timestamps[*index] >= target;
        let found = (start..timestamps.len()).find(late);
        found.map(|index| (index as i64, timestamps[index]))
    };
    let max = *timestamps.iter().max().unwrap();
    let check = |log: &Log, start: usize| {
        for target in 990..max + 5 {
            assert_eq!(find(log, target), expected(target, start), "target {target}");
        }
        assert_eq!(largest(log), expected(max, start));
    };
    check(&log, 0);
    log.advance_log_start(Offset(301)).unwrap();
    check(&log, 301);
    let found = log.offset_for_timestamp(Timestamp(max)).run().unwrap().unwrap();
    assert_eq!(found.leader_epoch, LeaderEpoch(4));

    // The same from the files alone, and with entries that waited in memory gone to the file.
    let point = log.close_clean().unwrap();
    let (mut log, _) = open_with(&disk, config(), clean(point.0));
    check(&log, 0);
    drop(log);
    (log, _) = open_with(&disk, config(), unclean(250));
    check(&log, 0);
    // After a truncation what was cut is not found.
    log.truncate_to(Offset(300)).unwrap();
    let max = *timestamps[..300].iter().max().unwrap();
    assert_eq!(largest(&log), expected(max, 0));
    assert_eq!(find(&log, max + 1), None);
}

#[test]
fn compressed_batches_are_opened_and_records_without_time_are_not_found() {
    let disk = SimDisk::new();
    let (mut log, _) = open_with(&disk, LogConfig::default(), unclean(0));
    let mut builder = BatchBuilder::new(BatchOptions {
        compression: Compression::Zstd,
        ..BatchOptions::default()
    });
    for timestamp in [100, 300, 200] {
        builder.append(Timestamp(timestamp), None, Some(b"value"), &[]).unwrap();
    }
    let compressed = builder.build().unwrap().assigned(Offset(2), LeaderEpoch(0));
    log.append(&[batch_at(0, 0, &[-1, -1], 5), compressed], NOW).unwrap();
    assert_eq!(
        (find(&log, 0), find(&log, 150), find(&log, 301)),
        (Some((2, 100)), Some((3, 300)), None)
    );
    assert_eq!(largest(&log), Some((3, 300)));
    log.truncate_to(Offset(2)).unwrap();
    assert_eq!((find(&log, 0), largest(&log)), (None, None));
}
