//! What a fault is run against: nodes of our own, or a cluster that others started and whose nodes the user's commands
//! break and mend, such as containers.

use std::process::Stdio;

use anyhow::{Context, ensure};
use rustix::process::Signal;
use tokio::process::Command;

use crate::nodes::Nodes;

/// A cluster under test. All its nodes are brokers and controllers.
pub enum Cluster {
    Own(Nodes),
    Foreign(Foreign),
}

/// How to reach and to break what others started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// `HOST:PORT,…`, for clients.
    pub bootstrap: String,
    /// Sends the signal `$SIGNAL` (KILL, TERM, STOP, CONT) to node `$NODE`; run by sh.
    pub signal: String,
    /// Starts node `$NODE`, once it has ended; run by sh.
    pub start: String,
}

impl Cluster {
    pub fn bootstrap(&self) -> &str {
        match self {
            Cluster::Own(nodes) => &nodes.bootstrap,
            Cluster::Foreign(foreign) => &foreign.bootstrap,
        }
    }

    /// Sends a signal to a node's process.
    pub async fn signal(&self, node: i32, signal: Signal) -> anyhow::Result<()> {
        match self {
            Cluster::Own(nodes) => nodes.signal(node, signal),
            Cluster::Foreign(foreign) => {
                let name = name_of(signal)?;
                run(&foreign.signal, &[("NODE", &node.to_string()), ("SIGNAL", name)]).await
            }
        }
    }

    /// Starts a node that ends or has ended.
    pub async fn start_node(&self, node: i32) -> anyhow::Result<()> {
        match self {
            Cluster::Own(nodes) => nodes.start_node(node).await,
            Cluster::Foreign(foreign) => run(&foreign.start, &[("NODE", &node.to_string())]).await,
        }
    }

    /// Stops nodes of our own cleanly; leaves those of others as they are.
    pub async fn stop(self) -> anyhow::Result<()> {
        match self {
            Cluster::Own(nodes) => nodes.stop().await,
            Cluster::Foreign(_) => Ok(()),
        }
    }
}

fn name_of(signal: Signal) -> anyhow::Result<&'static str> {
    let names = [
        (Signal::KILL, "KILL"),
        (Signal::TERM, "TERM"),
        (Signal::STOP, "STOP"),
        (Signal::CONT, "CONT"),
    ];
    let found = names.into_iter().find(|(known, _)| *known == signal);
    Ok(found.context("no fault sends this signal")?.1)
}

async fn run(command: &str, variables: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).envs(variables.iter().copied());
    let output = shell.stdin(Stdio::null()).output().await.context("starting sh")?;
    ensure!(
        output.status.success(),
        "the command {command:?} with {variables:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign(signal: &str, start: &str) -> Cluster {
        Cluster::Foreign(Foreign {
            bootstrap: "localhost:1".to_owned(),
            signal: signal.to_owned(),
            start: start.to_owned(),
        })
    }

    #[tokio::test]
    async fn commands_are_told_whom_to_hit_and_how() {
        let cluster = foreign(r#"test "$NODE $SIGNAL" = "2 KILL""#, r#"test "$NODE" = 2"#);
        cluster.signal(2, Signal::KILL).await.unwrap();
        cluster.start_node(2).await.unwrap();
        assert!(cluster.signal(2, Signal::TERM).await.is_err());
        assert!(cluster.start_node(3).await.is_err());
    }

    #[tokio::test]
    async fn a_command_that_fails_says_why() {
        let cluster = foreign("echo no such container >&2; exit 1", "");
        let error = cluster.signal(1, Signal::STOP).await.unwrap_err().to_string();
        assert!(error.contains("no such container") && error.contains("STOP"), "{error}");
    }
}
