//! One run: the cluster of a seed, its faults, and the healing.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use klamm_types::NodeId;
use openraft::async_runtime::watch::WatchReceiver;
use tempfile::TempDir;
use turmoil::Sim;

use super::clients::Client;
use super::history::History;
use super::judge::Judge;
use super::links::Links;
use super::node::{self, Setup, address, name};
use super::plan::Plan;
use super::report::{Failure, Report};
use super::timeline::{Timeline, Watchdog};
use super::weather::Weather;
use super::{Planted, Simulation, network};

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

/// Runs the cluster of a seed.
pub fn run(seed: u64, planted: Option<Planted>) -> Result<Report, Failure> {
    let _simulation = Simulation::begin(seed, planted);
    let timeline = Timeline::default();
    let plan = Plan::draw();
    let mut world = World::new(seed, &plan, timeline.clone());
    let result = world.live(&plan);
    result.map_err(|broken| Failure {
        seed,
        broken,
        timeline: timeline.lines(),
    })
}

pub struct World {
    // Before the folders: hosts end while theirs are still there.
    pub sim: Sim<'static>,
    pub nodes: BTreeMap<NodeId, Setup>,
    pub links: Links,
    pub timeline: Timeline,
    pub at_ms: u64,
    pub weather: Weather,
    history: Rc<RefCell<History>>,
    stopping: Rc<Cell<bool>>,
    judge: Judge,
    watchdog: Watchdog,
    _folder: TempDir,
}

impl World {
    fn new(seed: u64, plan: &Plan, timeline: Timeline) -> World {
        let folder = memory_folder();
        let founders: BTreeMap<NodeId, String> = (1..=plan.founders)
            .map(|id| (NodeId(id), address(NodeId(id))))
            .collect();
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .enable_random_order()
            .tick_duration(Duration::from_millis(TICK_MS))
            .simulation_duration(Duration::from_secs(3_600))
            .min_message_latency(Duration::from_millis(0))
            .max_message_latency(Duration::from_millis(4))
            .tcp_capacity(16_384)
            .ephemeral_ports(10_000..=65_535)
            .build();
        let mut nodes = BTreeMap::new();
        for id in (1..=plan.founders + plan.joining).map(NodeId) {
            let setup = Setup {
                id,
                folder: folder.path().join(name(id)),
                founders: founders.clone(),
                shown: Rc::default(),
            };
            let host = setup.clone();
            sim.host(name(id), move || node::run(host.clone()));
            nodes.insert(id, setup);
        }
        let links = Links {
            nodes: nodes.keys().copied().collect(),
            clients: (1..=CLIENTS).map(|number| format!("c{number}")).collect(),
        };
        let history = History {
            timeline: timeline.clone(),
            ..History::default()
        };
        let mut world = World {
            sim,
            nodes,
            links,
            at_ms: 0,
            weather: Weather::default(),
            history: Rc::new(RefCell::new(history)),
            stopping: Rc::default(),
            judge: Judge::new(timeline.clone()),
            watchdog: Watchdog::begin(seed, timeline.clone()),
            timeline,
            _folder: folder,
        };
        for id in (plan.founders + 1..=plan.founders + plan.joining).map(NodeId) {
            world.start_later(id);
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
        self.judge.finish(&self.history.borrow())?;
        Ok(self.report(healed))
    }

    fn report(&self, healed: u64) -> Report {
        let history = self.history.borrow();
        let weather = &self.weather;
        let truncations = super::truncations();
        Report {
            leaderships: self.judge.leaderships(),
            snapshots_installed: self.judge.snapshots_installed,
            voter_changes: history.voter_changes,
            crashes: weather.crashes,
            crashes_with_loss: weather.crashes_with_loss,
            truncations: truncations.count,
            truncated_max: truncations.entries_max,
            stores_lost: weather.stores_lost,
            copies_restored: weather.copies_restored,
            writes: history.writes_acknowledged,
            unknown: history.unknown(),
            healed_in_ms: self.at_ms - healed,
        }
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
        self.watchdog.check()?;
        self.sim.step().map_err(|error| format!("turmoil: {error}"))?;
        self.at_ms += TICK_MS;
        self.timeline.set_now(self.at_ms);
        for (id, setup) in &self.nodes {
            let shown = setup.shown.borrow();
            if let Some(failure) = &shown.failure {
                return Err(format!("{id} stopped: {failure}"));
            }
            let refused = shown
                .controller
                .as_ref()
                .is_some_and(|controller| controller.node.stored().replaces_lost);
            if refused && !self.weather.replaced.contains(id) {
                return Err(format!("{id} refuses a store that only crashed"));
            }
            self.judge.look(*id, &shown)?;
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
        self.change_weather();
        Ok(())
    }

    /// Whether every node is a member, has applied everything that was answered and knows the same members.
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
        known.iter().all(|(index, _, raft_id, id)| {
            members.get_node(raft_id).is_some() && index == newest && self.judge.applied(*id) >= heard
        })
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
            let acts = shown.controller.as_ref().is_some_and(crate::Controller::is_active);
            format!(
                "\n  {id}: applied {}, acts: {acts}, {members:?}",
                self.judge.applied(*id)
            )
        });
        format!("answered up to {heard}{}", nodes.collect::<String>())
    }
}

/// A folder in memory: nothing in it needs to survive.
fn memory_folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a folder for the run")
}
