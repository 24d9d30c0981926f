//! Which leader epoch begins at which offset: what two logs are compared by (KIP-101, KIP-279, KIP-320).
//!
//! The log keeps the same table on disk; this one is fed from it once, at opening, and by every batch after that.

use klamm_types::{LeaderEpoch, LogStartOffset, Offset};

/// The epochs of a log in order, each with its first offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochTable {
    /// Strictly rising in both; the last one is the epoch of the last record, or of a leader that wrote nothing yet.
    entries: Vec<(LeaderEpoch, Offset)>,
    /// The newest epoch of a record below the log start: the files may hold it yet, and refuse older ones behind it.
    deleted: LeaderEpoch,
}

/// Where an epoch ends in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch of the log that is not above the one asked for.
    pub epoch: LeaderEpoch,
    /// Exclusive.
    pub end_offset: Offset,
}

impl EpochTable {
    /// Takes the entries of a log in order, as its files hold them; those that do not rise are left out.
    pub fn new(entries: impl IntoIterator<Item = (LeaderEpoch, Offset)>, log_start: LogStartOffset) -> EpochTable {
        let mut table = EpochTable::default();
        for (epoch, start) in entries {
            table.assign(epoch, start);
        }
        table.advance_start(log_start);
        table
    }

    /// Records that `epoch` begins at `start`, unless it has begun already. An epoch that wrote nothing before
    /// `start` was reached leaves no trace: nothing can be compared by it.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) {
        if self.latest().is_some_and(|latest| latest >= epoch) {
            return;
        }
        while self.entries.last().is_some_and(|&(_, begun)| begun >= start) {
            self.entries.pop();
        }
        self.entries.push((epoch, start));
    }

    /// The newest epoch.
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|&(epoch, _)| epoch)
    }

    /// The epoch of the last record below `log_end`; `NONE` in an empty log.
    pub fn last_record_epoch(&self, log_end: Offset) -> LeaderEpoch {
        let holds_records = |&&(_, start): &&(LeaderEpoch, Offset)| start < log_end;
        self.entries
            .iter()
            .rev()
            .find(holds_records)
            .map_or(LeaderEpoch::NONE, |&(epoch, _)| epoch)
    }

    /// Where `asked` ends. `None` if every epoch of the log is above it.
    pub fn end_of(&self, asked: LeaderEpoch, log_end: Offset) -> Option<EpochEnd> {
        let above = self.entries.partition_point(|&(epoch, _)| epoch <= asked);
        let (epoch, _) = *self.entries.get(above.checked_sub(1)?)?;
        let end_offset = self.entries.get(above).map_or(log_end, |&(_, start)| start);
        Some(EpochEnd { epoch, end_offset })
    }

    /// The newest epoch of a deleted record; `NONE` if none was deleted.
    pub fn deleted(&self) -> LeaderEpoch {
        self.deleted
    }

    /// The first epoch and its start.
    pub fn first(&self) -> Option<(LeaderEpoch, Offset)> {
        self.entries.first().copied()
    }

    /// The log was cut: epochs that began at or after `to` are gone.
    pub fn truncate(&mut self, to: Offset) {
        self.entries.retain(|&(_, start)| start < to);
    }

    /// The log start moved: epochs that ended at or before it are gone, the one it lies in begins there.
    pub fn advance_start(&mut self, log_start: LogStartOffset) {
        let start = Offset::from(log_start);
        let deleted = self.entries.iter().rev().find(|&&(_, begin)| begin < start);
        self.deleted = deleted.map_or(self.deleted, |&(epoch, _)| epoch);
        let begun = self.entries.partition_point(|&(_, begin)| begin <= start);
        if begun > 0 {
            self.entries.drain(..begun - 1);
            self.entries[0].1 = start;
        }
    }

    pub fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(i32, i64)]) -> EpochTable {
        EpochTable::new(
            entries
                .iter()
                .map(|&(epoch, start)| (LeaderEpoch(epoch), Offset(start))),
            LogStartOffset(0),
        )
    }

    fn end(epoch: i32, end_offset: i64) -> Option<EpochEnd> {
        Some(EpochEnd {
            epoch: LeaderEpoch(epoch),
            end_offset: Offset(end_offset),
        })
    }

    #[test]
    fn ends_of_epochs() {
        let table = table(&[(1, 0), (3, 10), (6, 20)]);
        assert_eq!(table.end_of(LeaderEpoch(0), Offset(30)), None);
        assert_eq!(table.end_of(LeaderEpoch(1), Offset(30)), end(1, 10));
        assert_eq!(table.end_of(LeaderEpoch(2), Offset(30)), end(1, 10));
        assert_eq!(table.end_of(LeaderEpoch(5), Offset(30)), end(3, 20));
        assert_eq!(table.end_of(LeaderEpoch(6), Offset(30)), end(6, 30));
        assert_eq!(table.end_of(LeaderEpoch(9), Offset(30)), end(6, 30));
    }

    #[test]
    fn an_epoch_without_records_leaves_no_trace() {
        let mut epochs = table(&[(1, 0), (3, 10)]);
        epochs.assign(LeaderEpoch(4), Offset(10));
        assert_eq!(epochs, table(&[(1, 0), (4, 10)]));
        assert_eq!(epochs.last_record_epoch(Offset(10)), LeaderEpoch(1));
        assert_eq!(epochs.last_record_epoch(Offset(11)), LeaderEpoch(4));
        epochs.assign(LeaderEpoch(2), Offset(50));
        assert_eq!(epochs, table(&[(1, 0), (4, 10)]));
    }

    #[test]
    fn cuts_at_both_ends() {
        let mut epochs = table(&[(1, 0), (3, 10), (6, 20)]);
        epochs.truncate(Offset(20));
        assert_eq!(epochs.entries(), table(&[(1, 0), (3, 10)]).entries());
        epochs.advance_start(LogStartOffset(5));
        assert_eq!(epochs.entries(), table(&[(1, 5), (3, 10)]).entries());
        epochs.advance_start(LogStartOffset(12));
        assert_eq!(epochs.entries(), table(&[(3, 12)]).entries());
        assert_eq!(epochs.deleted(), LeaderEpoch(3));
        epochs.truncate(Offset(12));
        assert_eq!(epochs.entries(), table(&[]).entries());
        assert_eq!(epochs.last_record_epoch(Offset(12)), LeaderEpoch::NONE);
        assert_eq!(epochs.deleted(), LeaderEpoch(3));
    }
}
