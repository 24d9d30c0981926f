//! `klamm`, the one binary: the server, the commands for people, the demo.
//!
//! This file only parses and dispatches; each command has a file of its own.

mod container;
mod demo;
mod dev;
mod failure;
mod format;
mod healthcheck;
mod http;
mod kafka;
mod logging;
mod output;
mod server;
mod signals;
mod why;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use failure::Failure;
use output::Format;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A replicated, partitioned commit log that speaks the Kafka protocol.
#[derive(Parser)]
#[command(name = "klamm", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = failure::EXIT_CODES)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command that talks to a cluster understands.
#[derive(Clone, Debug, clap::Args)]
pub struct Common {
    /// Where to find the cluster: HOST:PORT of one or more brokers.
    #[arg(
        long,
        short,
        global = true,
        default_value = "localhost:9092",
        value_name = "HOST:PORT,…"
    )]
    bootstrap: String,
    /// How to print results.
    #[arg(long, short, global = true, value_enum, default_value_t)]
    output: Format,
    /// How long to try before giving up, in seconds.
    #[arg(long, global = true, default_value_t = 15, value_name = "SECONDS")]
    timeout: u64,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Run one node.
    Server(server::Args),
    /// Give a data directory its cluster before the first start.
    Format(format::Args),
    /// Ask the node on this machine whether it serves: the health check of an image without a shell.
    Healthcheck(healthcheck::Args),
    /// Run a cluster on this machine, and break it.
    Dev(dev::Args),
    /// Watch a cluster keep its word while its leader is killed.
    Demo(demo::Args),
    /// Create, list, describe, change and delete topics.
    #[command(subcommand)]
    Topic(kafka::topic::Command),
    /// Send lines of text as records.
    Produce(kafka::produce::Args),
    /// Print records.
    Consume(kafka::consume::Args),
    /// List and describe groups, see how far they are and why, set their offsets.
    #[command(subcommand)]
    Group(kafka::group::Command),
    /// Describe the cluster.
    #[command(subcommand)]
    Cluster(kafka::cluster::Command),
    /// Describe and change the controller quorum.
    #[command(subcommand)]
    Quorum(kafka::quorum::Command),
    /// Describe and change settings.
    #[command(subcommand)]
    Config(kafka::config::Command),
    /// Watch brokers, topics and groups live: rates, lags, and what is wrong.
    Top(kafka::top::Args),
    /// Check from here that every advertised address can be reached.
    Doctor(kafka::doctor::Args),
    /// Measure any Kafka cluster.
    #[command(subcommand)]
    Bench(kafka::bench::Command),
    /// Put a load on any Kafka cluster and check that nothing acknowledged is lost, doubled or reordered.
    Verify(kafka::verify::Args),
    /// Print the completions for a shell: `source <(klamm completions bash)`.
    Completions { shell: clap_complete::Shell },
}

fn main() -> ExitCode {
    let Arguments { common, command } = Arguments::parse();
    match run(&common, command) {
        Ok(code) => code,
        Err(failure) => {
            // Nobody may listen any more; the code says it all the same.
            let _ = writeln!(std::io::stderr(), "klamm: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

fn run(common: &Common, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Server(args) => server::run(args),
        Command::Format(args) => format::run(common, &args),
        Command::Healthcheck(args) => kafka::block_on(healthcheck::run(args)),
        Command::Dev(args) => dev::run(args),
        Command::Demo(args) => demo::run(common, args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "klamm", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Topic(command) => kafka::block_on(kafka::topic::run(common, command)),
        Command::Produce(args) => kafka::block_on(kafka::produce::run(common, args)),
        Command::Consume(args) => kafka::block_on(kafka::consume::run(common, args)),
        Command::Group(command) => kafka::block_on(kafka::group::run(common, command)),
        Command::Cluster(command) => kafka::block_on(kafka::cluster::run(common, command)),
        Command::Quorum(command) => kafka::block_on(kafka::quorum::run(common, command)),
        Command::Config(command) => kafka::block_on(kafka::config::run(common, command)),
        Command::Top(args) => kafka::block_on(kafka::top::run(common, args)),
        Command::Doctor(args) => kafka::block_on(kafka::doctor::run(common, args)),
        Command::Verify(args) => kafka::block_on(kafka::verify::run(common, args)),
        Command::Bench(command) => kafka::block_on(kafka::bench::run(common, command)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
