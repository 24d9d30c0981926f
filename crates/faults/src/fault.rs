//! A fault as a value: whom it hits, what is done step by step, and what must hold. Nothing here does anything.

use std::time::Duration;

use klamm_client::GroupProtocol;

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

/// What may be missing afterwards of what was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    Nothing,
    /// All that was acknowledged beyond the end of the log that an operator chose, and nothing else; whoever has read it is
    /// told.
    BeyondChosen,
    /// The end of each partition, as far as it was acknowledged within so long before the power failed; the metadata tell.
    Newest(Duration),
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
    /// Nothing is done for so long: the gaps of this time are the load's own.
    Watch(Duration),
    /// Asks for something that the controller must decide.
    Ask(Ask),
    /// The steps for one victim after the other.
    Each(&'static [Step]),
    /// The steps for all brokers that are no victims.
    Others(&'static [Step]),
    /// SIGSTOP to a client that is a process of its own; SIGCONT.
    PauseClient,
    ResumeClient,
    /// Waits until the client's writes are acknowledged again.
    ClientBack,
    /// So much is written that the victims, which are down, are far behind; to a topic beside the load's.
    FallBehind,
    /// Waits so long, to see how much is usual while the victims are down.
    Usual(Duration),
    /// Starts the victims and waits until they have all of it. In every second of it so many percent of what is usual go on.
    CatchUp(u32),
    /// Something is done to the members of a group, which are processes of their own.
    Member(Act),
    /// The steps so many times.
    Times(u32, &'static [Step]),
}

/// What is done to the members of a group: 0, 1 and 2, of which 2 is a static one; 3 has the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Start(u32),
    /// SIGKILL: it does not leave the group.
    Kill(u32),
    /// SIGSTOP; SIGCONT.
    Pause(u32),
    Resume(u32),
    /// Member 3 joins under the name of 2: one of them is refused, and the other has the partitions.
    Double,
    /// The static member ends and comes back within its session: it has its partitions, and nobody else is disturbed.
    RestartStatic,
    /// Waits until so many members share all partitions out, within a bound.
    Stable(usize),
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
    /// The victim, which is in no ISR, leads every partition of the load's topic: the operator's word, by its setting.
    UncleanElection,
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
    /// A client that is a process of its own writes and reads too, on a topic of its own.
    pub with_client: bool,
    /// A group whose members are processes of their own reads too, by this protocol.
    pub members: Option<GroupProtocol>,
    /// Settings of all nodes, of ours only.
    pub settings: &'static [&'static str],
    /// What may be missing.
    pub loss: Loss,
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
            with_client: false,
            members: None,
            settings: &[],
            loss: Loss::Nothing,
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
        !self.steps.iter().any(|step| matches!(step, Step::Harm(_)))
            && !self.changes_voters()
            && self.loss == Loss::Nothing
    }

    pub const fn losing(mut self, loss: Loss) -> Fault {
        self.loss = loss;
        self
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
