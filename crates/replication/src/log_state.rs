//! What a replica knows of its log: how far it is accepted, written and flushed, and what work on it is under way.
//!
//! Both roles share it and it outlives them. It gives the effects that touch the log and takes their answers, so the
//! order between appends, flushes and cuts is kept in this one place.

use std::collections::VecDeque;

use klamm_record::Batch;
use klamm_types::planted::{Bug, is_planted};
use klamm_types::{HighWatermark, LeaderEpoch, LogStartOffset, Moment, Offset, Timestamp};

use crate::effect::{Effect, Lane};
use crate::epochs::EpochTable;
use crate::event::{AppendId, FlushId};
use crate::producers::ProducerTable;
use crate::view::{Durability, OpenedLog};

/// An append that has been given out and not answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingAppend {
    pub append: AppendId,
    pub next_offset: Offset,
    pub bytes: u64,
    pub since: Moment,
}

/// How the log is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    To(Offset),
    RestartAt(Offset),
}

#[derive(Debug)]
enum Cutting {
    No,
    /// Waits until no append and no flush is under way.
    Wanted(Cut),
    Given(Cut),
}

/// Whether anybody needs written records flushed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlushNeed {
    /// The topic's level counts flushed offsets, or credit waits for the flush.
    Always,
    /// Only when the shell says so.
    WhenDue,
}

/// The mark beside the log that says that records count before they are flushed. One change is under way at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UnflushedMark {
    Absent,
    /// It lay there at the start, and no registration has told of it yet. What it stands for may be gone with the
    /// machine; a flush of what is left brings nothing back, and if this run ends too, the next must still find it.
    Untold,
    Setting,
    Set,
    Removing,
}

#[derive(Debug)]
pub(crate) struct LogState {
    pub log_start: LogStartOffset,
    /// The offset that the next batch gets.
    pub accepted: Offset,
    pub written: Offset,
    pub flushed: Offset,
    pub high_watermark: HighWatermark,
    pub epochs: EpochTable,
    pub producers: ProducerTable,
    pending: VecDeque<PendingAppend>,
    appends_given: u64,
    flushing: Option<FlushId>,
    flushes_given: u64,
    flush_due: bool,
    mark: UnflushedMark,
    cutting: Cutting,
    /// What a log that is to begin anew will know of producers.
    inherited: ProducerTable,
    /// The replica has stopped: what was accepted may never be written.
    stopped: bool,
}

impl LogState {
    pub fn new(opened: OpenedLog, producer_ids_max: usize) -> LogState {
        let mut producers = opened.producers;
        producers.limit(producer_ids_max);
        // A checkpoint may promise more than a log that was cut at recovery still holds.
        let high_watermark = opened.high_watermark.0.clamp(opened.log_start.0, opened.log_end.0);
        LogState {
            log_start: opened.log_start,
            accepted: opened.log_end,
            written: opened.log_end,
            flushed: opened.flushed.min(opened.log_end),
            high_watermark: HighWatermark(high_watermark),
            epochs: EpochTable::new(opened.epochs, opened.log_start),
            producers,
            pending: VecDeque::new(),
            appends_given: 0,
            flushing: None,
            flushes_given: 0,
            flush_due: false,
            mark: match opened.unflushed_mark {
                true => UnflushedMark::Untold,
                false => UnflushedMark::Absent,
            },
            cutting: Cutting::No,
            inherited: ProducerTable::default(),
            stopped: false,
        }
    }

    /// No record is left of it, nor on the way to it.
    pub fn is_empty(&self) -> bool {
        self.accepted == self.log_start.into()
    }

    /// The epoch of the last accepted record.
    pub fn last_epoch(&self) -> LeaderEpoch {
        self.epochs.last_record_epoch(self.accepted)
    }

    /// Gives batches to the log. Their offsets and epochs are set and continue the log.
    pub fn append(&mut self, batches: Vec<Batch>, now: (Moment, Timestamp), effects: &mut Vec<Effect>) {
        let mut bytes = 0;
        for batch in &batches {
            debug_assert!(batch.base_offset() >= self.accepted, "batches continue the log");
            self.epochs.assign(batch.leader_epoch(), batch.base_offset());
            self.producers.replay(batch.header(), now.1);
            self.accepted = batch.next_offset();
            bytes += batch.size() as u64;
        }
        self.appends_given += 1;
        let append = AppendId(self.appends_given);
        self.pending.push_back(PendingAppend {
            append,
            next_offset: self.accepted,
            bytes,
            since: now.0,
        });
        effects.push(Effect::Append { append, batches });
    }

