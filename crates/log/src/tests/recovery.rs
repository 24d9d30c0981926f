//! What opening a log makes of files that are torn, zeroed, missing or changed.

use std::path::PathBuf;

use klamm_record::{Batch, BatchError};
use klamm_types::{LeaderEpoch, Offset};

use super::support::*;
use crate::disk::read_small;
use crate::{Cut, Damage, DamageKind, Disk, Failure, Log, OpenMode, Rebuilt, SimDisk};

/// A log of 20 batches in several segments, everything flushed, the process dead.
fn flushed_log() -> (SimDisk, Vec<Batch>) {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    let mut batches = append_some(&mut log, 1, 12, 200);
    batches.extend(append_some(&mut log, 3, 4, 200));
    log.set_config(crate::LogConfig {
        segment_bytes: 2000,
        ..config()
    });
    batches.extend(append_some(&mut log, 3, 4, 200));
    log.flush().unwrap();
    disk.kill();
    (disk, batches)
}

/// Segments begin at 0, 3, 6, 9, 12 and here, where five batches lie.
const LAST_BASE: i64 = 15;

fn size(batches: &[Batch]) -> u64 {
    batches.iter().map(|batch| batch.size() as u64).sum()
}

fn last_log() -> PathBuf {
    segment_path(LAST_BASE, ".log")
}

fn set_size(disk: &SimDisk, path: &std::path::Path, size: u64) {
    let file = disk.open(path, OpenMode::Write).unwrap();
    file.set_size(size).unwrap();
    file.sync_data().unwrap();
}

fn goes_on(mut log: Log, batches: &[Batch]) {
    assert_eq!(read_all(&log, 0, 700), batches);
    append_some(&mut log, 9, 5, 200);
    log.flush().unwrap();
    assert_eq!(read_all(&log, 0, 700)[..batches.len()], *batches);
}

#[test]
fn an_unclean_stop_without_losses_finds_everything() {
    let (disk, batches) = flushed_log();
    let segments = names(&disk).into_iter().filter(|name| name.ends_with(".log")).count();
    assert_eq!(segments, 6);
    for point in [0, 7, 15, 17, 20] {
        let disk = SimDisk::from_state(disk.state());
        let (log, recovery) = open_with(&disk, config(), unclean(point));
        assert_eq!(
            (recovery.cut, recovery.damage, recovery.rebuilt),
            (None, None, Rebuilt::default())
        );
        assert_eq!(
            (log.log_end_offset(), log.flushed_offset()),
            (Offset(20), Offset(point))
        );
        assert_eq!(
            log.end_offset_for_epoch(LeaderEpoch(2)),
            Some((LeaderEpoch(1), Offset(12)))
        );
        assert_eq!(recovery.replay.map(Result::unwrap).collect::<Vec<_>>(), batches);
        goes_on(log, &batches);
    }
}

#[test]
fn a_torn_tail_is_cut_at_every_byte() {
    let (disk, batches) = flushed_log();
    let whole = size(&batches[15..]);
    let one = batches[15].size() as u64;
    for length in (0..whole).step_by(7) {
        let disk = SimDisk::from_state(disk.state());
        set_size(&disk, &last_log(), length);
        let kept = 15 + (length / one) as usize;
        let (log, recovery) = open_with(&disk, config(), unclean(15));
        assert_eq!(recovery.damage, None);
        let torn = length % one;
        let cut = recovery.cut.map(|Cut { from, bytes, .. }| (from.0 as usize, bytes));
        assert_eq!(cut, (torn > 0).then_some((kept, torn)), "length {length}");
        assert_eq!(disk.file_size(&last_log()), Some(length - torn));
        goes_on(log, &batches[..kept]);
    }
}

#[test]
fn a_cut_is_durable_before_the_first_append() {
    let (disk, batches) = flushed_log();
    set_size(&disk, &last_log(), 400);
    let (mut log, recovery) = open_with(&disk, config(), unclean(15));
    assert_eq!(recovery.log_end_offset, Offset(16));
    append_some(&mut log, 3, 1, 10);
    disk.crash(&mut |_| 0);
    let (log, recovery) = open_with(&disk, config(), unclean(15));
    assert_eq!(recovery.cut, None);
    goes_on(log, &batches[..16]);
}

