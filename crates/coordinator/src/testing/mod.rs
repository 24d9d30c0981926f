//! A shard with a log and a clock, for tests: events go in, decisions come out, and every step is validated.

use std::sync::Arc;
use std::time::Duration;

use klamm_types::{Moment, Timestamp};

use crate::call::{Call, CallId};
use crate::change::Change;
use crate::draft::Decision;
use crate::record::Record;
use crate::settings::Settings;
use crate::shard::{At, Event, Shard};
use crate::topics::Topics;

/// The wall clock of moment zero.
pub const WALL: i64 = 1_700_000_000_000;

/// See the module.
pub struct Bench {
    pub shard: Shard,
    pub at: At,
    /// All records ever decided.
    pub log: Vec<Record>,
    settings: Arc<Settings>,
    calls: u64,
}

impl Bench {
    pub fn new(settings: Settings) -> Bench {
        let settings = Arc::new(settings);
        let mut shard = Shard::new(settings.clone(), Arc::new(Topics::default()));
        let at = At {
            wall: Timestamp(WALL),
            ..At::default()
        };
        shard.start(at);
        Bench {
            shard,
            at,
            log: Vec::new(),
            settings,
            calls: 0,
        }
    }

    /// A call now; the draw of random bits is the number of the call, and so is its id.
    pub fn call(&mut self, call: Call) -> (CallId, Decision) {
        self.calls += 1;
        self.at.draw = u128::from(self.calls);
        let id = CallId(self.calls);
        (id, self.step(Event::Call(id, call)))
    }

    /// Decides and applies.
    pub fn step(&mut self, event: Event) -> Decision {
        let ticks = event == Event::Tick;
        let decision = self.shard.decide(self.at, event);
        self.shard.apply(self.at, &decision.changes);
        if ticks {
            self.shard.ticked(self.at);
        }
        self.log.extend(records(&decision));
        self.validate();
        decision
    }

    /// Lets time pass, with ticks when they are due. Decisions that contain nothing but a look are left out.
    pub fn pass(&mut self, duration: Duration) -> Vec<(Moment, Decision)> {
        let end = self.at.moment + duration;
        let mut decisions = Vec::new();
        while let Some(deadline) = self.shard.next_deadline().filter(|deadline| *deadline <= end) {
            self.set_time(deadline.max(self.at.moment));
            let decision = self.step(Event::Tick);
            decisions.push((self.at.moment, decision));
        }
        self.set_time(end);
        decisions
    }

    /// The coordinator sleeps, and finds out.
    pub fn sleep(&mut self, duration: Duration) {
        self.set_time(self.at.moment + duration);
        self.shard.restart_waits(self.at);
        self.validate();
    }

    /// The coordinator moves: another one reads the log.
    pub fn reload(&mut self) {
        let mut shard = Shard::new(self.settings.clone(), Arc::new(Topics::default()));
        for record in &self.log {
            shard.replay(self.at, record.clone());
        }
        shard.start(self.at);
        self.shard = shard;
        self.validate();
    }

    /// With other settings from now on, which takes a reload.
    pub fn reload_with(&mut self, settings: Settings) {
        self.settings = Arc::new(settings);
        self.reload();
    }

    fn set_time(&mut self, moment: Moment) {
        self.at.moment = moment;
        self.at.wall = Timestamp(WALL + i64::try_from(moment.0 / 1000).expect("tests are short"));
    }

    fn validate(&self) {
        if let Err(broken) = self.shard.validate() {
            panic!("{broken}: {:#?}", self.shard);
        }
    }
}

/// The records of a decision.
pub fn records(decision: &Decision) -> Vec<Record> {
    let record = |change: &Change| match change {
        Change::Record(record) => Some(record.clone()),
        Change::Transient { .. } => None,
    };
    decision.changes.iter().filter_map(record).collect()
}
