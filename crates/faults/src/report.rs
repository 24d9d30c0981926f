//! From runs to the lines of a table: how long writes were away, and whether anything was lost.

use std::fmt;
use std::time::Duration;

use klamm_verify::{GapSummary, summarize};
use serde::Serialize;

use crate::fault::Fault;
use crate::run::RunResult;

/// All runs of one fault.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub number: u32,
    pub fault: String,
    pub runs: usize,
    pub acknowledged: u64,
    pub lost: u64,
    pub doubled: u64,
    pub reordered: u64,
    pub inconsistent: u64,
    /// Over all partitions concerned in all runs.
    pub gap: Option<GapSummary>,
    /// What the 99th percentile may be at most, in milliseconds; none where no write is possible meanwhile.
    pub gap_max_ms: Option<u64>,
}

/// Sums the runs of a fault up.
pub fn summary(fault: &Fault, runs: &[RunResult]) -> Summary {
    let sum = |of: fn(&RunResult) -> u64| runs.iter().map(of).sum();
    let gaps: Vec<_> = runs
        .iter()
        .flat_map(|run| &run.gaps_ms)
        .map(|&ms| Duration::from_secs_f64(ms / 1000.0))
        .collect();
    Summary {
        number: fault.number,
        fault: fault.name.to_owned(),
        runs: runs.len(),
        acknowledged: sum(|run| run.verdict.acknowledged),
        lost: sum(|run| run.verdict.lost),
        doubled: sum(|run| run.verdict.doubled),
        reordered: sum(|run| run.verdict.reordered),
        inconsistent: sum(|run| run.verdict.inconsistent),
        gap: summarize(&gaps),
        gap_max_ms: fault
            .gap_max
            .map(|max| u64::try_from(max.as_millis()).unwrap_or(u64::MAX)),
    }
}

impl Summary {
    /// Nothing lost, doubled, reordered or otherwise wrong.
    pub fn is_safe(&self) -> bool {
        self.lost + self.doubled + self.reordered + self.inconsistent == 0
    }

    /// Whether the write gap stayed within its target; `None` where there is none.
    pub fn is_fast(&self) -> Option<bool> {
        let (gap, max) = (self.gap?, self.gap_max_ms?);
        Some(gap.p99 <= Duration::from_millis(max))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        write!(
            f,
            "{:28} {:3} runs, {:8} acknowledged, {} lost, {} doubled, {} reordered, {} inconsistent",
            self.fault, self.runs, self.acknowledged, self.lost, self.doubled, self.reordered, self.inconsistent
        )?;
        if let Some(gap) = self.gap {
            write!(
                f,
                "; write gap p50 {:.0} p99 {:.0} max {:.0} ms",
                ms(gap.p50),
                ms(gap.p99),
                ms(gap.max)
            )?;
        }
        match (self.is_fast(), self.gap_max_ms) {
            (Some(true), Some(max)) => write!(f, " (target {max}: met)"),
            (Some(false), Some(max)) => write!(f, " (target {max}: MISSED)"),
            _ => Ok(()),
        }
    }
}
