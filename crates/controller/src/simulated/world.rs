//! One run: the cluster of a seed, its faults, and the healing.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use klamm_types::NodeId;
use openraft::async_runtime::watch::WatchReceiver;
use tempfile::TempDir;
use turmoil::Sim;

use super::clients::Client;
use super::history::History;
use super::judge::Judge;
use super::node::{self, Setup, address, name};
use super::plan::{Fault, Plan, Planned};
use super::{Planted, Simulation, below, database, network};

const CLIENTS: u32 = 3;
/// What a tick of the world takes.
const TICK_MS: u64 = 2;
/// How long a founding may take, and how long everything may take to be whole when the faults are over.
const FOUNDING_MS: u64 = 10_000;
const HEALING_MS: u64 = 20_000;
/// Connections that all hosts together may dial in a second: far above what nodes without an answer do.
const DIALS_MAX: u64 = 3_000;
/// Writes that must be acknowledged after the faults.
const WRITES_AFTER: u64 = 5;

/// What happened in a run that kept all promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub leaderships: usize,
    pub snapshots_installed: u64,
    pub voter_changes: u64,
    pub crashes: u64,
    pub crashes_with_loss: u64,
    pub stores_lost: u64,
    pub writes: u64,
    pub unknown: u64,
    pub healed_in_ms: u64,
    pub fingerprint: u64,
}

/// A broken promise, and what led to it.
pub struct Failure {
    pub seed: u64,
    pub broken: String,
    pub timeline: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.timeline {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "seed {}: {}", self.seed, self.broken)?;
        write!(
            f,
            "again: KLAMM_SEEDS={}..{} cargo test -p klamm-controller --lib seeds",
            self.seed,
            self.seed + 1
        )
    }
}

/// Runs the cluster of a seed.
pub fn run(seed: u64, planted: Option<Planted>) -> Result<Report, Failure> {
    let _simulation = Simulation::begin(seed, planted);
    let plan = Plan::draw();
    let mut world = World::new(seed, &plan);
    let result = world.live(&plan);
    let mut timeline = std::mem::take(&mut world.lines);
    timeline.append(&mut world.judge.lines.clone());
    timeline.extend(world.history.borrow().lines.iter().cloned());
    timeline.sort();
    result.map_err(|broken| Failure { seed, broken, timeline })
}

struct World {
    // Before the folders: hosts end while theirs are still there.
    sim: Sim<'static>,
    nodes: BTreeMap<NodeId, Setup>,
    history: Rc<RefCell<History>>,
    stopping: Rc<Cell<bool>>,
    judge: Judge,
    lines: Vec<String>,
    at_ms: u64,
    /// When dead processes come back.
    returning: BTreeMap<NodeId, u64>,
    /// Whose process dies at its next unflushed write, until when; none: the leader's.
    ambushes: Vec<(Option<NodeId>, u64)>,
    slow: BTreeMap<NodeId, u64>,
    network_until: Option<u64>,
    wiped: BTreeSet<NodeId>,
    crashes: u64,
    crashes_with_loss: u64,
    _folder: TempDir,
}

impl World {
    fn new(seed: u64, plan: &Plan) -> World {
        let folder = memory_folder();
        let founders: BTreeMap<NodeId, String> = (1..=plan.founders)
            .map(|id| (NodeId(id), address(NodeId(id))))
            .collect();
        let sim = turmoil::Builder::new()
            .rng_seed(seed)
            .enable_random_order()
            .tick_duration(Duration::from_millis(TICK_MS))
            .simulation_duration(Duration::from_secs(3_600))
            .min_message_latency(Duration::from_millis(0))
            .max_message_latency(Duration::from_millis(4))
            .tcp_capacity(16_384)
            .ephemeral_ports(10_000..=65_535)
            .build();
        let mut world = World {
            sim,
            nodes: BTreeMap::new(),
            history: Rc::default(),
            stopping: Rc::default(),
            judge: Judge::default(),
            lines: Vec::new(),
            at_ms: 0,
            returning: BTreeMap::new(),
            ambushes: Vec::new(),
            slow: BTreeMap::new(),
            network_until: None,
            wiped: BTreeSet::new(),
            crashes: 0,
            crashes_with_loss: 0,
            _folder: folder,
        };
        for id in (1..=plan.founders + plan.joining).map(NodeId) {
            let setup = Setup {
                id,
                folder: world._folder.path().join(name(id)),
                founders: founders.clone(),
                shown: Rc::default(),
            };
            let host = setup.clone();
            world.sim.host(name(id), move || node::run(host.clone()));
            world.nodes.insert(id, setup);
        }
        world.add_clients(&founders);
        world
    }

