//! What goes wrong, and when: drawn from the seed before anything runs.

use klamm_types::NodeId;

use super::below;

#[derive(Clone, Debug)]
pub enum Fault {
    /// Messages of some nodes to the others are dropped, both ways.
    Partition(Vec<NodeId>),
    /// The leader is cut off from all but the first client, and knows it last.
    Depose,
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
    /// Something is waited for, and then a process dies at the worst moment.
    Ambush(Ambush),
    /// Flushes of one node take long.
    SlowDisk(NodeId),
    /// Flushes of all nodes take long, and before they end all processes die at once.
    PowerLoss,
    /// The process dies, and its disk is lost.
    LoseStore(NodeId),
    /// The process dies, and its disk is what it was when an earlier process of it died; once all others have been told
    /// of the later one.
    RestoreCopy(NodeId),
}

/// What is waited for. The process comes back soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ambush {
    /// This node has something that is not flushed.
    Unflushed(NodeId),
    /// The leader has something that is not flushed.
    Leader,
    /// A node has a vote for another that is not flushed: it forgets it, and the other is cut off from all nodes soon after.
    Vote,
    /// A node removes rows of its log: it has removed some.
    Removal,
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
    /// Nodes that join as learners, some seconds later.
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
        // More than one lost disk could be a majority.
        let mut lost = false;
        faults.retain(|planned: &Planned| {
            let loses = matches!(planned.fault, Fault::LoseStore(_) | Fault::RestoreCopy(_));
            !loses || !std::mem::replace(&mut lost, true)
        });
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
    match below(11) {
        0..=2 => {
            let first = any();
            let second = any();
            let mut side = vec![first];
            if nodes > 3 && second != first {
                side.push(second);
            }
            Fault::Partition(side)
        }
        3 | 4 => Fault::Depose,
        5 => Fault::Mute(any()),
        6 => Fault::Deaf(any()),
        7 => Fault::Ring,
        8 => {
            let first = any();
            let second = NodeId(1 + (first.0 + below(nodes - 1) as i32) % nodes as i32);
            Fault::Hold(first, second)
        }
        9 => Fault::Loss,
        _ => Fault::Reset(any()),
    }
}

fn of_a_process(any: impl Fn() -> NodeId) -> Fault {
    match below(15) {
        0 | 1 => Fault::Crash(any()),
        2 | 3 => Fault::Ambush(Ambush::Unflushed(any())),
        4 | 5 => Fault::Ambush(Ambush::Leader),
        6..=8 => Fault::Ambush(Ambush::Vote),
        9 => Fault::Ambush(Ambush::Removal),
        10 => Fault::SlowDisk(any()),
        11 | 12 => Fault::PowerLoss,
        13 => Fault::LoseStore(any()),
        _ => Fault::RestoreCopy(any()),
    }
}
