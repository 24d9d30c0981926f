//! What another terminal does to a running development cluster: signals, and the wish to start a node again.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::{Signal, kill_process};
use tokio::sync::{mpsc, oneshot};

use super::Action;
use super::layout::Folder;

/// Somebody wants a node started; the answer goes back over the channel.
pub struct StartWish {
    pub node: i32,
    pub answer: oneshot::Sender<Result<(), String>>,
}

/// Carries one action out against the cluster of a folder.
pub fn act(folder: &Folder, action: &Action) -> anyhow::Result<()> {
    let (node, signal) = match *action {
        Action::Kill { node } => (node, Signal::KILL),
        Action::Stop { node } => (node, Signal::TERM),
        Action::Pause { node } => (node, Signal::STOP),
        Action::Resume { node } => (node, Signal::CONT),
        Action::Start { node } => return ask_to_start(folder, node),
    };
    ensure_ours(folder, node)?;
    kill_process(folder.pid(node)?, signal).with_context(|| format!("node {node} does not run"))
}

/// A process number may be another program's by now; only a node of this folder is signalled.
fn ensure_ours(folder: &Folder, node: i32) -> anyhow::Result<()> {
    let pid = folder.pid(node)?;
    let command = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).into_owned();
    ensure!(!command.is_empty(), "node {node} does not run");
    let data = std::fs::canonicalize(folder.data(node)).unwrap_or_default();
    ensure!(
        command.contains(&*data.to_string_lossy()),
        "process {} is not node {node} of {} any more",
        pid.as_raw_nonzero(),
        folder.path().display()
    );
    Ok(())
}

fn ask_to_start(folder: &Folder, node: i32) -> anyhow::Result<()> {
    let stream = UnixStream::connect(folder.control()).with_context(|| {
        format!(
            "no `klamm dev` runs in {}: start it with `klamm dev --in {0}`",
            folder.path().display()
        )
    })?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    (&stream)
        .write_all(format!("start {node}\n").as_bytes())
        .context("asking for the node")?;
    let mut answer = String::new();
    BufReader::new(&stream)
        .read_line(&mut answer)
        .context("waiting for the answer")?;
    match answer.trim() {
        "ok" => Ok(()),
        reason => bail!("node {node} was not started: {reason}"),
    }
}

/// Listens on the folder's socket and passes wishes on. The thread ends with the process.
pub fn listen(folder: &Folder, wishes: mpsc::Sender<StartWish>) -> anyhow::Result<()> {
    let path = folder.control();
    if path.exists() {
        ensure!(
            UnixStream::connect(&path).is_err(),
            "another `klamm dev` runs in {}: stop it first, or choose another folder with --in",
            folder.path().display()
        );
        std::fs::remove_file(&path).context("removing the socket of an earlier run")?;
    }
    let listener = UnixListener::bind(&path).with_context(|| format!("listening on {}", path.display()))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = serve(&stream, &wishes).unwrap_or_else(|error| error.to_string());
            let _ = (&stream).write_all(format!("{answer}\n").as_bytes());
        }
    });
    Ok(())
}

fn serve(stream: &UnixStream, wishes: &mpsc::Sender<StartWish>) -> anyhow::Result<String> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let node = line.trim().strip_prefix("start ").and_then(|node| node.parse().ok());
    let node = node.context("the wish is not of the form: start N")?;
    let (answer, answered) = oneshot::channel();
    wishes
        .blocking_send(StartWish { node, answer })
        .context("the cluster is stopping")?;
    match answered.blocking_recv().context("the cluster is stopping")? {
        Ok(()) => Ok("ok".to_owned()),
        Err(reason) => Ok(reason),
    }
}