    fn add_clients(&mut self, controllers: &BTreeMap<NodeId, String>) {
        for number in 1..=CLIENTS + 1 {
            let client = Client {
                number,
                controllers: controllers.clone(),
                history: self.history.clone(),
                stopping: self.stopping.clone(),
            };
            let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
            match number <= CLIENTS {
                true => self.sim.host(format!("c{number}"), move || client.clone().run()),
                false => self.sim.host("operator", move || client.clone().operate(nodes.clone())),
            }
        }
    }

    fn live(&mut self, plan: &Plan) -> Result<Report, String> {
        self.until(FOUNDING_MS, "no quorum was founded", |world| {
            world.history.borrow().writes_acknowledged > 0
        })?;
        let begin = self.at_ms;
        let mut faults = plan.faults.iter().peekable();
        while self.at_ms - begin < plan.turmoil_ms {
            while let Some(planned) = faults.next_if(|planned| planned.at_ms + begin <= self.at_ms) {
                self.begin(planned);
            }
            self.tick()?;
        }
        self.heal();
        let healed = self.at_ms;
        let enough = self.history.borrow().writes_acknowledged + WRITES_AFTER;
        self.until(HEALING_MS, "no progress after the faults", |world| {
            world.history.borrow().writes_acknowledged >= enough
        })?;
        self.stopping.set(true);
        self.until(HEALING_MS, "the controllers do not come to agree", World::is_whole)?;
        let history = self.history.borrow();
        self.judge.finish(&history)?;
        let writes = |operation: &&super::history::Operation| matches!(operation.kind, super::history::Kind::Write(_));
        Ok(Report {
            leaderships: self.judge.leaderships(),
            snapshots_installed: self.judge.snapshots_installed,
            voter_changes: history.voter_changes,
            crashes: self.crashes,
            crashes_with_loss: self.crashes_with_loss,
            stores_lost: self.wiped.len() as u64,
            writes: history.writes_acknowledged,
            unknown: history
                .operations
                .iter()
                .filter(writes)
                .filter(|operation| operation.applied.is_none())
                .count() as u64,
            healed_in_ms: self.at_ms - healed,
            fingerprint: self.judge.fingerprint(),
        })
    }

    fn until(&mut self, limit_ms: u64, or: &str, reached: impl Fn(&World) -> bool) -> Result<(), String> {
        let until = self.at_ms + limit_ms;
        while !reached(self) {
            if self.at_ms > until {
                return Err(format!("{or} within {limit_ms} ms: {}", self.describe()));
            }
            self.tick()?;
        }
        Ok(())
    }

    /// One tick, and what it brings.
    fn tick(&mut self) -> Result<(), String> {
        self.sim.step().map_err(|error| format!("turmoil: {error}"))?;
        self.at_ms += TICK_MS;
        for (id, setup) in &self.nodes {
            let shown = setup.shown.borrow();
            if let Some(failure) = &shown.failure {
                return Err(format!("{id} stopped: {failure}"));
            }
            let refused = shown
                .controller
                .as_ref()
                .is_some_and(|controller| controller.node.stored().replaces_lost);
            if refused {
                return Err(format!("{id} refuses a store that only crashed"));
            }
            self.judge.look(self.at_ms, *id, &shown)?;
        }
        if let Some(broken) = self.history.borrow_mut().broken.take() {
            return Err(broken);
        }
        if self.at_ms.is_multiple_of(1_000) {
            let dials = network::dials();
            if dials > DIALS_MAX {
                return Err(format!("{dials} connections were dialled in a second: somebody spins"));
            }
        }
        self.ambush();
        let due: Vec<NodeId> = self
            .returning
            .extract_if(.., |_, at| *at <= self.at_ms)
            .map(|(id, _)| id)
            .collect();
        for id in due {
            self.say(format!("{id} starts again"));
            self.sim.bounce(name(id));
        }
        for (id, _) in self.slow.extract_if(.., |_, until| *until <= self.at_ms) {
            model(&self.nodes[&id]).set_slowness(Duration::ZERO);
        }
        if self.network_until.is_some_and(|until| until <= self.at_ms) {
            self.heal_network();
        }
        Ok(())
    }

