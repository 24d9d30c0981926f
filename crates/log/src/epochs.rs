//! The leader epochs of one log: where each began. Answers how far a log agrees with another one that has gone
//! through other leaders (KIP-101, KIP-279).
//!
//! It is derived from the batches; the file `leader-epoch-checkpoint` (Kafka's text format) spares a walk over closed
//! segments. This file decides nothing about truncation.

use klamm_types::{LeaderEpoch, Offset};

/// The first batch of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    pub epoch: LeaderEpoch,
    pub start: Offset,
}

/// Where each epoch began. Both columns only rise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EpochCache {
    entries: Vec<EpochStart>,
    /// Grows with every change, so that one can tell whether the file is behind.
    version: u64,
}

impl EpochCache {
    pub fn entries(&self) -> &[EpochStart] {
        &self.entries
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn last_epoch(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|entry| entry.epoch)
    }

    /// Takes note of a batch. The caller has made sure that the epoch does not fall.
    #[inline]
    pub fn assign(&mut self, epoch: LeaderEpoch, offset: Offset) {
        // A batch that no leader stamped says nothing about epochs.
        if self.last_epoch() == Some(epoch) || epoch < LeaderEpoch(0) {
            return;
        }
        self.truncate_from(offset);
        self.entries.push(EpochStart { epoch, start: offset });
        self.version += 1;
    }

    /// Forgets epochs that begin at `end` or later.
    pub fn truncate_from(&mut self, end: Offset) {
        let count = self.entries.partition_point(|entry| entry.start < end);
        if count < self.entries.len() {
            self.entries.truncate(count);
            self.version += 1;
        }
    }

    /// Forgets epochs that end at `start` or before; the one that `start` lies in begins there now.
    pub fn forget_below(&mut self, start: Offset) {
        let below = self.entries.partition_point(|entry| entry.start <= start);
        if below == 0 || (below == 1 && self.entries[0].start == start) {
            return;
        }
        self.entries.drain(..below - 1);
        self.entries[0].start = start;
        self.version += 1;
    }

    /// The last epoch at or below `requested` and the offset at which it ends. `None`: this log knows nothing so new.
    pub fn end_offset_for(&self, requested: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        let last = self.entries.last()?;
        if requested == last.epoch {
            return Some((requested, log_end));
        }
        let above = self.entries.partition_point(|entry| entry.epoch <= requested);
        let next = self.entries.get(above)?;
        if requested < LeaderEpoch(0) {
            return None;
        }
        match above.checked_sub(1) {
            Some(floor) => Some((self.entries[floor].epoch, next.start)),
            None => Some((requested, next.start)),
        }
    }

    /// The bytes of `leader-epoch-checkpoint`.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!("0\n{}\n", self.entries.len());
        for EpochStart { epoch, start } in &self.entries {
            text.push_str(&format!("{epoch} {start}\n"));
        }
        text.into_bytes()
    }

    /// From the bytes of `leader-epoch-checkpoint`; `None` if they are not in order.
    pub fn decode(bytes: &[u8]) -> Option<EpochCache> {
        let mut lines = std::str::from_utf8(bytes).ok()?.lines();
        if lines.next()? != "0" {
            return None;
        }
        let count: usize = lines.next()?.parse().ok()?;
        let mut entries: Vec<EpochStart> = Vec::new();
        for line in lines {
            let (epoch, start) = line.split_once(' ')?;
            let entry = EpochStart {
                epoch: LeaderEpoch(epoch.parse().ok()?),
                start: Offset(start.parse().ok()?),
            };
            let rises = |last: &EpochStart| last.epoch < entry.epoch && last.start < entry.start;
            if entry.start < Offset(0) || !entries.last().is_none_or(rises) {
                return None;
            }
            entries.push(entry);
        }
        (entries.len() == count).then_some(EpochCache { entries, version: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: &[(i32, i64)]) -> EpochCache {
        let mut cache = EpochCache::default();
        for &(epoch, start) in entries {
            cache.assign(LeaderEpoch(epoch), Offset(start));
        }
        cache
    }

    fn pairs(cache: &EpochCache) -> Vec<(i32, i64)> {
        cache
            .entries()
            .iter()
            .map(|entry| (entry.epoch.0, entry.start.0))
            .collect()
    }

    #[test]
    fn answers_as_offset_for_leader_epoch_does() {
        let epochs = cache(&[(2, 10), (4, 20), (4, 25), (7, 30)]);
        let ask = |epoch| {
            let answer = epochs.end_offset_for(LeaderEpoch(epoch), Offset(40));
            answer.map(|(epoch, offset)| (epoch.0, offset.0))
        };
        assert_eq!(ask(7), Some((7, 40)));
        assert_eq!(ask(8), None);
        assert_eq!(ask(-1), None);
        assert_eq!(ask(1), Some((1, 10)));
        assert_eq!(ask(2), Some((2, 20)));
        assert_eq!(ask(3), Some((2, 20)));
        assert_eq!(ask(4), Some((4, 30)));
        assert_eq!(ask(6), Some((4, 30)));
        assert_eq!(cache(&[]).end_offset_for(LeaderEpoch(0), Offset(0)), None);
    }

    #[test]
    fn shrinks_at_both_ends() {
        let mut epochs = cache(&[(2, 10), (4, 20), (7, 30)]);
        epochs.truncate_from(Offset(30));
        assert_eq!(pairs(&epochs), [(2, 10), (4, 20)]);
        epochs.forget_below(Offset(15));
        assert_eq!(pairs(&epochs), [(2, 15), (4, 20)]);
        epochs.forget_below(Offset(20));
        assert_eq!(pairs(&epochs), [(4, 20)]);
        epochs.forget_below(Offset(5));
        assert_eq!(pairs(&epochs), [(4, 20)]);
        epochs.assign(LeaderEpoch(9), Offset(20));
        assert_eq!(pairs(&epochs), [(9, 20)]);
    }

    #[test]
    fn the_file_is_kafkas() {
        let epochs = cache(&[(2, 10), (4, 20)]);
        assert_eq!(epochs.encode(), b"0\n2\n2 10\n4 20\n");
        assert_eq!(
            EpochCache::decode(&epochs.encode()).unwrap().entries(),
            epochs.entries()
        );
        for bad in [
            "",
            "0\n",
            "1\n0\n",
            "0\n2\n2 10\n",
            "0\n1\n2 10",
            "0\n2\n2 10\n2 20\n",
            "0\n2\n2 10\n3 10\n",
            "0\n1\nx 10\n",
            "0\n1\n2 -10\n",
        ] {
            let decoded = EpochCache::decode(bad.as_bytes());
            assert!(decoded.is_none() || bad == "0\n1\n2 10", "{bad:?}");
        }
    }
}
