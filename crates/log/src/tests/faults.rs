//! Disks that fail and fill up under a running log.

use klamm_types::{Offset, Timestamp};

use super::support::*;
use crate::disk::sim::{Effect, Fault, Operation};
use crate::{AppendError, Failure, FlushError, ReadError, SimDisk};

#[test]
fn a_write_that_fails_in_part_stops_the_log_until_it_is_cut() {
    for effect in [Effect::Io, Effect::Torn { keep: 100 }, Effect::Full { keep: 30 }] {
        let disk = SimDisk::new();
        let (mut log, _) = open(&disk);
        let mut batches = append_some(&mut log, 1, 3, 100);
        let size = disk.file_size(&segment_path(0, ".log")).unwrap();
        disk.inject(Fault::next(Operation::Write, ".log", effect));
        let error = log.append(&[batch(3, 1, 1, 100)], NOW).unwrap_err();
        let full = matches!(effect, Effect::Full { .. });
        assert_eq!((error.is_full(), error.is_disk_failure()), (full, !full), "{error:?}");
        assert_eq!((log.failure(), log.log_end_offset()), (Some(Failure::Write), Offset(3)));
        assert!(matches!(
            log.append(&[batch(3, 1, 1, 100)], NOW),
            Err(AppendError::Failed(Failure::Write))
        ));
        // What is in the log can still be read and flushed.
        assert_eq!(read_all(&log, 0, 1000), batches);
        log.flush().unwrap();

        assert_eq!(log.truncate_to(Offset(3)).unwrap(), Offset(3));
        assert_eq!(disk.file_size(&segment_path(0, ".log")), Some(size));
        batches.extend(append_some(&mut log, 2, 1, 100));
        log.flush().unwrap();
        disk.crash(&mut |_| 0);
        let (log, recovery) = open_with(&disk, config(), unclean(4));
        assert_eq!((recovery.cut, recovery.damage), (None, None));
        assert_eq!(read_all(&log, 0, 1000), batches);
    }
}

#[test]
fn an_append_over_several_segments_may_end_in_between() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    let batches: Vec<_> = (0..8).map(|base| batch(base, 1, 1, 230)).collect();
    disk.inject(Fault::next(
        Operation::Open,
        "00000000000000000006.log",
        Effect::Full { keep: 0 },
    ));
    assert!(matches!(log.append(&batches, NOW), Err(AppendError::Write(_))));
    assert_eq!((log.log_end_offset(), log.failure()), (Offset(6), Some(Failure::Write)));
    assert_eq!(read_all(&log, 0, 10_000), batches[..6]);
    log.truncate_to(Offset(6)).unwrap();
    log.append(&batches[6..], NOW).unwrap();
    assert_eq!(read_all(&log, 0, 10_000), batches);
}

#[test]
fn what_a_full_disk_refused_is_appended_again_over_its_own_bytes() {
    let batches: Vec<_> = (0..8).map(|base| batch(base, 1, 1, 230)).collect();
    let segment = |base: i64| segment_path(base, ".log");
    for (path, written) in [(segment(0), 0), (segment(3), 3), (segment(6), 6)] {
        for keep in [0, 1, 300] {
            let disk = SimDisk::new();
            let (mut log, _) = open(&disk);
            disk.inject(Fault::next(
                Operation::Write,
                path.to_str().unwrap(),
                Effect::Full { keep },
            ));
            assert!(log.append(&batches, NOW).unwrap_err().is_full());
            assert_eq!(log.log_end_offset(), Offset(written), "{path:?}");
            let appended = log.append_again(&batches, NOW).unwrap();
            assert_eq!(
                (appended.log_end_offset, appended.bytes),
                (Offset(8), 8 * batches[0].size())
            );
            log.flush().unwrap();
            disk.crash(&mut |_| 0);
            let (log, recovery) = open_with(&disk, config(), unclean(8));
            assert_eq!((recovery.cut, recovery.damage), (None, None));
            assert_eq!(read_all(&log, 0, 10_000), batches);
        }
    }
}

#[test]
fn a_roll_that_finds_the_disk_full_can_be_tried_again() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    let mut batches = append_some(&mut log, 1, 3, 230);
    let refused = [
        Fault::next(Operation::Open, ".index", Effect::Full { keep: 0 }),
        Fault::next(Operation::Write, ".index", Effect::Full { keep: 3 }),
        Fault::next(Operation::Open, ".timeindex", Effect::Full { keep: 0 }),
        Fault::next(Operation::Open, "03.log", Effect::Full { keep: 0 }),
    ];
    for fault in refused {
        disk.inject(fault.clone());
        let error = log.append(&[batch(3, 1, 1, 230)], NOW).unwrap_err();
        assert!(
            matches!(error, AppendError::Prepare(_)) && error.is_full(),
            "{fault:?}: {error:?}"
        );
        assert_eq!((log.failure(), log.log_end_offset()), (None, Offset(3)));
    }
    batches.extend(append_some(&mut log, 1, 5, 230));
    log.flush().unwrap();
    disk.crash(&mut |_| 0);
    let (log, recovery) = open_with(&disk, config(), unclean(8));
    assert_eq!(
        (recovery.cut, recovery.damage, recovery.rebuilt.indexes),
        (None, None, vec![])
    );
    assert_eq!(read_all(&log, 0, 1000), batches);
}

