//! The page: nothing in it comes from elsewhere, and it needs no script.

use super::plot::{self, seconds};
use super::{Report, tiles};
use crate::anomaly::Kind;
use crate::cause::Cause;
use crate::changes::{Change, Standing};

const STYLE: &str = include_str!("style.css");
/// Rows of one table; the JSON report has all.
const ROWS_MAX: usize = 200;

/// A whole page.
pub fn to_html(report: &Report) -> String {
    let parts = [
        head(report),
        tiles::tiles(report),
        timeline(report),
        anomalies(report),
        troubles(report),
        outages(report),
        causes(report),
        changes(report),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>klamm verify: {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{}</main>\n</body>\n</html>\n",
        report.verdict,
        parts.concat()
    )
}

fn head(report: &Report) -> String {
    let run = &report.run;
    let tone = if report.is_good() { "good" } else { "bad" };
    let sentence = escape(&report.sentence());
    let configs = run.configs.iter().map(|(key, value)| format!(", {key}={value}"));
    let members = match run.group_members {
        0 => String::new(),
        count => format!(", a group of {count}"),
    };
    format!(
        "<h1 class=\"{tone}\">{}</h1>\n<p>{sentence}.</p>\n<p class=\"soft\">{} · topic <code>{}</code> · {} · {:.1} s · \
         {} partitions on {} replicas{} · {} producers, {} records/s of {} bytes{members}</p>\n",
        capital(report.verdict),
        escape(&run.bootstrap),
        escape(&run.topic),
        moment(run.started_ms),
        run.seconds,
        run.partitions,
        run.replication_factor,
        escape(&configs.collect::<String>()),
        run.producers,
        count(u64::from(run.records_per_second)),
        count(run.record_bytes as u64),
    )
}

fn timeline(report: &Report) -> String {
    let key = |colour: &str, text: &str| format!("<span><i style=\"background: var(--{colour})\"></i>{text}</span>");
    let mut legend = vec![
        key("sent", "sent"),
        key("acknowledged", "acknowledged"),
        key("read", "read"),
    ];
    if report.run.group_members > 0 {
        legend.push(key("group", "read by the group"));
    }
    legend.push(key("bad", "no acknowledged write"));
    for (node, colour) in plot::leaders(report) {
        legend.push(key(&format!("b{colour}"), &format!("led by node {node}")));
    }
    legend.push("<span>pale: not all replicas in sync</span>".to_owned());
    if plot::is_cut(report) {
        legend.push("<span>higher peaks are cut</span>".to_owned());
    }
    let mark = |(index, mark): (usize, &crate::Mark)| {
        let (number, at, text) = (index + 1, seconds(mark.at), escape(&mark.text));
        format!("<tr><td class=\"number\">{number}</td><td class=\"number\">{at}</td><td>{text}</td></tr>\n")
    };
    let marks: String = report.marks.iter().enumerate().map(mark).collect();
    let marks = match marks.as_str() {
        "" => marks,
        rows => format!("<h2>What was done to it</h2>\n<div class=\"panel\"><table>\n{rows}</table></div>\n"),
    };
    let hidden = match plot::hidden_rows(report) {
        0 => String::new(),
        count => format!("<p class=\"soft\">{count} partitions to which less happened are not drawn.</p>\n"),
    };
    format!(
        "<h2>Records per second, and the partitions under them</h2>\n<div class=\"panel\"><div class=\"legend\">{}</div>\n\
         {}</div>\n{hidden}{marks}",
        legend.concat(),
        plot::timeline(report)
    )
}

fn anomalies(report: &Report) -> String {
    let row = |kind: Kind| {
        let found = report.anomalies.get(&kind).copied().unwrap_or(0);
        let tone = if found == 0 { "soft" } else { "bad" };
        format!(
            "<tr><td><code>{}</code></td><td class=\"number {tone}\">{}</td><td class=\"soft\">{} ({})</td></tr>\n",
            kind.name(),
            count(found),
            kind.meaning(),
            kind.promise()
        )
    };
    let rows: String = Kind::ALL.into_iter().map(row).collect();
    let example = |anomaly: &crate::Anomaly| {
        format!(
            "<tr><td><code>{}</code></td><td class=\"number\">{}</td><td>{}</td></tr>\n",
            anomaly.kind().name(),
            anomaly.partition(),
            escape(&anomaly.to_string())
        )
    };
    let examples: String = report.examples.iter().map(example).collect();
    let examples = match examples.as_str() {
        "" => examples,
        rows => format!(
            "<h2>Examples</h2>\n<p class=\"soft\">The first of each kind. A value is the producer's number and how many it \
             had sent to the partition before.</p>\n<div class=\"panel\"><table>\n<tr><th>anomaly</th>\
             <th class=\"number\">partition</th><th>what happened</th></tr>\n{rows}</table></div>\n"
        ),
    };
    format!(
        "<h2>Anomalies</h2>\n<div class=\"panel\"><table>\n<tr><th>anomaly</th><th class=\"number\">found</th>\
         <th>meaning</th></tr>\n{rows}</table></div>\n{examples}"
    )
}

fn troubles(report: &Report) -> String {
    let row = |trouble: &String| format!("<p class=\"warn\">{}</p>\n", escape(trouble));
    let rows: String = report.troubles.iter().map(row).collect();
    match rows.as_str() {
        "" => rows,
        rows => format!("<h2>What went wrong besides</h2>\n{rows}"),
    }
}

fn outages(report: &Report) -> String {
    let mut longest: Vec<_> = report.unavailability.list.iter().collect();
    longest.sort_by_key(|outage| std::cmp::Reverse(outage.length));
    let row = |outage: &&crate::Outage| {
        let open = if outage.open { "until the end" } else { "" };
        format!(
            "<tr><td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td>{open}</td></tr>\n",
            outage.partition,
            seconds(outage.from),
            milliseconds(outage.length.as_secs_f64() * 1000.0)
        )
    };
    let heading = "<tr><th class=\"number\">partition</th><th class=\"number\">from</th>\
                   <th class=\"number\">length</th><th></th></tr>";
    table(
        "Without an acknowledged write, the longest first",
        heading,
        longest.iter().map(row),
        report.unavailability.not_listed,
    )
}

fn causes(report: &Report) -> String {
    let row = |cause: &Cause| {
        let numbers: Vec<_> = cause.partitions.iter().map(ToString::to_string).collect();
        format!(
            "<tr><td class=\"number\">{}</td><td>{}</td><td>{}</td></tr>\n",
            seconds(cause.at),
            numbers.join(","),
            escape(&cause.text)
        )
    };
    table(
        "Why, as the cluster tells it",
        "<tr><th class=\"number\">decided at</th><th>partitions</th><th>what and why</th></tr>",
        report.causes.iter().map(row),
        0,
    )
}

fn changes(report: &Report) -> String {
    let row = |change: &Change| {
        let leader = |standing: &Standing| {
            standing
                .leader
                .map_or_else(|| "none".to_owned(), |node| node.to_string())
        };
        let moved = |of: &dyn Fn(&Standing) -> String| {
            let (before, after) = (change.before.as_ref().map(of), of(&change.after));
            match before {
                Some(before) if before != after => format!("{before} → {after}"),
                _ => after,
            }
        };
        format!(
            "<tr><td class=\"number\">{}</td><td class=\"number\">{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            seconds(change.at),
            change.partition,
            moved(&leader),
            moved(&|standing| standing.leader_epoch.to_string()),
            moved(&|standing| plot::nodes(&standing.isr)),
        )
    };
    let heading = "<tr><th class=\"number\">seen at</th><th class=\"number\">partition</th><th>leader</th>\
                   <th>leader epoch</th><th>in sync</th></tr>";
    let changed = report.changes.iter().filter(|change| change.before.is_some());
    table(
        "Leaders and in-sync replicas",
        heading,
        changed.map(row),
        report.changes_not_listed,
    )
}

/// A table of so many rows as a person reads; nothing without rows.
fn table(title: &str, heading: &str, rows: impl Iterator<Item = String>, dropped: u64) -> String {
    let mut rows: Vec<String> = rows.collect();
    if rows.is_empty() {
        return String::new();
    }
    let more = rows.len().saturating_sub(ROWS_MAX) as u64 + dropped;
    rows.truncate(ROWS_MAX);
    let more = match more {
        0 => String::new(),
        more => format!("<p class=\"soft\">{} more are not shown.</p>\n", count(more)),
    };
    format!(
        "<h2>{title}</h2>\n<div class=\"panel\"><table>\n{heading}\n{}</table></div>\n{more}",
        rows.concat()
    )
}

/// Text that may come from anywhere.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// With a narrow space between thousands.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

pub(super) fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 100.0 => format!("{ms:.1} ms"),
        ms if ms >= 10_000.0 => format!("{:.1} s", ms / 1000.0),
        ms => format!("{} ms", count(ms.round() as u64)),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// `2026-01-31 12:00:00 UTC`.
fn moment(ms: i64) -> String {
    let (days, second) = (ms.div_euclid(86_400_000), ms.div_euclid(1000).rem_euclid(86_400));
    let (year, month, day) = crate::mark::date_of(days);
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}
