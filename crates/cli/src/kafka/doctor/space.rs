//! How much room brokers have on their disks, and what would make some.

use std::collections::BTreeMap;

use klamm_client::admin::{Admin, ConfigResource, LogDirDescription};
use klamm_types::NodeId;

use super::{Finding, Level};

/// Topics that are named when a disk runs full.
const NAMED_MAX: usize = 5;

/// The free bytes below which a broker warns and refuses producers: as it says, or as ours have it by default.
struct Marks {
    low: u64,
    full: u64,
}

pub async fn check(admin: &Admin, broker: NodeId) -> Vec<Finding> {
    let subject = format!("disk of broker {broker}");
    let directories = match admin.describe_log_dirs(broker).await {
        Ok(directories) => directories,
        Err(error) => {
            let advice = "look at the broker's log: a directory that has failed takes its replicas with it";
            return vec![Finding::wrong(
                Level::Warning,
                &subject,
                format!("cannot be described: {error}"),
                advice,
            )];
        }
    };
    let marks = marks(admin, broker).await;
    let mut findings = Vec::new();
    for directory in &directories {
        let (Some(total), Some(usable)) = (directory.total_bytes, directory.usable_bytes) else {
            continue;
        };
        let text = format!("{} free of {} at {}", show(usable), show(total), directory.path);
        let level = level(&marks, total, usable);
        findings.push(match level {
            Level::Good => Finding::good(&subject, text),
            _ => {
                let (text, advice) = (
                    format!("{text}, {}", consequence(level)),
                    advice(admin, directory).await,
                );
                Finding::wrong(level, &subject, text, advice)
            }
        });
    }
    findings
}

async fn marks(admin: &Admin, broker: NodeId) -> Marks {
    let entries = admin
        .describe_configs(&ConfigResource::Broker(broker))
        .await
        .unwrap_or_default();
    let value = |name: &str| {
        let entry = entries.iter().find(|entry| entry.name == name)?;
        entry.value.as_ref()?.parse().ok()
    };
    Marks {
        low: value("disk_low_bytes").unwrap_or(5 << 30),
        full: value("disk_full_bytes").unwrap_or(1 << 30),
    }
}

fn level(marks: &Marks, total: u64, usable: u64) -> Level {
    if usable < marks.full.min(total / 10) {
        Level::Bad
    } else if usable < marks.low.min(total / 5) {
        Level::Warning
    } else {
        Level::Good
    }
}

fn consequence(level: Level) -> &'static str {
    match level {
        Level::Bad => "too little to take records",
        _ => "running low",
    }
}

/// What lies there and for how long, the largest first.
async fn advice(admin: &Admin, directory: &LogDirDescription) -> String {
    let mut named = Vec::new();
    for (topic, bytes) in largest(directory) {
        let retention = retention(admin, topic).await;
        named.push(format!("{topic} {} ({retention})", show(bytes)));
    }
    if named.is_empty() {
        return "no topic lies there: what else fills the disk?".to_owned();
    }
    format!(
        "the largest topics there: {}; lower retention.ms or retention.bytes (`klamm topic alter NAME --config retention.bytes=BYTES`, \
         per partition) or delete what nobody needs (`klamm topic delete NAME`)",
        named.join(", ")
    )
}

fn largest(directory: &LogDirDescription) -> Vec<(&str, u64)> {
    let mut by_topic: BTreeMap<&str, u64> = BTreeMap::new();
    for replica in &directory.replicas {
        *by_topic.entry(&replica.topic).or_default() += replica.size_bytes;
    }
    let mut largest: Vec<_> = by_topic.into_iter().filter(|(_, bytes)| *bytes > 0).collect();
    largest.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    largest.truncate(NAMED_MAX);
    largest
}

async fn retention(admin: &Admin, topic: &str) -> String {
    let entries = admin
        .describe_configs(&ConfigResource::Topic(topic.to_owned()))
        .await
        .unwrap_or_default();
    let value = |name: &str| {
        let entry = entries.iter().find(|entry| entry.name == name);
        let value = entry.and_then(|entry| entry.value.as_deref()).unwrap_or("unknown");
        format!("{name} {value}")
    };
    format!("{}, {}", value("retention.ms"), value("retention.bytes"))
}

fn show(bytes: u64) -> String {
    match bytes {
        0..=1_048_575 => format!("{bytes} bytes"),
        1_048_576..=1_073_741_823 => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / (1_u64 << 30) as f64),
    }
}

#[cfg(test)]
mod tests {
    use klamm_client::admin::LogDirReplica;
    use klamm_types::PartitionId;

    use super::*;

    #[test]
    fn small_disks_have_smaller_marks() {
        let marks = Marks { low: 500, full: 100 };
        let found = [(10_000, 500), (10_000, 499), (10_000, 99), (1_000, 199), (1_000, 99)];
        let levels = found.map(|(total, usable)| level(&marks, total, usable));
        assert_eq!(
            levels,
            [Level::Good, Level::Warning, Level::Bad, Level::Warning, Level::Bad]
        );
    }

    #[test]
    fn the_largest_topics_come_first_and_empty_ones_not_at_all() {
        let replica = |topic: &str, size_bytes| LogDirReplica {
            topic: topic.to_owned(),
            partition: PartitionId(0),
            size_bytes,
        };
        let directory = LogDirDescription {
            path: "/data".to_owned(),
            total_bytes: None,
            usable_bytes: None,
            replicas: vec![replica("a", 5), replica("b", 4), replica("c", 0), replica("b", 4)],
        };
        assert_eq!(largest(&directory), [("b", 8), ("a", 5)]);
    }
}
