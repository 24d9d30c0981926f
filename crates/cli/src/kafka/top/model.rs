//! What two looks at a cluster say together: rates, lags, and what is wrong. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use klamm_client::TopicPartition;
use serde::Serialize;

use super::sample::{self, Sample, State};
use super::scrape::{Figures, quantile};

/// The picture of a cluster; `--output json` prints it. Rates are per second, and absent where they are not known.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Model {
    pub cluster: Cluster,
    pub brokers: Vec<Broker>,
    pub topics: Vec<Topic>,
    pub partitions: Vec<Partition>,
    pub groups: Vec<Group>,
    /// What could not be learnt, and why.
    pub troubles: Vec<String>,
}

/// The cluster as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cluster {
    pub cluster_id: String,
    pub active_controller: Option<i32>,
    pub brokers: usize,
    pub brokers_up: usize,
    pub topics: usize,
    pub partitions: usize,
    /// Partitions whose in-sync replicas are not all replicas.
    pub under_replicated: usize,
    /// Partitions without a leader.
    pub offline: usize,
    /// Partitions whose in-sync replicas are fewer than `min.insync.replicas`.
    pub under_min_isr: usize,
    pub records_in: Option<f64>,
    pub groups: usize,
    pub groups_left_out: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Broker {
    pub id: i32,
    pub address: String,
    pub state: &'static str,
    pub leads: usize,
    pub replicas: usize,
    pub bytes_in: Option<f64>,
    pub records_in: Option<f64>,
    pub bytes_out: Option<f64>,
    pub errors: Option<f64>,
    pub flush_p99_ms: Option<f64>,
    pub disk_bytes: Option<u64>,
    pub disk_free_bytes: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Topic {
    pub topic: String,
    pub partitions: usize,
    pub under_replicated: usize,
    pub offline: usize,
    pub records_in: Option<f64>,
    pub bytes_in: Option<f64>,
    /// As groups commit what they have read.
    pub records_out: Option<f64>,
    pub size_bytes: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Partition {
    pub topic: String,
    pub partition: i32,
    pub leader: Option<i32>,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
    pub under_min_isr: bool,
    pub records_in: Option<f64>,
    pub bytes_in: Option<f64>,
    pub records_out: Option<f64>,
    pub end: Option<i64>,
    pub size_bytes: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Group {
    pub group: String,
    pub state: String,
    pub members: Option<usize>,
    pub lag: Option<i64>,
    /// How fast the lag grows; below zero the group catches up.
    pub lag_change: Option<f64>,
    /// Records that it commits.
    pub records_out: Option<f64>,
}

/// Partitions of one sample by name.
type Partitions<'a> = BTreeMap<(&'a str, i32), &'a sample::Partition>;

impl Model {
    /// Without an earlier sample there are no rates.
    pub fn between(before: Option<&Sample>, now: &Sample) -> Model {
        let earlier = before.map(by_name).unwrap_or_default();
        let partitions = by_name(now);
        let out = read_by_groups(before, now);
        let span = before.map(|before| now.at.saturating_sub(before.at));
        let mut rows = Vec::with_capacity(partitions.len());
        let mut topics = Vec::with_capacity(now.topics.len());
        for topic in &now.topics {
            let begin = rows.len();
            for one in &topic.partitions {
                let before = earlier.get(&(&*topic.name, one.number)).copied();
                let mut row = partition(topic, one, before, span);
                row.records_out = out.get(&(&*topic.name, one.number)).copied();
                rows.push(row);
            }
            topics.push(of_topic(topic, &rows[begin..]));
        }
        let brokers = now.brokers.iter().map(|(id, one)| {
            let before = before.and_then(|before| before.brokers.get(id));
            broker(*id, one, before, &rows)
        });
        let brokers: Vec<Broker> = brokers.collect();
        let groups = now.groups.iter().map(|(name, one)| {
            let then = before.and_then(|before| Some((before.groups.get(name)?, &earlier)));
            group(name, one, &partitions, then, span)
        });
        Model {
            cluster: cluster(now, &brokers, &rows),
            groups: groups.collect(),
            brokers,
            topics,
            partitions: rows,
            troubles: now.troubles.clone(),
        }
    }
}

fn by_name(sample: &Sample) -> Partitions<'_> {
    let mut partitions = BTreeMap::new();
    for topic in &sample.topics {
        let named = topic.partitions.iter().map(|one| ((&*topic.name, one.number), one));
        partitions.extend(named);
    }
    partitions
}

/// What came per second. What has become less was made anew: it began at nothing.
fn rate(before: f64, now: f64, span: Duration) -> Option<f64> {
    let seconds = span.as_secs_f64();
    let grown = if now >= before { now - before } else { now };
    (seconds > 0.0).then_some(grown / seconds)
}

fn rate_of_offsets(before: Option<i64>, now: Option<i64>, span: Option<Duration>) -> Option<f64> {
    rate(before? as f64, now? as f64, span?)
}

/// Sums up what is known; nothing if nothing is.
fn sum(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    values.flatten().reduce(|one, other| one + other)
}

fn partition(
    topic: &sample::Topic,
    now: &sample::Partition,
    before: Option<&sample::Partition>,
    span: Option<Duration>,
) -> Partition {
    // A log that retention has shortened has grown by an unknown amount.
    let grown = before.and_then(|before| {
        let (before, now) = (before.size_bytes?, now.size_bytes?);
        (now >= before)
            .then(|| rate(before as f64, now as f64, span?))
            .flatten()
    });
    Partition {
        topic: topic.name.to_string(),
        partition: now.number,
        leader: now.leader,
        replicas: now.replicas.clone(),
        isr: now.in_sync.clone(),
        under_min_isr: topic.min_in_sync.is_some_and(|least| now.in_sync.len() < least),
        records_in: rate_of_offsets(before.and_then(|before| before.end), now.end, span),
        bytes_in: grown,
        records_out: None,
        end: now.end,
        size_bytes: now.size_bytes,
    }
}

fn of_topic(topic: &sample::Topic, partitions: &[Partition]) -> Topic {
    let sizes = partitions.iter().filter_map(|one| one.size_bytes);
    Topic {
        topic: topic.name.to_string(),
        partitions: partitions.len(),
        under_replicated: partitions
            .iter()
            .filter(|one| one.isr.len() < one.replicas.len())
            .count(),
        offline: partitions.iter().filter(|one| one.leader.is_none()).count(),
        records_in: sum(partitions.iter().map(|one| one.records_in)),
        bytes_in: sum(partitions.iter().map(|one| one.bytes_in)),
        records_out: sum(partitions.iter().map(|one| one.records_out)),
        size_bytes: sizes.reduce(|one, other| one + other),
    }
}

fn broker(id: i32, now: &sample::Broker, before: Option<&sample::Broker>, partitions: &[Partition]) -> Broker {
    let led = || partitions.iter().filter(move |one| one.leader == Some(id));
    let figures = now.figures.as_ref();
    let pair = before.and_then(|before| before.figures.as_ref()).zip(figures);
    let counted = |count: fn(&Figures) -> f64| {
        let (before, now) = pair?;
        rate(count(before), count(now), now.at.saturating_sub(before.at))
    };
    let flushes = pair.and_then(|(before, now)| quantile(&before.flushes, &now.flushes, 0.99));
    Broker {
        id,
        address: now.address.clone(),
        state: now.state.name(),
        leads: led().count(),
        replicas: partitions.iter().filter(|one| one.replicas.contains(&id)).count(),
        // Where the broker does not count, its logs tell how fast they grow.
        bytes_in: counted(|figures| figures.produced_bytes).or_else(|| sum(led().map(|one| one.bytes_in))),
        records_in: sum(led().map(|one| one.records_in)),
        bytes_out: counted(|figures| figures.fetched_bytes),
        errors: counted(|figures| figures.errors),
        flush_p99_ms: flushes.map(|seconds| seconds * 1000.0),
        disk_bytes: now.disk.map(|disk| disk.total_bytes),
        disk_free_bytes: now.disk.map(|disk| disk.usable_bytes),
    }
}

/// Records per second that groups have committed, by partition.
fn read_by_groups<'a>(before: Option<&Sample>, now: &'a Sample) -> BTreeMap<(&'a str, i32), f64> {
    let mut read = BTreeMap::new();
    let Some(before) = before else { return read };
    let span = now.at.saturating_sub(before.at);
    for (name, group) in &now.groups {
        let then = before.groups.get(name).and_then(|group| group.committed.as_ref());
        let (Some(then), Some(committed)) = (then, &group.committed) else {
            continue;
        };
        for (partition, offset) in committed {
            let Some(earlier) = then.get(partition) else { continue };
            // Offsets that went back were set by somebody; nothing was read.
            let records = (offset - earlier).max(0) as f64;
            *read.entry((&*partition.topic, partition.partition.0)).or_default() +=
                rate(0.0, records, span).unwrap_or(0.0);
        }
    }
    read
}

