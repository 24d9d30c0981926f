//! A fault as a value: whom it hits, what is done step by step, and what must hold. Nothing here does anything.

use std::time::Duration;

use crate::harm::Harm;

/// Whom a fault hits, found out just before it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The leader of some partitions; not the active controller.
    Leader,
    /// A broker that only follows, and is not the active controller.
    Follower,
    /// The active controller; it leads nothing.
    Controller,
    /// The active controller, which leads some partitions.
    LeaderAndController,
    /// The coordinator of the load's group, which may be anything else as well.
    Coordinator,
    /// A leader and another broker.
    TwoNodes,
    /// Every broker.
    AllNodes,
}

/// How the nodes are made up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// Three nodes, each broker and controller.
    #[default]
    Combined,
    /// Three brokers and three controllers, each a process of its own.
    Apart,
}

/// What the machine must have for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Need {
    /// Processes and their files.
    #[default]
    Processes,
    /// Every node's data on a small disk of its own: root.
    SmallDisks,
    /// Every node's data on a disk of ours, by FUSE.
    BreakableDisks,
    /// Every node in a network namespace of its own.
    Network,
}

/// Between whom the network is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    /// Victims and all other nodes, both ways.
    ToOtherNodes,
    /// Only what victims send to other nodes.
    FromVictims,
    /// Only what other nodes send to victims.
    TowardsVictims,
    /// Victims and the controllers, which are nodes of their own.
    ToControllers,
    /// Victims and the clients.
    ToClients,
    /// The victims among themselves.
    AmongVictims,
    /// All nodes and the clients.
    Everywhere,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Nothing passes.
    Cut,
    /// 30 % loss, 200 ms and up to 100 more under way, packets out of order, doubled and damaged.
    Storm,
    /// 1 Mbit/s.
    Narrow,
}

/// What is wrong with the victims' disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A write to a segment of the load's topic fails with EIO.
    FailedWrite,
    /// A sync of a segment of the load's topic fails with EIO.
    FailedSync,
    /// Each write and each sync stands still for so long.
    Stall(Duration),
    /// Each sync stands still for so long.
    StalledSync(Duration),
}

/// One thing that is done, or waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// SIGKILL to all victims at once, and waits for their ends.
    Kill,
    /// SIGTERM to all victims at once, and waits for their ends.
    Terminate,
    /// SIGSTOP.
    Pause,
    /// SIGCONT.
    Resume,
    /// Starts the victims, and waits until they serve.
    Start,
    /// Something is done to the files of the victims, which must not run.
    Harm(Harm),
    /// Fills the victims' disks until no byte is left.
    Fill,
    /// Makes room on them again.
    Free,
    /// The network between some becomes bad.
    Weather(Ways, Weather),
    /// All connections, between nodes and to the clients, are reset once.
    Reset,
    /// The network is good again everywhere.
    Clear,
    /// The victims' disks fail, or stand still.
    Trouble(Trouble),
    /// The victims' disks are good again.
    Mend,
    /// The victims' machines lose power: what was not synced is gone, and they start anew. The processes must not run.
    LosePower,
    /// Waits until every partition has taken more writes.
    WritesBack,
    /// Waits until no victim is in sync.
    OutOfSync,
    /// Waits until all replicas are in sync.
    InSync,
    /// Goes on after so long: a state lasts, or a time-out must pass.
    Wait(Duration),
    /// Asks for something that the controller must decide.
    Ask(Ask),
    /// The steps for one victim after the other.
    Each(&'static [Step]),
    /// The steps so many times.
    Times(u32, &'static [Step]),
}

/// What is asked of the controller meanwhile; the answer, and what comes of it, is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A new topic, within a second of the moment before.
    NewTopic,
    /// A topic with records is deleted and created again under its name; only new records may be read from it.
    RecreatedTopic,
    /// More partitions and another retention for a topic; both must be there once, after everything.
    ChangedTopic,
    /// The victim's controller is taken out of the quorum.
    RemovedVoter,
    /// The victim, which has nothing left, becomes a voter again.
    AddedVoter,
}

/// One scenario, named as in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The number in the checklist of faults.
    pub number: u32,
    pub name: &'static str,
    pub target: Target,
    pub steps: &'static [Step],
    pub shape: Shape,
    pub need: Need,
    /// A group of three reads too, and a member of it comes and goes.
    pub with_group: bool,
    /// Settings of the load's topic.
    pub configs: &'static [(&'static str, &'static str)],
    /// The write gap allowed at the 99th percentile; `None` where no write can be acknowledged meanwhile.
    pub gap_max: Option<Duration>,
    /// The share of the usual throughput that must go on, in percent, from the first blow to the last step.
    pub throughput_min: Option<u32>,
    /// Nobody may be told that a produce failed.
    pub without_failures: bool,
    /// A run takes seconds: it is among those that are repeated with every change.
    pub quick: bool,
}

impl Fault {
    /// The plainest form; the catalogue says where others differ.
    pub const fn new(number: u32, name: &'static str, target: Target, steps: &'static [Step]) -> Fault {
        Fault {
            number,
            name,
            target,
            steps,
            shape: Shape::Combined,
            need: Need::Processes,
            with_group: false,
            configs: &[],
            gap_max: None,
            throughput_min: None,
            without_failures: false,
            quick: false,
        }
    }

    pub fn changes_voters(&self) -> bool {
        self.steps.contains(&Step::Ask(Ask::RemovedVoter))
    }

    /// Whether processes are all that it touches, not files.
    pub fn is_of_signals(&self) -> bool {
        !self.steps.iter().any(|step| matches!(step, Step::Harm(_))) && !self.changes_voters()
    }

    pub const fn quick(mut self) -> Fault {
        self.quick = true;
        self
    }

    pub const fn within(mut self, milliseconds: u64) -> Fault {
        self.gap_max = Some(Duration::from_millis(milliseconds));
        self
    }
}
