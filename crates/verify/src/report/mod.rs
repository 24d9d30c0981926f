//! What is told of a run at its end: one value, as JSON for programs and as a page for people.

mod html;
mod plot;
mod tiles;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::anomaly::{Anomaly, Kind};
use crate::cause::Cause;
use crate::changes::{Change, Changes};
use crate::gap::summarize;
use crate::judge::Totals;
use crate::latency::{LatencySummary, millis};
use crate::mark::Mark;
use crate::monitor::Monitor;
use crate::outage::{Outage, Outages, as_millis};
use crate::timeline::{Bucket, Timeline};

pub use html::to_html;

/// What was run, and where.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Description {
    pub bootstrap: String,
    pub topic: String,
    /// Milliseconds since 1970.
    pub started_ms: i64,
    pub seconds: f64,
    pub partitions: i32,
    pub replication_factor: i16,
    pub configs: BTreeMap<String, String>,
    pub producers: u32,
    pub records_per_second: u32,
    pub record_bytes: usize,
    pub group_members: u32,
}

/// How long partitions took no write.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unavailability {
    /// A span counts from this length on.
    pub bound_ms: u64,
    pub spans: usize,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub max_ms: Option<f64>,
    /// The longest time between two acknowledgements of a partition, also within the bound.
    pub longest_gap_ms: f64,
    pub list: Vec<Outage>,
    /// Spans beyond those listed.
    pub not_listed: u64,
}

/// Counts in buckets of time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Throughput {
    #[serde(rename = "bucket_ms", serialize_with = "as_millis")]
    pub width: Duration,
    pub buckets: Vec<Bucket>,
}

/// Everything that a run showed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// `good`, `anomalies`, or `nothing acknowledged`.
    pub verdict: &'static str,
    pub run: Description,
    pub totals: Totals,
    /// All kinds, by Jepsen's names.
    pub anomalies: BTreeMap<Kind, u64>,
    /// The first few of each kind.
    pub examples: Vec<Anomaly>,
    pub latency_ms: Option<LatencySummary>,
    pub unavailability: Unavailability,
    pub changes: Vec<Change>,
    pub changes_not_listed: u64,
    /// Of a cluster that tells why it changed something.
    pub causes: Vec<Cause>,
    pub marks: Vec<Mark>,
    pub throughput: Throughput,
    /// What went wrong beside the records: readers that did not come to the end, an unreadable mark.
    pub troubles: Vec<String>,
}

impl Report {
    /// From what was seen; what others tell (causes, marks, troubles) is to be added. The monitor's judge must have finished.
    pub fn new(run: Description, monitor: &Monitor, changes: &Changes) -> Report {
        let (findings, totals) = (monitor.judge.findings(), monitor.judge.totals());
        let verdict = match () {
            () if !findings.is_empty() => "anomalies",
            () if totals.acknowledged == 0 => "nothing acknowledged",
            () => "good",
        };
        Report {
            verdict,
            totals,
            anomalies: Kind::ALL.into_iter().map(|kind| (kind, findings.count(kind))).collect(),
            examples: findings.examples().cloned().collect(),
            latency_ms: monitor.latencies.summary(),
            unavailability: unavailability(&monitor.outages, Duration::from_secs_f64(run.seconds)),
            changes: changes.list().to_vec(),
            changes_not_listed: changes.dropped(),
            causes: Vec::new(),
            marks: Vec::new(),
            throughput: throughput(&monitor.timeline),
            troubles: Vec::new(),
            run,
        }
    }

    pub fn is_good(&self) -> bool {
        self.verdict == "good"
    }

    /// One sentence.
    pub fn sentence(&self) -> String {
        let unchecked = match self.totals.unchecked {
            0 => String::new(),
            count => format!("; {count} sends or reads could not be checked"),
        };
        match self.verdict {
            "good" => format!("nothing acknowledged was lost, doubled or reordered{unchecked}"),
            "anomalies" => {
                let found = self.anomalies.iter().filter(|(_, count)| **count > 0);
                let found: Vec<_> = found.map(|(kind, count)| format!("{count} {}", kind.name())).collect();
                format!("the cluster broke its word: {}{unchecked}", found.join(", "))
            }
            _ => "no write was acknowledged: there is nothing to judge".to_owned(),
        }
    }
}

fn unavailability(outages: &Outages, end: Duration) -> Unavailability {
    let lengths: Vec<_> = outages.list().iter().map(|outage| outage.length).collect();
    let summary = summarize(&lengths);
    Unavailability {
        bound_ms: u64::try_from(outages.bound().as_millis()).unwrap_or(u64::MAX),
        spans: lengths.len(),
        p50_ms: summary.map(|summary| millis(summary.p50)),
        p99_ms: summary.map(|summary| millis(summary.p99)),
        max_ms: summary.map(|summary| millis(summary.max)),
        longest_gap_ms: millis(outages.longest(end)),
        list: outages.list().to_vec(),
        not_listed: outages.dropped(),
    }
}

fn throughput(timeline: &Timeline) -> Throughput {
    Throughput {
        width: timeline.width(),
        buckets: timeline.buckets().to_vec(),
    }
}

#[cfg(test)]
mod tests;
