//! Another system that speaks Kafka's protocol, described by a small TOML file: how its nodes are started, one process each.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use serde::Deserialize;
use tokio::process::Command;

/// What the file says. The command is run by sh and told of its node by variables: NODE (its number), KAFKA (HOST:PORT for
/// clients), CONTROLLER (HOST:PORT), CONTROLLERS (`1@HOST:PORT,…` of all), DATA (the node's own folder).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// With its version, as the record shows it.
    pub name: String,
    /// Runs a node in the foreground, whose folder may be empty; must end in `exec`, so that signals reach the node.
    pub start: String,
}

/// What a command is told of its node.
#[derive(Clone, Debug)]
pub struct Start {
    pub node: i32,
    pub kafka: SocketAddr,
    pub controller: SocketAddr,
    pub controllers: String,
    pub data: PathBuf,
}

impl Start {
    pub fn variables(&self) -> [(&'static str, String); 5] {
        [
            ("NODE", self.node.to_string()),
            ("KAFKA", self.kafka.to_string()),
            ("CONTROLLER", self.controller.to_string()),
            ("CONTROLLERS", self.controllers.clone()),
            ("DATA", self.data.display().to_string()),
        ]
    }
}

impl Peer {
    pub fn read(path: &Path) -> anyhow::Result<Peer> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("reading {}", path.display()))
    }
}

/// Runs a command to its end; what it says on standard error is told if it fails.
pub async fn sh<V: AsRef<str>>(command: &str, variables: impl IntoIterator<Item = (&str, V)>) -> anyhow::Result<()> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null());
    for (name, value) in variables {
        shell.env(name, value.as_ref());
    }
    let output = shell.output().await.context("starting sh")?;
    ensure!(
        output.status.success(),
        "the command {command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_is_told_of_its_node() {
        let start = Start {
            node: 2,
            kafka: ([127, 0, 0, 1], 9092).into(),
            controller: ([127, 0, 0, 1], 9190).into(),
            controllers: "1@127.0.0.1:9190".to_owned(),
            data: "/tmp/d".into(),
        };
        let command = r#"test "$NODE $KAFKA $CONTROLLER $CONTROLLERS $DATA" = "2 127.0.0.1:9092 127.0.0.1:9190 1@127.0.0.1:9190 /tmp/d""#;
        sh(command, start.variables()).await.unwrap();
        let error = sh("echo no such folder >&2; exit 1", start.variables())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("no such folder"), "{error}");
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(toml::from_str::<Peer>("name = 'a'\nstart = 'b'\nstop = 'c'").is_err());
    }
}
