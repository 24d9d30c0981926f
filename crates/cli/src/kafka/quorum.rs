//! `klamm quorum`: the controllers that keep the metadata, and their number.

mod backup;
mod recover;

use std::process::ExitCode;

use anyhow::Context;
use klamm_client::admin::{QuorumReplica, Voter};
use klamm_types::{DirectoryId, NodeId};
use serde_json::json;

use super::{admin_failure, connect};
use crate::Common;
use crate::failure::Failure;
use crate::output::{self, Table};

#[derive(clap::Subcommand)]
pub enum Command {
    /// Show the voters and how far each copy of the metadata log is.
    Describe,
    /// Make a running controller a voter.
    Add {
        node: i32,
        /// Its gRPC address, HOST:PORT.
        address: String,
        /// Its store's id, if it must be a certain one.
        #[arg(long)]
        directory: Option<DirectoryId>,
    },
    /// Take a voter out.
    Remove {
        node: i32,
        /// Its store's id; as `klamm quorum describe` shows it [default: the one that the quorum knows].
        #[arg(long)]
        directory: Option<DirectoryId>,
    },
    /// Keep all metadata in one file, taken from a running cluster or from a node that is stopped.
    Backup(backup::Args),
    /// Build a new quorum out of the metadata in a data directory, or of a backup, when a majority of voters is lost for
    /// good. The node must not be running.
    Recover(recover::Args),
}

pub async fn run(common: &Common, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Describe => describe(common).await?,
        Command::Add {
            node,
            address,
            directory,
        } => {
            let (host, port) = host_port(&address).ok_or_else(|| Failure::usage("the address must be HOST:PORT"))?;
            let directory = directory.unwrap_or_default();
            let voter = Voter {
                node: NodeId(node),
                directory,
                host: host.to_owned(),
                port,
            };
            connect(common)
                .await?
                .admin()
                .add_voter(&voter)
                .await
                .map_err(admin_failure)?;
        }
        Command::Remove { node, directory } => remove(common, NodeId(node), directory).await?,
        Command::Backup(args) => backup::run(common, &args).await?,
        Command::Recover(args) => recover::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn remove(common: &Common, node: NodeId, directory: Option<DirectoryId>) -> Result<(), Failure> {
    let admin = connect(common).await?.admin();
    let directory = match directory {
        Some(directory) => directory,
        None => {
            let quorum = admin.describe_quorum().await.map_err(admin_failure)?;
            let voter = quorum.voters.iter().find(|voter| voter.node == node);
            let voter = voter.with_context(|| format!("node {node} is no voter; see `klamm quorum describe`"));
            voter.map_err(|error| Failure::new(Failure::REFUSED, error))?.directory
        }
    };
    admin.remove_voter(node, directory).await.map_err(admin_failure)
}

async fn describe(common: &Common) -> Result<(), Failure> {
    let quorum = connect(common)
        .await?
        .admin()
        .describe_quorum()
        .await
        .map_err(admin_failure)?;
    let replica = |replica: &QuorumReplica| {
        json!({
            "node": replica.node.0,
            "directory": replica.directory.to_string(),
            "log_end_offset": replica.log_end_offset.0,
            "last_fetch": replica.last_fetch.0,
            "last_caught_up": replica.last_caught_up.0,
        })
    };
    let value = json!({
        "leader": quorum.leader.map(|node| node.0),
        "leader_epoch": quorum.leader_epoch,
        "high_watermark": quorum.high_watermark.0,
        "voters": quorum.voters.iter().map(replica).collect::<Vec<_>>(),
        "observers": quorum.observers.iter().map(replica).collect::<Vec<_>>(),
    });
    output::print(common.output, &value, |_| {
        let mut table = Table::new(&["NODE", "ROLE", "LOG END", "BEHIND", "DIRECTORY", "ADDRESS"]);
        let all = quorum.voters.iter().map(|replica| (replica, "voter"));
        for (replica, role) in all.chain(quorum.observers.iter().map(|replica| (replica, "observer"))) {
            let leads = quorum.leader == Some(replica.node);
            let address = quorum.nodes.iter().find(|node| node.node == replica.node);
            let known = replica.log_end_offset.0 >= 0;
            let behind = quorum.high_watermark.0.saturating_sub(replica.log_end_offset.0).max(0);
            table.row(vec![
                replica.node.to_string(),
                if leads { "leader" } else { role }.to_owned(),
                if known {
                    replica.log_end_offset.to_string()
                } else {
                    "unknown".to_owned()
                },
                if known { behind.to_string() } else { String::new() },
                replica.directory.to_string(),
                address.map(|node| node.listeners.join(" ")).unwrap_or_default(),
            ]);
        }
        format!(
            "epoch {}, committed up to {}\n{table}",
            quorum.leader_epoch, quorum.high_watermark
        )
    })?;
    Ok(())
}

fn host_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    Some((host, port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
}
