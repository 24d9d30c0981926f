//! A network that can be broken, for real processes: every host is a network namespace whose only way out is a device
//! of ours, and a thread of ours carries each packet between them, or does not.
//!
//! ```text
//!  node 1 (its own kernel stack)     node 2                       this program (host 100)
//!    │ 10.77.0.1                       │ 10.77.0.2                  │ 10.77.0.100
//!  [TUN] ──────────────┐             [TUN] ──────────┐            [TUN] ─────────┐
//!                      └────► forwarder: Sky::judge(now, from, to, packet) ◄─────┘
//! ```
//!
//! What happens to a packet is decided in `sky`, as values; how it is read and written in `forwarder`. The program
//! itself must be in a namespace of its own before ([`enter_own_namespace`]): the machine's network is never touched,
//! nothing has a name there, and everything ends with the program, also by SIGKILL.
//!
//! ```no_run
//! use klamm_faults::network::{Link, Network, enter_own_namespace};
//! use klamm_faults::{Member, Place, Roles};
//!
//! # fn main() -> anyhow::Result<()> {
//! enter_own_namespace()?; // The first line of `main`.
//! let network = Network::new(7)?;
//! let host = network.host(1)?;
//! let mut member = Member::new(1, Roles::Both);
//! member.place = Place {
//!     address: host.address().into(),
//!     prefix: host.prefix(),
//! };
//! network.set(1, 2, Link::cut());
//! # Ok(())
//! # }
//! ```
//!
//! It costs little beside what runs on it: on two busy cores one connection carried 180 MB/s with 1.8 s of processor per
//! GB, both kernels' TCP and both programs included, and a round trip took 40 µs longer than by loopback
//! (`cargo test -p klamm-faults --test network -- measure`).
//!
//! What it does not do: IPv6, names, addresses outside its own, and more than one network at a time in a program.

mod device;
mod enter;
mod forwarder;
mod link;
mod packet;
mod sky;

use std::ffi::{OsStr, OsString};
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, ensure};

use device::Namespace;
use forwarder::{Forwarder, Shared};
use sky::Sky;

pub use enter::{enter_own_namespace, is_inside};
pub use link::{Counters, HELD_BACK, Link, Rate};

/// The host that this program itself is.
pub const CLIENT: i32 = 100;

/// Hosts and the weather between them. Dropping it ends the forwarder: no packet comes through any more.
pub struct Network {
    shared: Arc<Shared>,
    forwarder: Option<JoinHandle<()>>,
    ids: Mutex<Vec<i32>>,
}

/// A host of the network, which stays as long as the network. Processes can be started in it as long as this value lives.
pub struct Host {
    id: i32,
    namespace: Namespace,
}

impl Network {
    /// Begins the network, with this program as host [`CLIENT`]. Chance comes from the seed.
    pub fn new(seed: u64) -> anyhow::Result<Network> {
        ensure!(is_inside()?, "this program is in the machine's own network namespace");
        let shared = Arc::new(Shared::new(Sky::new(seed))?);
        let forwarder = Forwarder::new(shared.clone());
        let thread = std::thread::Builder::new().name("network".to_owned());
        let network = Network {
            forwarder: Some(thread.spawn(|| forwarder.run()).context("starting the forwarder")?),
            ids: Mutex::new(vec![CLIENT]),
            shared,
        };
        network.shared.join(CLIENT, device::here(address_of(CLIENT)?)?);
        Ok(network)
    }

    /// Adds a host, 1 to 254.
    pub fn host(&self, id: i32) -> anyhow::Result<Host> {
        let address = address_of(id)?;
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(!ids.contains(&id), "host {id} is there already");
        let (namespace, device) = device::in_new_namespace(address).with_context(|| format!("making host {id}"))?;
        self.shared.join(id, device);
        ids.push(id);
        Ok(Host { id, namespace })
    }

    /// The address of this program.
    pub fn client(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, CLIENT as u8)
    }

    /// All hosts, this program included.
    pub fn ids(&self) -> Vec<i32> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the weather from one host to another; the way back is another link.
    pub fn set(&self, from: i32, to: i32, link: Link) {
        self.sky().set(from, to, link);
    }

    /// Sets the weather between two hosts, both ways.
    pub fn set_between(&self, one: i32, other: i32, link: Link) {
        let mut sky = self.sky();
        sky.set(one, other, link);
        sky.set(other, one, link);
    }

    /// Fine weather everywhere.
    pub fn clear(&self) {
        self.sky().clear();
    }

    /// Breaks every connection between two hosts that is there now, each with the next packet on it: both ends get
    /// ECONNRESET.
    pub fn reset(&self, one: i32, other: i32) {
        self.sky().reset(one, other);
    }

    /// What happened from one host to another so far.
    pub fn counters(&self, from: i32, to: i32) -> Counters {
        self.sky().counters(from, to)
    }

    /// What happened everywhere.
    pub fn total(&self) -> Counters {
        self.sky().total()
    }

    fn sky(&self) -> MutexGuard<'_, Sky> {
        self.shared.sky.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.shared.end();
        if let Some(forwarder) = self.forwarder.take() {
            // It panics only by a bug, which has been printed by then.
            let _ = forwarder.join();
        }
    }
}

impl Host {
    pub fn id(&self) -> i32 {
        self.id
    }

    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, self.id as u8)
    }

    /// A command that runs a program in this host, as [`Host::prefix`] does.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(&self.prefix()[1..]).arg(program);
        command
    }

    /// What stands before a command line to run it in this host. The process keeps its id and its parent.
    pub fn prefix(&self) -> Vec<OsString> {
        let mut net = OsString::from("--net=");
        net.push(self.namespace.path());
        vec!["nsenter".into(), net, "--".into()]
    }
}

fn address_of(id: i32) -> anyhow::Result<Ipv4Addr> {
    let last = u8::try_from(id).ok().filter(|last| (1..=254).contains(last));
    let last = last.with_context(|| format!("a host's id is 1 to 254, not {id}"))?;
    Ok(Ipv4Addr::new(10, 77, 0, last))
}

/// Whose address this is.
fn host_of(address: Ipv4Addr) -> Option<i32> {
    match address.octets() {
        [10, 77, 0, last @ 1..=254] => Some(last.into()),
        _ => None,
    }
}
