//! The record: a line of JSON for every run, good or bad, on whatever machine; and what all lines of one fault say together.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use klamm_verify::{GapSummary, summarize};
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::run::RunResult;

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// With its version.
    pub system: String,
    pub number: u32,
    pub fault: String,
    pub round: usize,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    pub machine: String,
    /// The load of the machine over the last minute, when the run ended.
    pub load: f64,
    pub seconds: f64,
    /// Why it did not come to its end, if it did not.
    pub failed: Option<String>,
    #[serde(flatten)]
    pub seen: Seen,
}

/// What a run that came to its end showed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    pub victims: Vec<i32>,
    pub controller: i32,
    pub write_gaps_ms: Vec<f64>,
    pub read_gaps_ms: Vec<f64>,
    pub metadata_gap_ms: Option<f64>,
    pub acknowledged: u64,
    pub lost: u64,
    pub doubled: u64,
    pub reordered: u64,
    pub inconsistent: u64,
    /// Acknowledged and missing, as the fault allows.
    #[serde(default)]
    pub missing: u64,
    /// What a fault measures besides, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, Vec<f64>>,
    /// The first anomalies of each kind.
    pub examples: Vec<String>,
}

impl From<&RunResult> for Seen {
    fn from(result: &RunResult) -> Seen {
        let all_ms = |gaps: &[Duration]| gaps.iter().copied().map(ms).collect();
        let verdict = &result.verdict;
        Seen {
            victims: result.victims.clone(),
            controller: result.controller,
            write_gaps_ms: all_ms(&result.write_gaps),
            read_gaps_ms: all_ms(&result.read_gaps),
            metadata_gap_ms: result.metadata_gap.map(ms),
            acknowledged: verdict.acknowledged,
            lost: verdict.lost,
            doubled: verdict.doubled,
            reordered: verdict.reordered,
            inconsistent: verdict.inconsistent,
            missing: result.missing,
            figures: result.figures.clone(),
            examples: verdict.examples.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Seen {
    pub fn is_good(&self) -> bool {
        self.lost + self.doubled + self.reordered + self.inconsistent == 0
    }
}

pub fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

impl Line {
    /// Of a run that ends now.
    pub fn new(
        system: &str,
        fault: &Fault,
        round: usize,
        begun: SystemTime,
        outcome: &anyhow::Result<RunResult>,
    ) -> Line {
        Line {
            system: system.to_owned(),
            number: fault.number,
            fault: fault.name.to_owned(),
            round,
            at_ms: begun
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_millis() as u64),
            machine: machine(),
            load: load(),
            seconds: ms(begun.elapsed().unwrap_or_default()) / 1000.0,
            failed: outcome.as_ref().err().map(|error| format!("{error:#}")),
            seen: outcome.as_ref().map(Seen::from).unwrap_or_default(),
        }
    }

    pub fn append(&self, path: &Path) -> anyhow::Result<()> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let mut file = file.with_context(|| format!("opening {}", path.display()))?;
        writeln!(file, "{}", serde_json::to_string(self)?).with_context(|| format!("writing {}", path.display()))
    }

    /// All lines of a file.
    pub fn read(path: &Path) -> anyhow::Result<Vec<Line>> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let line = |(index, line): (usize, &str)| {
            serde_json::from_str(line).with_context(|| format!("{}, line {}", path.display(), index + 1))
        };
        text.lines().enumerate().map(line).collect()
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} run {}: ", self.fault, self.round + 1)?;
        if let Some(reason) = &self.failed {
            return write!(f, "FAILED: {reason}");
        }
        let longest = self.seen.write_gaps_ms.iter().copied().fold(0.0, f64::max);
        write!(f, "longest write gap {longest:.0} ms, ")?;
        if let Some(gap) = self.seen.metadata_gap_ms {
            write!(f, "metadata after {gap:.0} ms, ")?;
        }
        if self.seen.missing > 0 {
            write!(f, "{} missing as they may, ", self.seen.missing)?;
        }
        for (name, values) in &self.seen.figures {
            write!(f, "{name} {}, ", between(values))?;
        }
        if self.seen.is_good() {
            return write!(f, "verdict good, {} acknowledged and read", self.seen.acknowledged);
        }
        write!(f, "verdict BAD: {}", self.seen.examples.join("; "))
    }
}

/// `8.1`, or `8.1 to 9.3`.
pub fn between(values: &[f64]) -> String {
    let of = |pick: fn(f64, f64) -> f64| values.iter().copied().reduce(pick).unwrap_or(0.0);
    match (of(f64::min), of(f64::max)) {
        (least, most) if least == most => format!("{least:.1}"),
        (least, most) => format!("{least:.1} to {most:.1}"),
    }
}

/// `Linux 6.1 x86_64, 2 × Some Processor`.
fn machine() -> String {
    let system = rustix::system::uname();
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models = cpus.lines().filter_map(|line| line.strip_prefix("model name"));
    let models: Vec<_> = models.map(|model| model.trim_start_matches([' ', '\t', ':'])).collect();
    let (count, model) = (models.len(), models.first().copied().unwrap_or("processor"));
    let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
    format!(
        "{} {} {}, {count} × {model}",
        text(system.sysname()),
        text(system.release()),
        text(system.machine())
    )
}

fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

/// All runs of one fault on one system.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    pub system: String,
    pub number: u32,
    pub fault: String,
    pub runs: usize,
    pub failed: usize,
    pub acknowledged: u64,
    pub lost: u64,
    pub doubled: u64,
    pub reordered: u64,
    pub inconsistent: u64,
    pub missing: u64,
    pub figures: BTreeMap<String, Vec<f64>>,
    pub write_gap: Option<GapSummary>,
    pub read_gap: Option<GapSummary>,
    pub metadata_gap: Option<GapSummary>,
}

