//! One seed: brokers, controller, network and clients on one queue of happenings, in one thread.
//!
//! What a happening does stands elsewhere: in `broker`, `metadata`, `clients` and `weather`, and the end in `healing`.

mod happening;
mod healing;
mod ledger;
mod network;
mod outcome;
mod queue;
mod trace;

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Arguments;

use klamm_invariants::{Broken, Invariant};
use klamm_types::{BrokerEpoch, DirectoryId, Incarnation, NodeId, Timestamp};

pub use happening::{AtProcess, AtReplica, CallAsked, Happening, MemberAnswer, ProduceAsked, PushWish, Whose};
pub use ledger::Ledger;
pub use network::{ConnectionId, Message, Network, Side};
pub use outcome::{Counts, Outcome, Violation};
pub use trace::{Keep, Trace};

use self::queue::Queue;

use crate::broker::{Broker, Files, Place};
use crate::chance::Chance;
use crate::clients::{GroupLedger, Member, Producer, Reader, draw_members};
use crate::metadata::{Metadata, Registration, Session, replicas_of};
use crate::plan::{Fault, MS, Options, Plan, Time, Weather};

/// The controller's place in the table of links.
pub const CONTROLLER: usize = usize::MAX;

/// Clocks run wrong by up to so many millionths.
const DRIFT_MAX: u64 = 20_000;

/// What wall clocks show when a seed begins.
const WALL_BEGIN: i64 = 1_700_000_000_000;

/// Where the faults come from.
#[derive(Debug)]
enum Faults {
    Drawn(Weather),
    Given(VecDeque<Fault>),
}

impl Faults {
    fn of(plan: &Plan) -> Faults {
        match &plan.faults {
            Some(faults) => Faults::Given(faults.iter().copied().collect()),
            None => Faults::Drawn(Weather::new(plan)),
        }
    }
}

pub struct World {
    pub plan: Plan,
    pub chance: Chance,
    pub now: Time,
    queue: Queue,
    faults: Faults,
    next_fault: Option<Fault>,
    /// Those that have happened.
    pub happened: Vec<Fault>,
    pub brokers: Vec<Broker>,
    pub controller: Metadata,
    /// Of each broker with a controller.
    pub sessions: Vec<Option<Session>>,
    /// Until then a broker is not heard of, though it lives.
    pub held_until: Vec<Time>,
    /// When the broker last sent a heartbeat that was not lost.
    pub heard_at: Vec<Time>,
    /// What each broker asks of the controller between these two arrives after the second.
    pub held_up: Vec<(Time, Time)>,
    /// Until then nothing goes wrong by chance.
    pub quiet_until: Time,
    /// Nor while the controller takes one of these for alive that lost what only others hold.
    pub unmissed: Vec<(NodeId, BrokerEpoch)>,
    /// Until then everything on the broker's disk takes long.
    pub slow_until: Vec<Time>,
    /// What the first sends does not reach the second.
    pub cut_links: BTreeSet<(usize, usize)>,
    /// Until then every link loses and delays.
    pub storm_until: Time,
    pub network: Network,
    pub producers: Vec<Producer>,
    pub readers: Vec<Reader>,
    pub members: Vec<Member>,
    pub groups: Vec<GroupLedger>,
    pub attempts: u64,
    /// By partition.
    pub ledgers: Vec<Ledger>,
    pub counts: Counts,
    pub trace: Trace,
    pub violation: Option<Violation>,
    /// When the weather turned good.
    pub healed_at: Option<Time>,
    pub disk_losses: u32,
    pub done: bool,
}

/// Runs one seed to its end.
pub fn run(seed: u64, options: Options, keep: Keep) -> Outcome {
    #[cfg(feature = "planted-bugs")]
    klamm_types::planted::plant(options.bug);
    run_plan(Plan::draw(seed, &options), keep)
}

/// Runs a plan to its end.
pub fn run_plan(plan: Plan, keep: Keep) -> Outcome {
    match World::new(plan.clone(), keep) {
        Ok(world) => world.run(),
        Err(broken) => Outcome {
            plan,
            counts: Counts::default(),
            violation: Some(Violation { broken, at: 0, step: 0 }),
            lines: Vec::new(),
            digest: 0,
        },
    }
}

