//! How long a group of many members takes to a stable assignment: when all start at once, and when one leaves.
//!
//! The members are consumers of the SDK in this process, each with a client and connections of its own; they poll an
//! empty topic. A time ends with the last news that any member's program was told, once every partition has exactly one
//! owner, shares are alike, and nothing has changed for a while (that while is not counted).

mod ownership;
mod round;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use klamm_client::admin::NewTopic;
use klamm_client::{Assigned, Assignor, ErrorCode, GroupConfig, GroupProtocol, RebalanceListener, Revoked};
use serde::Serialize;

use crate::Common;
use crate::failure::Failure;
use crate::kafka::{admin_failure, connect};
use crate::output::{self, Table};
use round::Round;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Classic, by range: everybody stops in a rebalance.
    Range,
    /// Classic, cooperative: what a member keeps is read on.
    CooperativeSticky,
    /// KIP-848.
    Consumer,
}

#[derive(Clone, clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(2..=10_000))]
    members: u16,
    /// Partitions of the topic; it is created if it does not exist.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(i32).range(1..=100_000))]
    partitions: i32,
    #[arg(long, value_enum, default_value_t = Protocol::Consumer)]
    protocol: Protocol,
    /// How often, each time with a group that is new.
    #[arg(long, default_value_t = 3)]
    runs: u32,
    #[arg(long, default_value = "klamm-bench-rebalance")]
    topic: String,
    #[arg(long, default_value_t = 3)]
    replication_factor: i16,
    /// Of classic members; KIP-848 members are told by the cluster.
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u64).range(1..))]
    heartbeat_interval_ms: u64,
    /// An assignment is stable when it has not changed for so long. More than any heartbeat interval.
    #[arg(long, default_value_t = 8)]
    settle_seconds: u64,
    /// Give up a measurement after so long.
    #[arg(long, default_value_t = 120)]
    patience_seconds: u64,
}

impl Args {
    fn group(&self, group_id: &str) -> GroupConfig {
        let (group_protocol, assignors) = match self.protocol {
            Protocol::Range => (GroupProtocol::Classic, vec![Assignor::Range]),
            Protocol::CooperativeSticky => (GroupProtocol::Classic, vec![Assignor::CooperativeSticky]),
            Protocol::Consumer => (GroupProtocol::Consumer, Vec::new()),
        };
        GroupConfig {
            group_protocol,
            assignors,
            heartbeat_interval: Duration::from_millis(self.heartbeat_interval_ms),
            ..GroupConfig::new(group_id)
        }
    }
}

/// One round with a group of its own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// From the first subscription; `None`: no stable assignment in time.
    pub start_seconds: Option<f64>,
    /// From telling one member to leave.
    pub leave_seconds: Option<f64>,
    /// How often a member was given a partition that another one still held.
    pub doubled: u64,
    /// The fewest and the most partitions of a member, at the end.
    pub spread: (usize, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

/// What all rounds gave.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub what: &'static str,
    pub protocol: Protocol,
    pub members: u16,
    pub partitions: i32,
    /// `None` for KIP-848, where the cluster decides.
    pub heartbeat_interval_ms: Option<u64>,
    pub runs: Vec<Measured>,
    pub start_seconds: Option<Spread>,
    pub leave_seconds: Option<Spread>,
    pub doubled: u64,
}

pub(super) async fn run(common: &Common, args: &Args) -> Result<ExitCode, Failure> {
    prepare(common, args).await?;
    let mut runs = Vec::new();
    for number in 0..args.runs.max(1) {
        let group = format!("klamm-bench-{:08x}-{number}", rand::random::<u32>());
        runs.push(Round::new(common, args, &group).await?.measure().await?);
    }
    let report = report(args, runs);
    output::print(common.output, &report, to_text)?;
    let stable = |run: &Measured| run.start_seconds.is_some() && run.leave_seconds.is_some();
    Ok(if report.doubled == 0 && report.runs.iter().all(stable) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(Failure::CHECK)
    })
}

/// The topic, with as many partitions as were asked for.
async fn prepare(common: &Common, args: &Args) -> Result<(), Failure> {
    let client = connect(common).await?;
    let topic = NewTopic::new(&args.topic)
        .partitions(args.partitions)
        .replication_factor(args.replication_factor);
    match client.admin().create_topic(topic).await {
        Err(failure) if failure.code() != Some(ErrorCode::TopicAlreadyExists) => return Err(admin_failure(failure)),
        _ => {}
    }
    let found = client.topic(&args.topic).await.context("looking the topic up")?;
    let (found, wanted) = (found.partitions.len(), args.partitions);
    if i32::try_from(found) != Ok(wanted) {
        return Err(Failure::usage(format!(
            "{} has {found} partitions, not {wanted}: name another with --topic",
            args.topic
        )));
    }
    Ok(())
}

fn report(args: &Args, runs: Vec<Measured>) -> Report {
    Report {
        what: "rebalance",
        protocol: args.protocol,
        members: args.members,
        partitions: args.partitions,
        heartbeat_interval_ms: (args.protocol != Protocol::Consumer).then_some(args.heartbeat_interval_ms),
        start_seconds: spread(runs.iter().filter_map(|run| run.start_seconds)),
        leave_seconds: spread(runs.iter().filter_map(|run| run.leave_seconds)),
        doubled: runs.iter().map(|run| run.doubled).sum(),
        runs,
    }
}

fn spread(times: impl Iterator<Item = f64>) -> Option<Spread> {
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    Some(Spread {
        min: *times.first()?,
        median: times[times.len() / 2],
        max: *times.last()?,
    })
}

fn to_text(report: &Report) -> String {
    let seconds = |time: Option<f64>| time.map_or_else(|| "never".to_owned(), |time| format!("{time:.2} s"));
    let mut table = Table::new(&[
        "RUN",
        "STABLE AFTER START",
        "AFTER ONE LEFT",
        "DOUBLED",
        "PARTITIONS EACH",
    ]);
    for (number, run) in (1..).zip(&report.runs) {
        table.row(vec![
            number.to_string(),
            seconds(run.start_seconds),
            seconds(run.leave_seconds),
            run.doubled.to_string(),
            format!("{}–{}", run.spread.0, run.spread.1),
        ]);
    }
    table.row(vec![
        "median".to_owned(),
        seconds(report.start_seconds.map(|times| times.median)),
        seconds(report.leave_seconds.map(|times| times.median)),
        report.doubled.to_string(),
        String::new(),
    ]);
    table.to_string()
}

/// Tells the round what its member was told.
struct Tell {
    told: round::Told,
}

impl RebalanceListener for Tell {
    async fn assigned(&mut self, assigned: &mut Assigned) {
        let partitions: Vec<i32> = assigned.partitions().iter().map(|key| key.partition.0).collect();
        self.told.assigned(&partitions);
    }

    async fn revoked(&mut self, revoked: &mut Revoked) {
        let partitions: Vec<i32> = revoked.partitions().map(|key| key.partition.0).collect();
        self.told.given_up(&partitions);
    }

    async fn lost(&mut self, partitions: &[klamm_client::TopicPartition]) {
        let partitions: Vec<i32> = partitions.iter().map(|key| key.partition.0).collect();
        self.told.given_up(&partitions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_told_and_both_ends() {
        let told = spread([3.0, 1.0, 2.0].into_iter());
        let expected = Spread {
            min: 1.0,
            median: 2.0,
            max: 3.0,
        };
        assert_eq!(told, Some(expected));
        assert_eq!(spread(std::iter::empty()), None);
    }
}
