//! The consumer's task: asks the core what to do, does it, and tells it what happened.
//!
//! Fetches wait at the brokers for data, so they have connections of their own, one per fetch under way. Short
//! questions go over the client's shared ones.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{AbortHandle, BoxFuture, abortable};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use klamm_types::{Moment, NodeId};
use tokio::sync::{Notify, watch};

use super::core::{Core, Effect, Event, FetchOrder, ListOrder, ValidateOrder};
use super::requests::{ExchangeConfig, Fetched, epoch_ends, fetch, list_offsets};
use crate::client::Client;
use crate::error::RequestError;
use crate::metadata::{Broker, Cluster, LeaderHint};
use crate::net::{Connection, Dialer, HostPort};

/// What the task shares with the program's side.
pub(super) struct Shared {
    core: Mutex<Core>,
    /// The core may have something to do.
    pub wake: Notify,
    /// The program has something to take.
    pub ready: Notify,
}

impl Shared {
    pub fn new(core: Core) -> Shared {
        Shared {
            core: Mutex::new(core),
            wake: Notify::new(),
            ready: Notify::new(),
        }
    }

    /// Never held across an await, nor while a batch is opened.
    pub fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something that was awaited has come to its end.
enum Happened {
    Event(Event),
    Fetched {
        id: u64,
        node: NodeId,
        connection: Option<Connection>,
        outcome: Result<Fetched, RequestError>,
    },
    /// A fetch that was given up.
    Abandoned,
}

pub(super) struct Task {
    client: Client,
    shared: Arc<Shared>,
    exchange: ExchangeConfig,
    cluster: watch::Receiver<Arc<Cluster>>,
    /// Connections for fetches on which nothing is under way.
    idle: BTreeMap<NodeId, Vec<Connection>>,
    fetches: BTreeMap<u64, AbortHandle>,
    running: FuturesUnordered<BoxFuture<'static, Happened>>,
    events: Vec<Event>,
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
            idle: BTreeMap::new(),
            fetches: BTreeMap::new(),
            running: FuturesUnordered::new(),
            events: Vec::new(),
        }
    }

    /// Runs until the consumer is dropped, which aborts it.
    pub async fn run(mut self) {
        loop {
            let wake_at = self.step();
            if self.events.is_empty() {
                self.wait(wake_at).await;
            }
        }
    }

    /// One round through the core, and what it asks for.
    fn step(&mut self) -> Option<Moment> {
        let now = self.client.now();
        let mut effects = Vec::new();
        let (wake_at, news) = {
            let mut core = self.shared.core();
            for event in self.events.drain(..) {
                core.handle(now, event);
            }
            (core.poll(now, &mut effects), core.has_news(now))
        };
        if news {
            self.shared.ready.notify_one();
        }
        for effect in effects {
            self.carry_out(effect);
        }
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
            Ok(()) = self.cluster.changed() => self.cluster.mark_changed(),
            () = alarm => {}
        }
        if self.cluster.has_changed().unwrap_or(false) {
            let cluster = Arc::clone(&self.cluster.borrow_and_update());
            self.idle.retain(|node, _| cluster.brokers.contains_key(node));
            // First, so that a leader that changed is known when its answers come.
            self.events.insert(0, Event::Cluster(cluster));
        }
    }

    fn note(&mut self, happened: Happened) {
        match happened {
            Happened::Event(event) => self.events.push(event),
            Happened::Abandoned => {}
            Happened::Fetched {
                id,
                node,
                connection,
                outcome,
            } => {
                self.fetches.remove(&id);
                if let Some(connection) = connection.filter(|connection| !connection.is_closed()) {
                    self.idle.entry(node).or_default().push(connection);
                }
                let outcome = match outcome {
                    Ok(Fetched { answer, hints }) => {
                        self.take_hints(hints);
                        Ok(answer)
                    }
                    Err(cause) => Err(Arc::new(cause)),
                };
                self.events.push(Event::Fetched { id, outcome });
            }
        }
    }

    /// Hints come before the answer that brought them, so that the new leader is asked without a pause.
    fn take_hints(&mut self, hints: Vec<LeaderHint>) {
        if hints.is_empty() {
            return;
        }
        for hint in hints {
            self.client.hint(hint);
        }
        self.events.push(Event::Cluster(self.client.cluster()));
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Fetch(order) => self.fetch(order),
            Effect::Abandon(id) => {
                // Its connection closes with it: an answer that nobody waits for would only stand in the way.
                if let Some(fetch) = self.fetches.remove(&id) {
                    fetch.abort();
                }
            }
            Effect::List(order) => self.list(order),
            Effect::Validate(order) => self.validate(order),
            Effect::Refresh => self.client.refresh(),
        }
    }

    fn fetch(&mut self, order: FetchOrder) {
        let address = self.client.cluster().brokers.get(&order.node).map(Broker::address);
        let mut idle = self.idle.remove(&order.node).unwrap_or_default();
        idle.retain(|connection| !connection.is_closed() && Some(connection.address()) == address.as_ref());
        let connection = idle.pop();
        self.idle.insert(order.node, idle);
        let (dialer, exchange) = (self.client.dialer().clone(), self.exchange);
        let (id, node) = (order.id, order.node);
        let fetched = async move {
            let connection = match (connection, address) {
                (Some(connection), _) => Ok(connection),
                (None, Some(address)) => dial(&dialer, &address).await,
                (None, None) => Err(RequestError::UnknownBroker { node: node.0 }),
            };
            match connection {
                Ok(connection) => {
                    let outcome = fetch(&connection, &order, exchange).await;
                    Happened::Fetched {
                        id,
                        node,
                        connection: Some(connection),
                        outcome,
                    }
                }
                Err(failure) => Happened::Fetched {
                    id,
                    node,
                    connection: None,
                    outcome: Err(failure),
                },
            }
        };
        let (fetched, abort) = abortable(fetched);
        self.fetches.insert(id, abort);
        self.running
            .push(fetched.map(|done| done.unwrap_or(Happened::Abandoned)).boxed());
    }

    fn list(&mut self, order: ListOrder) {
        let (client, exchange) = (self.client.clone(), self.exchange);
        let listed = async move {
            let asked = async {
                let connection = client.connection(order.node).await?;
                list_offsets(&connection, &order.parts, exchange.isolation, exchange.request_timeout).await
            };
            Happened::Event(Event::Listed {
                id: order.id,
                outcome: asked.await.map_err(Arc::new),
            })
        };
        self.running.push(listed.boxed());
    }

    fn validate(&mut self, order: ValidateOrder) {
        let (client, exchange) = (self.client.clone(), self.exchange);
        let validated = async move {
            let asked = async {
                let connection = client.connection(order.node).await?;
                epoch_ends(&connection, &order.parts, exchange.request_timeout).await
            };
            Happened::Event(Event::Validated {
                id: order.id,
                outcome: asked.await.map_err(Arc::new),
            })
        };
        self.running.push(validated.boxed());
    }
}

async fn dial(dialer: &Dialer, address: &HostPort) -> Result<Connection, RequestError> {
    dialer.dial(address).await.map_err(RequestError::Connect)
}