impl World {
    fn new(plan: Plan, keep: Keep) -> Result<World, Broken> {
        let mut chance = Chance::new(plan.seed ^ plan.noise.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xc0de);
        let count = plan.setup.brokers;
        let mut random = || (u128::from(chance.number()) << 64) | u128::from(chance.number());
        let hosts = |broker: usize| {
            let partitions = 0..plan.setup.all_partitions();
            partitions.filter(move |&partition| replicas_of(partition, count).contains(&broker))
        };
        let broker = |index: usize, random: u128| {
            Broker::new(
                NodeId(index as i32 + 1),
                DirectoryId::from_u128(random | 1),
                hosts(index),
            )
        };
        let mut brokers: Vec<Broker> = (0..count).map(|index| broker(index, random())).collect();
        let first: Vec<Registration> = brokers
            .iter()
            .map(|broker| first_registration(broker, random()))
            .collect();
        let controller = Metadata::new(&plan.setup, &first, random())?;
        for broker in &mut brokers {
            // The topics are created while the first processes live; those then end and start as all others do.
            let registered = controller.image().broker(broker.node);
            broker.stored_epoch = registered.map_or(BrokerEpoch::NONE, |registered| registered.epoch);
            broker.drift = chance.between(0, 2 * DRIFT_MAX) as i64 - DRIFT_MAX as i64;
        }
        let producers = (0..plan.setup.producers)
            .map(|index| Producer::draw(index, &plan.setup, &mut chance))
            .collect();
        let members = draw_members(&plan.setup, &mut chance);
        let readers = (0..plan.setup.readers)
            .map(|index| Reader::new(index, &plan.setup))
            .collect();
        Ok(World {
            faults: Faults::of(&plan),
            next_fault: None,
            happened: Vec::new(),
            chance,
            now: 0,
            queue: Queue::default(),
            brokers,
            sessions: vec![None; count],
            held_until: vec![0; count],
            heard_at: vec![0; count],
            held_up: vec![(0, 0); count],
            quiet_until: 0,
            unmissed: Vec::new(),
            slow_until: vec![0; count],
            cut_links: BTreeSet::new(),
            storm_until: 0,
            network: Network::new(plan.setup.slow_connections),
            producers,
            readers,
            members,
            groups: (0..plan.setup.groups).map(|_| GroupLedger::default()).collect(),
            attempts: 0,
            ledgers: (0..controller.partitions_count()).map(|_| Ledger::default()).collect(),
            controller,
            plan,
            counts: Counts::default(),
            trace: Trace::new(keep),
            violation: None,
            healed_at: None,
            disk_losses: 0,
            done: false,
        })
    }

    fn run(mut self) -> Outcome {
        for broker in 0..self.brokers.len() {
            self.start(broker);
        }
        self.begin_controllers();
        self.after(10 * MS, Happening::Look);
        for client in 0..self.producers.len() {
            self.after(20 * MS, Happening::ProduceNext { client });
        }
        for reader in 0..self.readers.len() {
            self.after(20 * MS, Happening::FetchNext { reader, attempt: 0 });
        }
        self.begin_groups();
        self.await_next_fault();
        while self.violation.is_none() && !self.done {
            let Some((time, happening)) = self.queue.take() else {
                self.hold(Err(Broken {
                    invariant: Invariant::Progress,
                    what: "nothing happens any more".to_owned(),
                }));
                break;
            };
            self.now = time;
            self.handle(happening);
            if self.healed_at.is_none() && self.counts.steps >= self.plan.steps {
                self.heal();
            }
        }
        self.counts.acknowledged = self.ledgers.iter().map(|ledger| ledger.acknowledged).sum();
        self.counts.committed_batches = self.ledgers.iter().map(Ledger::batches_committed).sum();
        self.counts.unclean_elections = self.controller.unclean_elections();
        self.plan.faults = Some(self.happened);
        Outcome {
            plan: self.plan,
            counts: self.counts,
            violation: self.violation,
            digest: self.trace.digest(),
            lines: self.trace.into_lines(),
        }
    }

    fn await_next_fault(&mut self) {
        self.next_fault = match &mut self.faults {
            Faults::Drawn(weather) => weather.next(),
            Faults::Given(faults) => faults.pop_front(),
        };
        if let Some(fault) = self.next_fault {
            self.at(fault.at, Happening::Fault);
        }
    }

    fn fault(&mut self) {
        let Some(fault) = self.next_fault.filter(|_| self.healed_at.is_none()) else {
            return;
        };
        self.await_next_fault();
        if self.now >= self.quiet_until && self.all_are_missed() {
            self.happened.push(fault);
            self.begin_fault(fault);
        }
    }

