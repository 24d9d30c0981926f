//! Asking several brokers, so that one that is silent does not hold up what all of them know.
//!
//! A refusal moves on at once; silence for a short while starts the next without giving up the first. The first good
//! answer wins. Losers have their connection closed: what they still owe would only pile up.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::cluster::ClusterUpdate;
use super::fetch::{MetadataQuery, fetch};
use crate::error::RequestError;
use crate::net::{Connection, HostPort, Pool};

/// How long one broker may be silent before the next is asked as well.
const PATIENCE: Duration = Duration::from_millis(150);

/// Closes the connection unless the exchange on it was finished.
struct CloseUnlessDone(Option<Connection>);

impl Drop for CloseUnlessDone {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            connection.close();
        }
    }
}

async fn ask(
    pool: &Pool,
    address: HostPort,
    query: &MetadataQuery,
    timeout: Duration,
) -> (HostPort, Result<ClusterUpdate, RequestError>) {
    let connection = match pool.get(&address).await {
        Ok(connection) => connection,
        Err(cause) => return (address, Err(RequestError::Connect(cause))),
    };
    let mut guard = CloseUnlessDone(Some(connection.clone()));
    let result = fetch(&connection, query, timeout).await;
    if result.is_ok() {
        guard.0 = None;
    }
    (address, result)
}

/// Asks the candidates in order; says who answered. `None` if there are no candidates.
pub(super) async fn ask_any(
    pool: &Pool,
    candidates: Vec<HostPort>,
    query: &MetadataQuery,
    timeout: Duration,
) -> Option<Result<(HostPort, ClusterUpdate), RequestError>> {
    let mut waiting = candidates.into_iter();
    let mut running = FuturesUnordered::new();
    running.push(ask(pool, waiting.next()?, query, timeout));
    loop {
        tokio::select! {
            Some((address, result)) = running.next() => match result {
                Ok(update) => return Some(Ok((address, update))),
                Err(failure) => match waiting.next() {
                    Some(next) => running.push(ask(pool, next, query, timeout)),
                    None if running.is_empty() => return Some(Err(failure)),
                    None => {}
                },
            },
            () = tokio::time::sleep(PATIENCE), if waiting.len() > 0 => {
                if let Some(next) = waiting.next() {
                    running.push(ask(pool, next, query, timeout));
                }
            }
        }
    }
}
