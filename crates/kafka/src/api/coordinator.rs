//! What the APIs of groups share: who calls, and how a call reaches the coordinator.

use std::collections::BTreeSet;

use klamm_broker::group::{Call, Client as GroupClient, Reply};
use klamm_types::ErrorCode;

use crate::context::Client;
use crate::net::request::Request;

/// A request may name very many groups; so many of its calls are open at a time.
pub(crate) const CALLS_AT_A_TIME: usize = 64;

/// The caller as members are described.
pub(crate) fn caller(client: &Client, request: &Request) -> GroupClient {
    GroupClient {
        id: request.client_id().unwrap_or_default().to_owned(),
        host: format!("/{}", client.peer.ip().to_canonical()),
    }
}

/// Hands a call to the group's coordinator, if that is this broker.
pub(crate) async fn call(client: &Client, call: Call) -> Result<Reply, ErrorCode> {
    client.backend().coordinate(call).await
}

/// The names in order, the repeated ones once: an answer is no longer for a name that is written a million times.
pub(crate) fn distinct<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let mut seen = BTreeSet::new();
    let names = names.iter().copied();
    names.filter(|name| seen.insert(*name)).collect()
}

/// The coordinator answered another call than it was asked.
pub(crate) fn wrong_reply() -> ErrorCode {
    ErrorCode::UnknownServerError
}

pub(crate) fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_repeated_counts_once() {
        assert_eq!(distinct(&["b", "a", "b", "b", "a", "c"]), ["b", "a", "c"]);
    }
}
