//! Between the program, the group's task and the two cores: every event goes through `step`, which carries out at once
//! what needs no waiting, and leaves requests to the task.
//!
//! Locks are taken in one order: the group's state, then the fetching core. None is held across an await.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use klamm_types::Moment;
use tokio::sync::{Notify, oneshot};

use super::core::{Core, CoreConfig, Effect, Event, Order, Settled, Turn};
use super::error::GroupError;
use crate::client::Client;
use crate::consumer::task::Shared;

pub(super) struct Link {
    pub client: Client,
    /// The side that fetches.
    pub fetching: Arc<Shared>,
    state: Mutex<State>,
    /// The task has something to do.
    pub wake: Notify,
}

struct State {
    core: Core,
    orders: Vec<Order>,
    waiters: BTreeMap<u64, oneshot::Sender<Settled>>,
    last_waiter: u64,
    wake_at: Option<Moment>,
}

/// What the program has to do next.
pub(super) enum Next {
    Turn(Turn),
    Failed(GroupError),
    Nothing,
}

impl Link {
    pub fn new(client: Client, fetching: Arc<Shared>, config: CoreConfig) -> Link {
        let core = Core::new(config, client.cluster());
        let state = State {
            core,
            orders: Vec::new(),
            waiters: BTreeMap::new(),
            last_waiter: 0,
            wake_at: None,
        };
        Link {
            client,
            fetching,
            state: Mutex::new(state),
            wake: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the core.
    pub fn look<T>(&self, at: impl FnOnce(&Core) -> T) -> T {
        at(&self.state().core)
    }

    pub fn next(&self) -> Next {
        let state = self.state();
        match (state.core.turn(), state.core.failure()) {
            (Some(turn), _) => Next::Turn(turn.clone()),
            (None, Some(failure)) => Next::Failed(failure.clone()),
            (None, None) => Next::Nothing,
        }
    }

    pub fn step(&self, event: Event) {
        self.step_in(&mut self.state(), event);
    }

    /// As `step`, for events whose outcome somebody waits for.
    pub fn ask(&self, event: impl FnOnce(u64) -> Event) -> oneshot::Receiver<Settled> {
        let (tell, told) = oneshot::channel();
        let mut state = self.state();
        state.last_waiter += 1;
        let waiter = state.last_waiter;
        state.waiters.insert(waiter, tell);
        self.step_in(&mut state, event(waiter));
        told
    }

    /// The program comes for records. Only the first time after a pause is news to the core.
    pub fn poll_started(&self) {
        self.fetching.core().mark_processed();
        let mut state = self.state();
        if state.core.poll_started(self.client.now()) {
            self.step_in(&mut state, Event::Tick);
        }
    }

    pub fn poll_ended(&self) {
        self.state().core.poll_ended(self.client.now());
    }

    fn step_in(&self, state: &mut State, event: Event) {
        let now = self.client.now();
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut effects = Vec::new();
            state.wake_at = state.core.step(now, event, &mut effects);
            for effect in effects {
                self.carry_out(state, effect, &mut events);
            }
        }
        if state.core.turn().is_some() || state.core.failure().is_some() {
            self.fetching.ready.notify_one();
        }
        self.wake.notify_one();
    }

    fn carry_out(&self, state: &mut State, effect: Effect, events: &mut VecDeque<Event>) {
        match effect {
            Effect::Send(order) => state.orders.push(order),
            Effect::Begin(partitions) => {
                let mut core = self.fetching.core();
                for (key, begin) in &partitions {
                    core.begin(key, begin);
                }
                self.fetching.wake.notify_one();
            }
            Effect::CommitProcessed => events.push_back(Event::AutoCommit(self.fetching.core().processed())),
            Effect::Settle { waiter, outcome } => {
                if let Some(tell) = state.waiters.remove(&waiter) {
                    // Whoever asked may have given up waiting.
                    let _ = tell.send(outcome);
                }
            }
            Effect::Want(topics) => topics.iter().for_each(|topic| self.client.want_topic(topic)),
            Effect::Refresh => self.client.refresh(),
        }
    }

    /// What the task has to send, and when it has to come again.
    pub fn take_orders(&self) -> (Vec<Order>, Option<Moment>) {
        let mut state = self.state();
        (std::mem::take(&mut state.orders), state.wake_at)
    }
}