    /// An append was answered: it must be the oldest one.
    pub fn append_written(&mut self, append: AppendId) -> Option<PendingAppend> {
        if self.pending.front()?.append != append {
            return None;
        }
        let done = self.pending.pop_front()?;
        self.written = done.next_offset;
        Some(done)
    }

    /// Only for a planted bug: whoever leads must not do it.
    pub fn give_offsets_again(&mut self) {
        self.pending.clear();
        self.accepted = self.written;
        self.producers = ProducerTable::new(self.written);
    }

    pub fn oldest_pending(&self) -> Option<&PendingAppend> {
        self.pending.front()
    }

    /// No append and no cut is wanted or under way: the log end is certain.
    pub fn is_settled(&self) -> bool {
        self.pending.is_empty() && matches!(self.cutting, Cutting::No)
    }

    pub fn flushed_to(&mut self, flush: FlushId, offset: Offset) {
        if self.flushing == Some(flush) {
            self.flushing = None;
            self.flushed = self.flushed.max(offset.min(self.written));
        }
    }

    pub fn is_flushing(&self, flush: FlushId) -> bool {
        self.flushing == Some(flush)
    }

    /// The level by which this replica's own records count. Without the mark on the disk only flushed ones do: after a
    /// power cut nothing would tell that the others were counted, if the topic has changed to `fsync` meanwhile.
    pub fn effective(&self, configured: Durability) -> Durability {
        match (configured, self.mark) {
            (Durability::Replicated, UnflushedMark::Set | UnflushedMark::Untold) => Durability::Replicated,
            _ => Durability::Fsync,
        }
    }

    /// This replica's own offset that counts at the topic's level.
    pub fn counted(&self, configured: Durability) -> Offset {
        match self.effective(configured) {
            Durability::Fsync if is_planted(Bug::CountWrittenAsFlushed) => self.written,
            Durability::Fsync => self.flushed,
            Durability::Replicated => self.written,
        }
    }

    /// This process is registered, and the registration has told of the mark found at the start.
    pub fn mark_told(&mut self) {
        if self.mark == UnflushedMark::Untold {
            self.mark = UnflushedMark::Set;
        }
    }

    pub fn mark_set(&mut self) {
        if self.mark == UnflushedMark::Setting {
            self.mark = UnflushedMark::Set;
        }
    }

    pub fn mark_removed(&mut self) {
        if self.mark == UnflushedMark::Removing {
            self.mark = UnflushedMark::Absent;
        }
    }

    /// Has the mark follow the topic's level: set as soon as it is of use, removed only after a flush of the whole log
    /// and once the controller knows of it.
    pub fn give_mark_work(&mut self, configured: Durability, effects: &mut Vec<Effect>) {
        let whole_flushed = self.is_settled() && self.flushed == self.accepted;
        match (configured, self.mark) {
            (Durability::Replicated, UnflushedMark::Absent) if !whole_flushed => {
                self.mark = UnflushedMark::Setting;
                effects.push(Effect::SetUnflushedMark);
            }
            (Durability::Fsync, UnflushedMark::Set) if whole_flushed => {
                self.mark = UnflushedMark::Removing;
                effects.push(Effect::RemoveUnflushedMark);
            }
            _ => {}
        }
    }

    pub fn want_flush(&mut self) {
        self.flush_due = true;
    }

    pub fn want_cut(&mut self, cut: Cut) {
        let (Cut::To(to) | Cut::RestartAt(to)) = cut;
        self.cutting = Cutting::Wanted(cut);
        self.inherited = ProducerTable::new(to);
    }

    /// The log is to begin anew, with what is known of the producers of deleted records.
    pub fn want_restart(&mut self, at: Offset, producers: ProducerTable) {
        self.cutting = Cutting::Wanted(Cut::RestartAt(at));
        self.inherited = producers;
    }