    fn say(&mut self, what: String) {
        self.lines.push(format!("{:>6} {what}", self.at_ms));
    }

    fn begin(&mut self, planned: &Planned) {
        self.say(format!("{:?} for {} ms", planned.fault, planned.for_ms));
        let until = self.at_ms + planned.for_ms;
        match &planned.fault {
            Fault::Crash(id) => self.crash(*id, planned.for_ms),
            Fault::Ambush(id) => self.ambushes.push((Some(*id), until)),
            Fault::AmbushLeader => self.ambushes.push((None, until)),
            Fault::SlowDisk(id) => {
                model(&self.nodes[id]).set_slowness(Duration::from_millis(20 + below(400)));
                self.slow.insert(*id, until);
            }
            Fault::LoseStore(id) => {
                self.crash(*id, planned.for_ms);
                if self.wiped.insert(*id) {
                    super::wipe(&self.nodes[id].folder);
                }
            }
            Fault::Reset(id) => {
                let own = self.sim.lookup(name(*id));
                for other in self.others(*id) {
                    network::reset(own, self.sim.lookup(other));
                }
            }
            fault => {
                self.trouble_network(fault);
                self.network_until = Some(until);
            }
        }
    }

    /// The names of all hosts but one, clients included.
    fn others(&self, id: NodeId) -> Vec<String> {
        let clients = (1..=CLIENTS).map(|number| format!("c{number}"));
        let nodes = self
            .nodes
            .keys()
            .filter(|other| **other != id)
            .map(|other| name(*other));
        nodes.chain(clients).collect()
    }

    fn trouble_network(&mut self, fault: &Fault) {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        match fault {
            Fault::Partition(side) => {
                // Clients stay on the side of the many, but for the first.
                for id in side {
                    for other in ids.iter().filter(|other| !side.contains(other)) {
                        self.sim.partition(name(*id), name(*other));
                    }
                    for client in 2..=CLIENTS {
                        self.sim.partition(name(*id), format!("c{client}"));
                    }
                }
            }
            Fault::Mute(id) => {
                for other in ids.iter().filter(|other| *other != id) {
                    self.sim.partition_oneway(name(*id), name(*other));
                }
            }
            Fault::Deaf(id) => {
                for other in ids.iter().filter(|other| *other != id) {
                    self.sim.partition_oneway(name(*other), name(*id));
                }
            }
            Fault::Ring => {
                for (at, one) in ids.iter().enumerate() {
                    for (to, other) in ids.iter().enumerate().skip(at + 2) {
                        // In a ring of three all are neighbours: there it is a line.
                        let around = ids.len() > 3 && at == 0 && to == ids.len() - 1;
                        if !around {
                            self.sim.partition(name(*one), name(*other));
                        }
                    }
                }
            }
            Fault::Hold(one, other) => self.sim.hold(name(*one), name(*other)),
            Fault::Loss => {
                for (at, one) in ids.iter().enumerate() {
                    for other in &ids[at + 1..] {
                        self.sim.set_link_fail_rate(name(*one), name(*other), 0.002);
                    }
                }
            }
            _ => {}
        }
    }

