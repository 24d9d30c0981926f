//! Appending, reading, rolling, epochs, flushing, the memory tail and truncation, on a disk that does its duty.

use std::sync::Arc;

use klamm_record::Batch;
use klamm_types::{LeaderEpoch, Offset, Timestamp};

use super::support::*;
use crate::disk::sim::PageCache;
use crate::{
    AppendError, Appended, Disk, EpochStart, Failure, Log, LogConfig, Read, ReadError, RealDisk, RecoveryHint, SimDisk,
};

fn bases(log: &Log) -> Vec<i64> {
    log.segments.iter().map(|segment| segment.base.0).collect()
}

#[test]
fn batches_are_read_as_they_were_appended() {
    let disk = SimDisk::new();
    let (mut log, recovery) = open(&disk);
    assert_eq!(recovery.log_end_offset, Offset(0));
    assert_eq!((recovery.cut, recovery.damage), (None, None));
    let batches = [batch(0, 1, 3, 50), batch(3, 1, 1, 10), batch(4, 2, 5, 100)];
    let size = batches.iter().map(Batch::size).sum();
    let appended = log.append(&batches, NOW).unwrap();
    assert_eq!(
        appended,
        Appended {
            log_end_offset: Offset(9),
            bytes: size,
            rolled: 0
        }
    );
    for max_bytes in [1, 200, 300, 10_000] {
        assert_eq!(read_all(&log, 0, max_bytes), batches);
    }
    // From inside a batch, the batch comes whole.
    assert_eq!(read_once(&log, 2, 1), batches[0].bytes());
    assert_eq!(read_once(&log, 4, 1), batches[2].bytes());
    assert_eq!(read_once(&log, 9, 1).len(), 0);
}

#[test]
fn reads_stay_below_their_bound_and_inside_the_log() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    let batches = append_some(&mut log, 1, 30, 50);
    log.advance_log_start(Offset(5)).unwrap();
    let read = |offset, up_to| match log.read(Offset(offset), 10_000, Offset(up_to)).unwrap() {
        Read::Ready(read) => (read.next_offset.0, read.into_bytes()),
        Read::Cold(job) => {
            let read = job.run().unwrap();
            (read.next_offset.0, read.into_bytes())
        }
    };
    assert_eq!(read(6, 7), (7, batches[6].bytes().clone()));
    assert_eq!(read(6, 6), (6, Default::default()));
    assert_eq!(read(6, 2), (6, Default::default()));
    assert_eq!(read(30, 99), (30, Default::default()));
    for offset in [4, 31] {
        let error = log.read(Offset(offset), 1, Offset(99)).unwrap_err();
        let expected = (Offset(offset), Offset(5), Offset(30));
        assert!(matches!(error, ReadError::OutOfRange { offset, start, end } if (offset, start, end) == expected));
    }
}

#[test]
fn what_does_not_follow_is_refused_and_changes_nothing() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    append_some(&mut log, 3, 2, 10);
    let gap = log.append(&[batch(2, 3, 1, 1), batch(4, 3, 1, 1)], NOW);
    assert!(matches!(
        gap,
        Err(AppendError::NotContiguous {
            expected: Offset(3),
            found: Offset(4)
        })
    ));
    let falling = log.append(&[batch(2, 2, 1, 1)], NOW);
    let (last, found) = (LeaderEpoch(3), LeaderEpoch(2));
    assert!(matches!(falling, Err(AppendError::FallingEpoch { last: l, found: f }) if (l, f) == (last, found)));
    log.set_config(LogConfig {
        batch_bytes_max: 100,
        ..config()
    });
    assert!(matches!(
        log.append(&[batch(2, 3, 1, 100)], NOW),
        Err(AppendError::TooLarge { max: 100, .. })
    ));
    assert_eq!((log.log_end_offset(), log.failure()), (Offset(2), None));
    append_some(&mut log, 3, 1, 10);
}

