//! The timeline as SVG: how much was sent, acknowledged and read, and under it a row for each partition: who led it,
//! whether all replicas were in sync, and when it took no write. Marks go through all of it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Report;
use super::html::{count, escape};
use crate::changes::{Change, Standing};
use crate::timeline::Bucket;

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 14.0;
const FLAGS: f64 = 22.0;
const RATES: f64 = 170.0;
const BETWEEN: f64 = 16.0;
const AXIS: f64 = 24.0;
/// More rows than this are not drawn; those to which most happened are.
const ROWS_MAX: usize = 32;
/// Colours of brokers; more brokers share them.
const COLOURS: usize = 8;

/// A span has to be seen, however short.
const SPAN_WIDTH_MIN: f64 = 1.5;

struct Plot<'r> {
    report: &'r Report,
    seconds: f64,
    rows: Vec<i32>,
    row_height: f64,
    out: String,
}

/// The whole picture.
pub(super) fn timeline(report: &Report) -> String {
    let rows = rows(report);
    let plot = Plot {
        report,
        seconds: report.run.seconds.max(report.throughput.width.as_secs_f64()),
        row_height: if rows.len() > 16 { 9.0 } else { 14.0 },
        rows,
        out: String::new(),
    };
    plot.draw()
}

/// Partitions that are not drawn.
pub(super) fn hidden_rows(report: &Report) -> usize {
    usize::try_from(report.run.partitions)
        .unwrap_or(0)
        .saturating_sub(ROWS_MAX)
}

/// The brokers that led anything, with their colours.
pub(super) fn leaders(report: &Report) -> Vec<(i32, usize)> {
    let leaders: BTreeSet<i32> = report.changes.iter().filter_map(|change| change.after.leader).collect();
    leaders.into_iter().zip((0..COLOURS).cycle()).collect()
}

/// Records per second in the fullest bucket.
fn highest_rate(report: &Report) -> f64 {
    let fullest = |one: &Bucket| one.sent.max(one.acknowledged).max(one.read).max(one.read_by_group);
    let most = report.throughput.buckets.iter().map(fullest).max().unwrap_or(0);
    most as f64 / report.throughput.width.as_secs_f64()
}

/// What is made up for after an outage comes in peaks, beside which the usual could not be seen.
fn shown_rate_max(report: &Report) -> f64 {
    3.0 * f64::from(report.run.records_per_second)
}

/// Whether there are higher rates than the picture shows.
pub(super) fn is_cut(report: &Report) -> bool {
    highest_rate(report) > shown_rate_max(report)
}

fn rows(report: &Report) -> Vec<i32> {
    let mut rows: Vec<i32> = (0..report.run.partitions).collect();
    if rows.len() > ROWS_MAX {
        let happened = |partition: &i32| {
            let outages = report
                .unavailability
                .list
                .iter()
                .filter(|one| one.partition == *partition);
            let changes = report.changes.iter().filter(|one| one.partition == *partition);
            std::cmp::Reverse(outages.count() + changes.count())
        };
        rows.sort_by_cached_key(happened);
        rows.truncate(ROWS_MAX);
        rows.sort_unstable();
    }
    rows
}