    fn heal_network(&mut self) {
        self.network_until = None;
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for (at, id) in ids.iter().enumerate() {
            for other in &ids[at + 1..] {
                self.sim.set_link_fail_rate(name(*id), name(*other), 0.0);
                self.sim.release(name(*id), name(*other));
            }
            for other in self.others(*id) {
                self.sim.repair(name(*id), other);
            }
        }
        self.say("the network is whole".into());
    }

    fn ambush(&mut self) {
        let now = self.at_ms;
        self.ambushes.retain(|(_, until)| *until > now);
        let leader = self.nodes.iter().find(|(_, setup)| {
            let shown = setup.shown.borrow();
            shown.controller.as_ref().is_some_and(crate::Controller::is_active)
        });
        let leader = leader.map(|(id, _)| *id);
        let sprung = self.ambushes.iter().position(|(id, _)| {
            id.or(leader)
                .is_some_and(|id| !self.returning.contains_key(&id) && model(&self.nodes[&id]).unflushed() > 0)
        });
        if let Some(at) = sprung
            && let Some(id) = self.ambushes.remove(at).0.or(leader)
        {
            self.crash(id, 5 + below(80));
        }
    }

    fn crash(&mut self, id: NodeId, for_ms: u64) {
        if self.returning.contains_key(&id) {
            return;
        }
        self.sim.crash(name(id));
        let setup = &self.nodes[&id];
        setup.shown.borrow_mut().controller = None;
        let (unflushed, lost) = super::crash(&setup.folder);
        self.crashes += 1;
        self.crashes_with_loss += u64::from(lost > 0);
        self.say(format!("{id} dies; of {unflushed} unflushed batches {lost} are lost"));
        self.returning.insert(id, self.at_ms + for_ms.max(1));
    }

    fn heal(&mut self) {
        self.ambushes.clear();
        self.heal_network();
        for until in self.slow.values_mut().chain(self.returning.values_mut()) {
            *until = self.at_ms;
        }
    }

    /// Whether every member has applied everything that was answered and knows the same members. A voter that was
    /// removed while it was away is no member, and does not always hear of it.
    fn is_whole(&self) -> bool {
        let heard = self.history.borrow().heard;
        let mut known = Vec::new();
        for (id, setup) in &self.nodes {
            let shown = setup.shown.borrow();
            let running = shown
                .controller
                .as_ref()
                .and_then(|controller| controller.node.running());
            let Some(running) = running else { return false };
            let membership = running.raft.server_metrics().borrow_watched().membership_config.clone();
            known.push((membership.log_id().map(|id| id.index), membership, running.raft_id, *id));
        }
        let Some((newest, members, ..)) = known.iter().max_by_key(|(index, ..)| *index) else {
            return false;
        };
        known
            .iter()
            .filter(|(_, _, raft_id, _)| members.get_node(raft_id).is_some())
            .all(|(index, _, _, id)| index == newest && self.judge.applied(*id) >= heard)
    }

    fn describe(&self) -> String {
        let heard = self.history.borrow().heard;
        let nodes = self.nodes.iter().map(|(id, setup)| {
            let shown = setup.shown.borrow();
            let running = shown
                .controller
                .as_ref()
                .and_then(|controller| controller.node.running());
            let metrics = running.map(|running| running.raft.server_metrics().borrow_watched().clone());
            let members = metrics.map(|metrics| {
                let members = metrics
                    .membership_config
                    .nodes()
                    .map(|(id, member)| (*id, member.node_id.0));
                let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
                format!(
                    "{:?} {} members {:?} voters {voters:?} at {:?}",
                    metrics.state,
                    metrics.vote,
                    members.collect::<Vec<_>>(),
                    metrics.membership_config.log_id(),
                )
            });
            format!("\n  {id}: applied {} {members:?}", self.judge.applied(*id))
        });
        format!("answered up to {heard}{}", nodes.collect::<String>())
    }
}

fn model(setup: &Setup) -> crate::store::model::Model {
    let path: PathBuf = setup.folder.join("raft");
    database(&path).expect("a simulation is running")
}

/// A folder in memory: nothing in it needs to survive.
fn memory_folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a folder for the run")
}
