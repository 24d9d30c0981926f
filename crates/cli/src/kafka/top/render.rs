//! The picture as lines of text, for a terminal of any size. Pure.

use std::time::Duration;

use super::columns::{
    BROKERS, GROUPS, PARTITIONS, TOPICS, broker_style, count, group_style, partition_style, topic_style,
};
use super::model::Model;
use super::state::{State, View};
use super::table::{self, Line, Style, Window, cut, printable};

/// How large the terminal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub width: usize,
    pub height: usize,
}

/// Troubles that are shown at once.
const TROUBLES_MAX: usize = 2;
const KEYS: &str = "q quit  1-5 or Tab views  s sort  p pause  ↑↓ scroll  ? help";

const HELP: &[&str] = &[
    "q, Ctrl-C     end",
    "1 2 3 4 5     overview, brokers, topics, partitions, groups (also b, t, g); Tab: the next",
    "s             sort by the next column; the one that decides has a *",
    "p, space      stand still; go on",
    "↑ ↓ PgUp PgDn scroll (also k, j)",
    "",
    "HOLDS      replicas on this broker             UNDER  partitions that lack in-sync replicas",
    "IN rec/s   from the growth of high watermarks  ISR    who is in sync; -N: N lack; !: below",
    "IN MB/s    what producers sent, compressed;           min.insync.replicas",
    "           of Apache Kafka: growth of the log  LAG/s  how fast the lag grows",
    "OUT rec/s  what groups have committed          DISK   part of the disk that is in use",
    "OUT MB/s   what consumers fetched              ERR/s  errors in answers to clients",
    "",
    "OUT MB/s, ERR/s and FLUSH p99 come from a node's HTTP port (--http, --in).",
];

/// The whole screen: as many lines as it has, none wider.
pub fn screen(model: &Model, state: &State, size: Size, interval: Duration) -> Vec<Line> {
    let mut lines = head(model);
    lines.push(views(state, interval));
    let foot = foot(model);
    let room = size.height.saturating_sub(lines.len() + foot.len());
    if state.help {
        lines.push(Line::default());
        lines.extend(HELP.iter().map(|text| Line::plain(*text)));
    } else {
        lines.extend(body(model, state, Size { height: room, ..size }));
    }
    lines.truncate(size.height.saturating_sub(foot.len()));
    lines.resize(size.height.saturating_sub(foot.len()), Line::default());
    lines.extend(foot);
    lines.truncate(size.height);
    for line in &mut lines {
        line.text = cut(&printable(&line.text), size.width);
    }
    lines
}

/// Everything once, for a file or a pipe; at most so many rows of each table.
pub fn report(model: &Model, rows: usize) -> String {
    let state = State::default();
    let mut lines = head(model);
    for view in [View::Brokers, View::Topics, View::Partitions, View::Groups] {
        let window = Window {
            sort: state.sort(view),
            first: 0,
            // Brokers are few, and each of them matters.
            rows: if view == View::Brokers { usize::MAX } else { rows },
            width: usize::MAX,
        };
        lines.push(Line::default());
        lines.extend(rows_of(model, view, window));
        let left_out = rows_in(model, view).saturating_sub(window.rows);
        if left_out > 0 {
            lines.push(Line::plain(format!("({left_out} more {} are not shown)", view.name())));
        }
    }
    if !model.troubles.is_empty() {
        lines.push(Line::default());
    }
    lines.extend(
        model
            .troubles
            .iter()
            .map(|trouble| Line::plain(format!("warning: {}", printable(trouble)))),
    );
    let texts: Vec<String> = lines.into_iter().map(|line| line.text).collect();
    texts.join("\n")
}

/// How many rows a view has.
pub fn rows_in(model: &Model, view: View) -> usize {
    match view {
        View::Overview => 0,
        View::Brokers => model.brokers.len(),
        View::Topics => model.topics.len(),
        View::Partitions => model.partitions.len(),
        View::Groups => model.groups.len(),
    }
}

