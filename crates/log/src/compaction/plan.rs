//! Which segments a run takes, as a value.

use klamm_types::{Offset, Timestamp};

use crate::config::CompactionRules;

/// What is to be known of a closed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub end: Offset,
    pub size: u64,
    /// Of the first batch.
    pub first_timestamp: Timestamp,
    pub max_timestamp: Timestamp,
    /// Its indexes are on the disk.
    pub is_settled: bool,
}

/// What bounds a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Nothing at or above is committed and flushed.
    pub safe: Offset,
    /// Below it there is nothing new.
    pub compacted_to: Offset,
    pub now: Timestamp,
}

/// How many of the closed segments a run takes, from the front; 0 if it is not worth it.
pub(super) fn segments_to_compact(closed: &[Facts], bounds: Bounds, rules: &CompactionRules) -> usize {
    let is_old = |segment: &&Facts| {
        segment.max_timestamp.is_none() || bounds.now.0.saturating_sub(segment.max_timestamp.0) >= rules.lag_min_ms
    };
    let may_go = |segment: &&Facts| segment.end <= bounds.safe && segment.is_settled && is_old(segment);
    let count = closed.iter().take_while(may_go).count();
    let waits_too_long = |segment: &Facts| {
        let age = bounds.now.0.saturating_sub(segment.first_timestamp.0);
        !segment.first_timestamp.is_none() && age > rules.lag_max_ms
    };
    let (mut dirty, mut all, mut worth) = (0u64, 0u64, false);
    for segment in &closed[..count] {
        all += segment.size;
        if segment.end > bounds.compacted_to {
            dirty += segment.size;
            worth |= waits_too_long(segment);
        }
    }
    worth |= u128::from(dirty) * 1000 >= u128::from(all) * u128::from(rules.dirty_ratio_min_permille);
    if dirty > 0 && worth { count } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed() -> Vec<Facts> {
        let facts = (1..=4).map(|number| Facts {
            end: Offset(number * 10),
            size: 100,
            first_timestamp: Timestamp(number * 1000 - 900),
            max_timestamp: Timestamp(number * 1000),
            is_settled: true,
        });
        facts.collect()
    }

    fn count(closed: &[Facts], safe: i64, compacted_to: i64, now: i64, rules: &CompactionRules) -> usize {
        let bounds = Bounds {
            safe: Offset(safe),
            compacted_to: Offset(compacted_to),
            now: Timestamp(now),
        };
        segments_to_compact(closed, bounds, rules)
    }

    #[test]
    fn only_what_is_committed_settled_and_old_is_taken() {
        let rules = CompactionRules::default();
        assert_eq!(count(&closed(), 40, 0, 9_000, &rules), 4);
        assert_eq!(count(&closed(), 39, 0, 9_000, &rules), 3);
        assert_eq!(count(&closed(), 9, 0, 9_000, &rules), 0);
        let lagging = CompactionRules {
            lag_min_ms: 2_000,
            ..CompactionRules::default()
        };
        assert_eq!(count(&closed(), 40, 0, 5_000, &lagging), 3);
        let mut segments = closed();
        segments[1].is_settled = false;
        assert_eq!(count(&segments, 40, 0, 9_000, &rules), 1);
        segments[0].max_timestamp = Timestamp::NONE;
        assert_eq!(count(&segments, 40, 0, 0, &lagging), 1);
        assert_eq!(count(&[], 40, 0, 9_000, &rules), 0);
    }

    #[test]
    fn too_little_that_is_new_is_not_worth_it() {
        let rules = CompactionRules::default();
        assert_eq!(count(&closed(), 40, 20, 9_000, &rules), 4);
        assert_eq!(count(&closed(), 40, 30, 9_000, &rules), 0);
        assert_eq!(count(&closed(), 40, 40, 9_000, &rules), 0);
        let eager = CompactionRules {
            dirty_ratio_min_permille: 0,
            ..CompactionRules::default()
        };
        assert_eq!(count(&closed(), 40, 35, 9_000, &eager), 4);
        assert_eq!(count(&closed(), 40, 40, 9_000, &eager), 0);
    }

    #[test]
    fn what_has_waited_too_long_is_compacted_however_little_it_is() {
        let rules = CompactionRules {
            dirty_ratio_min_permille: 1000,
            lag_max_ms: 5_000,
            ..CompactionRules::default()
        };
        // The last segment began at 3,100.
        assert_eq!(count(&closed(), 40, 30, 8_100, &rules), 0);
        assert_eq!(count(&closed(), 40, 30, 8_101, &rules), 4);
        assert_eq!(count(&closed(), 40, 40, 8_101, &rules), 0);
    }
}
