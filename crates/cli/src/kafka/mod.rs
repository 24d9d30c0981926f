//! The commands that speak Kafka's protocol to a cluster, through the SDK: they work with any cluster.

pub mod bench;
pub mod cluster;
pub mod config;
pub mod consume;
pub mod doctor;
pub mod group;
pub mod produce;
pub mod quorum;
pub mod top;
pub mod topic;
pub mod verify;

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use klamm_client::admin::AdminError;
use klamm_client::{Client, ClientConfig};

use crate::Common;
use crate::failure::Failure;

/// Runs one command to its end. Boxed, so that the runtime's part is compiled once and not for each command.
pub fn block_on<'a>(command: impl Future<Output = Result<ExitCode, Failure>> + 'a) -> Result<ExitCode, Failure> {
    block_on_boxed(command.boxed_local())
}

fn block_on_boxed(command: LocalBoxFuture<'_, Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let outcome = runtime.block_on(command);
    // A reader of standard input may still block a thread.
    runtime.shutdown_background();
    outcome
}

/// The settings that the common flags stand for.
pub fn client_config(common: &Common) -> ClientConfig {
    let timeout = Duration::from_secs(common.timeout.max(1));
    ClientConfig {
        client_id: "klamm-cli".to_owned(),
        api_timeout: timeout,
        request_timeout: timeout.min(Duration::from_secs(30)),
        auto_create_topics: false,
        ..ClientConfig::new(&common.bootstrap)
    }
}

/// Connects, or says where it tried to.
pub async fn connect(common: &Common) -> Result<Client, Failure> {
    connect_with(common, client_config(common)).await
}

/// Connects as a client that creates topics by naming them, where the cluster does that.
pub async fn connect_creating(common: &Common) -> Result<Client, Failure> {
    connect_with(
        common,
        ClientConfig {
            auto_create_topics: true,
            ..client_config(common)
        },
    )
    .await
}

async fn connect_with(common: &Common, config: ClientConfig) -> Result<Client, Failure> {
    Client::connect(config).await.map_err(|error| {
        let doing = format!("connecting to {}", common.bootstrap);
        Failure::from(anyhow::Error::new(error).context(doing))
    })
}

/// An admin's failure with the exit code that tells.
pub fn admin_failure(error: AdminError) -> Failure {
    Failure::from(anyhow::Error::new(error))
}

/// What became of several things that were all tried: every failure is told, with the exit code of the first.
pub fn all_tried(outcomes: impl IntoIterator<Item = Result<(), AdminError>>) -> Result<(), Failure> {
    let mut failures = outcomes.into_iter().filter_map(Result::err).map(admin_failure);
    let Some(first) = failures.next() else { return Ok(()) };
    let mut text = first.to_string();
    for failure in failures {
        text = format!("{text}; {failure}");
    }
    Err(Failure::new(first.code, anyhow::anyhow!(text)))
}

/// `KEY=VALUE`, as flags have it.
pub fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    if key.is_empty() {
        return Err("expected KEY=VALUE".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Node numbers in a row.
pub fn nodes(list: &[klamm_types::NodeId]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
