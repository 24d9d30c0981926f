//! The group's task: sends what the core orders, and brings back the answers.
//!
//! JoinGroup and SyncGroup wait at the coordinator for the other members, so they have a connection of their own.
//! Everything else goes over the client's shared ones.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use klamm_types::{Moment, NodeId};

use super::core::{Answer, Call, Event, Order};
use super::exchange::{ExchangeConfig, perform};
use super::link::Link;
use crate::client::Client;
use crate::error::RequestError;
use crate::metadata::Broker;
use crate::net::hedge::ask_in_turn;
use crate::net::{Connection, HostPort};

/// The connection for what waits, while nothing waits on it.
type Slot = Arc<Mutex<Option<Connection>>>;

/// Runs until the consumer is dropped, which aborts it.
pub(super) async fn run(link: Arc<Link>, exchange: ExchangeConfig) {
    let exchange = Arc::new(exchange);
    let slot: Slot = Arc::default();
    let mut cluster = link.client.watch_cluster();
    let mut running: FuturesUnordered<BoxFuture<'static, Event>> = FuturesUnordered::new();
    loop {
        let (orders, wake_at) = link.take_orders();
        for order in orders {
            let (client, exchange, slot) = (link.client.clone(), Arc::clone(&exchange), Arc::clone(&slot));
            running.push(exchange_one(client, exchange, slot, order).boxed());
        }
        let event = tokio::select! {
            Some(event) = running.next() => event,
            () = link.wake.notified() => continue,
            Ok(()) = cluster.changed() => Event::Cluster(Arc::clone(&cluster.borrow_and_update())),
            () = alarm(&link.client, wake_at) => Event::Tick,
        };
        link.step(event);
    }
}

async fn alarm(client: &Client, wake_at: Option<Moment>) {
    match wake_at {
        Some(at) => tokio::time::sleep_until(client.instant(at)).await,
        None => std::future::pending().await,
    }
}

async fn exchange_one(client: Client, exchange: Arc<ExchangeConfig>, slot: Slot, order: Order) -> Event {
    let waits = matches!(order.call, Call::Join(_) | Call::Sync(_));
    let outcome = match order.node {
        Some(node) if waits => wait_at(&client, &exchange, &slot, node, &order.call).await,
        node => at_once(&client, &exchange, node, &order.call).await,
    };
    Event::Answered {
        id: order.id,
        outcome: outcome.map_err(Arc::new),
    }
}

async fn at_once(
    client: &Client,
    exchange: &ExchangeConfig,
    node: Option<NodeId>,
    call: &Call,
) -> Result<Answer, RequestError> {
    if let Some(node) = node {
        let connection = client.connection(node).await?;
        return perform(&connection, exchange, call).await;
    }
    // Any broker will do, so one without power must not be what the group waits for.
    let ask = |address: HostPort| async move {
        let connection = client.connection_at(&address).await?;
        perform(&connection, exchange, call).await
    };
    let answer = ask_in_turn(client.addresses(), ask).await;
    answer.unwrap_or(Err(RequestError::UnknownBroker { node: -1 }))
}

async fn wait_at(
    client: &Client,
    exchange: &ExchangeConfig,
    slot: &Slot,
    node: NodeId,
    call: &Call,
) -> Result<Answer, RequestError> {
    let address = client.cluster().brokers.get(&node).map(Broker::address);
    let address = address.ok_or(RequestError::UnknownBroker { node: node.0 })?;
    let idle = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    let connection = match idle.filter(|idle| !idle.is_closed() && *idle.address() == address) {
        Some(connection) => connection,
        None => client.dialer().dial(&address).await.map_err(RequestError::Connect)?,
    };
    let outcome = perform(&connection, exchange, call).await;
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
    outcome
}
