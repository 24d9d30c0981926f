//! One node of a development cluster as a child process: its settings, its log, its process number.

use std::io::Write;
use std::process::Stdio;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use super::layout::{Cluster, Folder, Node};

/// Whether the node's log is shown as well as written to its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    Shown,
    Silent,
}

/// Starts a node. It ends with this process, however that ends.
pub fn spawn(
    folder: &Folder,
    cluster: &Cluster,
    node: &Node,
    settings: &[String],
    echo: Echo,
) -> anyhow::Result<Child> {
    let data = folder.data(node.id);
    std::fs::create_dir_all(&data).with_context(|| format!("creating {}", data.display()))?;
    let data = std::fs::canonicalize(&data)?;
    let voters: Vec<_> = cluster
        .nodes
        .iter()
        .map(|node| format!("{}@{}", node.id, node.grpc))
        .collect();
    let own = [
        format!("node_id={}", node.id),
        format!("data_dir={}", data.display()),
        format!("controllers={}", voters.join(",")),
        format!("listeners=HOST://{}", node.kafka),
        format!("grpc_bind={}", node.grpc),
        format!("http_bind={}", node.http),
    ];
    let program = std::env::current_exe().context("finding this program")?;
    let mut command = Command::new(program);
    command.arg("server").arg("--end-with-parent");
    for setting in own.iter().chain(settings) {
        command.arg("--set").arg(setting);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // A process group of its own, so that Ctrl-C reaches the nodes through `klamm dev` alone, in order.
    command.process_group(0);
    let mut child = command.spawn().with_context(|| format!("starting node {}", node.id))?;
    let pid = child.id().context("the node ended at once")?;
    std::fs::write(folder.pid_file(node.id), format!("{pid}\n")).context("writing the process number")?;
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.log(node.id));
    let log = log.with_context(|| format!("opening {}", folder.log(node.id).display()))?;
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(copy_log(stderr, log, node.id, echo));
    }
    Ok(child)
}

/// Each line goes to the node's file and, if shown, to standard error with the node's name before it.
async fn copy_log(stream: impl AsyncRead + Unpin, mut file: std::fs::File, id: i32, echo: Echo) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // A log that cannot be written must not stop the node: it would block on a full pipe.
        let _ = writeln!(file, "{line}");
        if echo == Echo::Shown {
            eprintln!("node-{id} | {line}");
        }
    }
}
