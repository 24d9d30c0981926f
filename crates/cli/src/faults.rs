//! `klamm faults`: breaks a cluster of its own and says what became of the acknowledged records.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use klamm_faults::{FAULTS, Fault, Nodes, RunResult, by_name, run as run_fault, summary};

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
        let results = run_one(fault, &args, &folder.join(fault.name)).await?;
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
            "a promise was broken; the nodes' folders are under {}",
            folder.display()
        )));
    }
    if args.folder.is_none() {
        let _ = std::fs::remove_dir_all(&folder);
    }
    Ok(ExitCode::SUCCESS)
}

async fn run_one(fault: &Fault, args: &RunArgs, folder: &Path) -> anyhow::Result<Vec<RunResult>> {
    let program = std::env::current_exe().context("finding this program")?;
    let nodes = Nodes::start(&program, folder, &args.settings).await?;
    let mut results = Vec::new();
    for round in 0..args.runs {
        let result = run_fault(fault, &nodes, round).await;
        let result = result.with_context(|| format!("{}, run {round}; see {}", fault.name, folder.display()))?;
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
    nodes.stop().await?;
    Ok(results)
}

fn verdict(result: &RunResult) -> String {
    if result.verdict.is_good() {
        format!("good, {} acknowledged and read", result.verdict.acknowledged)
    } else {
        format!("BAD: {}", serde_json::to_string(&result.verdict).unwrap_or_default())
    }
}