/// How far a group is behind; none if nothing that it has committed is known.
fn lag(group: &sample::Group, partitions: &Partitions<'_>) -> Option<i64> {
    let behind = |(partition, offset): (&TopicPartition, &i64)| {
        let found = partitions.get(&(&*partition.topic, partition.partition.0))?;
        Some((found.end? - offset).max(0))
    };
    let lags = group.committed.as_ref()?.iter().filter_map(behind);
    lags.reduce(|one, other| one + other)
}

fn group(
    name: &str,
    now: &sample::Group,
    partitions: &Partitions<'_>,
    before: Option<(&sample::Group, &Partitions<'_>)>,
    span: Option<Duration>,
) -> Group {
    let lag_now = lag(now, partitions);
    let lag_before = before.and_then(|(group, partitions)| lag(group, partitions));
    let change = lag_now.zip(lag_before).zip(span).and_then(|((now, before), span)| {
        let seconds = span.as_secs_f64();
        (seconds > 0.0).then(|| (now - before) as f64 / seconds)
    });
    let committed = before.and_then(|(group, _)| group.committed.as_ref());
    let read = committed.zip(now.committed.as_ref()).and_then(|(before, now)| {
        let grown = now.iter().filter_map(|(partition, offset)| {
            let before = before.get(partition)?;
            Some((offset - before).max(0))
        });
        rate(0.0, grown.sum::<i64>() as f64, span?)
    });
    Group {
        group: name.to_owned(),
        state: now.state.clone(),
        members: now.members,
        lag: lag_now,
        lag_change: change,
        records_out: read,
    }
}

fn cluster(now: &Sample, brokers: &[Broker], partitions: &[Partition]) -> Cluster {
    let count = |wrong: fn(&&Partition) -> bool| partitions.iter().filter(wrong).count();
    Cluster {
        cluster_id: now.cluster_id.clone(),
        active_controller: now.controller,
        brokers: brokers.len(),
        brokers_up: brokers.iter().filter(|one| one.state == State::Up.name()).count(),
        topics: now.topics.len(),
        partitions: partitions.len(),
        under_replicated: count(|one| one.isr.len() < one.replicas.len()),
        offline: count(|one| one.leader.is_none()),
        under_min_isr: count(|one| one.under_min_isr),
        records_in: sum(partitions.iter().map(|one| one.records_in)),
        groups: now.groups.len() + now.groups_left_out,
        groups_left_out: now.groups_left_out,
    }
}

#[cfg(test)]
#[path = "model/model_test.rs"]
mod tests;
