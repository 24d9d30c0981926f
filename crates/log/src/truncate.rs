//! Cutting a log at its end, starting it anew, and closing it.
//!
//! All of it is durable when it returns, so it waits for the disk; it is rare. Whoever cuts below the recovery point
//! first stores a lower one, durably: otherwise a power cut in between looks like damage.

use std::path::Path;

use klamm_types::Offset;

use crate::disk::{Disk, remove_if_present};
use crate::error::{ChangeError, DiskError, Failure};
use crate::files::{Part, SegmentFiles, disk_error};
use crate::flush::{EPOCHS_FILE, save_epochs};
use crate::log::Log;
use crate::log_read::hint;
use crate::names;
use crate::recovery::largest_timestamp;
use crate::scan::{HeaderWalk, ScanError, Wait};
use crate::segment::{Hint, ReadFault, Segment, SegmentView};
use crate::snapshots;

/// Where a segment is cut.
struct CutPlace {
    position: u64,
    /// The log end offset after the cut.
    end: Offset,
}

impl Log {
    /// The log end offset that [`Log::truncate_to`] would leave: `offset`, or the beginning of the batch it lies in.
    /// To be asked first by callers who may cut inside a batch and have a recovery point to lower.
    ///
    /// # Errors
    /// As [`Log::truncate_to`], but nothing changes.
    pub fn truncation_end(&self, offset: Offset) -> Result<Offset, ChangeError> {
        Ok(self.cut_at(offset)?.1.end)
    }

    /// The number of the segment that is cut, and where.
    fn cut_at(&self, offset: Offset) -> Result<(usize, CutPlace), ChangeError> {
        let (start, end) = (self.segments[0].base, self.log_end_offset());
        if offset < start || offset > end {
            return Err(ChangeError::OutOfRange { offset, start, end });
        }
        let number = self.segments.partition_point(|segment| segment.base <= offset).max(1) - 1;
        let segment = &self.segments[number];
        Ok((number, cut_place(&segment.view(&self.config), segment, offset)?))
    }

    /// Removes all batches that reach past `offset`; returns the log end offset, which is lower if `offset` lies inside
    /// a batch. Mends a log that failed to write or is damaged at `offset` or above. Durable when it returns; the
    /// flushed offset and the epochs fall with it. The caller rebuilds producer state from [`Log::producer_state`].
    ///
    /// The recovery point stored for this log MUST be at most the result by now: `offset`, if batches begin there, or
    /// what [`Log::truncation_end`] says.
    ///
    /// # Errors
    /// After a disk error the log has failed until it is opened again.
    pub fn truncate_to(&mut self, offset: Offset) -> Result<Offset, ChangeError> {
        match self.failure() {
            Some(Failure::Flush) => return Err(ChangeError::Failed(Failure::Flush)),
            None if offset == self.log_end_offset() => return Ok(offset),
            None | Some(Failure::Write | Failure::Damaged) => {}
        }
        let (keep, place) = self.cut_at(offset)?;
        let shared = self.shared.clone();
        let _guard = shared.lock_syncs();
        shared.next_generation();
        self.cut(keep, place).inspect_err(|_| shared.fail(Failure::Flush))?;
        shared.mend();
        Ok(self.log_end_offset())
    }

    /// Cuts a segment and removes those behind it.
    fn cut(&mut self, keep: usize, place: CutPlace) -> Result<(), DiskError> {
        self.tail.truncate(place.end);
        for base in std::mem::take(&mut self.beyond_damage).into_iter().rev() {
            self.remove_segment(base)?;
        }
        while self.segments.len() > keep + 1
            && let Some(segment) = self.segments.pop()
        {
            segment.files.release();
            self.remove_segment(segment.base)?;
        }
        cut_segment(self.active_mut(), place)?;
        let end = self.log_end_offset();
        self.forget_above(end)?;
        self.shared.sync_dir(&*self.disk, &self.dir)?;
        self.flushed = self.flushed.min(end);
        self.compacted_to = self.compacted_to.min(end);
        self.log_start = self.log_start.min(end);
        Ok(())
    }

