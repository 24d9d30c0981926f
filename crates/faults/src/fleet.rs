//! Real server processes, each with settings of its own: clusters of any shape, which `klamm dev` does not make.
//!
//! It starts, signals and ends them and waits until they serve; what a shape or a fault means is decided elsewhere.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::peer::{Peer, Start};

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

/// What the processes run.
#[derive(Clone, Debug)]
pub enum Program {
    /// The binary of `klamm`.
    Klamm(PathBuf),
    /// Another system that speaks Kafka's protocol.
    Peer(Peer),
}

/// Where a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub address: IpAddr,
    /// What stands before the program on its command line, such as what enters a network namespace.
    pub prefix: Vec<OsString>,
}

impl Default for Place {
    fn default() -> Place {
        Place {
            address: Ipv4Addr::LOCALHOST.into(),
            prefix: Vec::new(),
        }
    }
}

/// One process that is to be.
#[derive(Clone, Debug)]
pub struct Member {
    pub id: i32,
    pub roles: Roles,
    /// Further settings, `KEY=VALUE`; they win over those that the fleet makes.
    pub settings: Vec<String>,
    pub place: Place,
}

impl Member {
    pub fn new(id: i32, roles: Roles) -> Member {
        Member {
            id,
            roles,
            settings: Vec::new(),
            place: Place::default(),
        }
    }

    pub fn set(mut self, key: &str, value: impl std::fmt::Display) -> Member {
        self.settings.push(format!("{key}={value}"));
        self
    }
}

struct Process {
    member: Member,
    kafka: SocketAddr,
    grpc: SocketAddr,
    http: SocketAddr,
    child: Option<Child>,
}

/// Processes on free ports, in one folder. Dropping it kills them.
pub struct Fleet {
    program: Program,
    folder: PathBuf,
    /// `ID@HOST:PORT,…`: the controllers of the beginning.
    controllers: String,
    processes: BTreeMap<i32, Process>,
}

impl Fleet {
    /// Finds the ports; starts nothing. The controllers among the members found the quorum.
    pub fn new(program: Program, folder: &Path, members: Vec<Member>) -> anyhow::Result<Fleet> {
        let mut fleet = Fleet {
            program,
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
            let mut free = || -> anyhow::Result<SocketAddr> {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("finding a free port")?;
                let port = listener.local_addr()?.port();
                held.push(listener);
                Ok(SocketAddr::new(member.place.address, port))
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
        self.start(&self.ids()).await
    }

    fn spawn(&self, id: i32) -> anyhow::Result<Child> {
        let process = self.process(id)?;
        let data = self.data(id);
        std::fs::create_dir_all(&data).with_context(|| format!("creating {}", data.display()))?;
        let mut line = process.member.place.prefix.clone();
        match &self.program {
            Program::Klamm(program) => line.extend(self.klamm_line(program, process)),
            Program::Peer(peer) => line.extend(["sh".into(), "-c".into(), peer.start.clone().into()]),
        }
        let log = OpenOptions::new().create(true).append(true).open(self.log(id));
        let log = log.with_context(|| format!("opening {}", self.log(id).display()))?;
        let mut words = line.into_iter();
        let mut command = Command::new(words.next().context("an empty command line")?);
        command
            .args(words)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        if let Program::Peer(_) = &self.program {
            command.envs(self.start_of(process).variables());
        }
        let child = command.kill_on_drop(true).spawn();
        child.with_context(|| format!("starting node {id}"))
    }

    fn klamm_line(&self, program: &Path, process: &Process) -> Vec<OsString> {
        let id = process.member.id;
        let roles = match process.member.roles {
            Roles::Broker => "broker",
            Roles::Controller => "controller",
            Roles::Both => "broker,controller",
        };
        let own = [
            format!("node_id={id}"),
            format!("roles={roles}"),
            format!("data_dir={}", self.data(id).display()),
            format!("controllers={}", self.controllers),
            format!("listeners=HOST://{}", process.kafka),
            format!("grpc_bind={}", process.grpc),
            format!("http_bind={}", process.http),
        ];
        let mut line = vec![program.into(), "server".into(), "--end-with-parent".into()];
        for setting in own.iter().chain(&process.member.settings) {
            line.extend(["--set".into(), setting.into()]);
        }
        line
    }

    /// What a peer's commands are told of a process.
    fn start_of(&self, process: &Process) -> Start {
        Start {
            node: process.member.id,
            kafka: process.kafka,
            controller: process.grpc,
            controllers: self.controllers.clone(),
            data: self.data(process.member.id),
        }
    }

    async fn ready(&mut self, id: i32) -> anyhow::Result<()> {
        let log = self.log(id);
        let is_klamm = matches!(self.program, Program::Klamm(_));
        let process = self.process_mut(id)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = timeout(ASK_TIMEOUT, async {
                match is_klamm {
                    true => is_ready(process.http).await,
                    // That a broker serves its partitions is to be seen in the metadata.
                    false => TcpStream::connect(process.kafka).await.map(|_| true),
                }
            });
            if matches!(answer.await, Ok(Ok(true))) {
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

    /// Sends a signal to processes that run.
    pub fn signal(&self, ids: &[i32], signal: Signal) -> anyhow::Result<()> {
        for &id in ids {
            let child = self.process(id)?.child.as_ref();
            let pid = child
                .and_then(Child::id)
                .and_then(|pid| Pid::from_raw(pid.cast_signed()));
            let pid = pid.with_context(|| format!("node {id} does not run"))?;
            kill_process(pid, signal).with_context(|| format!("signalling node {id}"))?;
        }
        Ok(())
    }

    async fn end(&mut self, ids: &[i32], signal: Signal) -> anyhow::Result<()> {
        self.signal(ids, signal)?;
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
        brokers.map(|one| one.kafka.to_string()).collect::<Vec<_>>().join(",")
    }

    pub fn ids(&self) -> Vec<i32> {
        self.processes.keys().copied().collect()
    }

    /// A member's gRPC address.
    pub fn grpc(&self, id: i32) -> anyhow::Result<String> {
        Ok(self.process(id)?.grpc.to_string())
    }

    /// Where a member serves HTTP.
    pub fn http(&self, id: i32) -> anyhow::Result<String> {
        Ok(self.process(id)?.http.to_string())
    }

    pub fn data(&self, id: i32) -> PathBuf {
        Fleet::data_in(&self.folder, id)
    }

    /// Where a member's data will be, in a fleet's folder.
    pub fn data_in(folder: &Path, id: i32) -> PathBuf {
        folder.join(format!("node-{id}/data"))
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
async fn is_ready(http: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(http).await?;
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await?;
    Ok(status.ends_with(b" 200"))
}
