//! What retention deletes, and what is left when it is interrupted.

use klamm_types::{HighWatermark, LeaderEpoch, Offset, Timestamp};

use super::support::*;
use crate::{Log, LogConfig, SimDisk};

/// Batches 0 to 19 with their offset as timestamp, three to a segment; the open one begins at 18.
fn log_with(config: LogConfig) -> (SimDisk, Log) {
    let disk = SimDisk::new();
    let (mut log, _) = open_with(&disk, config, unclean(0));
    append_some(&mut log, 1, 7, 230);
    append_some(&mut log, 2, 13, 230);
    log.flush().unwrap();
    (disk, log)
}

fn kept_for(retention_ms: i64) -> LogConfig {
    LogConfig {
        retention_ms: Some(retention_ms),
        ..config()
    }
}

fn delete(log: &mut Log, now: i64, high_watermark: i64) -> Vec<i64> {
    let retired = log
        .delete_old_segments(Timestamp(now), HighWatermark(high_watermark))
        .unwrap();
    retired.map_or(Vec::new(), |retired| {
        assert_eq!(retired.log_start_offset, log.log_start_offset());
        retired.segments.iter().map(|base| base.0).collect()
    })
}

#[test]
fn old_segments_go_below_the_high_watermark() {
    let (disk, mut log) = log_with(kept_for(100));
    // Segment 0 ends at timestamp 2, segment 3 at 5, and so on.
    assert_eq!(delete(&mut log, 102, 20), []);
    assert_eq!(delete(&mut log, 103, 20), [0]);
    assert_eq!(delete(&mut log, 112, 8), [3]);
    assert_eq!(delete(&mut log, 109, 20), [6]);
    assert_eq!((log.log_start_offset(), log.segments_count()), (Offset(9), 4));
    assert_eq!(
        log.end_offset_for_epoch(LeaderEpoch(1)),
        Some((LeaderEpoch(1), Offset(9)))
    );
    assert_eq!(read_all(&log, 9, 1000).len(), 11);
    assert!(names(&disk).contains(&"00000000000000000000.log.deleted".to_owned()));
}

#[test]
fn the_open_segment_goes_once_it_is_old() {
    let (_, mut log) = log_with(kept_for(100));
    assert_eq!(delete(&mut log, 1000, 19), [0, 3, 6, 9, 12, 15]);
    assert_eq!(delete(&mut log, 1000, 20), [18]);
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (Offset(20), Offset(20)));
    assert_eq!((log.size_bytes(), delete(&mut log, 9999, 20)), (0, vec![]));
    append_some(&mut log, 2, 3, 10);
    assert_eq!(read_all(&log, 20, 1000).len(), 3);
}

#[test]
fn surplus_bytes_and_segments_below_the_log_start_go() {
    let limited = |bytes| LogConfig {
        retention_ms: None,
        retention_bytes: Some(bytes),
        ..config()
    };
    let (_, mut log) = log_with(limited(1 << 30));
    let size = log.size_bytes();
    assert_eq!(delete(&mut log, 9999, 20), []);
    log.advance_log_start(Offset(8)).unwrap();
    assert_eq!(delete(&mut log, 9999, 20), [0, 3]);
    assert_eq!(log.log_start_offset(), Offset(8));
    log.set_config(limited(size / 2));
    assert_eq!(delete(&mut log, 9999, 20), [6]);
    assert!(log.size_bytes() > size / 2);
    log.set_config(limited(0));
    assert_eq!(delete(&mut log, 9999, 20), [9, 12, 15]);
    // Lowering changes nothing, and the log start stays inside the log.
    log.advance_log_start(Offset(3)).unwrap();
    assert_eq!(log.log_start_offset(), Offset(18));
    assert!(log.advance_log_start(Offset(21)).is_err());
}

#[test]
fn readers_finish_and_files_are_removed_later() {
    let (disk, mut log) = log_with(kept_for(100));
    let slice = log.segment_slice(Offset(0), 1000, Offset(99)).unwrap().unwrap();
    log.write_producer_snapshot(Offset(2), b"old").unwrap();
    log.write_producer_snapshot(Offset(20), b"new").unwrap();
    let retired = log
        .delete_old_segments(Timestamp(109), HighWatermark(20))
        .unwrap()
        .unwrap();
    assert_eq!((retired.segments.len(), retired.remove.delay_ms), (3, 60_000));
    assert_eq!(log.snapshots, [Offset(20)]);
    let mut bytes = vec![0; slice.size as usize];
    assert_eq!(slice.file.read_at(&mut bytes, slice.position).unwrap(), bytes.len());
    retired.remove.run(&mut || ()).unwrap();
    assert!(!names(&disk).iter().any(|name| name.ends_with(".deleted")));
}

/// A reader that sees its file shrink would take that for damage.
#[test]
fn large_files_go_in_pieces_unless_a_reader_holds_them() {
    let pieces = |is_read: bool| {
        let (_, mut log) = log_with(kept_for(100));
        let slice = log.segment_slice(Offset(0), 1000, Offset(99)).unwrap().unwrap();
        let held = is_read.then_some(slice);
        let retired = log
            .delete_old_segments(Timestamp(109), HighWatermark(20))
            .unwrap()
            .unwrap();
        let mut rests = 0;
        retired.remove.run_in_pieces(250, &mut || rests += 1).unwrap();
        if let Some(slice) = held {
            let mut bytes = vec![0; slice.size as usize];
            assert_eq!(slice.file.read_at(&mut bytes, slice.position).unwrap(), bytes.len());
        }
        rests
    };
    let (of_three, of_two) = (pieces(false), pieces(true));
    assert!(
        of_two > 0 && of_three == of_two / 2 * 3,
        "{of_three} and {of_two} rests"
    );
}

#[test]
fn an_interrupted_deletion_leaves_no_gap() {
    let (disk, log) = log_with(kept_for(100));
    drop(log);
    disk.kill();
    for operation in 0..100 {
        let disk = SimDisk::from_state(disk.state());
        let (mut log, _) = open_with(&disk, kept_for(100), unclean(20));
        disk.inject(crate::disk::sim::Fault::power_cut_after(operation));
        let done = log.delete_old_segments(Timestamp(1000), HighWatermark(19)).is_ok();
        drop(log);
        let mut seed = operation;
        disk.crash(&mut |count| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % count
        });
        let (log, recovery) = open_with(&disk, kept_for(100), unclean(20));
        assert_eq!((recovery.cut, recovery.damage), (None, None), "operation {operation}");
        assert_eq!((log.log_end_offset(), log.log_start_offset().0 % 3), (Offset(20), 0));
        if done {
            assert_eq!(log.log_start_offset(), Offset(18));
            return;
        }
    }
    panic!("the deletion never ended");
}
