//! Which columns each table has; those that matter least stand last, where a narrow terminal drops them.

use super::model::{Broker, Group, Partition, Topic};
use super::table::{Align, Column, Order, Style};

/// The column of topics that the busiest come first by.
pub const TOPICS_BY_RATE: usize = 1;
pub const PARTITIONS_BY_RATE: usize = 1;
pub const GROUPS_BY_LAG: usize = 1;

const fn number<T>(heading: &'static str, text: fn(&T) -> String, order: fn(&T) -> Order) -> Column<T> {
    Column {
        heading,
        align: Align::Right,
        text,
        order,
    }
}

const fn word<T>(heading: &'static str, text: fn(&T) -> String, order: fn(&T) -> Order) -> Column<T> {
    Column {
        heading,
        align: Align::Left,
        text,
        order,
    }
}

/// The lowest id first, whatever else comes with the largest.
pub static BROKERS: &[Column<Broker>] = &[
    number("ID", |row| row.id.to_string(), |row| Order::Number(-f64::from(row.id))),
    word(
        "STATE",
        |row| row.state.to_owned(),
        |row| Order::Word(row.state.to_owned()),
    ),
    number(
        "LEADS",
        |row| row.leads.to_string(),
        |row| Order::Number(row.leads as f64),
    ),
    number(
        "HOLDS",
        |row| row.replicas.to_string(),
        |row| Order::Number(row.replicas as f64),
    ),
    number("IN MB/s", |row| megabytes(row.bytes_in), |row| Order::of(row.bytes_in)),
    number("IN rec/s", |row| count(row.records_in), |row| Order::of(row.records_in)),
    number(
        "OUT MB/s",
        |row| megabytes(row.bytes_out),
        |row| Order::of(row.bytes_out),
    ),
    number("ERR/s", |row| count(row.errors), |row| Order::of(row.errors)),
    number(
        "FLUSH p99",
        |row| milliseconds(row.flush_p99_ms),
        |row| Order::of(row.flush_p99_ms),
    ),
    number("DISK", |row| percent(used(row)), |row| Order::of(used(row))),
    number(
        "FREE",
        |row| size(row.disk_free_bytes),
        |row| Order::of(row.disk_free_bytes.map(|free| -(free as f64))),
    ),
    word(
        "ADDRESS",
        |row| row.address.clone(),
        |row| Order::Word(row.address.clone()),
    ),
];

pub static TOPICS: &[Column<Topic>] = &[
    word("TOPIC", |row| row.topic.clone(), |row| Order::Word(row.topic.clone())),
    number("IN rec/s", |row| count(row.records_in), |row| Order::of(row.records_in)),
    number("IN MB/s", |row| megabytes(row.bytes_in), |row| Order::of(row.bytes_in)),
    number(
        "OUT rec/s",
        |row| count(row.records_out),
        |row| Order::of(row.records_out),
    ),
    number(
        "PARTITIONS",
        |row| row.partitions.to_string(),
        |row| Order::Number(row.partitions as f64),
    ),
    number(
        "UNDER",
        |row| row.under_replicated.to_string(),
        |row| Order::Number(row.under_replicated as f64),
    ),
    number(
        "SIZE",
        |row| size(row.size_bytes),
        |row| Order::of(row.size_bytes.map(|bytes| bytes as f64)),
    ),
];

pub static PARTITIONS: &[Column<Partition>] = &[
    word("PARTITION", name, |row| {
        Order::Word(format!("{}/{:010}", row.topic, row.partition))
    }),
    number("IN rec/s", |row| count(row.records_in), |row| Order::of(row.records_in)),
    number("IN MB/s", |row| megabytes(row.bytes_in), |row| Order::of(row.bytes_in)),
    number(
        "OUT rec/s",
        |row| count(row.records_out),
        |row| Order::of(row.records_out),
    ),
    number("LEADER", leader, |row| {
        Order::of(row.leader.map(|node| -f64::from(node)))
    }),
    word("ISR", isr, |row| {
        Order::Number(row.replicas.len() as f64 - row.isr.len() as f64)
    }),
    number(
        "SIZE",
        |row| size(row.size_bytes),
        |row| Order::of(row.size_bytes.map(|bytes| bytes as f64)),
    ),
    number(
        "END",
        |row| known(row.end),
        |row| Order::of(row.end.map(|end| end as f64)),
    ),
];

