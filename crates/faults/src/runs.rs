//! `klamm-faults run`: which faults, on what, how often, and one line of the record for each run.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context, bail, ensure};
use klamm_faults::{
    Cluster, Fault, Foreign, Ground, Line, Loss, Need, Peer, Program, RunResult, Shape, chosen, faults as all_faults,
    network, summaries,
};
use tokio::task::JoinSet;

/// A word of the command line that clap cannot judge.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongWord(String);

#[derive(clap::Args)]
pub struct RunArgs {
    /// Which, by name or by number in the checklist; all without one.
    faults: Vec<String>,
    /// Only the quick ones.
    #[arg(long, conflicts_with = "faults")]
    quick: bool,
    /// So many faults at the same time, each on nodes of its own: quicker, and nothing to measure by.
    #[arg(long, default_value_t = 1, conflicts_with = "signal_with", value_parser = clap::value_parser!(u8).range(1..=16))]
    at_once: u8,
    /// How often each.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// How often those that are not quick [default: as often as the others].
    #[arg(long, value_name = "RUNS", value_parser = clap::value_parser!(u16).range(1..))]
    slow_runs: Option<u16>,
    /// Append every run as a line of JSON.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// The binary of the nodes [default: klamm, beside this program].
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Break another system that speaks Kafka's protocol: a TOML file says how its nodes are started.
    #[arg(long, value_name = "FILE.toml", conflicts_with_all = ["program", "settings"])]
    peer: Option<PathBuf>,
    /// Where the nodes live [default: a temporary folder, removed when all is well].
    #[arg(long = "in", value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Further settings for every node, KEY=VALUE.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Break the cluster at --bootstrap, of three nodes that are all brokers and controllers, instead of one of its own:
    /// this command sends $SIGNAL to node $NODE, such as `docker kill --signal $SIGNAL klamm_klamm-${NODE}_1`.
    #[arg(long, value_name = "COMMAND", requires_all = ["start_with", "bootstrap"], conflicts_with_all = ["settings", "folder", "peer"])]
    signal_with: Option<String>,
    /// And this one starts node $NODE, once it has ended.
    #[arg(long, value_name = "COMMAND", requires = "signal_with")]
    start_with: Option<String>,
    /// Where the cluster of others is: HOST:PORT,…
    #[arg(long, value_name = "HOST:PORT,…", requires = "signal_with")]
    bootstrap: Option<String>,
    /// How far a broker falls behind that is down for long, in MiB [default: 1024].
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    behind: Option<u64>,
    /// Acknowledgements of each partition before a fault, at about 170 a second; a third of it afterwards [default: 30].
    /// A load that takes a minute counts as one that never becomes steady.
    #[arg(long, value_name = "ACKNOWLEDGEMENTS", value_parser = clap::value_parser!(u64).range(1..=5_000))]
    steady: Option<u64>,
    /// Fail when a write gap misses its target, not only when records are wrong.
    #[arg(long)]
    strict: bool,
}

impl RunArgs {
    fn runs_of(&self, fault: &Fault) -> usize {
        let runs = if fault.quick { None } else { self.slow_runs };
        usize::from(runs.unwrap_or(self.runs))
    }
}

/// Runs what was asked for; whether every promise was kept. `network`: what [`own_network`] has said.
pub async fn all(args: RunArgs, network: Result<(), String>) -> anyhow::Result<bool> {
    let faults = faults(&args)?;
    let (system, program) = system(&args)?;
    let folder = args
        .folder
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("klamm-faults-{}", std::process::id())));
    let args = Arc::new(args);
    let (to_run, skipped): (Vec<&Fault>, Vec<&Fault>) = faults
        .into_iter()
        .partition(|fault| missing(fault, &args, &network).is_none());
    let skipped: Vec<String> = skipped
        .iter()
        .filter_map(|fault| Some(format!("{} ({})", fault.name, missing(fault, &args, &network)?)))
        .collect();
    let queue = Arc::new(Mutex::new(VecDeque::from(to_run)));
    let mut workers = JoinSet::new();
    for _ in 0..args.at_once {
        let (args, queue, folder) = (args.clone(), queue.clone(), folder.clone());
        let (system, program) = (system.clone(), program.clone());
        workers.spawn(async move {
            let mut good = true;
            let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            while let Some(fault) = next() {
                let lines = run_one(fault, &args, &system, &program, &folder.join(fault.name)).await?;
                for summary in summaries(&lines) {
                    let fast = !args.strict || summary.is_fast(fault) != Some(false);
                    good &= summary.is_safe() && fast;
                    crate::put(&format!("{}\n", summary.told(fault)))?;
                }
            }
            anyhow::Ok(good)
        });
    }
    let mut good = true;
    while let Some(ended) = workers.join_next().await {
        good &= ended.context("running faults")??;
    }
    if !skipped.is_empty() {
        eprintln!("skipped: {}", skipped.join(", "));
    }
    if !good {
        eprintln!(
            "a promise was broken; the nodes' folders are under {}",
            folder.display()
        );
        return Ok(false);
    }
    if args.folder.is_none() && folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    ensure!(
        skipped.is_empty() || std::env::var("CI").as_deref() != Ok("true"),
        "faults were skipped"
    );
    Ok(true)
}