fn head(model: &Model) -> Vec<Line> {
    let cluster = &model.cluster;
    let controller = cluster.active_controller;
    let controller = controller.map_or_else(|| "unknown".to_owned(), |node| node.to_string());
    let first = format!(
        "cluster {}  controller {controller}  brokers {} of {} up",
        cluster.cluster_id, cluster.brokers_up, cluster.brokers
    );
    let second = format!(
        "partitions {}: {} under-replicated, {} offline, {} under min ISR",
        cluster.partitions, cluster.under_replicated, cluster.offline, cluster.under_min_isr
    );
    let third = format!(
        "topics {}  groups {}  {} rec/s in",
        cluster.topics,
        cluster.groups,
        count(cluster.records_in)
    );
    let wrong = cluster.under_replicated + cluster.offline + cluster.under_min_isr;
    let style = |wrong: bool| if wrong { Style::Bad } else { Style::Plain };
    vec![
        Line::new(style(cluster.brokers_up < cluster.brokers), first),
        Line::new(style(wrong > 0), second),
        Line::plain(third),
    ]
}

/// Which views there are, and which is shown.
fn views(state: &State, interval: Duration) -> Line {
    let names = View::ALL.iter().enumerate().map(|(at, view)| {
        let name = format!("{} {}", at + 1, view.name());
        if *view == state.view {
            format!("[{name}]")
        } else {
            format!(" {name} ")
        }
    });
    let names: Vec<String> = names.collect();
    let pace = match state.paused {
        true => "paused".to_owned(),
        false => format!("every {} s", interval.as_secs_f64()),
    };
    Line::plain(format!("{}  {pace}", names.join("")))
}

fn foot(model: &Model) -> Vec<Line> {
    let troubles = model.troubles.iter().take(TROUBLES_MAX);
    let mut lines: Vec<Line> = troubles.map(|trouble| Line::new(Style::Bad, trouble.clone())).collect();
    if model.troubles.len() > TROUBLES_MAX {
        lines.push(Line::new(
            Style::Bad,
            format!("and {} more", model.troubles.len() - TROUBLES_MAX),
        ));
    }
    lines.push(Line::new(Style::Heading, KEYS));
    lines
}

fn body(model: &Model, state: &State, room: Size) -> Vec<Line> {
    let window = |view, rows, first| Window {
        sort: state.sort(view),
        first,
        rows,
        width: room.width,
    };
    if state.view != View::Overview {
        // A blank line and the headings.
        let mut lines = vec![Line::default()];
        let rows = room.height.saturating_sub(2);
        lines.extend(rows_of(model, state.view, window(state.view, rows, state.first)));
        return lines;
    }
    let parts = [View::Brokers, View::Topics, View::Groups];
    let wanted = parts.map(|view| rows_in(model, view));
    let shares = shares(room.height.saturating_sub(2 * parts.len()), wanted);
    let mut lines = Vec::new();
    for (view, rows) in parts.into_iter().zip(shares) {
        lines.push(Line::default());
        lines.extend(rows_of(model, view, window(view, rows, 0)));
    }
    lines
}

/// Shares rows out: an equal part for each, and what one does not need goes to the others.
fn shares(room: usize, wanted: [usize; 3]) -> [usize; 3] {
    let mut given = [0; 3];
    let mut left = room;
    while left > 0 {
        let before = left;
        for (given, wanted) in given.iter_mut().zip(wanted) {
            if *given < wanted && left > 0 {
                (*given, left) = (*given + 1, left - 1);
            }
        }
        if left == before {
            break;
        }
    }
    given
}

fn rows_of(model: &Model, view: View, window: Window) -> Vec<Line> {
    match view {
        View::Overview => Vec::new(),
        View::Brokers => table::lines(BROKERS, &model.brokers, window, broker_style),
        View::Topics => table::lines(TOPICS, &model.topics, window, topic_style),
        View::Partitions => table::lines(PARTITIONS, &model.partitions, window, partition_style),
        View::Groups => table::lines(GROUPS, &model.groups, window, group_style),
    }
}

#[cfg(test)]
#[path = "render/render_test.rs"]
mod tests;