#[test]
fn zeroed_pages_above_the_recovery_point_are_cut() {
    let (disk, batches) = flushed_log();
    let position = size(&batches[15..17]);
    assert!(disk.zero(&last_log(), position + 100, 150));
    let (log, recovery) = open_with(&disk, config(), unclean(16));
    let cut = recovery.cut.unwrap();
    assert_eq!((cut.from, cut.bytes), (Offset(17), size(&batches[17..])));
    assert!(matches!(cut.cause, DamageKind::Batch(BatchError::BadCrc { .. })));
    goes_on(log, &batches[..17]);

    // A file that was extended and never filled.
    let (disk, batches) = flushed_log();
    set_size(&disk, &last_log(), size(&batches[15..]) + 5000);
    let (log, recovery) = open_with(&disk, config(), unclean(20));
    assert_eq!(recovery.cut.unwrap().bytes, 5000);
    goes_on(log, &batches);
}

#[test]
fn a_flipped_bit_is_cut_above_and_reported_below_the_recovery_point() {
    let (disk, batches) = flushed_log();
    let position = size(&batches[15..17]);
    // Every field of a header counts, but the two that no checksum covers and nothing follows to contradict.
    for at in (0..batches[17].size() as u64).step_by(3) {
        let above = SimDisk::from_state(disk.state());
        assert!(above.flip_bit(&last_log(), position + at, 6));
        let below = SimDisk::from_state(above.state());

        let (log, recovery) = open_with(&above, config(), unclean(17));
        assert!(recovery.damage.is_none());
        let end = recovery.cut.unwrap().from;
        let epoch_rose = (12..16).contains(&at) && end == Offset(18);
        assert!(end == Offset(17) || epoch_rose, "byte {at}");
        if end == Offset(17) {
            goes_on(log, &batches[..17]);
        }

        let (mut log, recovery) = open_with(&below, config(), unclean(20));
        let damage = recovery.damage.unwrap();
        assert_eq!((damage.segment, recovery.cut), (Offset(LAST_BASE), None));
        assert_eq!(damage.offset, end);
        // Nothing is cut, what lies below is served, and nothing is taken.
        assert_eq!(below.file_size(&last_log()), Some(size(&batches[15..])));
        assert_eq!((log.failure(), log.log_end_offset()), (Some(Failure::Damaged), end));
        assert!(log.append(&[batch(end.0, 9, 1, 1)], NOW).is_err());
        assert_eq!(log.truncate_to(Offset(17)).unwrap(), Offset(17));
        assert_eq!(log.failure(), None);
        if !epoch_rose {
            goes_on(log, &batches[..17]);
        }
    }
}

#[test]
fn damage_in_a_segment_that_is_not_read_through_is_found_by_reads() {
    let (disk, batches) = flushed_log();
    assert!(disk.flip_bit(&segment_path(3, ".log"), batches[3].size() as u64 + 100, 0));
    let (mut log, recovery) = open_with(&disk, config(), unclean(20));
    assert_eq!(recovery.damage, None);
    assert_eq!(read_once(&log, 3, 10_000), batches[3].bytes());
    let error = match log.read(Offset(4), 10, Offset(99)) {
        Ok(crate::Read::Cold(job)) => job.run().unwrap_err(),
        other => other.unwrap_err(),
    };
    let crate::ReadError::Corrupt(Damage { offset, segment, .. }) = error else {
        panic!("{error:?}")
    };
    assert_eq!((offset, segment), (Offset(4), Offset(3)));
    assert_eq!(log.truncate_to(offset).unwrap(), Offset(4));
    goes_on(log, &batches[..4]);
}

#[test]
fn a_gap_between_segments_is_damage_below_and_a_cut_above_the_recovery_point() {
    let (disk, batches) = flushed_log();
    disk.remove_file(&segment_path(9, ".log")).unwrap();
    let above = SimDisk::from_state(disk.state());
    let (log, recovery) = open_with(&above, config(), unclean(9));
    let gap = DamageKind::Gap {
        expected: Offset(9),
        found: Offset(12),
    };
    assert_eq!(
        recovery.cut.map(|cut| (cut.from, cut.cause)),
        Some((Offset(9), gap.clone()))
    );
    goes_on(log, &batches[..9]);

    let (mut log, recovery) = open_with(&disk, config(), unclean(20));
    let damage = recovery.damage.unwrap();
    assert_eq!((damage.offset, damage.kind), (Offset(9), gap));
    assert!(disk.file_size(&last_log()).is_some());
    log.truncate_to(Offset(9)).unwrap();
    assert_eq!(disk.file_size(&last_log()), None);
    goes_on(log, &batches[..9]);
}

