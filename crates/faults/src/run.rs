//! One run of one fault: load, blow, recovery, mend, verdict.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use klamm_client::admin::Admin;
use klamm_types::NodeId;
use klamm_verify::{History, Load, Verdict, Workload, check, longest_gap};
use rustix::process::Signal;
use serde::Serialize;
use tokio::time::{sleep, timeout};

use crate::cluster::Cluster;
use crate::fault::{Blow, Fault, Target};
use crate::plan::{Plan, plan};

/// Acknowledgements of each partition before a blow: the load is steady then.
const STEADY: u64 = 30;
/// Acknowledgements of each partition after a blow: writes are back then.
const BACK: u64 = 10;
/// How long writes may stay away before a run counts as failed.
const BACK_MAX: Duration = Duration::from_secs(40);
/// How long until all replicas are in sync again.
const HEALED_MAX: Duration = Duration::from_secs(60);
/// How long a majority stays away, where no write can be acknowledged meanwhile.
const MAJORITY_AWAY: Duration = Duration::from_secs(2);
const LOOK_INTERVAL: Duration = Duration::from_millis(25);

/// What a run showed.
#[derive(Clone, Debug, Serialize)]
pub struct RunResult {
    pub number: u32,
    pub fault: String,
    pub round: usize,
    pub victims: Vec<i32>,
    pub controller: i32,
    /// Of every partition that a victim led (of all, if it led none), in milliseconds.
    pub gaps_ms: Vec<f64>,
    pub verdict: Verdict,
    pub seconds: f64,
}

/// Runs a fault once against a cluster that is whole, and leaves it whole.
pub async fn run(fault: &Fault, cluster: &Cluster, round: usize) -> anyhow::Result<RunResult> {
    let begin = Instant::now();
    let mut load = Load::new(
        cluster.bootstrap(),
        format!("{}-{round}-{:08x}", fault.name, rand::random::<u32>()),
    );
    let (controller, all) = cast(cluster.bootstrap()).await?;
    let Plan { victims, assignments } = plan(fault.target, &all, controller, load.partitions, round);
    load.assignments = assignments;
    let workload = Workload::start(load).await.context("starting the load")?;
    let admin = workload.client().admin();
    in_sync(&admin, &workload.load().topic, all.len()).await?;
    steady(&workload, STEADY, "the load never became steady").await?;
    let mut blows = Vec::new();
    if fault.target == Target::EachInTurn {
        for &victim in &victims {
            blows.push(strike(fault, cluster, &workload, &[victim], all.len()).await?);
        }
    } else {
        blows.push(strike(fault, cluster, &workload, &victims, all.len()).await?);
    }
    steady(
        &workload,
        BACK,
        "writes did not go on after the cluster was whole again",
    )
    .await?;
    let topic = workload.load().topic.clone();
    let history = workload.finish().await.context("reading everything back")?;
    admin.delete_topic(&topic).await.context("deleting the run's topic")?;
    Ok(RunResult {
        number: fault.number,
        fault: fault.name.to_owned(),
        round,
        victims: victims.iter().map(|node| node.0).collect(),
        controller: controller.0,
        gaps_ms: blows.iter().flat_map(|blow| gaps(&history, blow)).collect(),
        verdict: check(&history),
        seconds: begin.elapsed().as_secs_f64(),
    })
}

/// The active controller and all nodes.
async fn cast(bootstrap: &str) -> anyhow::Result<(NodeId, Vec<NodeId>)> {
    let client = klamm_client::Client::connect(klamm_client::ClientConfig::new(bootstrap)).await?;
    let quorum = client.admin().describe_quorum().await?;
    let controller = quorum.leader.context("there is no active controller")?;
    let mut nodes: Vec<_> = quorum.voters.iter().map(|voter| voter.node).collect();
    nodes.sort_unstable();
    ensure!(
        nodes.len() >= 3,
        "the faults need three nodes, there are {}",
        nodes.len()
    );
    Ok((controller, nodes))
}