fn faults(args: &RunArgs) -> anyhow::Result<Vec<&'static Fault>> {
    if args.faults.is_empty() {
        return Ok(all_faults().filter(|fault| fault.quick || !args.quick).collect());
    }
    let mut all = Vec::new();
    for word in &args.faults {
        let found = chosen(word);
        if found.is_empty() {
            bail!(WrongWord(format!("there is no fault {word}; see `klamm-faults list`")));
        }
        all.extend(found);
    }
    Ok(all)
}

/// What is broken: its name with the version, and how its nodes are started.
fn system(args: &RunArgs) -> anyhow::Result<(String, Program)> {
    if let Some(path) = &args.peer {
        let peer = Peer::read(path)?;
        return Ok((peer.name.clone(), Program::Peer(peer)));
    }
    let beside = std::env::current_exe()
        .context("finding this program")?
        .with_file_name("klamm");
    let program = args.program.clone().unwrap_or(beside);
    let said = Process::new(&program).arg("--version").output();
    let said = said.with_context(|| format!("starting {} (--program names another)", program.display()))?;
    let said = String::from_utf8_lossy(&said.stdout);
    let said = said.lines().next().unwrap_or_default();
    let Some(version) = said.strip_prefix("klamm ") else {
        bail!("{} is not klamm: it calls itself {said:?}", program.display());
    };
    Ok((format!("Klamm {version}"), Program::Klamm(program)))
}

/// Moves this program into namespaces of its own, where nodes of its own are to be broken: what it makes and mounts ends
/// with it. Must come before there is any thread. An error says what this machine lacks for it.
pub fn own_network(args: &RunArgs) -> Result<(), String> {
    match args.signal_with {
        Some(_) => Err("needs nodes of its own".to_owned()),
        None => network::enter_own_namespace().map_err(|error| format!("{error:#}")),
    }
}

/// What a fault needs and this machine, or this cluster, has not.
fn missing(fault: &Fault, args: &RunArgs, network: &Result<(), String>) -> Option<String> {
    let needs_own_nodes = fault.shape == Shape::Apart || fault.need != Need::Processes || !fault.is_of_signals();
    let is_root = rustix::process::geteuid().is_root();
    let reason = match (fault.need, network) {
        _ if args.signal_with.is_some() && needs_own_nodes => "needs nodes of its own",
        _ if args.peer.is_some() && fault.shape == Shape::Apart => "the peer's nodes have both roles",
        _ if args.peer.is_some() && fault.changes_voters() => "the peer's voters are fixed",
        _ if (args.peer.is_some() || args.signal_with.is_some()) && !fault.settings.is_empty() => {
            "needs nodes with settings of its own"
        }
        _ if args.peer.is_some() && fault.loss != Loss::Nothing => "the peer does not tell of what it loses",
        (Need::Network | Need::BreakableDisks, Err(reason)) => reason,
        (Need::BreakableDisks, Ok(())) if !Path::new("/dev/fuse").exists() => "/dev/fuse is missing",
        (Need::SmallDisks, _) if !is_root => "needs to be root",
        _ => return None,
    };
    Some(reason.to_owned())
}

async fn run_one(
    fault: &Fault,
    args: &RunArgs,
    system: &str,
    program: &Program,
    folder: &Path,
) -> anyhow::Result<Vec<Line>> {
    let (mut lines, mut ground) = (Vec::new(), None);
    for round in 0..args.runs_of(fault) {
        let begun = SystemTime::now();
        let outcome = run_once(fault, args, program, folder, round, &mut ground).await;
        let line = Line::new(system, fault, round, begun, &outcome);
        eprintln!("{line}");
        if outcome.is_err() {
            // Whatever it was left in, the next run begins anew.
            ground = None;
            keep(folder, round)?;
        }
        if let Some(path) = &args.record {
            line.append(path)?;
        }
        lines.push(line);
    }
    Ok(lines)
}

async fn run_once(
    fault: &Fault,
    args: &RunArgs,
    program: &Program,
    folder: &Path,
    round: usize,
    ground: &mut Option<Ground>,
) -> anyhow::Result<RunResult> {
    let ground = match ground {
        Some(ground) => ground,
        None => ground.insert(new_ground(fault, args, program, folder).await?),
    };
    if let Some(mib) = args.behind {
        ground.behind_bytes = mib << 20;
    }
    if let Some(acknowledgements) = args.steady {
        ground.steady = acknowledgements;
    }
    klamm_faults::run(fault, ground, round).await
}

async fn new_ground(fault: &Fault, args: &RunArgs, program: &Program, folder: &Path) -> anyhow::Result<Ground> {
    if let (Some(signal), Some(start), Some(bootstrap)) = (&args.signal_with, &args.start_with, &args.bootstrap) {
        return Ok(Ground::of_others(Cluster::Foreign(Foreign {
            bootstrap: bootstrap.clone(),
            signal: signal.clone(),
            start: start.clone(),
        })));
    }
    std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    Ground::new(fault, program, folder, &args.settings)
        .await
        .context("starting the nodes")
}

/// What a failed run left is for people to look at; the next one gets a folder of its own.
fn keep(folder: &Path, round: usize) -> anyhow::Result<()> {
    if folder.exists() {
        let kept = folder.with_extension(format!("failed-{}", round + 1));
        std::fs::rename(folder, &kept).with_context(|| format!("putting {} aside", folder.display()))?;
    }
    Ok(())
}