#[test]
fn falling_epochs_end_the_log() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    let mut batches = append_some(&mut log, 5, 2, 10);
    // Put the second batch's stamp on a third: no checksum covers it.
    batches.extend(append_some(&mut log, 5, 1, 10));
    log.flush().unwrap();
    let position = size(&batches[..2]);
    assert!(disk.flip_bit(&segment_path(0, ".log"), position + 15, 2));
    disk.kill();
    let state = disk.state();
    let (_, recovery) = open_with(&disk, config(), unclean(0));
    let falling = DamageKind::FallingEpoch {
        last: LeaderEpoch(5),
        found: LeaderEpoch(1),
    };
    assert_eq!(
        recovery.cut.map(|cut| (cut.from, cut.cause)),
        Some((Offset(2), falling.clone()))
    );
    let (_, recovery) = open_with(&SimDisk::from_state(state), config(), unclean(3));
    assert_eq!(
        recovery.damage.map(|damage| (damage.offset, damage.kind)),
        Some((Offset(2), falling))
    );
}

#[test]
fn a_log_shorter_than_its_recovery_point_is_damaged() {
    let (disk, batches) = flushed_log();
    set_size(&disk, &last_log(), size(&batches[15..18]));
    let (mut log, recovery) = open_with(&disk, config(), unclean(20));
    let damage = recovery.damage.unwrap();
    let kind = DamageKind::EndsBelowRecoveryPoint {
        recovery_point: Offset(20),
    };
    assert_eq!((damage.offset, damage.kind), (Offset(18), kind));
    log.truncate_to(Offset(18)).unwrap();
    goes_on(log, &batches[..18]);

    let empty = SimDisk::new();
    let (log, recovery) = open_with(&empty, config(), unclean(20));
    assert_eq!(recovery.damage.map(|damage| damage.offset), Some(Offset(0)));
    assert_eq!(log.failure(), Some(Failure::Damaged));
}

#[test]
fn caches_that_are_missing_or_broken_are_rebuilt() {
    let (disk, batches) = flushed_log();
    let whole = names(&disk);
    let broken: Vec<(&str, Rebuilt)> = vec![
        (
            ".index",
            Rebuilt {
                indexes: vec![Offset(6)],
                leader_epochs: false,
            },
        ),
        (
            ".timeindex",
            Rebuilt {
                indexes: vec![Offset(6)],
                leader_epochs: false,
            },
        ),
    ];
    for (suffix, expected) in broken {
        let path = segment_path(6, suffix);
        let original = read_small(&disk, &path).unwrap().unwrap();
        for harm in 0..4 {
            let disk = SimDisk::from_state(disk.state());
            match harm {
                0 => disk.remove_file(&path).unwrap(),
                1 => set_size(&disk, &path, original.len() as u64 - 1),
                2 => assert!(disk.zero(&path, 0, original.len())),
                _ => assert!(disk.flip_bit(&path, original.len() as u64 - 1, 1)),
            }
            let (log, recovery) = open_with(&disk, config(), unclean(20));
            assert_eq!(recovery.rebuilt, expected, "{suffix} {harm}");
            assert_eq!(read_small(&disk, &path).unwrap().unwrap(), original);
            assert_eq!(names(&disk), whole);
            goes_on(log, &batches);
        }
    }
    let path = dir().join("leader-epoch-checkpoint");
    assert_eq!(read_small(&disk, &path).unwrap().unwrap(), b"0\n2\n1 0\n3 12\n");
    for harm in 0..3 {
        let disk = SimDisk::from_state(disk.state());
        match harm {
            0 => disk.remove_file(&path).unwrap(),
            1 => set_size(&disk, &path, 7),
            _ => assert!(disk.flip_bit(&path, 8, 1)),
        }
        let (log, recovery) = open_with(&disk, config(), unclean(20));
        let rebuilt = Rebuilt {
            indexes: Vec::new(),
            leader_epochs: true,
        };
        assert_eq!(recovery.rebuilt, rebuilt, "{harm}");
        assert_eq!(
            log.end_offset_for_epoch(LeaderEpoch(2)),
            Some((LeaderEpoch(1), Offset(12)))
        );
        goes_on(log, &batches);
    }
}

