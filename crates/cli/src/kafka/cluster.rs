//! `klamm cluster`: the brokers, and how the partitions stand; why is next door.

use std::process::ExitCode;

use serde_json::json;

use super::{admin_failure, connect};
use crate::Common;
use crate::failure::Failure;
use crate::output::{self, Table};
use crate::why;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Show the cluster's id, its brokers and what they lead.
    Describe,
    /// Tell what became of the brokers and of the controller: who was fenced, registered or elected, and why.
    Why(why::Args),
}

struct Row {
    id: i32,
    address: String,
    rack: Option<String>,
    fenced: bool,
    leads: usize,
    holds: usize,
}

pub async fn run(common: &Common, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Describe => describe(common).await?,
        Command::Why(args) => why::cluster(common, &args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn describe(common: &Common) -> Result<(), Failure> {
    let admin = connect(common).await?.admin();
    let cluster = admin.describe_cluster().await.map_err(admin_failure)?;
    let controller = admin.describe_quorum().await.ok().and_then(|quorum| quorum.leader);
    let mut rows: Vec<_> = cluster
        .brokers
        .iter()
        .map(|broker| Row {
            id: broker.id.0,
            address: format!("{}:{}", broker.host, broker.port),
            rack: broker.rack.clone(),
            fenced: broker.fenced,
            leads: 0,
            holds: 0,
        })
        .collect();
    let (mut partitions, mut short) = (0, 0);
    for topic in admin.list_topics().await.map_err(admin_failure)? {
        for partition in admin
            .describe_topic(&topic.name)
            .await
            .map_err(admin_failure)?
            .partitions
        {
            partitions += 1;
            short += usize::from(partition.isr.len() < partition.replicas.len());
            for row in &mut rows {
                row.leads += usize::from(partition.leader.is_some_and(|leader| leader.0 == row.id));
                row.holds += usize::from(partition.replicas.iter().any(|replica| replica.0 == row.id));
            }
        }
    }
    let brokers = rows.iter().map(|row| {
        json!({
            "id": row.id, "address": row.address, "rack": row.rack, "fenced": row.fenced,
            "leads": row.leads, "replicas": row.holds,
        })
    });
    let value = json!({
        "cluster_id": cluster.cluster_id,
        "active_controller": controller.map(|node| node.0),
        "brokers": brokers.collect::<Vec<_>>(),
        "partitions": partitions,
        "under_replicated_partitions": short,
    });
    output::print(common.output, &value, |_| {
        let mut table = Table::new(&["BROKER", "ADDRESS", "RACK", "STATE", "LEADS", "REPLICAS"]);
        for row in &rows {
            table.row(vec![
                row.id.to_string(),
                row.address.clone(),
                row.rack.clone().unwrap_or_default(),
                if row.fenced { "fenced" } else { "live" }.to_owned(),
                row.leads.to_string(),
                row.holds.to_string(),
            ]);
        }
        let controller = controller.map_or_else(|| "unknown".to_owned(), |node| node.to_string());
        format!(
            "cluster {}, active controller {controller}, {partitions} partitions, {short} of them under-replicated\n{table}",
            cluster.cluster_id
        )
    })?;
    Ok(())
}
