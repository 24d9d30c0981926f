//! Real `klamm server` processes, each with settings of its own: clusters of any shape, which `klamm dev` does not make.
//!
//! It starts, kills and stops them and waits until they serve; what a shape or a fault means is decided elsewhere.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// How long a process may take to serve, or to end.
const PATIENCE: Duration = Duration::from_secs(60);
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What a process does in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roles {
    Broker,
    Controller,
    Both,
}

/// One process that is to be.
#[derive(Clone, Debug)]
pub struct Member {
    pub id: i32,
    pub roles: Roles,
    /// Further settings, `KEY=VALUE`; they win over those that the fleet makes.
    pub settings: Vec<String>,
}

impl Member {
    pub fn new(id: i32, roles: Roles) -> Member {
        Member {
            id,
            roles,
            settings: Vec::new(),
        }
    }

    pub fn set(mut self, key: &str, value: impl std::fmt::Display) -> Member {
        self.settings.push(format!("{key}={value}"));
        self
    }
}

struct Process {
    member: Member,
    kafka: String,
    grpc: String,
    http: String,
    child: Option<Child>,
}

/// Processes on free ports of 127.0.0.1, in one folder. Dropping it kills them.
pub struct Fleet {
    program: PathBuf,
    folder: PathBuf,
    /// `ID@HOST:PORT,…`: the controllers of the beginning.
    controllers: String,
    processes: BTreeMap<i32, Process>,
}

impl Fleet {
    /// Finds the ports; starts nothing. The controllers among the members found the quorum.
    pub fn new(program: &Path, folder: &Path, members: Vec<Member>) -> anyhow::Result<Fleet> {
        let mut fleet = Fleet {
            program: program.to_owned(),
            folder: folder.to_owned(),
            controllers: String::new(),
            processes: BTreeMap::new(),
        };
        fleet.join(members)?;
        let controllers = fleet.processes.values().filter(|one| one.member.roles != Roles::Broker);
        let voters: Vec<_> = controllers
            .map(|one| format!("{}@{}", one.member.id, one.grpc))
            .collect();
        fleet.controllers = voters.join(",");
        Ok(fleet)
    }

    /// Takes more members in, without starting them.
    pub fn join(&mut self, members: Vec<Member>) -> anyhow::Result<()> {
        // All are held until the last one is known.
        let mut held = Vec::new();
        for member in members {
            let mut free = || -> anyhow::Result<String> {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("finding a free port")?;
                let address = listener.local_addr()?.to_string();
                held.push(listener);
                Ok(address)
            };
            let process = Process {
                kafka: free()?,
                grpc: free()?,
                http: free()?,
                child: None,
                member,
            };
            self.processes.insert(process.member.id, process);
        }
        Ok(())
    }

    /// Lets a member that does not run start with other roles or settings from now on.
    pub fn change(&mut self, member: Member) -> anyhow::Result<()> {
        let process = self.process_mut(member.id)?;
        ensure!(process.child.is_none(), "node {} runs", member.id);
        process.member = member;
        Ok(())
    }

    /// Starts these processes, all at once, then waits until each serves.
    pub async fn start(&mut self, ids: &[i32]) -> anyhow::Result<()> {
        for &id in ids {
            let child = self.spawn(id)?;
            self.process_mut(id)?.child = Some(child);
        }
        for &id in ids {
            self.ready(id).await?;
        }
        Ok(())
    }

    pub async fn start_all(&mut self) -> anyhow::Result<()> {
        let ids: Vec<_> = self.processes.keys().copied().collect();
        self.start(&ids).await
    }

