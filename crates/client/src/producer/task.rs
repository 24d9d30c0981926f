//! The producer's task: asks the core what to do, does it, and tells it what happened.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use klamm_types::{Moment, NodeId};
use tokio::sync::{Notify, Semaphore, watch};

use super::core::{Core, Effect, Event, Order};
use super::delivery::Ticket;
use super::exchange::{ExchangeConfig, Exchanged, ask_identity, failed, finish, submit};
use crate::client::Client;
use crate::metadata::{Broker, Cluster, LeaderHint};
use crate::net::Connection;

/// A broker that is asked for a producer id and is silent is given up for the next one after this.
const IDENTITY_TIMEOUT: Duration = Duration::from_secs(2);

/// What the task shares with those who send.
pub(super) struct Shared {
    core: Mutex<Core<Ticket>>,
    pub wake: Notify,
    /// Bytes of buffer memory that are free.
    pub memory: Semaphore,
    /// How many senders wait for memory.
    pub waiting: AtomicUsize,
    pub closed: AtomicBool,
}

impl Shared {
    pub fn new(core: Core<Ticket>, buffer_memory: usize) -> Shared {
        Shared {
            core: Mutex::new(core),
            wake: Notify::new(),
            memory: Semaphore::new(buffer_memory),
            waiting: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Never held across an await.
    pub fn core(&self) -> MutexGuard<'_, Core<Ticket>> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something that was awaited has come to its end.
enum Happened {
    Core(Exchanged),
    Connected(NodeId, Connection),
}

pub(super) struct Task {
    client: Client,
    shared: Arc<Shared>,
    exchange: ExchangeConfig,
    cluster: watch::Receiver<Arc<Cluster>>,
    links: BTreeMap<NodeId, Connection>,
    running: FuturesUnordered<BoxFuture<'static, Happened>>,
    events: Vec<Event>,
    effects: Vec<Effect<Ticket>>,
    identity_attempts: usize,
}

impl Task {
    pub fn new(client: Client, shared: Arc<Shared>, exchange: ExchangeConfig) -> Task {
        let mut cluster = client.watch_cluster();
        cluster.mark_changed();
        Task {
            client,
            shared,
            exchange,
            cluster,
            links: BTreeMap::new(),
            running: FuturesUnordered::new(),
            events: Vec::new(),
            effects: Vec::new(),
            identity_attempts: 0,
        }
    }

    /// Runs until the producer is closed; then fails what is not delivered.
    pub async fn run(mut self) {
        while !self.shared.closed.load(Ordering::Acquire) {
            let wake_at = self.step();
            if self.events.is_empty() {
                self.wait(wake_at).await;
            }
        }
        self.shared.core().abort(&mut self.effects);
        self.carry_out();
        // Nobody waits for memory that will not come back.
        self.shared.memory.close();
    }

    /// One round through the core, and what it asks for.
    fn step(&mut self) -> Option<Moment> {
        let now = self.client.now();
        let wake_at = {
            let mut core = self.shared.core();
            core.hurry = self.shared.waiting.load(Ordering::Relaxed) > 0;
            for event in self.events.drain(..) {
                core.handle(now, event, &mut self.effects);
            }
            core.poll(now, &mut self.effects)
        };
        self.carry_out();
        wake_at
    }

    async fn wait(&mut self, wake_at: Option<Moment>) {
        let alarm = async {
            match wake_at {
                Some(at) => tokio::time::sleep_until(self.client.instant(at)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(happened) = self.running.next() => {
                self.note(happened);
                while let Some(Some(happened)) = self.running.next().now_or_never() {
                    self.note(happened);
                }
            }
            () = self.shared.wake.notified() => {}
            Ok(()) = self.cluster.changed() => self.events.push(Event::Cluster(self.client.cluster())),
            () = alarm => {}
        }
    }

    fn note(&mut self, happened: Happened) {
        match happened {
            Happened::Core(Exchanged { event, hints }) => {
                self.take_hints(hints);
                self.events.push(event);
            }
            Happened::Connected(node, connection) => {
                self.links.insert(node, connection);
                self.events.push(Event::Connected(node));
            }
        }
    }

    /// Hints come before the answer that brought them, so that the retry goes to the right broker at once.
    fn take_hints(&mut self, hints: Vec<LeaderHint>) {
        if hints.is_empty() {
            return;
        }
        for hint in hints {
            self.client.hint(hint);
        }
        self.events.push(Event::Cluster(self.client.cluster()));
    }

    fn carry_out(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Dial(node) => self.dial(node),
                Effect::Send(order) => self.send(order),
                Effect::Disconnect(node) => {
                    if let Some(connection) = self.links.remove(&node) {
                        connection.close();
                    }
                }
                Effect::Refresh => self.client.refresh(),
                Effect::AskIdentity => self.ask_identity(),
                Effect::Complete(completed) => {
                    completed.ticket.resolve(completed.outcome);
                    self.shared.memory.add_permits(completed.reserved);
                }
            }
        }
    }

    fn dial(&mut self, node: NodeId) {
        let address = self.client.cluster().brokers.get(&node).map(Broker::address);
        let dialer = self.client.dialer().clone();
        let dialled = async move {
            let failed = || {
                Happened::Core(Exchanged {
                    event: Event::DialFailed(node),
                    hints: Vec::new(),
                })
            };
            let Some(address) = address else { return failed() };
            match dialer.dial(&address).await {
                Ok(connection) => Happened::Connected(node, connection),
                Err(error) => {
                    tracing::debug!(%error, "no connection to broker {node}");
                    failed()
                }
            }
        };
        self.running.push(dialled.boxed());
    }

    fn send(&mut self, order: Order) {
        let config = self.exchange;
        let submitted = match self.links.get(&order.node) {
            Some(connection) => submit(connection, &order, config),
            None => {
                self.events.push(Event::Lost {
                    id: order.id,
                    sent: false,
                });
                return;
            }
        };
        match submitted {
            Ok(pending) => self
                .running
                .push(async move { Happened::Core(finish(pending, order, config).await) }.boxed()),
            Err(failure) => self.events.push(failed(order.id, failure).event),
        }
    }

    fn ask_identity(&mut self) {
        // Another broker each time: one that has no ids to give says so, one that is stopped says nothing.
        let cluster = self.client.cluster();
        let count = cluster.brokers.len().max(1);
        let first = cluster.brokers.keys().nth(self.identity_attempts % count).copied();
        self.identity_attempts += 1;
        let client = self.client.clone();
        let timeout = self.exchange.request_timeout.min(IDENTITY_TIMEOUT);
        let asked = async move {
            Happened::Core(Exchanged {
                event: ask_identity(client, first, timeout).await,
                hints: Vec::new(),
            })
        };
        self.running.push(asked.boxed());
    }
}
