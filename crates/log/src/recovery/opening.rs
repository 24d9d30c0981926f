//! The steps of opening a log: list, read segments, settle epochs, cut or report, choose a snapshot.
//!
//! Says nothing about why; that is in the parent.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use klamm_types::planted::{Bug, is_planted};
use klamm_types::{LeaderEpoch, Offset};

use crate::config::LogConfig;
use crate::disk::{Disk, EntryKind, read_small};
use crate::epochs::EpochCache;
use crate::error::{Damage, DamageKind, DiskError, Failure};
use crate::files::{Part, SegmentFiles, disk_error};
use crate::flush::{EPOCHS_FILE, Shared};
use crate::log::Log;
use crate::names::{self, FileKind};
use crate::scan::{HeaderWalk, ScanError, Wait};
use crate::segment::{ReadFault, Segment};
use crate::snapshots::{self, ProducerSnapshot};
use crate::tail::Tail;
use crate::truncate::remove_segment_files;

use super::load::{Loaded, Stop, load, scan};
use super::{Cut, Rebuilt, Recovery, RecoveryHint};

/// What lies in the directory.
pub(super) struct Inventory {
    pub bases: Vec<Offset>,
    snapshots: Vec<Offset>,
}

/// A log being opened.
pub(super) struct Opening {
    shared: Arc<Shared>,
    dir: Arc<Path>,
    disk: Arc<dyn Disk>,
    config: LogConfig,
    point: Offset,
    segments: Vec<Segment>,
    epochs: EpochCache,
    rebuilt: Rebuilt,
    cut: Option<Cut>,
    damage: Option<Damage>,
    beyond_damage: Vec<Offset>,
}

impl Opening {
    pub fn new(disk: Arc<dyn Disk>, dir: &Path, config: LogConfig, hint: RecoveryHint) -> Opening {
        Opening {
            shared: Arc::default(),
            dir: Arc::from(dir),
            disk,
            config,
            point: hint.recovery_point.unwrap_or(Offset(0)),
            segments: Vec::new(),
            epochs: EpochCache::default(),
            rebuilt: Rebuilt::default(),
            cut: None,
            damage: None,
            beyond_damage: Vec::new(),
        }
    }

    fn remove(&self, path: PathBuf) -> Result<(), DiskError> {
        self.shared.directory_changed();
        self.disk.remove_file(&path).map_err(DiskError::at("removing", &path))
    }

