//! `klamm-faults`: breaks a cluster of its own, so many times, and keeps the record of what became of the acknowledged records.

mod runs;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use klamm_faults::{CHECKLIST, ClientArgs, Line, MemberArgs, faults, page, run_client, run_member};

use runs::{RunArgs, WrongWord};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Ends with this when a promise was broken; with 1 where the tool itself went wrong.
const BROKEN: u8 = 5;
/// And with this, as clap does, when the command line is wrong.
const MISUSED: u8 = 2;

/// Breaks real processes and holds what happens against the promises.
#[derive(Parser)]
#[command(name = "klamm-faults", version, arg_required_else_help = true)]
enum Command {
    /// List the faults that can be run, and the lines of the checklist that none of them covers.
    List,
    /// Run faults under load, each against fresh nodes.
    Run(Box<RunArgs>),
    /// A client that is a process of its own, so that a fault can stop it.
    #[command(hide = true)]
    Client(ClientArgs),
    /// The member of a group, likewise.
    #[command(hide = true)]
    Member(MemberArgs),
    /// Make the page of a record.
    Page {
        /// Files that runs were appended to.
        #[arg(required = true)]
        records: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    match carry_out(Command::parse()) {
        Ok(code) => code,
        Err(error) => {
            // Nobody may listen any more; the code says it all the same.
            let _ = writeln!(std::io::stderr(), "klamm-faults: {error:#}");
            ExitCode::from(if error.is::<WrongWord>() { MISUSED } else { 1 })
        }
    }
}

fn carry_out(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List => list(),
        Command::Page { records } => {
            let lines = records
                .iter()
                .map(|path| Line::read(path))
                .collect::<anyhow::Result<Vec<_>>>()?;
            put(&page(&lines.concat()))
        }
        Command::Client(args) => runtime()?.block_on(run_client(args)),
        Command::Member(args) => runtime()?.block_on(run_member(args)),
        Command::Run(args) => {
            let network = runs::own_network(&args);
            let kept = runtime()?.block_on(runs::all(*args, network))?;
            return Ok(ExitCode::from(if kept { 0 } else { BROKEN }));
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Runtime::new().context("starting the runtime")
}

fn put(text: &str) -> anyhow::Result<()> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("writing to standard output")
}

fn list() -> anyhow::Result<()> {
    let mut text = String::new();
    for entry in CHECKLIST {
        text.push_str(&format!("{:2}  {}\n", entry.number, entry.happens));
        let mut forms = faults().filter(|fault| fault.number == entry.number).peekable();
        if forms.peek().is_none() {
            text.push_str("      (no fault here does this yet)\n");
        }
        for fault in forms {
            let target = fault
                .gap_max
                .map(|max| format!("write gap p99 at most {} ms", max.as_millis()));
            text.push_str(&format!("      {:34} {}\n", fault.name, target.unwrap_or_default()));
        }
    }
    put(&text)
}