    pub fn handle(&mut self, happening: Happening) {
        match happening {
            Happening::Process { broker, life, .. } if self.brokers[broker].life != life => {}
            Happening::Process { broker, ref what, .. } if self.brokers[broker].puts_off(what) => {
                self.put_off(broker, happening);
            }
            Happening::Process { broker, what, .. } => {
                if self.brokers[broker].process.is_some() {
                    self.counts.steps += u64::from(!matches!(what, AtProcess::Look));
                    self.at_process(broker, what);
                }
            }
            Happening::Register { .. }
            | Happening::Alter { .. }
            | Happening::Damage { .. }
            | Happening::Relieve { .. } => self.hear_request(happening),
            Happening::Controller(what) => self.controller(what),
            Happening::Look => {
                self.after(5 * MS, Happening::Look);
                self.spread_entries();
                self.look_around();
            }
            Happening::ProduceNext { .. }
            | Happening::Resend { .. }
            | Happening::Produced { .. }
            | Happening::ProduceTimeout { .. }
            | Happening::FetchNext { .. }
            | Happening::Fetched { .. } => self.at_client(happening),
            Happening::MemberWakes { member } => self.member_wakes(member),
            Happening::MemberHears {
                member,
                attempt,
                answer,
            } => self.member_hears(member, attempt, answer),
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
            Happening::WriteEnds { broker, life } => {
                if self.brokers[broker].life == life {
                    self.write_ends(broker);
                }
            }
            Happening::LinkBack { one, other } => self.link_back(one, other),
            Happening::DiskReplaced { broker } => self.replace_disk(broker),
            Happening::DiskUsedAgain { broker } => self.use_disk_again(broker),
            Happening::MachineDies { broker } => self.machine_dies(broker),
            Happening::RoomAgain { broker } => {
                if self.now >= self.brokers[broker].full_until {
                    self.brokers[broker].is_full = false;
                }
            }
            Happening::Break { connection } => self.break_connection(connection),
        }
    }

    fn put_off(&mut self, broker: usize, happening: Happening) {
        let kept = self.keep_for_later(happening);
        let broker = &mut self.brokers[broker];
        match &mut broker.hangs {
            Some(hangs) if !broker.paused => hangs.waiting.extend(kept),
            _ => broker.backlog.extend(kept),
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
        self.queue.put(time.max(self.now), happening);
    }

    pub fn after(&mut self, delay: Time, happening: Happening) {
        self.at(self.now + delay, happening);
    }

    /// To the process that runs now.
    pub fn tell_process(&mut self, broker: usize, time: Time, what: AtProcess) {
        let life = self.brokers[broker].life;
        self.at(time, Happening::Process { broker, life, what });
    }

    /// To a replica of the process that runs now.
    pub fn tell_replica(&mut self, place: Place, time: Time, what: AtReplica) {
        self.tell_process(place.broker, time, AtProcess::Replica(place.partition, what));
    }

    pub fn files(&mut self, place: Place) -> &mut Files {
        self.brokers[place.broker].files.entry(place.partition).or_default()
    }

    /// Whether what one sends reaches the other, and back.
    pub fn is_link_up(&self, one: usize, other: usize) -> bool {
        !self.cut_links.contains(&(one, other)) && !self.cut_links.contains(&(other, one))
    }

    /// Whether what one sends reaches the other.
    pub fn reaches(&self, one: usize, other: usize) -> bool {
        !self.cut_links.contains(&(one, other))
    }

    /// What a broker's wall clock shows.
    pub fn wall(&self, broker: usize) -> Timestamp {
        Timestamp(WALL_BEGIN + (self.now / 1000) as i64 + self.brokers[broker].wall_offset)
    }

    pub fn broker_index(&self, node: NodeId) -> Option<usize> {
        self.brokers.iter().position(|broker| broker.node == node)
    }

    pub fn has_lost_by_permission(&self, partition: usize) -> bool {
        self.controller.has_lost(partition)
    }

    pub fn random(&mut self) -> u128 {
        (u128::from(self.chance.number()) << 64) | u128::from(self.chance.number())
    }

    pub fn say(&mut self, who: Arguments<'_>, what: Arguments<'_>) {
        self.trace.line(self.now, who, what);
    }

    /// Notes the first violation.
    pub fn hold(&mut self, result: Result<(), Broken>) {
        if let Err(broken) = result
            && self.violation.is_none()
        {
            self.say(format_args!("VIOLATION"), format_args!("{broken}"));
            self.violation = Some(Violation {
                broken,
                at: self.now,
                step: self.counts.steps,
            });
        }
    }
}

fn first_registration(broker: &Broker, random: u128) -> Registration {
    Registration {
        node: broker.node,
        incarnation: Incarnation::from_u128(random | 1),
        directory: broker.directory,
        stored_epoch: BrokerEpoch::NONE,
        last_run: klamm_schema::requests::LastRun::Unknown,
        replicas: Vec::new(),
    }
}