impl Plot<'_> {
    fn draw(mut self) -> String {
        let bottom = FLAGS + RATES + BETWEEN + self.row_height * self.rows.len() as f64;
        let height = bottom + AXIS;
        self.out +=
            &format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Timeline of the run\">\n");
        self.axis(bottom);
        self.rates();
        for row in 0..self.rows.len() {
            self.row(row);
        }
        self.marks(bottom);
        self.out += "</svg>\n";
        self.out
    }

    fn x(&self, seconds: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (seconds / self.seconds).clamp(0.0, 1.0)
    }

    fn axis(&mut self, bottom: f64) {
        let step = nice_step(self.seconds / 9.0);
        let ticks = (self.seconds / step) as usize;
        for tick in 0..=ticks {
            let seconds = tick as f64 * step;
            let x = self.x(seconds);
            self.out += &format!("<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{FLAGS}\" y2=\"{bottom}\"/>\n");
            let (y, label) = (bottom + 15.0, clock(seconds, step));
            self.out += &format!("<text class=\"middle\" x=\"{x:.1}\" y=\"{y}\">{label}</text>\n");
        }
    }

    fn rates(&mut self) {
        let width = self.report.throughput.width.as_secs_f64();
        let rate = |records: u64| records as f64 / width;
        let most = highest_rate(self.report).min(shown_rate_max(self.report)).max(1.0);
        let step = nice_step(most / 4.0);
        let top = (most / step).ceil() * step;
        let bottom = FLAGS + RATES;
        let y = move |records: u64| bottom - (RATES - 8.0) * (rate(records) / top).min(1.0);
        let lines = (top / step).round() as usize;
        for line in 0..=lines {
            let value = line as f64 * step;
            let at = bottom - (RATES - 8.0) * value / top;
            let (right, label) = (WIDTH - RIGHT, count(value.round() as u64));
            self.out += &format!("<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\n");
            let (x, at) = (LEFT - 6.0, at + 4.0);
            self.out += &format!("<text class=\"end\" x=\"{x}\" y=\"{at:.1}\">{label}</text>\n");
        }
        let area = format!(
            "{} L{:.1} {bottom} L{LEFT} {bottom} Z",
            self.steps(|one| y(one.acknowledged)),
            self.last_x()
        );
        self.out += &format!("<path class=\"acknowledged\" d=\"{area}\"/>\n");
        let mut lines = vec![("sent", self.steps(|one| y(one.sent)))];
        if self.report.run.group_members > 0 {
            lines.push(("group", self.steps(|one| y(one.read_by_group))));
        }
        lines.push(("read", self.steps(|one| y(one.read))));
        for (class, path) in lines {
            self.out += &format!("<path class=\"{class}\" d=\"{path}\"/>\n");
        }
    }

    /// A line with a level for each bucket that lies in the run.
    fn steps(&self, y: impl Fn(&Bucket) -> f64) -> String {
        let width = self.report.throughput.width.as_secs_f64();
        let mut path = String::new();
        for (index, bucket) in self.report.throughput.buckets.iter().enumerate() {
            let from = index as f64 * width;
            // What began before the end and was cut off by it would look like a fall.
            if index > 0 && from + width > self.seconds {
                break;
            }
            let (from, to, y) = (self.x(from), self.x(from + width), y(bucket));
            let command = if index == 0 { 'M' } else { 'L' };
            path += &format!("{command}{from:.1} {y:.1} L{to:.1} {y:.1} ");
        }
        if path.is_empty() {
            format!("M{LEFT} {}", FLAGS + RATES)
        } else {
            path
        }
    }

    /// Where the lines end.
    fn last_x(&self) -> f64 {
        let width = self.report.throughput.width.as_secs_f64();
        let whole = (self.seconds / width).floor().max(1.0);
        self.x(whole.min(self.report.throughput.buckets.len() as f64) * width)
    }

    fn row(&mut self, row: usize) {
        let partition = self.rows[row];
        let y = FLAGS + RATES + BETWEEN + self.row_height * row as f64;
        let height = self.row_height - 2.0;
        let (label_x, label_y) = (LEFT - 6.0, y + height - if height < 10.0 { 0.0 } else { 2.0 });
        if self.row_height > 10.0 || row.is_multiple_of(2) {
            self.out += &format!("<text class=\"end\" x=\"{label_x}\" y=\"{label_y:.1}\">{partition}</text>\n");
        }
        let changes: Vec<&Change> = self
            .report
            .changes
            .iter()
            .filter(|one| one.partition == partition)
            .collect();
        for (index, change) in changes.iter().enumerate() {
            let to = changes
                .get(index + 1)
                .map_or(self.seconds, |next| next.at.as_secs_f64());
            // What the first look saw was so from the start.
            let from = if index == 0 { 0.0 } else { change.at.as_secs_f64() };
            self.led(&change.after, partition, (from, to), (y, height));
        }
        for outage in self
            .report
            .unavailability
            .list
            .iter()
            .filter(|one| one.partition == partition)
        {
            let from = outage.from.as_secs_f64();
            let (x, right) = (self.x(from), self.x(from + outage.length.as_secs_f64()));
            let width = (right - x).max(SPAN_WIDTH_MIN);
            let ms = outage.length.as_millis();
            self.out += &format!(
                "<rect class=\"outage\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\">\
                 <title>partition {partition}: no acknowledged write for {ms} ms, from {from:.2} s on</title></rect>\n"
            );
        }
    }

    fn led(&mut self, standing: &Standing, partition: i32, (from, to): (f64, f64), (y, height): (f64, f64)) {
        let (x, right) = (self.x(from), self.x(to));
        let Some(leader) = standing.leader else { return };
        let colour = leaders(self.report)
            .iter()
            .find(|(node, _)| *node == leader)
            .map_or(0, |(_, colour)| *colour);
        let replicas = usize::try_from(self.report.run.replication_factor).unwrap_or(0);
        let short = if standing.isr.len() < replicas {
            " class=\"short\""
        } else {
            ""
        };
        let (width, isr) = (right - x, nodes(&standing.isr));
        self.out += &format!(
            "<rect{short} style=\"fill: var(--b{colour})\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\">\
             <title>partition {partition}: node {leader} leads in epoch {}, in sync {isr}</title></rect>\n",
            standing.leader_epoch
        );
    }

    fn marks(&mut self, bottom: f64) {
        for (index, mark) in self.report.marks.iter().enumerate() {
            let (x, number, text) = (self.x(mark.at.as_secs_f64()), index + 1, escape(&mark.text));
            let at = seconds(mark.at);
            self.out += &format!(
                "<g><title>{at} {text}</title>\
                 <line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"14\" y2=\"{bottom}\"/>\
                 <circle class=\"flag\" cx=\"{x:.1}\" cy=\"9\" r=\"8\"/>\
                 <text class=\"flag-text\" x=\"{x:.1}\" y=\"13\">{number}</text></g>\n"
            );
        }
    }
}

pub(super) fn nodes(nodes: &[i32]) -> String {
    if nodes.is_empty() {
        return "none".to_owned();
    }
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// 1, 2 or 5 times a power of ten, at least this.
fn nice_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= least);
    factor.unwrap_or(10.0) * power
}

/// A moment of the run as the axis names it.
fn clock(seconds: f64, step: f64) -> String {
    if step < 1.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match whole {
        0..=119 => format!("{whole} s"),
        _ => format!("{}:{:02} min", whole / 60, whole % 60),
    }
}
