//! Where a fault is run: a cluster in the shape that the fault wants, on what it needs.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;

use crate::cluster::Cluster;
use crate::fault::{Fault, Need, Shape};
use crate::fleet::{Fleet, Member, Program, Roles};
use crate::small_disk::SmallDisk;

/// Controllers that are no brokers have numbers of their own.
const FIRST_CONTROLLER: i32 = 101;

/// Dropping it ends the processes, then what they stood on.
pub struct Ground {
    pub cluster: Cluster,
    disks: BTreeMap<i32, SmallDisk>,
}

impl Ground {
    /// Starts a fresh cluster for a fault. Settings are for every node.
    pub async fn new(fault: &Fault, program: &Program, folder: &Path, settings: &[String]) -> anyhow::Result<Ground> {
        let mut members = match fault.shape {
            Shape::Combined => members(1, Roles::Both),
            Shape::Apart => [members(1, Roles::Broker), members(FIRST_CONTROLLER, Roles::Controller)].concat(),
        };
        for member in &mut members {
            member.settings.extend_from_slice(settings);
        }
        let mut fleet = Fleet::new(program.clone(), folder, members)?;
        let mut disks = BTreeMap::new();
        if fault.need == Need::SmallDisks {
            for id in fleet.ids() {
                disks.insert(id, SmallDisk::mount(&fleet.data(id))?);
            }
        }
        fleet.start_all().await?;
        let cluster = Cluster::Own(fleet);
        Ok(Ground { cluster, disks })
    }

    /// A cluster that others started.
    pub fn of_others(cluster: Cluster) -> Ground {
        let disks = BTreeMap::new();
        Ground { cluster, disks }
    }

    pub fn disk(&self, node: i32) -> anyhow::Result<&SmallDisk> {
        self.disks
            .get(&node)
            .with_context(|| format!("node {node} has no small disk"))
    }
}

fn members(first: i32, roles: Roles) -> Vec<Member> {
    (first..first + 3).map(|id| Member::new(id, roles)).collect()
}
