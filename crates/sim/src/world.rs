//! One seed: brokers, controller, network and clients on one queue of happenings, in one thread.
//!
//! What a happening does stands in the other files: processes and their disks in `process`, effects in `shell`,
//! the controller's judgement in `sessions`, clients in `clients`, bad weather in `faults`, the end in `healing`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Arguments;

use klamm_replication::{Acks, AlterAttempt, AlterOutcome, AlterPartition, Event, Lane, SubscriptionNumber};
use klamm_schema::metadata::Cause;
use klamm_types::{BrokerEpoch, DirectoryId, ErrorCode, LeaderEpoch, NodeId, Offset};

use crate::ambush::Ambush;
use crate::broker::Broker;
use crate::chance::Chance;
use crate::check::Checker;
use crate::clients::{Producer, Reader};
use crate::controller::{Controller, Registration};
use crate::network::{ConnectionId, Message, Network, Side};
use crate::plan::{BROKERS, MS, Options, Plan, Time};
use crate::serving::Fetch;
use crate::trace::{Keep, Trace};

/// The controller's place in the table of links.
pub const CONTROLLER: usize = BROKERS;

/// Something that happens at a time.
#[derive(Debug)]
pub enum Happening {
    /// To one run of a broker's process; dropped if another one is running by then.
    Process {
        broker: usize,
        life: u32,
        what: AtProcess,
    },
    Register {
        broker: usize,
        life: u32,
        registration: Registration,
    },
    Alter {
        broker: usize,
        life: u32,
        epoch: BrokerEpoch,
        asked: AlterPartition,
    },
    Damage {
        broker: usize,
        life: u32,
        epoch: BrokerEpoch,
    },
    /// A controlled shutdown is asked for.
    Relieve {
        broker: usize,
        life: u32,
        epoch: BrokerEpoch,
    },
    CrashNoticed {
        broker: usize,
        life: u32,
    },
    ControllerTick,
    ProduceNext {
        client: usize,
    },
    Resend {
        client: usize,
        round: u64,
    },
    Produced {
        client: usize,
        attempt: u64,
        result: Result<Offset, ErrorCode>,
    },
    ProduceTimeout {
        client: usize,
        attempt: u64,
    },
    FetchNext {
        reader: usize,
        attempt: u64,
    },
    Fetched {
        reader: usize,
        attempt: u64,
        next: Option<Offset>,
    },
    Fault,
    Ambush(Ambush),
    Start {
        broker: usize,
        life: u32,
    },
    Resume {
        broker: usize,
        life: u32,
    },
    LinkBack {
        one: usize,
        other: usize,
    },
    ControllerBack,
}

/// What can happen to a process.
#[derive(Debug)]
pub enum AtProcess {
    Replica(Box<Event>),
    AppendDone,
    FlushDone,
    CutDone {
        to: Offset,
        restart: bool,
    },
    ReadDone(PushWish),
    Message {
        connection: ConnectionId,
        side: Side,
        lane: Lane,
        message: Message,
        /// It waited at a stopped process: a break cannot lose it any more.
        has_arrived: bool,
    },
    Ended {
        connection: ConnectionId,
        side: Side,
    },
    Entry,
    Registered {
        epoch: BrokerEpoch,
    },
    RegisterAgain,
    AlterAnswer {
        attempt: AlterAttempt,
        outcome: AlterOutcome,
    },
    DamageHeard {
        entries: u64,
    },
    Produce {
        client: usize,
        attempt: u64,
        batch: klamm_record::Batch,
        acks: Acks,
    },
    Fetch(Fetch),
    Latest,
    /// Told to stop, and relieved or tired of waiting for that.
    Close,
    Tick,
    Checkpoint,
}

/// A push to be read from the log.
#[derive(Clone, Copy, Debug)]
pub struct PushWish {
    pub follower: NodeId,
    pub subscription: SubscriptionNumber,
    pub leader_epoch: LeaderEpoch,
    pub lane: Lane,
    pub from: Offset,
    pub up_to: Offset,
    pub bytes_max: u64,
    pub high_watermark: klamm_types::HighWatermark,
    pub log_start: klamm_types::LogStartOffset,
}

/// What a seed has been through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Happenings at processes.
    pub steps: u64,
    pub leader_changes: u64,
    pub truncations: u64,
    pub lossy_crashes: u64,
    pub crashes: u64,
    /// ISR changes that reached the controller in a later leader epoch.
    pub stale_requests: u64,
    pub setting_changes: u64,
    pub unclean_elections: u64,
    pub clean_stops: u64,
    /// Moves of the log start.
    pub deletions: u64,
    pub acknowledged: u64,
    pub committed_batches: u64,
}

