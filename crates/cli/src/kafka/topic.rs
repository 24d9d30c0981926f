//! `klamm topic`: create, list, describe, alter, delete; why is next door.

use std::collections::BTreeMap;
use std::process::ExitCode;

use klamm_client::admin::{
    Admin, AlterConfig, ConfigResource, ConfigSource, NewTopic, PartitionDescription, TopicDescription,
};
use klamm_types::{ErrorCode, NodeId};
use serde_json::json;

use super::{admin_failure, all_tried, connect, key_value, nodes};
use crate::Common;
use crate::failure::Failure;
use crate::output::{self, Table};
use crate::why;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Create a topic.
    Create {
        name: String,
        /// How many partitions [default: the cluster's num.partitions].
        #[arg(long, short)]
        partitions: Option<i32>,
        /// How many replicas of each [default: the cluster's default.replication.factor].
        #[arg(long, short)]
        replication_factor: Option<i16>,
        /// A setting, such as retention.ms=86400000 or klamm.durability=replicated.
        #[arg(long, short, value_name = "KEY=VALUE", value_parser = key_value)]
        config: Vec<(String, String)>,
        /// Succeed if the topic exists.
        #[arg(long)]
        if_not_exists: bool,
    },
    /// List topics.
    List {
        /// Those of the cluster itself too.
        #[arg(long)]
        internal: bool,
    },
    /// Show partitions, leaders, in-sync replicas and settings of topics.
    Describe {
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Change settings, or add partitions.
    Alter {
        name: String,
        /// The new number of partitions.
        #[arg(long, short)]
        partitions: Option<i32>,
        /// A setting and its new value.
        #[arg(long, short, value_name = "KEY=VALUE", value_parser = key_value)]
        config: Vec<(String, String)>,
        /// A setting that goes back to its default.
        #[arg(long, value_name = "KEY")]
        delete_config: Vec<String>,
    },
    /// Delete topics with everything in them.
    Delete {
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Tell why leaders and in-sync replicas changed, and for how long there was no leader.
    Why {
        /// A topic, or one of its partitions.
        #[arg(value_name = "NAME[/PARTITION]")]
        place: why::Place,
        #[command(flatten)]
        args: why::Args,
    },
}

pub async fn run(common: &Common, command: Command) -> Result<ExitCode, Failure> {
    if let Command::Why { place, args } = &command {
        why::topic(common, place, args).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let admin = connect(common).await?.admin();
    match command {
        // Not by Kafka's protocol.
        Command::Why { .. } => {}
        Command::Create {
            name,
            partitions,
            replication_factor,
            config,
            if_not_exists,
        } => {
            let mut topic = NewTopic::new(name);
            if let Some(count) = partitions {
                topic = topic.partitions(count);
            }
            if let Some(count) = replication_factor {
                topic = topic.replication_factor(count);
            }
            for (key, value) in config {
                topic = topic.config(key, value);
            }
            create(common, &admin, topic, if_not_exists).await?;
        }
        Command::List { internal } => list(common, &admin, internal).await?,
        Command::Describe { names } => describe(common, &admin, &names).await?,
        Command::Alter {
            name,
            partitions,
            config,
            delete_config,
        } => {
            alter(&admin, &name, partitions, config, delete_config).await?;
        }
        Command::Delete { names } => {
            let mut outcomes = Vec::new();
            for name in names {
                outcomes.push(admin.delete_topic(&name).await);
            }
            all_tried(outcomes)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(common: &Common, admin: &Admin, topic: NewTopic, if_not_exists: bool) -> Result<(), Failure> {
    let created = match admin.create_topic(topic).await {
        Err(error) if if_not_exists && error.code() == Some(ErrorCode::TopicAlreadyExists) => return Ok(()),
        other => other.map_err(admin_failure)?,
    };
    let value = json!({
        "topic": created.name,
        "topic_id": created.id.to_string(),
        "partitions": created.partitions,
        "replication_factor": created.replication_factor,
    });
    output::print(common.output, &value, |_| {
        format!(
            "created {}: {} partitions, {} replicas each",
            created.name, created.partitions, created.replication_factor
        )
    })?;
    Ok(())
}

async fn list(common: &Common, admin: &Admin, internal: bool) -> Result<(), Failure> {
    let mut topics = admin.list_topics().await.map_err(admin_failure)?;
    topics.retain(|topic| internal || !topic.internal);
    let value: Vec<_> = topics
        .iter()
        .map(|topic| {
            json!({
                "topic": topic.name,
                "topic_id": topic.id.to_string(),
                "partitions": topic.partitions,
                "replication_factor": topic.replication_factor,
                "internal": topic.internal,
            })
        })
        .collect();
    output::print(common.output, &value, |_| {
        let mut table = Table::new(&["TOPIC", "PARTITIONS", "REPLICAS"]);
        for topic in &topics {
            table.row(vec![
                topic.name.clone(),
                topic.partitions.to_string(),
                topic.replication_factor.to_string(),
            ]);
        }
        table.to_string()
    })?;
    Ok(())
}

async fn describe(common: &Common, admin: &Admin, names: &[String]) -> Result<(), Failure> {
    let (mut values, mut texts) = (Vec::new(), Vec::new());
    let brokers = admin.describe_cluster().await.map_err(admin_failure)?.brokers;
    let racks: Racks = brokers
        .into_iter()
        .filter_map(|broker| Some((broker.id, broker.rack?)))
        .collect();
    for name in names {
        let topic = admin.describe_topic(name).await.map_err(admin_failure)?;
        let entries = admin
            .describe_configs(&ConfigResource::Topic(name.clone()))
            .await
            .map_err(admin_failure)?;
        let own = entries.into_iter().filter(|entry| entry.source == ConfigSource::Topic);
        let settings: Vec<_> = own.map(|entry| (entry.name, entry.value.unwrap_or_default())).collect();
        values.push(to_json(&topic, &settings, &racks));
        texts.push(to_text(&topic, &settings, &racks));
    }
    output::print(common.output, &values, |_| texts.join("\n"))?;
    Ok(())
}

/// The racks of those brokers that have one.
type Racks = BTreeMap<NodeId, String>;

/// Where the replicas of a partition stand, in their order; nothing for a broker without a rack.
fn racks_of<'a>(partition: &PartitionDescription, racks: &'a Racks) -> Vec<&'a str> {
    let rack = |node| racks.get(node).map_or("", String::as_str);
    partition.replicas.iter().map(rack).collect()
}

fn to_json(topic: &TopicDescription, settings: &[(String, String)], racks: &Racks) -> serde_json::Value {
    let ids = |list: &[klamm_types::NodeId]| list.iter().map(|node| node.0).collect::<Vec<_>>();
    let partitions = topic.partitions.iter().map(|partition| {
        json!({
            "partition": partition.partition,
            "leader": partition.leader.map(|node| node.0),
            "leader_epoch": partition.leader_epoch,
            "replicas": ids(&partition.replicas),
            "racks": racks_of(partition, racks),
            "isr": ids(&partition.isr),
            "offline": ids(&partition.offline),
        })
    });
    json!({
        "topic": topic.name,
        "topic_id": topic.id.to_string(),
        "partitions": partitions.collect::<Vec<_>>(),
        "configs": settings.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
    })
}

fn to_text(topic: &TopicDescription, settings: &[(String, String)], racks: &Racks) -> String {
    let columns = ["PARTITION", "LEADER", "EPOCH", "REPLICAS", "IN SYNC", "RACKS"];
    // Most clusters have none.
    let shown = if racks.is_empty() { 5 } else { 6 };
    let mut table = Table::new(&columns[..shown]);
    for partition in &topic.partitions {
        let mut cells = vec![
            partition.partition.to_string(),
            partition
                .leader
                .map_or_else(|| "none".to_owned(), |leader| leader.to_string()),
            partition.leader_epoch.to_string(),
            nodes(&partition.replicas),
            nodes(&partition.isr),
            racks_of(partition, racks).join(","),
        ];
        cells.truncate(shown);
        table.row(cells);
    }
    let settings: String = settings.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    format!("{}  id {}\n{settings}{table}", topic.name, topic.id)
}

async fn alter(
    admin: &Admin,
    name: &str,
    partitions: Option<i32>,
    config: Vec<(String, String)>,
    delete_config: Vec<String>,
) -> Result<(), Failure> {
    let set = config.into_iter().map(|(name, value)| AlterConfig::Set { name, value });
    let delete = delete_config.into_iter().map(|name| AlterConfig::Delete { name });
    let changes: Vec<_> = set.chain(delete).collect();
    if changes.is_empty() && partitions.is_none() {
        return Err(Failure::usage(
            "nothing to change: give --config, --delete-config or --partitions",
        ));
    }
    if !changes.is_empty() {
        let topic = ConfigResource::Topic(name.to_owned());
        admin.alter_configs(&topic, &changes).await.map_err(admin_failure)?;
    }
    if let Some(count) = partitions {
        admin.create_partitions(name, count).await.map_err(admin_failure)?;
    }
    Ok(())
}