#[test]
fn segments_roll_by_size_by_time_and_by_index_size() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    // 70 bytes of overhead and 230 of payload: three fit into 1000 bytes.
    let batches: Vec<Batch> = (0..8).map(|base| batch(base, 1, 1, 230)).collect();
    let appended = log.append(&batches, NOW).unwrap();
    assert_eq!((appended.rolled, bases(&log)), (2, vec![0, 3, 6]));
    assert!(log.needs_producer_snapshot());
    assert_eq!(read_all(&log, 0, 100_000), batches);
    // One that is larger than a segment gets one for itself.
    log.append(&[batch(8, 1, 1, 2000), batch(9, 1, 1, 1)], NOW).unwrap();
    assert_eq!(bases(&log), [0, 3, 6, 8, 9]);

    log.set_config(LogConfig {
        segment_ms: 1000,
        ..config()
    });
    log.append(&[batch_at(10, 1, &[1009], 1)], NOW).unwrap();
    assert_eq!(bases(&log), [0, 3, 6, 8, 9]);
    log.append(&[batch_at(11, 1, &[1010], 1)], NOW).unwrap();
    assert_eq!(bases(&log), [0, 3, 6, 8, 9, 11]);

    log.set_config(LogConfig {
        segment_bytes: 1 << 20,
        segment_index_bytes: 24,
        ..config()
    });
    append_some(&mut log, 1, 7, 60);
    // Each batch after the first two gets an entry; two time entries fill the index.
    assert_eq!(bases(&log)[..6], [0, 3, 6, 8, 9, 11]);
    assert!(bases(&log).len() > 6);
    assert_eq!(read_all(&log, 11, 100_000).len(), 8);
}

#[test]
fn epochs_are_told_as_followers_need_them() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    for (epoch, count) in [(1, 10), (4, 5), (5, 3)] {
        append_some(&mut log, epoch, count, 100);
    }
    assert_eq!(log.last_epoch(), Some(LeaderEpoch(5)));
    let ask = |log: &Log, epoch| {
        log.end_offset_for_epoch(LeaderEpoch(epoch))
            .map(|(epoch, end)| (epoch.0, end.0))
    };
    assert_eq!(ask(&log, 5), Some((5, 18)));
    assert_eq!(ask(&log, 3), Some((1, 10)));
    assert_eq!(ask(&log, 6), None);
    assert_eq!(log.truncate_to(Offset(12)).unwrap(), Offset(12));
    assert_eq!(ask(&log, 4), Some((4, 12)));
    let start = |epoch, start| EpochStart {
        epoch: LeaderEpoch(epoch),
        start: Offset(start),
    };
    assert_eq!(log.epochs(), [start(1, 0), start(4, 10)]);
    append_some(&mut log, 6, 1, 1);
    assert_eq!(log.epochs(), [start(1, 0), start(4, 10), start(6, 12)]);
}

#[test]
fn one_flush_covers_all_that_was_written_before_it() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    assert!(log.start_flush().is_none());
    append_some(&mut log, 1, 2, 10);
    let job = log.start_flush().unwrap();
    append_some(&mut log, 1, 1, 10);
    let flushed = job.run().unwrap();
    assert_eq!((flushed.offset, flushed.syncs), (Offset(2), 2));
    log.flush_done(flushed);
    assert_eq!((log.flushed_offset(), log.log_end_offset()), (Offset(2), Offset(3)));
    assert_eq!(log.flush().unwrap(), 1);
    assert_eq!((log.flushed_offset(), log.start_flush().is_none()), (Offset(3), true));

    // Three segments: two closed with two indexes each, the open one, the epochs and their directory, the directory.
    append_some(&mut log, 1, 7, 230);
    assert_eq!((bases(&log).len(), log.flush().unwrap()), (3, 2 * 3 + 1 + 2 + 1));
    append_some(&mut log, 1, 1, 10);
    assert_eq!(log.flush().unwrap(), 1);
}

#[test]
fn a_flush_from_before_a_truncation_counts_for_nothing() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    append_some(&mut log, 1, 5, 10);
    let (early, late) = (log.start_flush().unwrap(), log.start_flush().unwrap());
    let early = early.run().unwrap();
    log.truncate_to(Offset(2)).unwrap();
    append_some(&mut log, 2, 8, 10);
    let late = late.run().unwrap();
    assert_eq!(late.syncs, 0);
    log.flush_done(early);
    log.flush_done(late);
    assert_eq!(log.flushed_offset(), Offset(0));
}