#[test]
fn a_wrong_index_entry_costs_time_and_no_answer() {
    let (disk, batches) = flushed_log();
    // Not the last entry, so that nobody notices at the start.
    for at in 0..8 {
        let disk = SimDisk::from_state(disk.state());
        assert!(disk.flip_bit(&segment_path(6, ".index"), at, 1));
        let (log, _) = open_with(&disk, config(), unclean(20));
        assert_eq!(read_all(&log, 0, 10), batches);
    }
}

#[test]
fn a_clean_stop_is_opened_without_reading_it_through() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    let batches = append_some(&mut log, 2, 20, 200);
    log.write_producer_snapshot(Offset(20), b"all").unwrap();
    let point = log.close_clean().unwrap();
    assert_eq!(point, Offset(20));
    disk.crash(&mut |_| 0);
    // No snapshot survives a power cut for sure; everything else does.
    let (log, recovery) = open_with(&disk, config(), clean(20));
    assert_eq!(
        (recovery.cut, recovery.damage, recovery.rebuilt),
        (None, None, Rebuilt::default())
    );
    assert_eq!(
        (log.flushed_offset(), log.last_epoch()),
        (Offset(20), Some(LeaderEpoch(2)))
    );
    assert!(log.start_flush().is_none());
    goes_on(log, &batches);
}

#[test]
fn snapshots_that_do_not_fit_are_passed_over() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    let batches = append_some(&mut log, 1, 20, 100);
    for offset in [3, 9, 14, 18] {
        log.write_producer_snapshot(Offset(offset), format!("at {offset}").as_bytes())
            .unwrap();
    }
    log.flush().unwrap();
    disk.kill();
    let state = disk.state();
    let open_at = |disk: &SimDisk| {
        let (log, recovery) = open_with(disk, config(), unclean(10));
        let snapshot = recovery.producer_snapshot.map(|snapshot| snapshot.offset.0);
        let replay: Vec<Batch> = recovery.replay.map(Result::unwrap).collect();
        assert_eq!(
            replay,
            batches[snapshot.unwrap_or(0) as usize..log.log_end_offset().0 as usize]
        );
        (log, snapshot)
    };
    assert_eq!(open_at(&disk).1, Some(18));
    let disk = SimDisk::from_state(state);
    assert!(disk.flip_bit(&segment_path(18, ".snapshot"), 21, 0));
    let (mut log, snapshot) = open_at(&disk);
    assert_eq!(snapshot, Some(14));
    assert_eq!(disk.file_size(&segment_path(18, ".snapshot")), None);
    // Truncation takes those above the cut along.
    log.truncate_to(Offset(12)).unwrap();
    let (snapshot, replay) = log.producer_state().unwrap();
    assert_eq!(snapshot.unwrap().offset, Offset(9));
    assert_eq!(replay.map(Result::unwrap).collect::<Vec<_>>(), batches[9..12]);
    drop(log);
    disk.crash(&mut |_| 0);
    assert_eq!(disk.file_size(&segment_path(14, ".snapshot")), None);

    // Old ones go when newer ones are safe.
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    append_some(&mut log, 1, 20, 100);
    for offset in [3, 9, 14] {
        log.write_producer_snapshot(Offset(offset), b"").unwrap();
    }
    assert_eq!(log.snapshots, [Offset(3), Offset(9), Offset(14)]);
    log.flush().unwrap();
    log.write_producer_snapshot(Offset(20), b"").unwrap();
    assert_eq!(log.snapshots, [Offset(14), Offset(20)]);
    assert!(log.write_producer_snapshot(Offset(21), b"").is_err());
}

#[test]
fn leftovers_are_removed_and_strangers_left_alone() {
    let (disk, batches) = flushed_log();
    let before = names(&disk);
    for name in [
        "00000000000000000000.log.deleted",
        "leader-epoch-checkpoint.tmp",
        "00000000000000000099.index",
    ] {
        disk.open(&dir().join(name), OpenMode::New).unwrap();
    }
    disk.open(&dir().join("notes"), OpenMode::New).unwrap();
    let (log, _) = open_with(&disk, config(), unclean(20));
    let mut after = names(&disk);
    after.retain(|name| name != "notes");
    assert_eq!(after, before);
    assert!(names(&disk).contains(&"notes".to_owned()));
    goes_on(log, &batches);
}