    fn remove_segment(&self, base: Offset) -> Result<(), DiskError> {
        self.shared.directory_changed();
        remove_segment_files(&*self.disk, &self.dir, base)
    }

    /// Epochs and snapshots go back with the log.
    fn forget_above(&mut self, end: Offset) -> Result<(), DiskError> {
        self.epochs.truncate_from(end);
        while let Some(&offset) = self.snapshots.last()
            && offset > end
        {
            self.shared.directory_changed();
            snapshots::remove(&*self.disk, &self.dir, offset)?;
            self.snapshots.pop();
        }
        Ok(())
    }

    /// Removes everything and begins again, empty, at `offset`: for a follower whose leader has nothing older, and for
    /// a damaged replica that is filled again. Durable when it returns. A power cut in between may leave an empty log
    /// at offset 0 or some of the old segments.
    ///
    /// The recovery point stored for this log MUST be 0, or none, by now.
    ///
    /// # Errors
    /// After a disk error the log has failed until it is opened again.
    pub fn truncate_fully_and_start_at(&mut self, offset: Offset) -> Result<(), ChangeError> {
        if self.failure() == Some(Failure::Flush) {
            return Err(ChangeError::Failed(Failure::Flush));
        }
        let shared = self.shared.clone();
        let _guard = shared.lock_syncs();
        shared.next_generation();
        self.start_again(offset).inspect_err(|_| shared.fail(Failure::Flush))?;
        shared.mend();
        Ok(())
    }

    fn start_again(&mut self, offset: Offset) -> Result<(), DiskError> {
        self.tail.clear();
        self.forget_above(Offset::NONE)?;
        let path = self.dir.join(EPOCHS_FILE);
        remove_if_present(&*self.disk, &path).map_err(DiskError::at("removing", &path))?;
        self.shared.directory_changed();
        let ours = self.segments.iter().map(|segment| segment.base);
        // From the back, so that a power cut leaves a log without gaps.
        let bases: Vec<Offset> = ours.chain(std::mem::take(&mut self.beyond_damage)).collect();
        for base in bases.into_iter().rev() {
            self.remove_segment(base)?;
            self.shared.sync_dir(&*self.disk, &self.dir)?;
        }
        let files = SegmentFiles::new(self.disk.clone(), self.dir.clone(), offset);
        self.segments = vec![Segment::create(files)?];
        self.shared.directory_changed();
        self.shared.sync_dir(&*self.disk, &self.dir)?;
        (self.log_start, self.flushed, self.compacted_to) = (offset, offset, offset);
        Ok(())
    }

    /// Makes everything durable that spares the next start work: batches, indexes, epochs. Returns the recovery point
    /// to be stored with the mark of a clean stop. A producer snapshot, if wanted, is written before.
    ///
    /// # Errors
    /// The log did not stop cleanly.
    pub fn close_clean(mut self) -> Result<Offset, ChangeError> {
        if let Some(failure) = self.failure() {
            return Err(ChangeError::Failed(failure));
        }
        let shared = self.shared.clone();
        // Index files may be made now; where nothing was written since the start they are there already.
        if !self.active().are_indexes_durable() {
            shared.directory_changed();
            self.active_mut().seal()?;
        }
        let _guard = shared.lock_syncs();
        for segment in &self.segments {
            if segment.end > self.flushed || !segment.are_indexes_durable() {
                sync_all(segment).inspect_err(|_| shared.fail(Failure::Flush))?;
            }
        }
        let epochs = self.epochs_to_save();
        if epochs.version > shared.epochs_saved() {
            save_epochs(&*self.disk, &self.dir, &epochs)?;
        }
        shared.sync_dir(&*self.disk, &self.dir)?;
        Ok(self.log_end_offset())
    }
}

fn sync_all(segment: &Segment) -> Result<(), DiskError> {
    for part in [Part::Log, Part::Index, Part::TimeIndex] {
        if let Some(file) = segment.files.open_if_present(part)? {
            file.sync_data().map_err(disk_error("syncing", &segment.files, part))?;
        }
    }
    Ok(())
}

