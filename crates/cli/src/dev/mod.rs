//! `klamm dev`: a cluster of several nodes on this machine, each a process of its own, to try things and break them.
//!
//! It starts the nodes and tells their logs apart; it never restarts one by itself, so that what a fault did stays to
//! be seen. `klamm dev kill|stop|pause|resume|start N` breaks and mends nodes from another terminal.

mod control;
mod layout;
mod node;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

pub use layout::Folder;
pub use node::Echo;
pub use run::start;

use crate::failure::Failure;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// How many nodes to run.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// The folder of the cluster; node N lives in DIR/node-N.
    #[arg(long = "in", value_name = "DIR", default_value = "klamm-data", global = true)]
    folder: PathBuf,
    /// The first node's Kafka port; the others follow. 0 takes free ports.
    #[arg(long, default_value_t = 9092)]
    port: u16,
    /// Further settings for every node, KEY=VALUE.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Kills node N at once (SIGKILL).
    Kill { node: i32 },
    /// Stops node N cleanly (SIGTERM).
    Stop { node: i32 },
    /// Freezes node N (SIGSTOP).
    Pause { node: i32 },
    /// Lets a frozen node N go on (SIGCONT).
    Resume { node: i32 },
    /// Starts node N again.
    Start { node: i32 },
}

pub fn run(args: Args) -> Result<ExitCode, Failure> {
    let folder = Folder::new(&args.folder);
    let Some(action) = args.action else {
        return run::run(&folder, args.nodes, args.port, &args.settings);
    };
    control::act(&folder, &action)?;
    Ok(ExitCode::SUCCESS)
}
