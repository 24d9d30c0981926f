//! `klamm config`: settings of topics, of brokers, of the cluster; and the node file's reference.

use std::process::ExitCode;

use klamm_client::admin::{AlterConfig, ConfigEntry, ConfigResource, ConfigSource};
use klamm_types::NodeId;
use serde_json::json;

use super::{admin_failure, connect, key_value};
use crate::Common;
use crate::failure::Failure;
use crate::output::{self, Table};

#[derive(clap::Subcommand)]
pub enum Command {
    /// Show settings and where their values come from.
    Describe {
        #[command(flatten)]
        whose: Whose,
        /// Also those at their built-in default.
        #[arg(long)]
        all: bool,
    },
    /// Change settings.
    Alter {
        #[command(flatten)]
        whose: Whose,
        /// The settings with their new values.
        #[arg(value_name = "KEY=VALUE", value_parser = key_value)]
        settings: Vec<(String, String)>,
        /// Settings that go back to their default.
        #[arg(long, value_name = "KEY")]
        delete: Vec<String>,
    },
    /// Print a node's settings file with every setting and its default.
    Example,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub struct Whose {
    /// A topic's settings.
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// One broker's own settings.
    #[arg(long, value_name = "ID")]
    broker: Option<i32>,
    /// The defaults of the whole cluster.
    #[arg(long)]
    cluster: bool,
}

impl Whose {
    fn resource(self) -> ConfigResource {
        match (self.topic, self.broker) {
            (Some(topic), _) => ConfigResource::Topic(topic),
            (None, Some(broker)) => ConfigResource::Broker(NodeId(broker)),
            (None, None) => ConfigResource::ClusterDefaults,
        }
    }
}

pub async fn run(common: &Common, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Describe { whose, all } => describe(common, whose.resource(), all).await?,
        Command::Alter {
            whose,
            settings,
            delete,
        } => {
            let set = settings
                .into_iter()
                .map(|(name, value)| AlterConfig::Set { name, value });
            let delete = delete.into_iter().map(|name| AlterConfig::Delete { name });
            let changes: Vec<_> = set.chain(delete).collect();
            if changes.is_empty() {
                return Err(Failure::usage("nothing to change: give KEY=VALUE or --delete KEY"));
            }
            let admin = connect(common).await?.admin();
            admin
                .alter_configs(&whose.resource(), &changes)
                .await
                .map_err(admin_failure)?;
        }
        Command::Example => output::print_out(klamm_broker::config::example_file().trim_end())?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn describe(common: &Common, resource: ConfigResource, all: bool) -> Result<(), Failure> {
    let entries = connect(common)
        .await?
        .admin()
        .describe_configs(&resource)
        .await
        .map_err(admin_failure)?;
    // A topic has many settings, most of them at their default.
    let all = all || !matches!(resource, ConfigResource::Topic(_));
    let shown: Vec<&ConfigEntry> = entries
        .iter()
        .filter(|entry| all || entry.source != ConfigSource::BuiltIn)
        .collect();
    let value: Vec<_> = shown
        .iter()
        .map(|entry| {
            json!({
                "name": entry.name,
                "value": entry.value,
                "source": source(entry.source),
                "read_only": entry.read_only,
                "documentation": entry.documentation,
            })
        })
        .collect();
    output::print(common.output, &value, |_| {
        let mut table = Table::new(&["SETTING", "VALUE", "FROM"]);
        for entry in &shown {
            let value = entry.value.clone().unwrap_or_default();
            table.row(vec![entry.name.clone(), value, source(entry.source).to_owned()]);
        }
        table.to_string()
    })?;
    Ok(())
}

fn source(source: ConfigSource) -> &'static str {
    match source {
        ConfigSource::Topic => "topic",
        ConfigSource::Broker => "broker",
        ConfigSource::ClusterDefault => "cluster",
        ConfigSource::BrokerFile => "file",
        ConfigSource::BuiltIn => "default",
        ConfigSource::Other(_) => "other",
    }
}