    /// Lists the directory and removes what nobody needs.
    pub fn inventory(&self) -> Result<Inventory, DiskError> {
        let dir = &*self.dir;
        match self.disk.create_dir(dir) {
            Ok(()) => {
                let parent = dir.parent().unwrap_or(dir);
                self.disk
                    .sync_dir(parent)
                    .map_err(DiskError::at("syncing the directory", parent))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(DiskError::at("making the directory", dir)(error)),
        }
        let entries = self.disk.list(dir).map_err(DiskError::at("listing", dir))?;
        let (mut bases, mut snapshots, mut indexes) = (Vec::new(), Vec::new(), Vec::new());
        for entry in entries.into_iter().filter(|entry| entry.kind == EntryKind::File) {
            match names::kind(&entry.name) {
                FileKind::Log(base) => bases.push(base),
                FileKind::Snapshot(offset) => snapshots.push(offset),
                FileKind::Index(base) => indexes.push((base, entry.name)),
                FileKind::Leftover => self.remove(dir.join(entry.name))?,
                FileKind::Foreign => {}
            }
        }
        for (base, name) in indexes {
            if bases.binary_search(&base).is_err() {
                self.remove(dir.join(name))?;
            }
        }
        Ok(Inventory { bases, snapshots })
    }

    fn files(&self, base: Offset) -> Arc<SegmentFiles> {
        SegmentFiles::new(self.disk.clone(), self.dir.clone(), base)
    }

    fn end(&self) -> Option<Offset> {
        self.segments.last().map(|segment| segment.end)
    }

    pub fn read_segments(&mut self, bases: &[Offset], hint: RecoveryHint) -> Result<(), DiskError> {
        // A segment may have been closed while the flush of its last batch was under way. Only a flush of something
        // behind it has synced its indexes, so a recovery point right at its end does not vouch for them.
        let trusted = match hint.clean_stop {
            true => bases.len(),
            false => bases.partition_point(|base| *base < self.point).saturating_sub(1),
        };
        let mut last_epoch = None;
        for (number, &base) in bases.iter().enumerate() {
            if number == trusted {
                self.settle_epochs(last_epoch, base)?;
            }
            let stop = match self.gap_before(base) {
                Some(stop) => Some(stop),
                None if number < trusted => {
                    let (loaded, stop) = self.load_trusted(base)?;
                    last_epoch = loaded.or(last_epoch);
                    stop
                }
                None => self.scan_one(base)?,
            };
            if let Some(stop) = stop {
                if number < trusted {
                    self.settle_epochs(last_epoch, Offset(i64::MAX))?;
                }
                return self.stopped(stop, bases);
            }
            let is_last = number + 1 == bases.len();
            if !is_last
                && number >= trusted
                && let Some(segment) = self.segments.last_mut()
            {
                segment.seal()?;
            }
        }
        if trusted >= bases.len() {
            self.settle_epochs(last_epoch, Offset(i64::MAX))?;
        }
        Ok(())
    }

    fn gap_before(&self, base: Offset) -> Option<Stop> {
        let last = self.segments.last()?;
        (last.end != base).then_some(Stop {
            offset: last.end,
            segment: last.base,
            position: last.size,
            kind: DamageKind::Gap {
                expected: last.end,
                found: base,
            },
        })
    }

    /// A segment whose indexes should be good; reads it through if they are not.
    fn load_trusted(&mut self, base: Offset) -> Result<(Option<LeaderEpoch>, Option<Stop>), DiskError> {
        let files = self.files(base);
        if let Some(Loaded { segment, last_epoch }) = load(&files, &self.config)? {
            files.release();
            self.segments.push(segment);
            return Ok((last_epoch, None));
        }
        let (
            Loaded {
                mut segment,
                last_epoch,
            },
            stop,
        ) = scan(&files, &self.config, &mut EpochCache::default(), Offset(i64::MAX))?;
        self.rebuilt.indexes.push(base);
        if stop.is_none() {
            // No later flush will do it, and the next start has to be able to trust them.
            segment.seal()?;
            for part in [Part::Index, Part::TimeIndex] {
                let file = files.open(part)?;
                file.sync_data().map_err(disk_error("syncing", &files, part))?;
            }
            segment
                .indexes_durable
                .store(true, std::sync::atomic::Ordering::Release);
            self.shared.directory_changed();
        }
        files.release();
        self.segments.push(segment);
        Ok((last_epoch, stop))
    }

    fn scan_one(&mut self, base: Offset) -> Result<Option<Stop>, DiskError> {
        let (Loaded { segment, .. }, stop) = scan(&self.files(base), &self.config, &mut self.epochs, self.point)?;
        self.segments.push(segment);
        Ok(stop)
    }

    /// Takes the epochs of the trusted segments from the file, or from their headers if the file does not fit them.
    fn settle_epochs(&mut self, last_epoch: Option<LeaderEpoch>, scanned_from: Offset) -> Result<(), DiskError> {
        let path = self.dir.join(EPOCHS_FILE);
        let bytes = read_small(&*self.disk, &path).map_err(DiskError::at("reading", &path))?;
        let mut epochs = bytes.and_then(|bytes| EpochCache::decode(&bytes));
        let Some(first) = self.segments.first() else {
            return Ok(());
        };
        if let Some(epochs) = &mut epochs {
            epochs.truncate_from(scanned_from.min(self.end().unwrap_or(scanned_from)));
            epochs.forget_below(first.base);
            let begins = epochs.entries().first().is_none_or(|entry| entry.start <= first.base);
            let stamped = last_epoch.filter(|epoch| *epoch >= LeaderEpoch(0));
            if begins && epochs.last_epoch() == stamped {
                self.epochs = std::mem::take(epochs);
                return Ok(());
            }
        }
        if last_epoch.is_some() {
            self.rebuilt.leader_epochs = true;
            if !is_planted(Bug::LoseEpochFile) {
                self.epochs = walk_epochs(&self.segments, &self.config)?;
            }
        }
        Ok(())
    }

    /// The batches ended before the files did: cuts, or reports damage.
    fn stopped(&mut self, stop: Stop, bases: &[Offset]) -> Result<(), DiskError> {
        let kept = self.segments.last().map(|segment| segment.base);
        let later: Vec<Offset> = bases.iter().copied().filter(|base| Some(*base) > kept).collect();
        if stop.offset < self.point {
            self.beyond_damage = later;
            self.damage = Some(Damage {
                offset: stop.offset,
                segment: stop.segment,
                position: stop.position,
                kind: stop.kind,
            });
            return Ok(());
        }
        let mut bytes = 0;
        for &base in later.iter().rev() {
            let files = self.files(base);
            let log = files.open(Part::Log)?;
            bytes += log.size().map_err(disk_error("measuring", &files, Part::Log))?;
            self.shared.directory_changed();
            remove_segment_files(&*self.disk, &self.dir, base)?;
        }
        if let Some(segment) = self.segments.last() {
            let files = &segment.files;
            let log = files.open(Part::Log)?;
            let size = log.size().map_err(disk_error("measuring", files, Part::Log))?;
            if size > segment.size {
                bytes += size - segment.size;
                log.set_size(segment.size)
                    .map_err(disk_error("cutting", files, Part::Log))?;
                log.sync_data().map_err(disk_error("syncing", files, Part::Log))?;
            }
        }
        self.cut = Some(Cut {
            from: stop.offset,
            bytes,
            cause: stop.kind,
        });
        Ok(())
    }

    pub fn finish(mut self, found: Inventory, hint: RecoveryHint) -> Result<(Log, Recovery), DiskError> {
        if self.segments.is_empty() {
            self.shared.directory_changed();
            self.segments.push(Segment::create(self.files(Offset(0)))?);
        }
        let (first, active) = (&self.segments[0], &self.segments[self.segments.len() - 1]);
        let (start, end) = (first.base, active.end);
        self.epochs.truncate_from(end);
        if self.damage.is_none() && end < self.point {
            self.damage = Some(Damage {
                offset: end,
                segment: active.base,
                position: active.size,
                kind: DamageKind::EndsBelowRecoveryPoint {
                    recovery_point: self.point,
                },
            });
        }
        if self.damage.is_some() {
            self.shared.fail(Failure::Damaged);
        }
        let (snapshots, producer_snapshot) = self.choose_snapshot(found.snapshots, start, end)?;
        self.shared.sync_dir(&*self.disk, &self.dir)?;
        if !hint.clean_stop {
            // A process that died may have left entries that only the page cache knows.
            self.shared.directory_changed();
        }
        let flushed = match hint.clean_stop {
            true => end,
            false => self.point.max(start).min(end),
        };
        let mut log = Log {
            tail: Tail::new(self.config.tail_bytes_max),
            disk: self.disk,
            dir: self.dir,
            config: self.config,
            segments: self.segments,
            beyond_damage: self.beyond_damage,
            epochs: self.epochs,
            log_start: start,
            flushed,
            unflushed_bytes: 0,
            shared: self.shared,
            snapshots,
            snapshot_due: false,
            compacted_to: start,
            recent: Mutex::default(),
        };
        log.release_files();
        let from = producer_snapshot.as_ref().map_or(start, |snapshot| snapshot.offset);
        let recovery = Recovery {
            log_end_offset: end,
            cut: self.cut,
            damage: self.damage,
            rebuilt: self.rebuilt,
            producer_snapshot,
            replay: log.replay(from),
        };
        Ok((log, recovery))
    }

    /// The newest snapshot that fits the log. Those that do not are removed, unless the log is damaged.
    fn choose_snapshot(
        &self,
        found: Vec<Offset>,
        start: Offset,
        end: Offset,
    ) -> Result<(Vec<Offset>, Option<ProducerSnapshot>), DiskError> {
        let (mut kept, mut newest) = (Vec::new(), None);
        for offset in found.into_iter().rev() {
            let fits = (start..=end).contains(&offset);
            if fits && newest.is_none() {
                newest = snapshots::load(&*self.disk, &self.dir, offset)?;
            }
            if fits && newest.is_some() {
                kept.push(offset);
            } else if self.damage.is_none() {
                self.shared.directory_changed();
                snapshots::remove(&*self.disk, &self.dir, offset)?;
            }
        }
        kept.reverse();
        Ok((kept, newest))
    }
}

/// Where each epoch begins, by the headers of all batches.
fn walk_epochs(segments: &[Segment], config: &LogConfig) -> Result<EpochCache, DiskError> {
    let mut epochs = EpochCache::default();
    for segment in segments {
        let failed = |source| disk_error("reading", &segment.files, Part::Log)(source);
        let extent = match segment.view(config).extent(0, Wait::Allowed) {
            Ok(extent) => extent,
            Err(ReadFault::Disk(error)) => return Err(error),
            Err(ReadFault::Scan(_)) => return Err(failed(std::io::ErrorKind::Other.into())),
        };
        let mut walk = HeaderWalk::new(extent, Some(segment.base), Wait::Allowed);
        loop {
            match walk.next() {
                Ok(Some((_, header))) if Some(header.partition_leader_epoch) >= epochs.last_epoch() => {
                    epochs.assign(header.partition_leader_epoch, header.base_offset);
                }
                // An epoch that falls, or no batch: the segments were loaded without reading them through, so this is
                // the first to see it. Reads and the scrub report it where it lies.
                Ok(Some(_)) => {}
                Ok(None) | Err(ScanError::Invalid { .. } | ScanError::WouldBlock) => break,
                Err(ScanError::Io(source)) => return Err(failed(source)),
            }
        }
        segment.files.release();
    }
    Ok(epochs)
}