/// When a blow fell and which partitions it concerned.
struct Struck {
    at: Duration,
    partitions: Vec<i32>,
}

async fn strike(
    fault: &Fault,
    cluster: &Cluster,
    workload: &Workload,
    victims: &[NodeId],
    replicas: usize,
) -> anyhow::Result<Struck> {
    let (admin, topic) = (workload.client().admin(), workload.load().topic.clone());
    let description = admin.describe_topic(&topic).await?;
    let led = |node: Option<NodeId>| node.is_some_and(|leader| victims.contains(&leader));
    let mut partitions: Vec<_> = description
        .partitions
        .iter()
        .filter(|one| led(one.leader))
        .map(|one| one.partition)
        .collect();
    if partitions.is_empty() {
        partitions = description.partitions.iter().map(|one| one.partition).collect();
    }
    let at = workload.elapsed();
    let signal = match fault.blow {
        Blow::Kill => Signal::KILL,
        Blow::Terminate => Signal::TERM,
        Blow::Pause(_) => Signal::STOP,
    };
    for victim in victims {
        cluster.signal(victim.0, signal).await?;
    }
    let struck = Instant::now();
    if victims.len() * 2 < replicas {
        steady(workload, BACK, "writes did not come back").await?;
    } else {
        // Without a majority nothing can be acknowledged, and that is what is to be seen for a while.
        sleep(MAJORITY_AWAY).await;
    }
    match fault.blow {
        Blow::Pause(length) => {
            sleep(length.saturating_sub(struck.elapsed())).await;
            for victim in victims {
                cluster.signal(victim.0, Signal::CONT).await?;
            }
        }
        Blow::Kill | Blow::Terminate => {
            for victim in victims {
                cluster.start_node(victim.0).await?;
            }
        }
    }
    in_sync(&admin, &topic, replicas).await?;
    Ok(Struck { at, partitions })
}

/// Waits until every partition took `more` writes from now on.
async fn steady(workload: &Workload, more: u64, otherwise: &'static str) -> anyhow::Result<()> {
    let since = workload.progress().counts();
    if timeout(BACK_MAX, workload.progress().wait_for_more(&since, more))
        .await
        .is_ok()
    {
        return Ok(());
    }
    let now = workload.progress().counts();
    let stuck: Vec<_> = (0..)
        .zip(now.iter().zip(&since))
        .filter(|(_, (now, since))| **now < **since + more)
        .collect();
    anyhow::bail!("{otherwise}: within {BACK_MAX:?}, partitions (number, acknowledged now and before) {stuck:?}");
}

/// Waits until all replicas of all partitions are in sync.
async fn in_sync(admin: &Admin, topic: &str, replicas: usize) -> anyhow::Result<()> {
    let last = std::sync::Mutex::new(String::new());
    let healed = until(LOOK_INTERVAL, || async {
        let described = admin.describe_topic(topic).await;
        let whole = match &described {
            Ok(topic) => topic
                .partitions
                .iter()
                .all(|one| one.isr.len() == replicas && one.leader.is_some()),
            Err(_) => false,
        };
        if !whole {
            *last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = format!("{described:?}");
        }
        whole
    });
    let outcome = timeout(HEALED_MAX, healed).await;
    let last = last.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    outcome.with_context(|| format!("the replicas were not in sync within {HEALED_MAX:?}: {last}"))
}

async fn until<F: Future<Output = bool>>(pause: Duration, look: impl Fn() -> F) {
    while !look().await {
        sleep(pause).await;
    }
}

fn gaps(history: &History, struck: &Struck) -> Vec<f64> {
    let gap = |&partition: &i32| longest_gap(history, partition, struck.at);
    struck
        .partitions
        .iter()
        .filter_map(gap)
        .map(|gap| gap.length.as_secs_f64() * 1000.0)
        .collect()
}
