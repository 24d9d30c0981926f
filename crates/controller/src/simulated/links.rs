//! What goes wrong between hosts, and its end.

use klamm_types::NodeId;
use turmoil::Sim;

use super::network;
use super::node::name;
use super::plan::Fault;

/// Of all messages while some are lost.
const LOST_SHARE: f64 = 0.002;

/// The links of the nodes among each other and to the clients.
pub struct Links {
    pub nodes: Vec<NodeId>,
    pub clients: Vec<String>,
}

impl Links {
    pub fn trouble(&self, sim: &mut Sim<'static>, fault: &Fault) {
        match fault {
            Fault::Partition(side) => {
                // Clients stay on the side of the many; the first is on both.
                for id in side {
                    for other in self.nodes.iter().filter(|other| !side.contains(other)) {
                        sim.partition(name(*id), name(*other));
                    }
                    for client in &self.clients[1..] {
                        sim.partition(name(*id), client.clone());
                    }
                }
            }
            Fault::Mute(id) => self
                .others(*id)
                .for_each(|other| sim.partition_oneway(name(*id), other)),
            Fault::Deaf(id) => self
                .others(*id)
                .for_each(|other| sim.partition_oneway(other, name(*id))),
            Fault::Ring => self.ring(sim),
            Fault::Hold(one, other) => sim.hold(name(*one), name(*other)),
            Fault::Loss => self.set_loss(sim, LOST_SHARE),
            Fault::Reset(id) => self.reset(sim, *id),
            _ => {}
        }
    }

    /// Cuts a node off from all others, not from the clients.
    pub fn isolate(&self, sim: &mut Sim<'static>, id: NodeId) {
        self.others(id).for_each(|other| sim.partition(name(id), other));
    }

    /// Its connections end, as if it had died, and it is cut off from all but the first client, which reaches nobody else.
    pub fn depose(&self, sim: &mut Sim<'static>, id: NodeId) {
        self.reset(sim, id);
        self.isolate(sim, id);
        for client in &self.clients[1..] {
            sim.partition(name(id), client.clone());
        }
        for other in self.others(id) {
            sim.partition(other, self.clients[0].clone());
        }
    }

    fn reset(&self, sim: &mut Sim<'static>, id: NodeId) {
        let hosts = self.others(id).chain(self.clients[1..].iter().cloned());
        hosts.for_each(|other| network::reset(sim.lookup(name(id)), sim.lookup(other)));
    }

    pub fn heal(&self, sim: &mut Sim<'static>) {
        self.set_loss(sim, 0.0);
        for (one, other) in self.pairs() {
            sim.release(name(one), name(other));
            sim.repair(name(one), name(other));
        }
        for id in &self.nodes {
            for client in &self.clients {
                sim.repair(name(*id), client.clone());
            }
        }
    }

    fn others(&self, id: NodeId) -> impl Iterator<Item = String> {
        self.nodes
            .iter()
            .filter(move |other| **other != id)
            .map(|other| name(*other))
    }

    fn pairs(&self) -> impl Iterator<Item = (NodeId, NodeId)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.flat_map(|(at, one)| self.nodes[at + 1..].iter().map(move |other| (*one, *other)))
    }

    fn set_loss(&self, sim: &mut Sim<'static>, share: f64) {
        for (one, other) in self.pairs() {
            sim.set_link_fail_rate(name(one), name(other), share);
        }
    }

    /// In a ring of three all are neighbours: there it is a line.
    fn ring(&self, sim: &mut Sim<'static>) {
        let last = self.nodes.len() - 1;
        for (at, one) in self.nodes.iter().enumerate() {
            for (to, other) in self.nodes.iter().enumerate().skip(at + 2) {
                if last < 3 || at > 0 || to < last {
                    sim.partition(name(*one), name(*other));
                }
            }
        }
    }
}