pub static GROUPS: &[Column<Group>] = &[
    word("GROUP", |row| row.group.clone(), |row| Order::Word(row.group.clone())),
    number(
        "LAG",
        |row| known(row.lag),
        |row| Order::of(row.lag.map(|lag| lag as f64)),
    ),
    number("LAG/s", |row| change(row.lag_change), |row| Order::of(row.lag_change)),
    number(
        "OUT rec/s",
        |row| count(row.records_out),
        |row| Order::of(row.records_out),
    ),
    number(
        "MEMBERS",
        |row| known(row.members),
        |row| Order::of(row.members.map(|members| members as f64)),
    ),
    word("STATE", |row| row.state.clone(), |row| Order::Word(row.state.clone())),
];

pub fn broker_style(row: &Broker) -> Style {
    bad_if(row.state != "up")
}

pub fn topic_style(row: &Topic) -> Style {
    bad_if(row.under_replicated > 0 || row.offline > 0)
}

pub fn partition_style(row: &Partition) -> Style {
    bad_if(row.leader.is_none() || row.isr.len() < row.replicas.len())
}

pub fn group_style(_: &Group) -> Style {
    Style::Plain
}

fn bad_if(wrong: bool) -> Style {
    if wrong { Style::Bad } else { Style::Plain }
}

fn name(row: &Partition) -> String {
    format!("{}/{}", row.topic, row.partition)
}

fn leader(row: &Partition) -> String {
    row.leader.map_or_else(|| "none".to_owned(), |node| node.to_string())
}

/// Who is in sync, and how many lack.
fn isr(row: &Partition) -> String {
    let ids: Vec<String> = row.isr.iter().map(ToString::to_string).collect();
    let missing = row.replicas.len().saturating_sub(row.isr.len());
    let mark = if row.under_min_isr { "!" } else { "" };
    match missing {
        0 => format!("{}{mark}", ids.join(",")),
        _ => format!("{} -{missing}{mark}", ids.join(",")),
    }
}

/// The part of the disk that is in use.
fn used(row: &Broker) -> Option<f64> {
    let (total, free) = (row.disk_bytes? as f64, row.disk_free_bytes? as f64);
    (total > 0.0).then(|| 100.0 * (1.0 - free / total))
}

fn known(number: Option<impl ToString>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

fn percent(part: Option<f64>) -> String {
    part.map_or_else(|| "-".to_owned(), |part| format!("{part:.0}%"))
}

fn milliseconds(number: Option<f64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| format!("{number:.1} ms"))
}

/// Few digits, whatever the size.
pub fn count(number: Option<f64>) -> String {
    let Some(number) = number else { return "-".to_owned() };
    match number.abs() {
        0.0 => "0".to_owned(),
        small if small < 9.95 => format!("{number:.1}"),
        middle if middle < 99_999.5 => format!("{number:.0}"),
        large if large < 9_999_500.0 => format!("{:.0}k", number / 1e3),
        _ => format!("{:.1}M", number / 1e6),
    }
}

fn change(number: Option<f64>) -> String {
    match number {
        Some(number) if number > 0.0 => format!("+{}", count(Some(number))),
        _ => count(number),
    }
}

fn megabytes(bytes: Option<f64>) -> String {
    match bytes {
        None => "-".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(bytes) if bytes < 9_995_000.0 => format!("{:.2}", bytes / 1e6),
        Some(bytes) => format!("{:.0}", bytes / 1e6),
    }
}

fn size(bytes: Option<u64>) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let Some(bytes) = bytes else { return "-".to_owned() };
    let (mut number, mut unit) = (bytes as f64, 0);
    while number >= 1023.5 && unit + 1 < UNITS.len() {
        (number, unit) = (number / 1024.0, unit + 1);
    }
    if unit > 0 && number < 9.95 {
        format!("{number:.1} {}", UNITS[unit])
    } else {
        format!("{number:.0} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_few_digits() {
        let counts = [0.0, 0.25, 9.94, 1234.4, 99_999.0, 100_000.0, 12_345_678.0].map(|number| count(Some(number)));
        assert_eq!(counts, ["0", "0.2", "9.9", "1234", "99999", "100k", "12.3M"]);
        let changes = [Some(3.0), Some(-3.0), Some(0.0), None].map(change);
        assert_eq!(changes, ["+3.0", "-3.0", "0", "-"]);
        let sizes = [0, 1023, 1024, 5_000_000, 1 << 40].map(|bytes| size(Some(bytes)));
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "4.8 MiB", "1.0 TiB"]);
        assert_eq!(
            [Some(0.0), Some(1_234_000.0), Some(1e8)].map(megabytes),
            ["0", "1.23", "100"]
        );
    }
}
