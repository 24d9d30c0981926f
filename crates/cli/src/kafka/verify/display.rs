//! How a run is shown while it goes on, and what is said of it at its end.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use klamm_verify::{Cause, Report, Snapshot};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::watch::counted;
use crate::output::Format;

const TERMINAL_INTERVAL: Duration = Duration::from_millis(500);
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);
const CAUSES_MAX: usize = 12;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// One line that changes.
    Terminal,
    /// A line now and then.
    Plain,
    /// Programs read the end alone.
    Nowhere,
}

/// Shows the standing on standard error; standard output is for the result.
pub struct Display {
    place: Place,
    due: Interval,
    last: Option<(Duration, Snapshot)>,
}

impl Display {
    pub fn new(format: Format) -> Display {
        let place = match format {
            _ if std::io::stderr().is_terminal() => Place::Terminal,
            Format::Table => Place::Plain,
            Format::Json => Place::Nowhere,
        };
        let every = if place == Place::Terminal {
            TERMINAL_INTERVAL
        } else {
            PLAIN_INTERVAL
        };
        let mut due = interval(every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Display { place, due, last: None }
    }

    /// When the next line is due.
    pub async fn due(&mut self) {
        self.due.tick().await;
    }

    pub fn show(&mut self, now: Duration, snapshot: &Snapshot) {
        if let Some((then, before)) = self.last.replace((now, *snapshot)) {
            let line = line(now, snapshot, (now - then, &before));
            match self.place {
                Place::Terminal => put(&format!("\r\x1b[2K{line}")),
                Place::Plain => put(&format!("{line}\n")),
                Place::Nowhere => {}
            }
        }
    }

    /// Leaves the line that changes.
    pub fn end(&self) {
        if self.place == Place::Terminal {
            put("\n");
        }
    }

    pub fn say(&self, text: &str) {
        if self.place != Place::Nowhere {
            put(&format!("{text}\n"));
        }
    }
}

/// Who cannot be told goes on untold.
fn put(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn line(now: Duration, snapshot: &Snapshot, (span, before): (Duration, &Snapshot)) -> String {
    let rate = |of: fn(&Snapshot) -> u64| {
        let records = of(snapshot).saturating_sub(of(before)) as f64;
        (records / span.as_secs_f64().max(0.001)).round()
    };
    let latency = snapshot.latency_ms.map_or_else(
        || "no latency yet".to_owned(),
        |latency| format!("p50 {:.1} p99 {:.1} ms", latency.p50, latency.p99),
    );
    let verdict = match (snapshot.anomalies, snapshot.unchecked) {
        (0, 0) => "good so far".to_owned(),
        (0, unchecked) => format!("good so far, {unchecked} unchecked"),
        (anomalies, _) => format!("{anomalies} ANOMALIES"),
    };
    format!(
        "{:5.0} s  {}/s sent  {}/s acknowledged  {}/s read  {latency}  longest gap {} ms  {verdict}",
        now.as_secs_f64(),
        rate(|one| one.sent),
        rate(|one| one.acknowledged),
        rate(|one| one.read),
        snapshot.longest_gap.as_millis(),
    )
}

/// The report for people at a terminal.
pub fn to_text(report: &Report) -> String {
    let (run, totals, away) = (&report.run, &report.totals, &report.unavailability);
    let mut lines = vec![format!(
        "{}  topic {}, {} partitions on {} replicas, {:.1} s",
        run.bootstrap, run.topic, run.partitions, run.replication_factor, run.seconds
    )];
    lines.push(format!(
        "{} sent, {} acknowledged, {} refused, {} unknown, {} read",
        totals.sent, totals.acknowledged, totals.refused, totals.unknown, totals.read
    ));
    if run.group_members > 0 {
        lines.push(format!(
            "{} read by the group, {} of them again",
            totals.read_by_group, totals.redelivered
        ));
    }
    if let Some(latency) = report.latency_ms {
        lines.push(format!(
            "acknowledgement p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
            latency.p50, latency.p99, latency.max
        ));
    }
    let spans = match (away.p50_ms, away.p99_ms, away.max_ms) {
        (Some(p50), Some(p99), Some(max)) => {
            let spans = away.spans as u64 + away.not_listed;
            format!("{spans} spans, p50 {p50:.0} ms, p99 {p99:.0} ms, max {max:.0} ms")
        }
        _ => "never".to_owned(),
    };
    lines.push(format!(
        "longest gap {:.0} ms; a partition without writes for more than {} ms: {spans}",
        away.longest_gap_ms, away.bound_ms
    ));
    let (leaders, isr) = counted(&report.changes);
    lines.push(format!("{leaders} changes of leaders, {isr} of in-sync replicas alone"));
    lines.extend(why(report));
    lines.extend(report.examples.iter().map(|anomaly| {
        let (kind, partition) = (anomaly.kind().name(), anomaly.partition());
        format!("{kind}: partition {partition}: {anomaly}")
    }));
    lines.extend(report.troubles.iter().map(|trouble| format!("warning: {trouble}")));
    lines.push(format!("verdict: {}", report.sentence()));
    lines.join("\n")
}

/// The first causes; the report has all.
fn why(report: &Report) -> impl Iterator<Item = String> {
    let line = |cause: &Cause| {
        let numbers: Vec<_> = cause.partitions.iter().map(ToString::to_string).collect();
        let partitions = match numbers.len() {
            0 => String::new(),
            _ => format!("partitions {}: ", numbers.join(",")),
        };
        format!("why: {:.1} s  {partitions}{}", cause.at.as_secs_f64(), cause.text)
    };
    let more = report.causes.len().saturating_sub(CAUSES_MAX);
    let more = (more > 0).then(|| format!("why: {more} more in the report (--report, --json)"));
    report.causes.iter().take(CAUSES_MAX).map(line).chain(more)
}

#[cfg(test)]
mod tests {
    use klamm_verify::LatencySummary;

    use super::*;

    #[test]
    fn a_line_says_how_it_stands() {
        let before = Snapshot {
            sent: 1000,
            acknowledged: 990,
            read: 980,
            read_by_group: 0,
            latency_ms: None,
            longest_gap: Duration::from_millis(12),
            anomalies: 0,
            unchecked: 0,
            retained: 0,
        };
        let mut now = Snapshot {
            sent: 2000,
            acknowledged: 2000,
            read: 2000,
            latency_ms: Some(LatencySummary {
                p50: 1.24,
                p99: 8.0,
                max: 99.0,
            }),
            ..before
        };
        let line = |now: &Snapshot| super::line(Duration::from_secs(7), now, (Duration::from_millis(500), &before));
        assert_eq!(
            line(&now),
            "    7 s  2000/s sent  2020/s acknowledged  2040/s read  p50 1.2 p99 8.0 ms  longest gap 12 ms  good so far"
        );
        now.anomalies = 2;
        assert!(line(&now).ends_with("2 ANOMALIES"));
    }
}