    /// Forgets a cut that was not given out yet: it belonged to a role that has ended.
    pub fn forget_cut(&mut self) {
        if matches!(self.cutting, Cutting::Wanted(_)) {
            self.cutting = Cutting::No;
        }
    }

    /// The log was cut: tells how. `None` if nobody asked for it.
    pub fn truncated(&mut self, log_start: LogStartOffset, log_end: Offset, producers: ProducerTable) -> Option<Cut> {
        let Cutting::Given(cut) = self.cutting else {
            return None;
        };
        self.cutting = Cutting::No;
        let producer_ids_max = self.producers.ids_max();
        match cut {
            Cut::To(_) => self.epochs.truncate(log_end),
            Cut::RestartAt(_) => self.epochs = EpochTable::default(),
        }
        self.log_start = log_start;
        self.accepted = log_end;
        self.written = log_end;
        self.flushed = match cut {
            Cut::To(_) => self.flushed.min(log_end),
            Cut::RestartAt(_) => log_end,
        };
        self.high_watermark = HighWatermark(match cut {
            Cut::To(_) => self.high_watermark.0.min(log_end.0),
            // The leader's log start lies at or below its high watermark.
            Cut::RestartAt(_) => log_end.0,
        });
        self.producers = producers;
        self.producers.limit(producer_ids_max);
        Some(cut)
    }

    pub fn log_start_advanced(&mut self, log_start: LogStartOffset) {
        if log_start > self.log_start {
            self.log_start = log_start;
            self.epochs.advance_start(log_start);
            // Only what was committed is ever deleted from the front.
            self.raise_high_watermark(HighWatermark(log_start.0));
        }
    }

    pub fn raise_high_watermark(&mut self, to: HighWatermark) -> bool {
        let grows = to > self.high_watermark;
        if grows {
            self.high_watermark = to;
        }
        grows
    }

    /// Gives out the work that waits: called once at the end of each step.
    pub fn give_work(&mut self, need: FlushNeed, lane: Lane, effects: &mut Vec<Effect>) {
        if self.flushing.is_some() {
            return;
        }
        match self.cutting {
            Cutting::Given(_) => {}
            Cutting::Wanted(cut) => {
                if self.pending.is_empty() {
                    self.cutting = Cutting::Given(cut);
                    effects.push(match cut {
                        Cut::To(to) => Effect::Truncate { to },
                        Cut::RestartAt(at) => Effect::RestartLog {
                            at,
                            producers: std::mem::take(&mut self.inherited),
                        },
                    });
                }
            }
            Cutting::No => {
                if self.flushed < self.written && (need == FlushNeed::Always || self.flush_due) {
                    self.flushes_given += 1;
                    let flush = FlushId(self.flushes_given);
                    self.flushing = Some(flush);
                    effects.push(Effect::Flush {
                        flush,
                        up_to: self.written,
                        lane,
                    });
                }
                self.flush_due = false;
            }
        }
    }

    /// Writes that nobody will ever answer: the replica has stopped.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.pending.clear();
        self.flushing = None;
        self.cutting = Cutting::No;
    }

    pub fn validate(&self) -> Result<(), String> {
        let orders = [
            ("log start <= high watermark", self.log_start.0 <= self.high_watermark.0),
            ("high watermark <= accepted", self.high_watermark.0 <= self.accepted.0),
            ("flushed <= written", self.flushed <= self.written),
            ("written <= accepted", self.written <= self.accepted),
            ("producers <= accepted", self.producers.end() <= self.accepted),
            (
                "written = accepted without pending appends",
                self.stopped || !self.pending.is_empty() || self.written == self.accepted,
            ),
            (
                "last epoch starts <= accepted",
                self.epochs
                    .entries()
                    .last()
                    .is_none_or(|&(_, start)| start <= self.accepted),
            ),
            (
                "epochs rise",
                self.epochs
                    .entries()
                    .windows(2)
                    .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1),
            ),
        ];
        match orders.iter().find(|(_, holds)| !holds) {
            Some((order, _)) => Err(format!("log: {order}: {self:?}")),
            None => Ok(()),
        }
    }
}