    fn spawn(&self, id: i32) -> anyhow::Result<Child> {
        let process = self.process(id)?;
        let data = self.data(id);
        std::fs::create_dir_all(&data).with_context(|| format!("creating {}", data.display()))?;
        let roles = match process.member.roles {
            Roles::Broker => "broker",
            Roles::Controller => "controller",
            Roles::Both => "broker,controller",
        };
        let own = [
            format!("node_id={id}"),
            format!("roles={roles}"),
            format!("data_dir={}", data.display()),
            format!("controllers={}", self.controllers),
            format!("listeners=HOST://{}", process.kafka),
            format!("grpc_bind={}", process.grpc),
            format!("http_bind={}", process.http),
        ];
        let log = OpenOptions::new().create(true).append(true).open(self.log(id));
        let mut command = Command::new(&self.program);
        command.arg("server").arg("--end-with-parent");
        for setting in own.iter().chain(&process.member.settings) {
            command.arg("--set").arg(setting);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.with_context(|| format!("opening {}", self.log(id).display()))?)
            .kill_on_drop(true);
        command.spawn().with_context(|| format!("starting node {id}"))
    }

    async fn ready(&mut self, id: i32) -> anyhow::Result<()> {
        let log = self.log(id);
        let process = self.process_mut(id)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = timeout(ASK_TIMEOUT, is_ready(&process.http)).await;
            if matches!(answer, Ok(Ok(true))) {
                return Ok(());
            }
            let child = process.child.as_mut().context("it was not started")?;
            if let Some(status) = child.try_wait()? {
                bail!("node {id} ended with {status}; see {}", log.display());
            }
            ensure!(
                Instant::now() < deadline,
                "node {id} was not ready within {PATIENCE:?}; see {}",
                log.display()
            );
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// Kills processes at the same time, and waits until they have ended.
    pub async fn kill(&mut self, ids: &[i32]) -> anyhow::Result<()> {
        self.end(ids, Signal::KILL).await
    }

    /// Stops processes cleanly.
    pub async fn stop(&mut self, ids: &[i32]) -> anyhow::Result<()> {
        self.end(ids, Signal::TERM).await
    }

    async fn end(&mut self, ids: &[i32], signal: Signal) -> anyhow::Result<()> {
        for &id in ids {
            let child = self.process(id)?.child.as_ref();
            let pid = child
                .and_then(Child::id)
                .and_then(|pid| Pid::from_raw(pid.cast_signed()));
            let pid = pid.with_context(|| format!("node {id} does not run"))?;
            kill_process(pid, signal).with_context(|| format!("signalling node {id}"))?;
        }
        for &id in ids {
            self.ended(id).await?;
        }
        Ok(())
    }

    /// Waits until a process has ended.
    pub async fn ended(&mut self, id: i32) -> anyhow::Result<ExitStatus> {
        let mut child = self.process_mut(id)?.child.take().context("it was not started")?;
        let status = timeout(PATIENCE, child.wait()).await;
        Ok(status.with_context(|| format!("node {id} did not end within {PATIENCE:?}"))??)
    }

    /// `HOST:PORT,…` of all brokers, for clients.
    pub fn bootstrap(&self) -> String {
        let brokers = self
            .processes
            .values()
            .filter(|one| one.member.roles != Roles::Controller);
        brokers.map(|one| one.kafka.as_str()).collect::<Vec<_>>().join(",")
    }

    /// A member's gRPC address.
    pub fn grpc(&self, id: i32) -> anyhow::Result<&str> {
        Ok(&self.process(id)?.grpc)
    }

    /// Where a member serves HTTP.
    pub fn http(&self, id: i32) -> anyhow::Result<&str> {
        Ok(&self.process(id)?.http)
    }

    pub fn data(&self, id: i32) -> PathBuf {
        self.folder.join(format!("node-{id}/data"))
    }

    pub fn log(&self, id: i32) -> PathBuf {
        self.folder.join(format!("node-{id}/log"))
    }

    fn process(&self, id: i32) -> anyhow::Result<&Process> {
        self.processes
            .get(&id)
            .with_context(|| format!("there is no node {id}"))
    }

    fn process_mut(&mut self, id: i32) -> anyhow::Result<&mut Process> {
        self.processes
            .get_mut(&id)
            .with_context(|| format!("there is no node {id}"))
    }
}

/// Whether the node says that it serves. Only for our own nodes: it speaks HTTP/1.0 and no more.
async fn is_ready(http: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(http).await?;
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await?;
    Ok(status.ends_with(b" 200"))
}
