//! What goes wrong, and when: drawn from the seed before anything runs.

use klamm_types::NodeId;

use super::below;

#[derive(Clone, Debug)]
pub enum Fault {
    /// Messages of some nodes to the others are dropped, both ways.
    Partition(Vec<NodeId>),
    /// Messages from one node to all others are dropped.
    Mute(NodeId),
    /// Messages from all others to one node are dropped.
    Deaf(NodeId),
    /// Every node reaches only its two neighbours.
    Ring,
    /// Messages between two nodes wait, and come all at once.
    Hold(NodeId, NodeId),
    /// Some messages are dropped at random, with them their connections.
    Loss,
    /// All connections of one node are reset.
    Reset(NodeId),
    /// The process dies at once, and comes back.
    Crash(NodeId),
    /// The process dies when it next has something that is not flushed, and comes back soon.
    Ambush(NodeId),
    /// The leader's process dies when it next has something that is not flushed.
    AmbushLeader,
    /// Flushes of one node take long.
    SlowDisk(NodeId),
    /// The process dies, and its disk is lost.
    LoseStore(NodeId),
}

#[derive(Clone, Debug)]
pub struct Planned {
    pub at_ms: u64,
    pub for_ms: u64,
    pub fault: Fault,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub founders: i32,
    /// Nodes that join as learners.
    pub joining: i32,
    pub faults: Vec<Planned>,
    pub turmoil_ms: u64,
}

impl Plan {
    pub fn draw() -> Plan {
        let founders = if below(4) == 0 { 5 } else { 3 };
        let joining = below(3) as i32;
        let turmoil_ms = 8_000 + below(6_000);
        let nodes = u64::try_from(founders + joining).expect("few nodes");
        let mut faults = Vec::new();
        // One thing at a time may happen to the network, another to the processes.
        for of_network in [true, false] {
            let mut at_ms = 1_500 + below(1_000);
            while at_ms < turmoil_ms {
                let for_ms = if below(3) == 0 { below(200) } else { 200 + below(2_500) };
                let any = || NodeId(1 + below(nodes) as i32);
                let fault = match of_network {
                    true => of_the_network(nodes, any),
                    false => of_a_process(any),
                };
                faults.push(Planned { at_ms, for_ms, fault });
                at_ms += for_ms + 50 + below(800);
            }
        }
        // A lost disk more than once could lose a majority.
        let mut lost = false;
        faults.retain(|planned| !matches!(planned.fault, Fault::LoseStore(_)) || !std::mem::replace(&mut lost, true));
        faults.sort_by_key(|planned| planned.at_ms);
        Plan {
            founders,
            joining,
            faults,
            turmoil_ms,
        }
    }
}

fn of_the_network(nodes: u64, any: impl Fn() -> NodeId) -> Fault {
    match below(9) {
        0..=2 => {
            let first = any();
            let second = any();
            let mut side = vec![first];
            if nodes > 3 && second != first {
                side.push(second);
            }
            Fault::Partition(side)
        }
        3 => Fault::Mute(any()),
        4 => Fault::Deaf(any()),
        5 => Fault::Ring,
        6 => {
            let first = any();
            let second = NodeId(1 + (first.0 + below(nodes - 1) as i32) % nodes as i32);
            Fault::Hold(first, second)
        }
        7 => Fault::Loss,
        _ => Fault::Reset(any()),
    }
}

fn of_a_process(any: impl Fn() -> NodeId) -> Fault {
    match below(10) {
        0 | 1 => Fault::Crash(any()),
        2..=4 => Fault::Ambush(any()),
        5 | 6 => Fault::AmbushLeader,
        7 | 8 => Fault::SlowDisk(any()),
        _ => Fault::LoseStore(any()),
    }
}