#[test]
fn the_tail_serves_the_newest_batches_without_the_file() {
    let disk = SimDisk::new();
    let config = LogConfig {
        tail_bytes_max: 300_000,
        segment_bytes: 1 << 30,
        ..config()
    };
    let (mut log, _) = open_with(&disk, config, RecoveryHint::default());
    let mut batches = append_some(&mut log, 1, 2000, 300);
    for _ in 0..2 {
        batches.extend(append_some(&mut log, 1, 1, 50_000));
    }
    batches.extend(append_some(&mut log, 1, 20, 300));
    assert!(log.tail_bytes() <= 300_000 && log.tail_bytes() > 200_000);
    let reads = disk.operations_count();
    assert_eq!(read_all(&log, 1990, 5000), batches[1990..]);
    assert_eq!(read_all(&log, 2010, 1 << 20), batches[2010..]);
    assert_eq!(disk.operations_count(), reads);
    assert_eq!(read_all(&log, 0, 1 << 20), batches);

    log.truncate_to(Offset(2005)).unwrap();
    assert_eq!(read_all(&log, 1995, 1 << 20), batches[1995..2005]);
    log.shrink_tail(0);
    assert_eq!(log.tail_bytes(), 0);
    assert_eq!(read_all(&log, 1995, 1 << 20), batches[1995..2005]);
}

#[test]
fn cold_reads_are_handed_out_as_jobs() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    let batches = append_some(&mut log, 1, 20, 100);
    disk.set_page_cache(PageCache::Cold);
    let Read::Cold(job) = log.read(Offset(1), 1, Offset(99)).unwrap() else {
        panic!("nothing is in memory")
    };
    let read = job.run().unwrap();
    assert_eq!(
        (read.next_offset, read.into_bytes()),
        (Offset(2), batches[1].bytes().clone())
    );
    let Read::Cold(job) = log.read(Offset(15), 1, Offset(99)).unwrap() else {
        panic!("nothing is in memory")
    };
    log.truncate_to(Offset(3)).unwrap();
    assert!(matches!(job.run(), Err(ReadError::Changed)));
}

#[test]
fn truncation_cuts_whole_batches_segments_and_indexes() {
    for cut in 0..40 {
        let disk = SimDisk::new();
        let (mut log, _) = open(&disk);
        let mut batches = Vec::new();
        for base in 0..20 {
            batches.push(batch(base * 2, 1, 2, 60));
            log.append(&batches[base as usize..], NOW).unwrap();
        }
        assert!(bases(&log).len() >= 4);
        let end = log.truncate_to(Offset(cut)).unwrap();
        assert_eq!(end, Offset(cut - cut % 2));
        let kept = &batches[..cut as usize / 2];
        assert_eq!(read_all(&log, 0, 500), kept);
        // Durable at once, and the log goes on from there.
        let more = batch(end.0, 2, 1, 10);
        log.append(std::slice::from_ref(&more), NOW).unwrap();
        log.flush().unwrap();
        drop(log);
        disk.crash(&mut |_| 0);
        let (mut log, recovery) = open_with(&disk, config(), unclean(0));
        assert_eq!((recovery.cut, recovery.damage), (None, None), "cut at {cut}");
        assert_eq!(read_all(&log, 0, 500), [kept, &[more]].concat());
        assert!(log.truncate_to(Offset(end.0 + 2)).is_err());
    }
}

#[test]
fn a_log_can_start_again_elsewhere() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    append_some(&mut log, 1, 20, 100);
    log.write_producer_snapshot(Offset(20), b"state").unwrap();
    log.truncate_fully_and_start_at(Offset(500)).unwrap();
    assert_eq!(
        (log.log_start_offset(), log.log_end_offset()),
        (Offset(500), Offset(500))
    );
    assert_eq!((log.epochs(), log.producer_state().unwrap().0), (&[][..], None));
    disk.crash(&mut |_| 0);
    assert_eq!(names(&disk), ["00000000000000000500.log"]);
    let (mut log, recovery) = open_with(&disk, config(), unclean(500));
    assert_eq!((recovery.log_end_offset, recovery.damage), (Offset(500), None));
    append_some(&mut log, 7, 3, 10);
    assert_eq!(
        log.end_offset_for_epoch(LeaderEpoch(3)),
        Some((LeaderEpoch(3), Offset(500)))
    );
}

