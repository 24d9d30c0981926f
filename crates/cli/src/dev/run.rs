//! Runs a development cluster: starts its nodes, waits until all serve, carries wishes out, stops them in order.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use klamm_client::admin::{AlterConfig, ConfigResource};
use klamm_client::{Client, ClientConfig};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::control::{self, StartWish};
use super::layout::{self, Cluster, Folder};
use super::node::{self, Echo};
use crate::failure::Failure;

/// How long the nodes may take until all serve.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a node may take to stop cleanly before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// How often a node is asked whether it serves.
const READY_INTERVAL: Duration = Duration::from_millis(20);

const REBALANCE_DELAY: &str = "group.initial.rebalance.delay.ms";

/// The running nodes of one cluster.
pub struct DevCluster {
    pub folder: Folder,
    pub cluster: Cluster,
    settings: Vec<String>,
    echo: Echo,
    children: Vec<Option<Child>>,
}

/// Starts all nodes of a cluster, without waiting for them.
pub fn start(folder: &Folder, nodes: u16, port: u16, settings: &[String], echo: Echo) -> anyhow::Result<DevCluster> {
    let cluster = layout::addresses(folder, nodes, port)?;
    folder.write(&cluster)?;
    let mut settings = settings.to_vec();
    if !settings.iter().any(|setting| setting.starts_with("log_level")) {
        settings.push("log_level=info".to_owned());
    }
    let children = cluster.nodes.iter().map(|_| None).collect();
    let mut dev = DevCluster {
        folder: folder.clone(),
        cluster,
        settings,
        echo,
        children,
    };
    for index in 0..dev.children.len() {
        dev.start_node(index)?;
    }
    Ok(dev)
}

impl DevCluster {
    fn start_node(&mut self, index: usize) -> anyhow::Result<()> {
        let node = &self.cluster.nodes[index];
        self.children[index] = Some(node::spawn(
            &self.folder,
            &self.cluster,
            node,
            &self.settings,
            self.echo,
        )?);
        Ok(())
    }

    /// Starts a node that has ended.
    pub fn restart(&mut self, id: i32) -> Result<(), String> {
        let index = self.cluster.nodes.iter().position(|node| node.id == id);
        let index = index.ok_or_else(|| format!("there is no node {id}"))?;
        let running = self.children[index]
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)));
        if running {
            return Err("it runs".to_owned());
        }
        self.start_node(index).map_err(|error| format!("{error:#}"))
    }

    /// Waits until every node says that it leads or follows all its partitions.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        for index in 0..self.cluster.nodes.len() {
            let node = self.cluster.nodes[index].clone();
            while !crate::http::is_ready(&node.http).await {
                if let Some(child) = self.children[index].as_mut()
                    && let Some(status) = child.try_wait()?
                {
                    anyhow::bail!(
                        "node {} ended with {status}; see {}",
                        node.id,
                        self.folder.log(node.id).display()
                    );
                }
                let late = Instant::now() >= deadline;
                anyhow::ensure!(!late, "node {} was not ready after {READY_TIMEOUT:?}", node.id);
                tokio::time::sleep(READY_INTERVAL).await;
            }
        }
        Ok(())
    }

    /// Gives the cluster the defaults of development, where nobody has set others: groups do not wait for members
    /// that a script of one consumer never has.
    pub async fn settle(&self) -> anyhow::Result<()> {
        let config = ClientConfig {
            api_timeout: READY_TIMEOUT,
            ..ClientConfig::new(&self.cluster.bootstrap)
        };
        let admin = Client::connect(config).await?.admin();
        let cluster = ConfigResource::ClusterDefaults;
        let entries = admin.describe_configs(&cluster).await?;
        if entries.iter().any(|entry| entry.name == REBALANCE_DELAY) {
            return Ok(());
        }
        let change = AlterConfig::Set {
            name: REBALANCE_DELAY.to_owned(),
            value: "0".to_owned(),
        };
        admin.alter_configs(&cluster, &[change]).await?;
        Ok(())
    }

    /// Stops all nodes cleanly; one that does not end in time is killed.
    pub async fn stop(&mut self) {
        for child in self.children.iter().flatten() {
            if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
                // A frozen node would never see the wish to stop.
                let _ = kill_process(pid, Signal::CONT);
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        for child in self.children.iter_mut().flatten() {
            if tokio::time::timeout_at(deadline, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
        let _ = std::fs::remove_file(self.folder.control());
    }
}

/// The command itself: until Ctrl-C or SIGTERM.
pub fn run(folder: &Folder, nodes: u16, port: u16, settings: &[String]) -> Result<ExitCode, Failure> {
    // One thread starts all nodes and lives as long as the process: a node ends with the thread that started it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(supervise(folder, nodes, port, settings))
}

async fn supervise(folder: &Folder, nodes: u16, port: u16, settings: &[String]) -> Result<ExitCode, Failure> {
    let (wish, mut wishes) = mpsc::channel(8);
    std::fs::create_dir_all(folder.path()).with_context(|| format!("creating {}", folder.path().display()))?;
    control::listen(folder, wish)?;
    let mut dev = start(folder, nodes, port, settings, Echo::Shown)?;
    let mut interrupt = crate::signals::stop_signals()?;
    let ready = tokio::select! {
        ready = dev.ready() => ready,
        () = interrupt.recv() => Err(anyhow::anyhow!("stopped before all nodes were ready")),
    };
    let ready = match ready {
        Ok(()) => dev.settle().await,
        Err(error) => Err(error),
    };
    if let Err(error) = ready {
        dev.stop().await;
        return Err(Failure::from(error));
    }
    println!("ready {}", dev.cluster.bootstrap);
    loop {
        tokio::select! {
            Some(StartWish { node, answer }) = wishes.recv() => {
                let _ = answer.send(dev.restart(node));
            }
            () = interrupt.recv() => break,
        }
    }
    dev.stop().await;
    Ok(ExitCode::SUCCESS)
}