/// What became of a seed.
#[derive(Debug)]
pub struct Outcome {
    pub seed: u64,
    pub counts: Counts,
    /// The first thing that should not be.
    pub violation: Option<String>,
    pub lines: Vec<String>,
    pub digest: u64,
}

pub struct World {
    pub plan: Plan,
    pub options: Options,
    pub chance: Chance,
    pub now: Time,
    queue: BTreeMap<(Time, u64), Happening>,
    queued: u64,
    pub brokers: Vec<Broker>,
    pub controller: Controller,
    pub controller_silent: bool,
    /// When the controller last heard of each broker, and until when it holds a fenced one back.
    pub last_seen: [Time; BROKERS],
    pub held_until: [Time; BROKERS],
    /// What each broker asks of the controller between these two arrives after the second.
    pub held_up: [(Time, Time); BROKERS],
    /// Until then nothing goes wrong by chance.
    pub quiet_until: Time,
    /// Until then everything on the broker's disk takes long.
    pub slow_until: [Time; BROKERS],
    pub cut_links: BTreeSet<(usize, usize)>,
    pub network: Network,
    pub producers: Vec<Producer>,
    pub readers: Vec<Reader>,
    pub attempts: u64,
    pub checker: Checker,
    pub counts: Counts,
    pub trace: Trace,
    pub violation: Option<String>,
    /// When the weather turned good.
    pub healed_at: Option<Time>,
    pub disk_losses: u32,
    pub done: bool,
}

/// Runs one seed to its end.
pub fn run(seed: u64, options: Options, keep: Keep) -> Outcome {
    #[cfg(feature = "planted-bugs")]
    klamm_types::planted::plant(options.bug);
    match World::new(seed, options, keep) {
        Ok(world) => world.run(seed),
        Err(problem) => Outcome {
            seed,
            counts: Counts::default(),
            violation: Some(format!("the seed could not begin: {problem}")),
            lines: Vec::new(),
            digest: 0,
        },
    }
}

impl World {
    fn new(seed: u64, options: Options, keep: Keep) -> Result<World, String> {
        let mut chance = Chance::new(seed);
        let plan = Plan::draw(&mut chance, &options);
        let mut random = || (u128::from(chance.number()) << 64) | u128::from(chance.number());
        let nodes = (1..=BROKERS as i32).map(NodeId);
        let mut brokers: Vec<Broker> = nodes
            .map(|node| Broker::new(node, DirectoryId::from_u128(random() | 1)))
            .collect();
        let first: Vec<Registration> = brokers
            .iter()
            .map(|broker| first_registration(broker, random()))
            .collect();
        let controller = Controller::new(&plan, &first, random())?;
        for broker in &mut brokers {
            // The topic is created while the first processes live; those then end and start as all others do.
            broker.stored_epoch = controller
                .image()
                .broker(broker.node)
                .map_or(BrokerEpoch::NONE, |it| it.epoch);
        }
        let producers = (0..plan.producers)
            .map(|index| Producer::draw(index, &mut chance))
            .collect();
        let readers = (0..plan.readers).map(|_| Reader::new()).collect();
        let network = Network::new(plan.slow_connections);
        Ok(World {
            plan,
            options,
            chance,
            now: 0,
            queue: BTreeMap::new(),
            queued: 0,
            brokers,
            controller,
            controller_silent: false,
            last_seen: [0; BROKERS],
            held_until: [0; BROKERS],
            held_up: [(0, 0); BROKERS],
            quiet_until: 0,
            slow_until: [0; BROKERS],
            cut_links: BTreeSet::new(),
            network,
            producers,
            readers,
            attempts: 0,
            checker: Checker::default(),
            counts: Counts::default(),
            trace: Trace::new(keep),
            violation: None,
            healed_at: None,
            disk_losses: 0,
            done: false,
        })
    }

