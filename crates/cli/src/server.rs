//! `klamm server`: one node, from its settings to its orderly end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use klamm_broker::config::{self, NodeConfig, Role};
use klamm_broker::node::{AdvertisedListener, Node, Runtimes};
use klamm_kafka::{Bound, BoundListener, ListenerSettings, Settings};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::failure::Failure;
use crate::signals::StopSignals;

mod backup;
mod limits;
mod metrics;
mod status;
mod why;

/// How long clients wait for a node that has just started to know what the cluster has decided.
const METADATA_MAX: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub struct Args {
    /// The node's settings, as TOML; `klamm config example` prints one with every setting.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting; wins over the file and over KLAMM_* variables.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// End when the process that started this one ends, however it ends.
    #[arg(long, hide = true)]
    end_with_parent: bool,
}

pub fn run(args: Args) -> Result<ExitCode, Failure> {
    if args.end_with_parent {
        end_with_parent()?;
    }
    let config = load(&args)?;
    crate::logging::start(&config.log_level, &config.log_format)?;
    limits::raise_open_files();
    // Sessions, Raft and the metadata stream never wait behind data: two runtimes, threads of their own.
    let control = runtime("klamm-control", 2)?;
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let data = runtime("klamm-data", cores.clamp(1, 16))?;
    let outcome = control.block_on(serve(config, &control, &data));
    data.shutdown_background();
    control.shutdown_background();
    outcome
}

fn load(args: &Args) -> anyhow::Result<NodeConfig> {
    let pair = |text: &String| -> anyhow::Result<(String, String)> {
        let (key, value) = text
            .split_once('=')
            .with_context(|| format!("--set {text}: expected KEY=VALUE"))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    let flags: Vec<_> = args.settings.iter().map(pair).collect::<Result<_, _>>()?;
    let environment: BTreeMap<_, _> = std::env::vars().collect();
    Ok(config::load(args.config.as_deref(), &environment, &flags)?)
}

fn end_with_parent() -> anyhow::Result<()> {
    let parent = rustix::process::getppid();
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("asking to end with the parent")?;
    // It may have ended just before.
    anyhow::ensure!(rustix::process::getppid() == parent, "the parent process has ended");
    Ok(())
}

fn runtime(name: &str, threads: usize) -> anyhow::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads).thread_name(name).enable_all();
    builder.build().with_context(|| format!("starting the runtime {name}"))
}

async fn serve(config: NodeConfig, control: &Runtime, data: &Runtime) -> Result<ExitCode, Failure> {
    let mut stop = crate::signals::stop_signals()?;
    let http = status::bind(&config.http_bind).await?;
    let bound = if config.has_role(Role::Broker) {
        let settings = front_end_settings(&config);
        Some(
            data.spawn(Bound::bind(settings))
                .await
                .context("binding listeners")?
                .context("binding listeners")?,
        )
    } else {
        None
    };
    let listeners = registered_listeners(&config, bound.as_ref());
    let runtimes = Runtimes {
        control: control.handle().clone(),
        data: data.handle().clone(),
    };
    let node = Node::start(config, listeners, runtimes)
        .await
        .context("starting the node")?;
    let node = Arc::new(node);
    let served = status::Served {
        node: node.clone(),
        front_end: bound.as_ref().map(Bound::metrics),
    };
    tokio::spawn(status::serve(http, served));
    let mut front_end = None;
    let early = tokio::select! {
        () = metadata_is_known(&node) => None,
        end = end_of(&node, &mut stop) => Some(end),
    };
    if let (None, Some(bound), Some(backend)) = (&early, bound, node.backend()) {
        let _guard = data.enter();
        front_end = Some(bound.serve(backend));
    }
    let end = match early {
        Some(end) => end,
        None => end_of(&node, &mut stop).await,
    };
    if let End::Failed(reason) = end {
        return Err(Failure::from(anyhow::anyhow!("the node cannot go on: {reason}")));
    }
    tracing::info!("stopping: leaders move first");
    node.hand_over().await;
    if let Some(front_end) = front_end {
        front_end.stop().await;
    }
    node.stop().await.context("stopping the node")?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Clients wait in the listeners' queues until the node knows what was decided before its start. Without a controller it
/// will not; then it tells them what it knows.
async fn metadata_is_known(node: &Node) {
    if timeout(METADATA_MAX, node.knows_of_this_start()).await.is_err() {
        tracing::warn!("clients are served although no controller has told the metadata within {METADATA_MAX:?}");
    }
}

/// Why a node stops.
enum End {
    Asked,
    Failed(String),
}

async fn end_of(node: &Node, stop: &mut StopSignals) -> End {
    tokio::select! {
        () = stop.recv() => End::Asked,
        reason = node.failed() => End::Failed(reason),
    }
}

/// The listeners as other brokers will hand them out; warns of those that nobody outside can reach.
fn registered_listeners(config: &NodeConfig, bound: Option<&Bound>) -> Vec<AdvertisedListener> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let outward = crate::container::outward_address();
    let register = |listener: &BoundListener| {
        let bound = listener.address.ip();
        let unreachable = crate::container::unreachable_from_outside(bound, outward);
        if let Some(address) = unreachable.filter(|_| listener.advertised_host.is_none()) {
            tracing::warn!(
                listener = listener.name,
                %address,
                "this address looks like a container's: outside its network nobody can reach it; set \
                 advertised_listeners to a name that clients know"
            );
        }
        AdvertisedListener {
            name: listener.name.clone(),
            host: match &listener.advertised_host {
                Some(host) => host.clone(),
                None => config.registered_host(bound, &name),
            },
            port: listener.advertised_port,
        }
    };
    bound.into_iter().flat_map(Bound::listeners).map(register).collect()
}

fn front_end_settings(config: &NodeConfig) -> Settings {
    let listeners = config.resolved_listeners().into_iter().map(|listener| {
        let port_given = listener.advertised_port != 0;
        ListenerSettings {
            name: listener.name,
            bind_host: listener.bind_host,
            bind_port: listener.bind_port,
            advertised_host: listener.advertised_host,
            advertised_port: port_given.then_some(listener.advertised_port),
        }
    });
    Settings {
        listeners: listeners.collect(),
        connections_max: config.connections_max,
        request_bytes_max: config.socket_request_bytes_max,
        request_memory_bytes_max: config.request_memory_bytes_max,
        idle_max: std::time::Duration::from_millis(config.connections_idle_ms_max),
        ..Settings::default()
    }
}
