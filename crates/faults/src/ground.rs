//! Where a fault is run: a cluster in the shape that the fault wants, on what it needs.
//!
//! Disks and networks are mounted and made before the processes start, and end after them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use tokio::sync::{Mutex, MutexGuard};

use crate::breakable_disk::BreakableDisk;
use crate::cluster::Cluster;
use crate::fault::{Fault, Need, Shape, Ways, Weather};
use crate::fleet::{Fleet, Member, Place, Program, Roles};
use crate::network::{CLIENT, Host, Network};
use crate::small_disk::SmallDisk;
use crate::weather;

/// Controllers that are no brokers have numbers of their own.
const FIRST_CONTROLLER: i32 = 101;

/// Enough to see every second of the catch-up on a small machine.
const BEHIND_BYTES: u64 = 1 << 30;

/// The first connections, leaders and batches are long past by then.
const STEADY: u64 = 30;

/// A program can have one network at a time.
static NETWORK: Mutex<()> = Mutex::const_new(());

/// Dropping it ends the processes, then what they stood on.
pub struct Ground {
    pub cluster: Cluster,
    /// So much is written while a broker is down that is to fall behind.
    pub behind_bytes: u64,
    /// Acknowledgements of each partition before a fault; a third of it after everything.
    pub steady: u64,
    shape: Shape,
    small_disks: BTreeMap<i32, SmallDisk>,
    breakable_disks: BTreeMap<i32, BreakableDisk>,
    network: Option<Net>,
}

/// The network and what holds it.
struct Net {
    network: Network,
    _hosts: Vec<Host>,
    _turn: MutexGuard<'static, ()>,
}

impl Ground {
    /// Starts a fresh cluster for a fault. Settings are for every node.
    pub async fn new(fault: &Fault, program: &Program, folder: &Path, settings: &[String]) -> anyhow::Result<Ground> {
        let mut members = match fault.shape {
            Shape::Combined => members(1, Roles::Both),
            Shape::Apart => [members(1, Roles::Broker), members(FIRST_CONTROLLER, Roles::Controller)].concat(),
        };
        let (mut small_disks, mut breakable_disks, mut network) = (BTreeMap::new(), BTreeMap::new(), None);
        match fault.need {
            Need::Processes => {}
            Need::Network => network = Some(Net::new(&mut members).await?),
            Need::SmallDisks => {
                for member in &members {
                    small_disks.insert(member.id, SmallDisk::mount(&Fleet::data_in(folder, member.id))?);
                }
            }
            Need::BreakableDisks => {
                for member in &mut members {
                    let disk = BreakableDisk::mount(&Fleet::data_in(folder, member.id))?;
                    member.place.prefix = disk.prefix();
                    breakable_disks.insert(member.id, disk);
                }
            }
        }
        for member in &mut members {
            member
                .settings
                .extend(fault.settings.iter().map(|&setting| setting.to_owned()));
            member.settings.extend_from_slice(settings);
        }
        let mut fleet = Fleet::new(program.clone(), folder, members)?;
        fleet.start_all().await?;
        Ok(Ground {
            cluster: Cluster::Own(fleet),
            behind_bytes: BEHIND_BYTES,
            steady: STEADY,
            shape: fault.shape,
            small_disks,
            breakable_disks,
            network,
        })
    }

    /// A cluster that others started.
    pub fn of_others(cluster: Cluster) -> Ground {
        Ground {
            cluster,
            behind_bytes: BEHIND_BYTES,
            steady: STEADY,
            shape: Shape::Combined,
            small_disks: BTreeMap::new(),
            breakable_disks: BTreeMap::new(),
            network: None,
        }
    }

    pub fn small_disk(&self, node: i32) -> anyhow::Result<&SmallDisk> {
        let disk = self.small_disks.get(&node);
        disk.with_context(|| format!("node {node} has no small disk"))
    }

    pub fn breakable_disk(&mut self, node: i32) -> anyhow::Result<&mut BreakableDisk> {
        let disk = self.breakable_disks.get_mut(&node);
        disk.with_context(|| format!("node {node} has no disk that can be broken"))
    }

    fn net(&self) -> anyhow::Result<&Net> {
        self.network.as_ref().context("the nodes have no network of their own")
    }

    pub fn set_weather(&self, ways: Ways, weather: Weather, victims: &[i32]) -> anyhow::Result<()> {
        let network = &self.net()?.network;
        let nodes: Vec<i32> = network.ids().into_iter().filter(|id| *id != CLIENT).collect();
        let first_controller = match self.shape {
            Shape::Combined => i32::MIN,
            Shape::Apart => FIRST_CONTROLLER,
        };
        let controllers: Vec<i32> = nodes.iter().copied().filter(|id| *id >= first_controller).collect();
        for (from, to) in weather::ways(ways, victims, &nodes, &controllers) {
            network.set(from, to, weather::link(weather));
        }
        Ok(())
    }

    /// Resets all connections between any two hosts.
    pub fn reset(&self) -> anyhow::Result<()> {
        let network = &self.net()?.network;
        let ids = network.ids();
        for (index, &one) in ids.iter().enumerate() {
            ids[..index].iter().for_each(|&other| network.reset(one, other));
        }
        Ok(())
    }

    pub fn clear(&self) -> anyhow::Result<()> {
        self.net()?.network.clear();
        Ok(())
    }
}

impl Net {
    /// Gives every member a host of its own.
    async fn new(members: &mut [Member]) -> anyhow::Result<Net> {
        let turn = NETWORK.lock().await;
        let network = Network::new(rand::random())?;
        let mut hosts = Vec::new();
        for member in members {
            let host = network.host(member.id)?;
            member.place = Place {
                address: host.address().into(),
                prefix: host.prefix(),
            };
            hosts.push(host);
        }
        Ok(Net {
            network,
            _hosts: hosts,
            _turn: turn,
        })
    }
}

fn members(first: i32, roles: Roles) -> Vec<Member> {
    (first..first + 3).map(|id| Member::new(id, roles)).collect()
}
