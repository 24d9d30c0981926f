//! Asking several brokers for metadata. Those that are silent for longer than another takes to answer have their
//! connection closed: what they still owe would only pile up.

use std::time::Duration;

use super::cluster::ClusterUpdate;
use super::fetch::{MetadataQuery, fetch};
use crate::error::RequestError;
use crate::net::hedge::ask_in_turn;
use crate::net::{Connection, HostPort, Pool};

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
) -> Result<(HostPort, ClusterUpdate), RequestError> {
    let connection = pool.get(&address).await.map_err(RequestError::Connect)?;
    let mut guard = CloseUnlessDone(Some(connection.clone()));
    let update = fetch(&connection, query, timeout).await?;
    guard.0 = None;
    Ok((address, update))
}

/// Asks the candidates in order; says who answered. `None` if there are no candidates.
pub(super) async fn ask_any(
    pool: &Pool,
    candidates: Vec<HostPort>,
    query: &MetadataQuery,
    timeout: Duration,
) -> Option<Result<(HostPort, ClusterUpdate), RequestError>> {
    ask_in_turn(candidates, |address| ask(pool, address, query, timeout)).await
}
