//! `klamm faults`: breaks a cluster of its own and says what became of the acknowledged records.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use klamm_faults::{Cluster, FAULTS, Fault, Foreign, Nodes, RunResult, by_name, run as run_fault, summary};

use crate::Common;
use crate::failure::Failure;
use crate::output::{self, Table};

#[derive(clap::Subcommand)]
pub enum Command {
    /// List the faults.
    List,
    /// Run faults, each against three fresh nodes under load.
    Run(RunArgs),
}

#[derive(clap::Args)]
pub struct RunArgs {
    /// Which; all without a name.
    names: Vec<String>,
    /// How often each.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Append every run as a line of JSON.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Where the nodes live [default: a temporary folder, removed when all is well].
    #[arg(long = "in", value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Further settings for every node, KEY=VALUE.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Break the cluster at --bootstrap, of three nodes that are all brokers and controllers, instead of one of its own:
    /// this command sends $SIGNAL to node $NODE, such as `docker kill --signal $SIGNAL klamm_klamm-${NODE}_1`.
    #[arg(long, value_name = "COMMAND", requires = "start_with", conflicts_with_all = ["settings", "folder"])]
    signal_with: Option<String>,
    /// And this one starts node $NODE, once it has ended.
    #[arg(long, value_name = "COMMAND", requires = "signal_with")]
    start_with: Option<String>,
    /// Fail when a write gap misses its target, not only when records are wrong.
    #[arg(long)]
    strict: bool,
}

pub fn run(common: &Common, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::List => {
            list()?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Run(args) => crate::kafka::block_on(run_all(common, args)),
    }
}

fn list() -> anyhow::Result<()> {
    let mut table = Table::new(&["NUMBER", "FAULT", "WRITE GAP P99 AT MOST"]);
    for fault in FAULTS {
        let max = fault
            .gap_max
            .map_or_else(|| "-".to_owned(), |max| format!("{} ms", max.as_millis()));
        table.row(vec![fault.number.to_string(), fault.name.to_owned(), max]);
    }
    output::print_out(table.to_string().trim_end())
}

async fn run_all(common: &Common, args: RunArgs) -> Result<ExitCode, Failure> {
    let chosen: Vec<&Fault> = if args.names.is_empty() {
        FAULTS.iter().collect()
    } else {
        let find =
            |name: &String| by_name(name).with_context(|| format!("there is no fault {name}; see `klamm faults list`"));
        args.names
            .iter()
            .map(find)
            .collect::<Result<_, _>>()
            .map_err(|error| Failure::new(Failure::USAGE, error))?
    };
    let folder = args
        .folder
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("klamm-faults-{}", std::process::id())));
    let (mut good, mut summaries) = (true, Vec::new());
    for fault in chosen {
        let cluster = cluster(common, &args, &folder.join(fault.name)).await?;
        let results = run_one(fault, &args, &cluster).await;
        let results =
            results.with_context(|| format!("{}; see {}", fault.name, whereabouts(common, &args, &folder)))?;
        cluster.stop().await?;
        let summed = summary(fault, &results);
        good &= summed.is_safe() && (!args.strict || summed.is_fast() != Some(false));
        eprintln!("{summed}");
        summaries.push(summed);
    }
    output::print(common.output, &summaries, |all| {
        all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    })?;
    if !good {
        return Err(Failure::check(format!(
            "a promise was broken; see {}",
            whereabouts(common, &args, &folder)
        )));
    }
    if args.folder.is_none() {
        let _ = std::fs::remove_dir_all(&folder);
    }
    Ok(ExitCode::SUCCESS)
}

/// Where to look for what happened.
fn whereabouts(common: &Common, args: &RunArgs, folder: &Path) -> String {
    match &args.signal_with {
        Some(_) => format!("the logs of the nodes at {}", common.bootstrap),
        None => format!("the nodes' folders under {}", folder.display()),
    }
}

/// The user's cluster, or fresh nodes of our own.
async fn cluster(common: &Common, args: &RunArgs, folder: &Path) -> anyhow::Result<Cluster> {
    if let (Some(signal), Some(start)) = (&args.signal_with, &args.start_with) {
        return Ok(Cluster::Foreign(Foreign {
            bootstrap: common.bootstrap.clone(),
            signal: signal.clone(),
            start: start.clone(),
        }));
    }
    let program = std::env::current_exe().context("finding this program")?;
    Ok(Cluster::Own(Nodes::start(&program, folder, &args.settings).await?))
}

async fn run_one(fault: &Fault, args: &RunArgs, cluster: &Cluster) -> anyhow::Result<Vec<RunResult>> {
    let mut results = Vec::new();
    for round in 0..args.runs {
        let result = run_fault(fault, cluster, round).await;
        let result = result.with_context(|| format!("run {round}"))?;
        if let Some(path) = &args.record {
            let mut file = OpenOptions::new().create(true).append(true).open(path);
            let file = file
                .as_mut()
                .map_err(|error| anyhow::anyhow!("opening {}: {error}", path.display()))?;
            writeln!(file, "{}", serde_json::to_string(&result)?)?;
        }
        let longest = result.gaps_ms.iter().copied().fold(0.0, f64::max);
        eprintln!(
            "{} run {}: longest write gap {longest:.0} ms, verdict {}",
            fault.name,
            round + 1,
            verdict(&result)
        );
        results.push(result);
    }
    Ok(results)
}

fn verdict(result: &RunResult) -> String {
    if result.verdict.is_good() {
        format!("good, {} acknowledged and read", result.verdict.acknowledged)
    } else {
        format!("BAD: {}", serde_json::to_string(&result.verdict).unwrap_or_default())
    }
}