#[test]
fn a_full_disk_is_emptied_by_retention() {
    let disk = SimDisk::new();
    let config = crate::LogConfig {
        retention_bytes: Some(2000),
        ..config()
    };
    let (mut log, _) = open_with(&disk, config, unclean(0));
    append_some(&mut log, 1, 20, 230);
    log.flush().unwrap();
    disk.set_capacity(Some(6500));
    let mut refused = None;
    for base in 20..40 {
        if let Err(error) = log.append(&[batch(base, 1, 1, 230)], NOW) {
            assert!(error.is_full());
            refused = Some(base);
            break;
        }
    }
    let end = refused.unwrap();
    log.truncate_to(Offset(end)).unwrap();
    let watermark = klamm_types::HighWatermark(end);
    let retired = log.delete_old_segments(NOW, watermark).unwrap().unwrap();
    assert!(retired.segments.len() > 3);
    retired.remove.run(&mut || ()).unwrap();
    append_some(&mut log, 1, 5, 230);
    log.flush().unwrap();
}

#[test]
fn a_failed_flush_is_never_tried_again() {
    for (operation, path) in [
        (Operation::SyncData, ".log"),
        (Operation::SyncDir, ""),
        (Operation::SyncData, ".index"),
    ] {
        let disk = SimDisk::new();
        let (mut log, _) = open(&disk);
        append_some(&mut log, 1, 5, 230);
        let (first, second) = (log.start_flush().unwrap(), log.start_flush().unwrap());
        disk.inject(Fault::next(operation, path, Effect::Io));
        assert!(matches!(first.run(), Err(FlushError::Disk(_))));
        assert_eq!(log.failure(), Some(Failure::Flush));
        assert!(matches!(second.run(), Err(FlushError::Failed(Failure::Flush))));
        assert!(matches!(log.flush(), Err(FlushError::Failed(Failure::Flush))));
        let refused = log.append(&[batch(5, 1, 1, 1)], NOW).unwrap_err();
        assert!(matches!(refused, AppendError::Failed(Failure::Flush)) && refused.is_disk_failure());
        assert!(log.truncate_to(Offset(0)).is_err());
        assert_eq!(log.flushed_offset(), Offset(0));
        assert!(log.close_clean().is_err());
    }
}

#[test]
fn a_disk_that_cannot_be_read_is_told_apart_from_damage() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    let batches = append_some(&mut log, 1, 20, 100);
    disk.inject(Fault::next(Operation::Read, ".log", Effect::Io));
    let error = match log.read(Offset(0), 10, Offset(99)) {
        Ok(crate::Read::Cold(job)) => job.run().unwrap_err(),
        other => other.unwrap_err(),
    };
    assert!(matches!(error, ReadError::Disk(_)), "{error:?}");
    assert_eq!(read_all(&log, 0, 1000), batches);
    disk.inject(Fault::next(Operation::Read, "", Effect::Io));
    assert!(log.offset_for_timestamp(Timestamp(3)).run().is_err());
    disk.kill();
    disk.inject(Fault::next(Operation::Read, ".log", Effect::Io));
    let opened = crate::Log::open(std::sync::Arc::new(disk.clone()), &dir(), config(), unclean(0));
    assert!(opened.is_err());
    let (log, _) = open(&disk);
    assert_eq!(read_all(&log, 0, 1000), batches);
}

/// What the system took for written when its sync failed, and the next run finds in memory.
#[test]
fn what_a_start_finds_above_the_recovery_point_is_written_again_before_it_counts_as_flushed() {
    for point in [0, 4, 7] {
        let disk = SimDisk::new();
        let (mut log, _) = open(&disk);
        let mut batches = append_some(&mut log, 1, point, 230);
        log.flush().unwrap();
        batches.extend(append_some(&mut log, 1, 12 - point, 230));
        disk.inject(Fault::next(Operation::SyncData, ".log", Effect::Io));
        assert!(log.flush().is_err());
        drop(log);
        disk.kill();

        let (mut log, recovery) = open_with(&disk, config(), unclean(point));
        assert_eq!((recovery.cut, recovery.damage), (None, None));
        assert_eq!(log.flushed_offset(), Offset(point));
        assert!(log.flush().unwrap() > 0);
        assert_eq!(log.flushed_offset(), Offset(12));
        drop(log);
        disk.crash(&mut |_| 0);

        let (log, recovery) = open_with(&disk, config(), unclean(12));
        assert_eq!((recovery.cut, recovery.damage), (None, None), "recovery point {point}");
        assert_eq!(read_all(&log, 0, 1000), batches);
    }
}

/// A disk that is full has a place for what it holds already.
#[test]
fn a_full_disk_does_not_keep_a_log_from_being_written_again() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    let batches = append_some(&mut log, 1, 3, 230);
    drop(log);
    disk.kill();
    let used = disk.file_size(&segment_path(0, ".log"));
    disk.set_capacity(used);
    let (mut log, _) = open_with(&disk, config(), unclean(0));
    log.flush().unwrap();
    disk.crash(&mut |_| 0);
    let (log, _) = open_with(&disk, config(), unclean(3));
    assert_eq!(read_all(&log, 0, 1000), batches);
}

/// Below the recovery point nothing is written: what is there was synced without an error.
#[test]
fn what_was_flushed_is_not_written_again() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    append_some(&mut log, 1, 2, 230);
    log.flush().unwrap();
    drop(log);
    disk.kill();
    disk.inject(Fault::next(Operation::Write, ".log", Effect::Io));
    open_with(&disk, config(), unclean(2));
    assert_eq!(disk.take_faults().len(), 1);
    disk.inject(Fault::next(Operation::Write, ".log", Effect::Io));
    let opened = crate::Log::open(std::sync::Arc::new(disk.clone()), &dir(), config(), unclean(1));
    assert!(opened.is_err(), "a disk that cannot be written is no disk to start on");
}
