//! What the APIs of groups share: who calls, and how a call reaches the coordinator.

use klamm_broker::group::{Call, Client as GroupClient, Reply};
use klamm_types::ErrorCode;

use crate::context::Client;
use crate::net::request::Request;

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

/// The coordinator answered another call than it was asked.
pub(crate) fn wrong_reply() -> ErrorCode {
    ErrorCode::UnknownServerError
}

pub(crate) fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}
