//! A cluster of real processes under test: `klamm dev` as a child, its nodes found by their process numbers.
//!
//! It breaks and mends nodes by signals; what a fault means is decided elsewhere.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a cluster may take to start, or a node to end.
const PATIENCE: Duration = Duration::from_secs(40);

/// Three nodes on free ports in a folder of their own.
pub struct Nodes {
    program: PathBuf,
    folder: PathBuf,
    dev: Child,
    /// `HOST:PORT,…`, for clients.
    pub bootstrap: String,
}

impl Nodes {
    /// Starts the cluster and waits until it serves. `program` is the klamm binary.
    pub async fn start(program: &Path, folder: &Path, settings: &[String]) -> anyhow::Result<Nodes> {
        std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let log = std::fs::File::create(folder.join("dev.log")).context("creating the log of the cluster")?;
        let mut command = Command::new(program);
        command.args(["dev", "--nodes", "3", "--port", "0", "--in"]).arg(folder);
        for setting in settings {
            command.arg("--set").arg(setting);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        let mut dev = command
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let stdout = dev.stdout.take().context("the cluster has no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let first = timeout(PATIENCE, lines.next_line())
            .await
            .context("the cluster did not start in time")??;
        let bootstrap = first.as_deref().and_then(|line| line.strip_prefix("ready "));
        let bootstrap = bootstrap.with_context(|| format!("the cluster did not start: see {}", folder.display()))?;
        let bootstrap = bootstrap.to_owned();
        Ok(Nodes {
            program: program.to_owned(),
            folder: folder.to_owned(),
            dev,
            bootstrap,
        })
    }

    /// Sends a signal to a node's process.
    pub fn signal(&self, node: i32, signal: Signal) -> anyhow::Result<()> {
        kill_process(self.pid(node)?, signal).with_context(|| format!("signalling node {node}"))
    }

    /// Waits until a node's process has ended, as an event of the kernel.
    pub async fn ended(&self, node: i32) -> anyhow::Result<()> {
        let pid = self.pid(node)?;
        let wait = tokio::task::spawn_blocking(move || wait_for_end(pid));
        timeout(PATIENCE, wait)
            .await
            .with_context(|| format!("node {node} did not end"))??
    }

    /// Starts a node that has ended.
    pub async fn start_node(&self, node: i32) -> anyhow::Result<()> {
        self.ended(node).await?;
        let mut command = Command::new(&self.program);
        command
            .args(["dev", "start", &node.to_string(), "--in"])
            .arg(&self.folder);
        let output = command.output().await.context("asking for the node to be started")?;
        ensure!(
            output.status.success(),
            "starting node {node}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Stops everything cleanly.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self
            .dev
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()))
            .context("the cluster has ended")?;
        kill_process(pid, Signal::TERM)?;
        timeout(PATIENCE, self.dev.wait())
            .await
            .context("the cluster did not stop")??;
        Ok(())
    }

    pub fn pid(&self, node: i32) -> anyhow::Result<Pid> {
        let path = self.folder.join(format!("node-{node}/klamm.pid"));
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        text.trim()
            .parse()
            .ok()
            .and_then(Pid::from_raw)
            .context("the process number is not one")
    }
}

/// Blocks until a process that is not our child has ended (or is a zombie that its parent will collect).
fn wait_for_end(pid: Pid) -> anyhow::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{PidfdFlags, pidfd_open};
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
        return Ok(());
    };
    poll(&mut [PollFd::new(&handle, PollFlags::IN)], None).context("waiting for a process to end")?;
    Ok(())
}
