//! One run of one fault: a load, the steps, everything read to the end, the verdict.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use klamm_client::admin::Admin;
use klamm_client::{Client, ClientConfig};
use klamm_verify::{Load, Run, Verdict, WhenCut};

use crate::ask::Asker;
use crate::catch_up;
use crate::fault::{Fault, Loss, Shape};
use crate::ground::Ground;
use crate::ledger::Ledger;
use crate::loss::allowed;
use crate::others::Others;
use crate::plan::{Cast, Plan, plan};
use crate::steps::{Hit, Steps, in_sync, steady};

/// Acknowledgements of each partition before faults that harm closed segments: enough of them must be there.
const STEADY_WITH_SEGMENTS: u64 = 1300;
/// So often a member of the group comes and goes.
const REJOIN: Duration = Duration::from_secs(2);

/// What a run showed.
#[derive(Clone, Debug)]
pub struct RunResult {
    pub victims: Vec<i32>,
    pub controller: i32,
    /// Of every partition that a victim led (of all, if it led none).
    pub write_gaps: Vec<Duration>,
    pub read_gaps: Vec<Duration>,
    /// From a blow to the controller until it decided again.
    pub metadata_gap: Option<Duration>,
    pub verdict: Verdict,
    /// Acknowledged records that are missing, as the fault allows.
    pub missing: u64,
    /// What a fault measures besides, by name.
    pub figures: BTreeMap<String, Vec<f64>>,
    pub length: Duration,
}

/// Runs a fault once against a cluster that is whole, and leaves it whole.
///
/// # Errors
/// A step could not be done, or what must come did not: writes, replicas in sync, what was asked for. The cluster may be
/// in any state then.
pub async fn run(fault: &Fault, ground: &mut Ground, round: usize) -> anyhow::Result<RunResult> {
    let begin = Instant::now();
    let topic = format!("{}-{round}-{:08x}", fault.name, rand::random::<u32>());
    let mut load = load(fault, ground, &topic);
    let cast = cast(&load.bootstrap, fault.shape).await?;
    let controller = cast.controller;
    let Plan { victims, assignments } = plan(fault.target, &cast, load.partitions, round);
    load.assignments = assignments;
    let ledger = Arc::new(Ledger::new(load.partitions, fault.with_group));
    let mut run = Run::start(load, ledger.clone()).await.context("starting the load")?;
    let admin = run.client().admin();
    in_sync(&admin, &topic).await?;
    let has_segments = fault.configs.iter().any(|(name, _)| *name == "segment.bytes");
    let (first, after) = (ground.steady, ground.steady.div_ceil(3));
    let first = if has_segments {
        first.max(STEADY_WITH_SEGMENTS)
    } else {
        first
    };
    steady(&run, first, "the load never became steady").await?;
    let victims = match victims.is_empty() {
        true => vec![coordinator(&admin, &topic).await?],
        false => victims,
    };
    let mut others = Others::start(fault, &run).await?;
    let asker = Asker::prepare(&run.load().bootstrap, &topic, fault.steps).await?;
    let steady_from = run.elapsed();
    let hit = Hit {
        brokers: cast.brokers,
        victims: victims.clone(),
    };
    let mut steps = Steps::new(ground, &run, asker, hit, &mut others);
    steps.all(fault.steps).await?;
    let done = steps.finish(fault.loss).await?;
    let over = run.elapsed();
    steady(&run, after, "writes did not go on after the cluster was whole again").await?;
    let mut verdict = read_everything(&mut run, &ledger).await?;
    let partitions = ledger.partitions();
    let missing = allowed(fault.loss, &partitions, &done.facts)?;
    let unlike = |lost| anyhow!("{missing} records may be missing, and {lost} are");
    verdict.forgive(missing).map_err(unlike)?;
    let mut figures = others.finish(&mut verdict).await?;
    let oldest = done
        .facts
        .oldest(&partitions)
        .map(|age| ("oldest missing s".to_owned(), vec![age.as_secs_f64()]));
    figures.extend(oldest);
    if let Some((times, percent)) = done.catch_up {
        admin.delete_topic(&catch_up::name(&topic)).await?;
        figures.extend(catch_up::held(&ledger, &times, percent)?);
    }
    admin.delete_topic(&topic).await.context("deleting the run's topic")?;
    hold_to(fault, &ledger, (steady_from, over), run.load())?;
    let gaps: Vec<_> = done.gaps(&ledger);
    Ok(RunResult {
        victims,
        controller,
        write_gaps: gaps.iter().filter_map(|gaps| gaps.write).collect(),
        read_gaps: gaps.iter().filter_map(|gaps| gaps.read).collect(),
        metadata_gap: done.metadata_gap,
        verdict,
        missing,
        figures,
        length: begin.elapsed(),
    })
}

async fn coordinator(admin: &Admin, topic: &str) -> anyhow::Result<i32> {
    let coordinator = admin.group_coordinator(topic).await;
    Ok(coordinator.context("the group's coordinator")?.0)
}

fn load(fault: &Fault, ground: &Ground, topic: &str) -> Load {
    let setting = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let two = ("min.insync.replicas", "2");
    Load {
        configs: fault.configs.iter().chain([&two]).map(setting).collect(),
        when_cut: match fault.loss {
            Loss::Nothing => WhenCut::ReadOn,
            Loss::BeyondChosen | Loss::Newest(_) => WhenCut::Tell,
        },
        group_members: if fault.with_group { 3 } else { 0 },
        rejoin_interval: fault.with_group.then_some(REJOIN),
        ..Load::new(ground.cluster.bootstrap(), topic)
    }
}

/// The active controller and the brokers.
async fn cast(bootstrap: &str, shape: Shape) -> anyhow::Result<Cast> {
    let client = Client::connect(ClientConfig::new(bootstrap)).await?;
    let admin: Admin = client.admin();
    let quorum = admin.describe_quorum().await?;
    let controller = quorum.leader.context("there is no active controller")?.0;
    let cluster = admin.describe_cluster().await?;
    let alive = cluster.brokers.iter().filter(|broker| !broker.fenced);
    let mut brokers: Vec<i32> = alive.map(|broker| broker.id.0).collect();
    brokers.sort_unstable();
    ensure!(
        brokers.len() >= 3,
        "the faults need three brokers, there are {}",
        brokers.len()
    );
    Ok(Cast {
        brokers,
        controller,
        shape,
    })
}

async fn read_everything(run: &mut Run, ledger: &Ledger) -> anyhow::Result<Verdict> {
    run.stop_producing().await?;
    if let Some(unread) = run.read_to_end().await?.pop() {
        return Err(anyhow::Error::new(unread).context("reading everything back"));
    }
    Ok(ledger.finish())
}

/// What a fault promises beside the verdict and the gaps.
fn hold_to(fault: &Fault, ledger: &Ledger, (from, to): (Duration, Duration), load: &Load) -> anyhow::Result<()> {
    if fault.without_failures {
        let failures = ledger.failures();
        ensure!(failures == 0, "{failures} produces failed");
    }
    if let Some(percent) = fault.throughput_min {
        let usual = f64::from(load.records_per_second) * (to - from).as_secs_f64();
        let share = ledger.acknowledged_between(from, to) as f64 / usual * 100.0;
        ensure!(
            share >= f64::from(percent),
            "only {share:.0} % of the throughput went on"
        );
    }
    Ok(())
}