/// The indexes first: a segment exists as long as its batches do.
pub(crate) fn remove_segment_files(disk: &dyn Disk, dir: &Path, base: Offset) -> Result<(), DiskError> {
    for suffix in names::SEGMENT_FILES.into_iter().rev() {
        let path = names::path(dir, base, suffix);
        remove_if_present(disk, &path).map_err(DiskError::at("removing", &path))?;
    }
    Ok(())
}

/// Finds the first batch that reaches past `offset`, or the place where batches end before that.
fn cut_place(view: &SegmentView, segment: &Segment, offset: Offset) -> Result<CutPlace, ChangeError> {
    let disk = |source| DiskError {
        act: "reading",
        path: view.files.path(Part::Log),
        source,
    };
    let from_hint = match hint(segment, offset) {
        Hint::Position(position) => Some(position),
        Hint::IndexFile => view.look_up(offset, Wait::Allowed).ok(),
    };
    // A hint that leads nowhere is passed over; damage at the front is then met again.
    for start in [from_hint.unwrap_or(0), 0] {
        match walk_to_cut(view, start, offset) {
            Ok(Some(place)) => return Ok(place),
            Ok(None) => {}
            Err(ReadFault::Disk(error)) => return Err(error.into()),
            Err(ReadFault::Scan(ScanError::Io(source))) => return Err(disk(source).into()),
            Err(ReadFault::Scan(_)) => return Err(disk(std::io::ErrorKind::InvalidData.into()).into()),
        }
    }
    // The very first batch is unreadable: nothing of the segment stays.
    Ok(CutPlace {
        position: 0,
        end: view.base,
    })
}

/// `None` if what lies at `start` is no batch, or one behind `offset`.
fn walk_to_cut(view: &SegmentView, start: u64, offset: Offset) -> Result<Option<CutPlace>, ReadFault> {
    let first = (start == 0).then_some(view.base);
    let mut walk = HeaderWalk::new(view.extent(start, Wait::Allowed)?, first, Wait::Allowed);
    let mut place = first.map(|end| CutPlace { position: start, end });
    loop {
        match walk.next() {
            Ok(Some((_, header))) if header.base_offset > offset && place.is_none() => return Ok(None),
            Ok(Some((position, header))) if header.next_offset() > offset => {
                let end = header.base_offset;
                return Ok(Some(CutPlace { position, end }));
            }
            Ok(Some((position, header))) => {
                place = Some(CutPlace {
                    position: position + header.size() as u64,
                    end: header.next_offset(),
                });
            }
            Ok(None) | Err(ScanError::Invalid { .. }) => return Ok(place),
            Err(other) => return Err(other.into()),
        }
    }
}

/// Shortens the file and the indexes, and makes the file's length durable.
fn cut_segment(segment: &mut Segment, place: CutPlace) -> Result<(), DiskError> {
    let files = segment.files.clone();
    let log = files.open(Part::Log)?;
    log.set_size(place.position)
        .map_err(disk_error("cutting", &files, Part::Log))?;
    log.sync_data().map_err(disk_error("syncing", &files, Part::Log))?;

    let kept = place.end.0 - segment.base.0;
    let index = files.open_if_present(Part::Index)?;
    let result = segment
        .index
        .truncate(index.as_deref(), |entry| i64::from(entry.relative) < kept);
    result.map_err(disk_error("cutting", &files, Part::Index))?;
    let times = files.open_if_present(Part::TimeIndex)?;
    let result = segment
        .times
        .truncate(times.as_deref(), |entry| i64::from(entry.relative) < kept);
    result.map_err(disk_error("cutting", &files, Part::TimeIndex))?;

    segment.size = place.position;
    segment.end = place.end;
    segment.indexes_durable = Default::default();
    let last_entry = segment.index.last().map_or(0, |entry| u64::from(entry.position));
    segment.bytes_since_entry = place.position.saturating_sub(last_entry);
    largest_timestamp(segment).map_err(|fault| match fault {
        ReadFault::Disk(error) => error,
        ReadFault::Scan(ScanError::Io(source)) => disk_error("reading", &files, Part::Log)(source),
        ReadFault::Scan(_) => disk_error("reading", &files, Part::Log)(std::io::ErrorKind::InvalidData.into()),
    })
}
