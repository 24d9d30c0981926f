//! How long groups are without their coordinator when its broker dies, and whether their committed offsets outlive it.
//!
//! Every group commits an offset for every partition. The broker that coordinates most of the groups is killed by a
//! command of the user's, while its groups commit anew; then all of its groups fetch their offsets and commit again, as
//! often as it takes. Times count from before that command is started. At the end the offsets of all groups are held
//! against what was acknowledged.

mod groups;
mod ledger;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use klamm_client::admin::{Admin, NewTopic};
use klamm_client::{ErrorCode, NodeId};
use serde::Serialize;
use tokio::sync::watch;

use super::latency::Latency;
use crate::Common;
use crate::failure::Failure;
use crate::kafka::{admin_failure, connect};
use crate::output;
use groups::{Group, Outage};
use ledger::Wrong;

/// Requests under way before and after the kill.
const CONCURRENCY: usize = 32;
/// The broker is killed once one in so many of its groups has committed anew.
const KILL_AFTER: usize = 10;

#[derive(Clone, clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    groups: u32,
    /// Offsets that each group commits: partitions of the topic, which is created if it does not exist.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: i32,
    #[arg(long, default_value = "klamm-bench-offsets")]
    topic: String,
    #[arg(long, default_value_t = 3)]
    replication_factor: i16,
    /// Kills the broker whose id is in the variable NODE; run by sh.
    #[arg(long, value_name = "COMMAND")]
    kill: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub what: &'static str,
    pub groups: usize,
    pub offsets: usize,
    /// Until all offsets were committed the first time.
    pub first_commits_seconds: f64,
    pub killed: i32,
    /// Groups that the killed broker coordinated.
    pub concerned: usize,
    /// Per concerned group, from the kill until all its offsets were fetched.
    pub fetched_ms: Latency,
    /// Per concerned group, from the kill until a commit of all of them was acknowledged.
    pub committed_ms: Latency,
    /// Over all groups, right after the failover and at the end.
    pub wrong: Wrong,
}

pub(super) async fn run(common: &Common, args: &Args) -> Result<ExitCode, Failure> {
    let client = connect(common).await?;
    let admin = client.admin();
    create_topic(&admin, args).await?;
    let groups = Group::many(args.groups, &args.topic, args.partitions);
    let began = Instant::now();
    each(&groups, |group| {
        let admin = admin.clone();
        async move { group.commit(&admin).await }
    })
    .await?;
    let first_commits_seconds = began.elapsed().as_secs_f64();
    let (killed, concerned) = largest_share(&admin, &groups).await?;
    let (outages, mut wrong) = fail_over(&admin, &concerned, || kill(args.kill.clone(), killed)).await?;
    for found in each(&groups, |group| {
        let admin = admin.clone();
        async move { group.look(&admin).await }
    })
    .await?
    {
        wrong.add(found);
    }
    let times = |of: fn(&Outage) -> u32| Latency::of(outages.iter().map(of).collect());
    let report = Report {
        what: "coordinator",
        groups: groups.len(),
        offsets: groups.len() * usize::try_from(args.partitions).unwrap_or_default(),
        first_commits_seconds,
        killed: killed.0,
        concerned: concerned.len(),
        fetched_ms: times(|outage| outage.fetched_us).context("no group was concerned")?,
        committed_ms: times(|outage| outage.committed_us).context("no group was concerned")?,
        wrong,
    };
    output::print(common.output, &report, to_text)?;
    Ok(if wrong.is_nothing() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(Failure::CHECK)
    })
}

async fn create_topic(admin: &Admin, args: &Args) -> Result<(), Failure> {
    let topic = NewTopic::new(&args.topic)
        .partitions(args.partitions)
        .replication_factor(args.replication_factor);
    match admin.create_topic(topic).await {
        Err(failure) if failure.code() != Some(ErrorCode::TopicAlreadyExists) => Err(admin_failure(failure)),
        _ => Ok(()),
    }
}

/// Does something for every group, some of them at a time.
async fn each<T, F>(groups: &[Arc<Group>], act: impl Fn(Arc<Group>) -> F) -> Result<Vec<T>, Failure>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let all = stream::iter(groups.iter().map(|group| act(Arc::clone(group))));
    Ok(all.buffer_unordered(CONCURRENCY).try_collect().await?)
}

/// The broker that coordinates most of the groups, and those groups.
async fn largest_share(admin: &Admin, groups: &[Arc<Group>]) -> Result<(NodeId, Vec<Arc<Group>>), Failure> {
    let found = each(groups, |group| {
        let admin = admin.clone();
        async move { Ok((admin.group_coordinator(group.name()).await?, group)) }
    })
    .await?;
    let mut shares: BTreeMap<NodeId, Vec<Arc<Group>>> = BTreeMap::new();
    for (node, group) in found {
        shares.entry(node).or_default().push(group);
    }
    let largest = shares.into_iter().max_by_key(|(_, share)| share.len());
    Ok(largest.context("there are no groups")?)
}

/// The groups commit one after another, are stopped by the kill, and come back.
async fn fail_over<F>(
    admin: &Admin,
    concerned: &[Arc<Group>],
    kill: impl FnOnce() -> F,
) -> Result<(Vec<Outage>, Wrong), Failure>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let (progress, mut seen) = watch::channel(0);
    let busy = tokio::spawn(commit_in_turn(admin.clone(), concerned.to_vec(), progress));
    let enough = concerned.len().div_ceil(KILL_AFTER);
    seen.wait_for(|committed| *committed >= enough)
        .await
        .context("committing before the kill")?;
    let began = Instant::now();
    kill().await?;
    // Nobody watches any more, so that was its last group.
    drop(seen);
    let back = concerned.iter().map(|group| {
        let (admin, group) = (admin.clone(), Arc::clone(group));
        tokio::spawn(async move { group.come_back(&admin, began).await })
    });
    let (mut outages, mut wrong) = (Vec::new(), Wrong::default());
    for task in back.collect::<Vec<_>>() {
        let (outage, found) = task.await.context("a group")??;
        outages.push(outage);
        wrong.add(found);
    }
    busy.await.context("committing before the kill")??;
    Ok((outages, wrong))
}

/// One group after another, until nobody watches.
async fn commit_in_turn(admin: Admin, groups: Vec<Arc<Group>>, progress: watch::Sender<usize>) -> anyhow::Result<()> {
    for group in groups.iter().cycle() {
        if progress.is_closed() {
            break;
        }
        group.commit(&admin).await?;
        progress.send_modify(|committed| *committed += 1);
    }
    Ok(())
}

async fn kill(command: String, node: NodeId) -> anyhow::Result<()> {
    let status = tokio::process::Command::new("sh")
        .args(["-c", &command])
        .env("NODE", node.0.to_string())
        .status()
        .await
        .context("running the command that kills")?;
    ensure!(status.success(), "the command that kills ended with {status}");
    Ok(())
}

fn to_text(report: &Report) -> String {
    format!(
        "{} groups, {} offsets, first committed in {:.1} s; killed node {}, the coordinator of {}\n\
         fetched again:   {}\ncommitted again: {}\nlost {}, older {}, never committed {}",
        report.groups,
        report.offsets,
        report.first_commits_seconds,
        report.killed,
        report.concerned,
        report.fetched_ms,
        report.committed_ms,
        report.wrong.lost,
        report.wrong.older,
        report.wrong.foreign
    )
}