#[test]
fn closed_segments_can_be_sent_once_they_are_verified() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    let batches = append_some(&mut log, 1, 10, 230);
    log.flush().unwrap();
    let size = |count| batches[..count].iter().map(|batch| batch.size() as u64).sum::<u64>();
    let slice = |log: &Log, offset, max, up_to| {
        let slice = log.segment_slice(Offset(offset), max, Offset(up_to)).unwrap();
        slice.map(|slice| (slice.position, slice.size, slice.next_offset.0))
    };
    assert_eq!(slice(&log, 0, 1 << 20, 99), Some((0, size(3), 3)));
    assert_eq!(slice(&log, 1, 400, 99), Some((size(1), size(1), 2)));
    assert_eq!(slice(&log, 1, 1, 99), Some((size(1), size(1), 2)));
    assert_eq!(slice(&log, 0, 1 << 20, 2), Some((0, size(2), 2)));
    assert_eq!(slice(&log, 2, 1 << 20, 2), None);
    assert_eq!(slice(&log, 9, 1 << 20, 99), None, "the open segment");

    let point = log.close_clean().unwrap();
    let (log, _) = open_with(&disk, config(), clean(point.0));
    assert_eq!(slice(&log, 0, 1 << 20, 99), None);
    let mut verified = Vec::new();
    while let Some(job) = log.start_verify() {
        verified.push(job.segment().0);
        job.run().unwrap();
    }
    assert_eq!(verified, [0, 3, 6]);
    assert_eq!(slice(&log, 0, 1 << 20, 99), Some((0, size(3), 3)));
}

#[test]
fn idle_logs_have_no_open_files() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    append_some(&mut log, 1, 10, 230);
    let opened = |log: &Log| {
        let parts = [
            crate::files::Part::Log,
            crate::files::Part::Index,
            crate::files::Part::TimeIndex,
        ];
        let segments = log.segments.iter();
        segments
            .flat_map(|segment| parts.map(|part| segment.files.opened(part)))
            .flatten()
            .count()
    };
    log.release_files();
    assert!(opened(&log) > 0, "unflushed files stay open");
    log.flush().unwrap();
    log.release_files();
    assert_eq!(opened(&log), 0);
    read_all(&log, 0, 100);
    assert!(opened(&log) > 0 && opened(&log) <= 3 * 3);
    append_some(&mut log, 1, 1, 230);
    let point = log.log_end_offset();
    log.close_clean().unwrap();
    let (log, _) = open_with(&disk, config(), clean(point.0));
    assert_eq!(opened(&log), 0);
}

#[test]
fn the_real_disk_carries_a_log() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("topic-0");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let open = |hint| Log::open(disk.clone(), &dir, config(), hint).unwrap();
    let (mut log, _) = open(RecoveryHint::default());
    let mut batches = append_some(&mut log, 1, 50, 100);
    log.flush().unwrap();
    assert_eq!(read_all(&log, 0, 350), batches);
    log.truncate_to(Offset(33)).unwrap();
    batches.truncate(33);
    batches.extend(append_some(&mut log, 2, 4, 100));
    log.write_producer_snapshot(Offset(35), b"state").unwrap();
    drop(log);

    let (log, recovery) = open(unclean(33));
    assert_eq!(
        (recovery.log_end_offset, recovery.cut, recovery.damage),
        (Offset(37), None, None)
    );
    let snapshot = recovery.producer_snapshot.unwrap();
    assert_eq!((snapshot.offset, &snapshot.bytes[..]), (Offset(35), &b"state"[..]));
    assert_eq!(recovery.replay.map(Result::unwrap).collect::<Vec<_>>(), batches[35..]);
    assert_eq!(log.close_clean().unwrap(), Offset(37));

    let (log, recovery) = open(clean(37));
    assert_eq!(
        (recovery.rebuilt, log.flushed_offset()),
        (crate::Rebuilt::default(), Offset(37))
    );
    assert_eq!(read_all(&log, 0, 5000), batches);
    let slice = log.start_verify().unwrap();
    slice.run().unwrap();
    let slice = log.segment_slice(Offset(0), 100, Offset(99)).unwrap().unwrap();
    assert!(slice.file.descriptor().is_some());
    assert_eq!(log.failure(), None::<Failure>);
    assert_eq!(
        log.max_timestamp_offset().run().unwrap().unwrap().timestamp,
        Timestamp(36)
    );
}