    fn run(mut self, seed: u64) -> Outcome {
        for broker in 0..BROKERS {
            self.start(broker);
        }
        self.after(10 * MS, Happening::ControllerTick);
        for client in 0..self.producers.len() {
            self.after(20 * MS, Happening::ProduceNext { client });
        }
        for reader in 0..self.readers.len() {
            self.after(20 * MS, Happening::FetchNext { reader, attempt: 0 });
        }
        self.after(self.plan.fault_interval, Happening::Fault);
        while self.violation.is_none() && !self.done {
            let Some(((time, _), happening)) = self.queue.pop_first() else {
                self.violation = Some("nothing happens any more".to_owned());
                break;
            };
            self.now = time;
            self.handle(happening);
            if self.healed_at.is_none() && self.counts.steps >= self.options.steps {
                self.heal();
            }
        }
        self.counts.acknowledged = self.checker.acknowledged;
        self.counts.unclean_elections = self.controller.elections_with(Cause::UncleanElection);
        self.counts.committed_batches = self.checker.batches_committed() as u64;
        Outcome {
            seed,
            counts: self.counts,
            violation: self.violation,
            digest: self.trace.digest(),
            lines: self.trace.into_lines(),
        }
    }

    fn handle(&mut self, happening: Happening) {
        match happening {
            Happening::Process { broker, life, .. } if self.brokers[broker].life != life => {}
            Happening::Process { broker, .. } if self.brokers[broker].paused => {
                if let Some(kept) = self.keep_for_later(happening) {
                    self.brokers[broker].backlog.push_back(kept);
                }
            }
            Happening::Process { broker, what, .. } => {
                if self.brokers[broker].process.is_some() {
                    self.counts.steps += 1;
                    self.at_process(broker, what);
                }
            }
            Happening::Register { .. }
            | Happening::Alter { .. }
            | Happening::Damage { .. }
            | Happening::Relieve { .. }
            | Happening::CrashNoticed { .. }
            | Happening::ControllerTick
            | Happening::ControllerBack => self.at_controller(happening),
            Happening::ProduceNext { .. }
            | Happening::Resend { .. }
            | Happening::Produced { .. }
            | Happening::ProduceTimeout { .. }
            | Happening::FetchNext { .. }
            | Happening::Fetched { .. } => self.at_client(happening),
            Happening::Fault => self.fault(),
            Happening::Ambush(ambush) => self.ambush(ambush),
            Happening::Start { broker, life } => {
                if self.brokers[broker].life == life && self.brokers[broker].process.is_none() {
                    self.start(broker);
                }
            }
            Happening::Resume { broker, life } => {
                if self.brokers[broker].life == life {
                    self.resume(broker);
                }
            }
            Happening::LinkBack { one, other } => {
                self.cut_links.remove(&(one, other));
                self.say(
                    format_args!("network"),
                    format_args!("{one} and {other} hear each other again"),
                );
            }
        }
    }

    /// What has reached the machine of a stopped process waits there, even if its connection ends meanwhile.
    fn keep_for_later(&self, mut happening: Happening) -> Option<Happening> {
        if let Happening::Process {
            what:
                AtProcess::Message {
                    connection,
                    side,
                    lane,
                    has_arrived,
                    ..
                },
            ..
        } = &mut happening
        {
            if !*has_arrived && self.network.is_lost(*connection, *side, *lane, self.now) {
                return None;
            }
            *has_arrived = true;
        }
        Some(happening)
    }

    pub fn at(&mut self, time: Time, happening: Happening) {
        self.queued += 1;
        self.queue.insert((time.max(self.now), self.queued), happening);
    }

    pub fn after(&mut self, delay: Time, happening: Happening) {
        self.at(self.now + delay, happening);
    }

    /// To the process that runs now.
    pub fn tell_process(&mut self, broker: usize, time: Time, what: AtProcess) {
        let life = self.brokers[broker].life;
        self.at(time, Happening::Process { broker, life, what });
    }

    pub fn is_link_up(&self, one: usize, other: usize) -> bool {
        !self.cut_links.contains(&(one.min(other), one.max(other)))
    }

    pub fn broker_index(&self, node: NodeId) -> Option<usize> {
        self.brokers.iter().position(|broker| broker.node == node)
    }

    pub fn say(&mut self, who: Arguments<'_>, what: Arguments<'_>) {
        self.trace.line(self.now, who, what);
    }

    /// Notes the first violation.
    pub fn hold(&mut self, result: Result<(), String>) {
        if let Err(problem) = result
            && self.violation.is_none()
        {
            self.say(format_args!("VIOLATION"), format_args!("{problem}"));
            self.violation = Some(problem);
        }
    }
}

fn first_registration(broker: &Broker, random: u128) -> Registration {
    Registration {
        node: broker.node,
        incarnation: klamm_types::Incarnation::from_u128(random | 1),
        directory: broker.directory,
        stored_epoch: BrokerEpoch::NONE,
        last_run: klamm_schema::requests::LastRun::Unknown,
        log: None,
        damaged: false,
        unflushed: false,
    }
}
