//! The figures that are read first.

use super::Report;
use super::html::{count, milliseconds};

struct Tile {
    name: &'static str,
    figure: String,
    more: String,
}

pub(super) fn tiles(report: &Report) -> String {
    let all = [
        anomalies(report),
        acknowledged(report),
        read(report),
        latency(report),
        longest_gap(report),
        unavailable(report),
    ];
    let html = |tile: &Tile| {
        format!(
            "<div class=\"tile\"><div class=\"name\">{}</div><div class=\"figure\">{}</div>\
             <div class=\"more\">{}</div></div>\n",
            tile.name, tile.figure, tile.more
        )
    };
    format!(
        "<div class=\"tiles\">\n{}</div>\n",
        all.iter().map(html).collect::<String>()
    )
}

fn anomalies(report: &Report) -> Tile {
    let found: u64 = report.anomalies.values().sum();
    let tone = if found == 0 { "good" } else { "bad" };
    Tile {
        name: "Anomalies",
        figure: format!("<span class=\"{tone}\">{}</span>", count(found)),
        more: match report.totals.unchecked {
            0 => "everything was checked".to_owned(),
            unchecked => format!("<span class=\"warn\">{} not checked</span>", count(unchecked)),
        },
    }
}

fn acknowledged(report: &Report) -> Tile {
    let totals = &report.totals;
    let [sent, unknown, refused] = [totals.sent, totals.unknown, totals.refused].map(count);
    Tile {
        name: "Acknowledged",
        figure: count(totals.acknowledged),
        more: format!("of {sent} sent; {unknown} unknown, {refused} refused"),
    }
}

fn read(report: &Report) -> Tile {
    let [by_group, again] = [report.totals.read_by_group, report.totals.redelivered].map(count);
    Tile {
        name: "Read",
        figure: count(report.totals.read),
        more: match report.run.group_members {
            0 => String::new(),
            _ => format!("{by_group} by the group, {again} of them again"),
        },
    }
}

fn latency(report: &Report) -> Tile {
    let name = "Latency p50";
    match report.latency_ms {
        None => Tile {
            name,
            figure: "–".to_owned(),
            more: String::new(),
        },
        Some(latency) => Tile {
            name,
            figure: milliseconds(latency.p50),
            more: format!("p99 {}, max {}", milliseconds(latency.p99), milliseconds(latency.max)),
        },
    }
}

fn longest_gap(report: &Report) -> Tile {
    Tile {
        name: "Longest gap",
        figure: milliseconds(report.unavailability.longest_gap_ms),
        more: "between two acknowledgements of a partition".to_owned(),
    }
}

fn unavailable(report: &Report) -> Tile {
    let (name, away) = ("Unavailable", &report.unavailability);
    let bound = count(away.bound_ms);
    match (away.p50_ms, away.p99_ms, away.max_ms) {
        (Some(p50), Some(p99), Some(max)) => Tile {
            name,
            figure: milliseconds(max),
            more: format!(
                "at most; p50 {}, p99 {}; {} spans of more than {bound} ms",
                milliseconds(p50),
                milliseconds(p99),
                count(away.spans as u64 + away.not_listed)
            ),
        },
        _ => Tile {
            name,
            figure: "never".to_owned(),
            more: format!("for more than {bound} ms"),
        },
    }
}
