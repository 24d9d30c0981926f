//! How long a partition took no acknowledged write: from the last acknowledgement before to the first after.

use std::time::Duration;

use serde::Serialize;

use crate::history::{History, Outcome};

/// The longest time without an acknowledgement in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    pub partition: i32,
    /// When it began, counted from the start of the run.
    pub from: Duration,
    pub length: Duration,
}

/// The longest gap of a partition that had not ended before `since`. `None` without two acknowledgements around it:
/// writes never began, or never came back.
pub fn longest_gap(history: &History, partition: i32, since: Duration) -> Option<Gap> {
    let recorded = history.partitions.get(&partition)?;
    let mut times: Vec<Duration> = recorded.sent.iter().filter_map(acknowledged_at).collect();
    times.sort_unstable();
    let last = *times.last()?;
    if last < since {
        return None;
    }
    let around = times.windows(2).filter(|pair| pair[1] >= since);
    let longest = around.max_by_key(|pair| pair[1] - pair[0])?;
    Some(Gap {
        partition,
        from: longest[0],
        length: longest[1] - longest[0],
    })
}

fn acknowledged_at(sent: &crate::history::Sent) -> Option<Duration> {
    match sent.outcome {
        Outcome::Acknowledged { at, .. } => Some(at),
        Outcome::Failed | Outcome::Aborted | Outcome::Unknown => None,
    }
}

/// How gaps are distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct GapSummary {
    pub count: usize,
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
}

/// Percentiles by nearest rank; `None` without gaps.
pub fn summarize(gaps: &[Duration]) -> Option<GapSummary> {
    let mut sorted = gaps.to_vec();
    sorted.sort_unstable();
    let rank = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1];
    let max = *sorted.last()?;
    Some(GapSummary {
        count: sorted.len(),
        p50: rank(50),
        p99: rank(99),
        max,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Sent;
    use crate::value::Value;

    fn history(times_ms: &[u64]) -> History {
        let mut history = History::default();
        for (number, &ms) in times_ms.iter().enumerate() {
            let outcome = Outcome::Acknowledged {
                offset: number as i64,
                at: Duration::from_millis(ms),
            };
            let value = Value {
                producer: 0,
                number: number as u64,
            };
            history.partition(0).sent.push(Sent { value, outcome });
        }
        history
    }

    #[test]
    fn the_gap_around_a_fault_is_found() {
        let recorded = history(&[0, 500, 510, 520, 700, 705]);
        let gap = longest_gap(&recorded, 0, Duration::from_millis(525)).unwrap();
        assert_eq!(
            (gap.from, gap.length),
            (Duration::from_millis(520), Duration::from_millis(180))
        );
        assert_eq!(longest_gap(&recorded, 0, Duration::from_millis(900)), None);
        assert_eq!(longest_gap(&recorded, 1, Duration::ZERO), None);
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let gaps: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        let summary = summarize(&gaps).unwrap();
        assert_eq!(
            (summary.p50, summary.p99, summary.max),
            (
                Duration::from_millis(50),
                Duration::from_millis(99),
                Duration::from_millis(100)
            )
        );
        assert_eq!(summarize(&[]), None);
    }
}