/// By system and fault, in the order in which faults first appear.
pub fn summaries(lines: &[Line]) -> Vec<Summary> {
    let mut groups: BTreeMap<(usize, &str), Vec<&Line>> = BTreeMap::new();
    let mut order: Vec<&str> = Vec::new();
    for line in lines {
        let place = order.iter().position(|fault| *fault == line.fault).unwrap_or_else(|| {
            order.push(&line.fault);
            order.len() - 1
        });
        groups.entry((place, &line.system)).or_default().push(line);
    }
    groups.values().map(|lines| summary(lines)).collect()
}

fn summary(lines: &[&Line]) -> Summary {
    let sum = |of: fn(&Seen) -> u64| lines.iter().map(|line| of(&line.seen)).sum();
    let gaps = |of: fn(&Seen) -> Vec<f64>| {
        let all = lines.iter().flat_map(|line| of(&line.seen));
        summarize(&all.map(|ms| Duration::from_secs_f64(ms / 1000.0)).collect::<Vec<_>>())
    };
    let first = lines.first();
    Summary {
        system: first.map_or_else(String::new, |line| line.system.clone()),
        number: first.map_or(0, |line| line.number),
        fault: first.map_or_else(String::new, |line| line.fault.clone()),
        runs: lines.len(),
        failed: lines.iter().filter(|line| line.failed.is_some()).count(),
        acknowledged: sum(|seen| seen.acknowledged),
        lost: sum(|seen| seen.lost),
        doubled: sum(|seen| seen.doubled),
        reordered: sum(|seen| seen.reordered),
        inconsistent: sum(|seen| seen.inconsistent),
        missing: sum(|seen| seen.missing),
        figures: figures(lines),
        write_gap: gaps(|seen| seen.write_gaps_ms.clone()),
        read_gap: gaps(|seen| seen.read_gaps_ms.clone()),
        metadata_gap: gaps(|seen| seen.metadata_gap_ms.into_iter().collect()),
    }
}

fn figures(lines: &[&Line]) -> BTreeMap<String, Vec<f64>> {
    let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (name, values) in lines.iter().flat_map(|line| &line.seen.figures) {
        all.entry(name.clone()).or_default().extend(values);
    }
    all
}

impl Summary {
    /// Every run came to its end, and nothing was lost, doubled, reordered or otherwise wrong.
    pub fn is_safe(&self) -> bool {
        self.failed == 0 && self.lost + self.doubled + self.reordered + self.inconsistent == 0
    }

    /// Whether the write gap stayed within its target; `None` where there is none.
    pub fn is_fast(&self, fault: &Fault) -> Option<bool> {
        Some(self.write_gap?.p99 <= fault.gap_max?)
    }

    /// For people, held against what the fault allows.
    pub fn told(&self, fault: &Fault) -> String {
        let mut text = format!(
            "{:32} {:3} runs, {} failed, {:8} acknowledged, {} lost, {} doubled, {} reordered, {} inconsistent",
            self.fault,
            self.runs,
            self.failed,
            self.acknowledged,
            self.lost,
            self.doubled,
            self.reordered,
            self.inconsistent
        );
        if let Some(gap) = self.write_gap {
            let (p50, p99, max) = (ms(gap.p50), ms(gap.p99), ms(gap.max));
            text.push_str(&format!("; write gap p50 {p50:.0} p99 {p99:.0} max {max:.0} ms"));
        }
        if let (Some(fast), Some(max)) = (self.is_fast(fault), fault.gap_max) {
            let word = if fast { "met" } else { "MISSED" };
            text.push_str(&format!(" (target {}: {word})", max.as_millis()));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(system: &str, fault: &str, gap: f64, lost: u64, failed: Option<&str>) -> Line {
        Line {
            system: system.to_owned(),
            number: 1,
            fault: fault.to_owned(),
            round: 0,
            at_ms: 1,
            machine: "m".to_owned(),
            load: 0.5,
            seconds: 9.0,
            failed: failed.map(str::to_owned),
            seen: Seen {
                write_gaps_ms: vec![gap],
                lost,
                ..Seen::default()
            },
        }
    }

    #[test]
    fn lines_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        let lines = [line("a", "kill", 12.5, 0, None), line("a", "kill", 0.0, 0, Some("no"))];
        lines.iter().for_each(|line| line.append(&path).unwrap());
        assert_eq!(Line::read(&path).unwrap(), lines);
        std::fs::write(&path, "{}").unwrap();
        assert!(format!("{:#}", Line::read(&path).unwrap_err()).contains("line 1"));
    }

    #[test]
    fn runs_are_summed_up_by_system_and_fault() {
        let lines = [
            line("a", "pause", 1.0, 0, None),
            line("a", "kill", 100.0, 0, None),
            line("b", "kill", 9000.0, 0, None),
            line("a", "kill", 400.0, 2, None),
            line("a", "pause", 1.0, 0, Some("writes did not come back")),
        ];
        let all = summaries(&lines);
        let told: Vec<_> = all
            .iter()
            .map(|one| (one.fault.as_str(), one.system.as_str(), one.runs, one.is_safe()))
            .collect();
        assert_eq!(
            told,
            [
                ("pause", "a", 2, false),
                ("kill", "a", 2, false),
                ("kill", "b", 1, true)
            ]
        );
        let fault = crate::catalogue::chosen("kill-leader")[0];
        assert_eq!(all[1].is_fast(fault), Some(false));
        assert!(all[1].told(fault).contains("2 lost") && all[1].told(fault).contains("target 300: MISSED"));
    }
}
