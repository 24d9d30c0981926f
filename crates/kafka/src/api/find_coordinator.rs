//! FindCoordinator (10): the broker that coordinates a group.
//!
//! Transactional ids and share groups have no coordinator here yet: COORDINATOR_NOT_AVAILABLE, as in a cluster where
//! the topic behind them does not exist.

use klamm_types::ErrorCode;
use klamm_wire::find_coordinator_request::FindCoordinatorRequest;
use klamm_wire::find_coordinator_response::{Coordinator, FindCoordinatorResponse};

use crate::context::Client;
use crate::endpoints;
use crate::net::request::{Answer, Request};

const KEYS_FROM: i16 = 4;
const SHARE_FROM: i16 = 6;
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

/// A broker, as a client is to dial it.
struct Found {
    node: i32,
    host: String,
    port: i32,
}

pub(crate) fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: FindCoordinatorRequest<'_> = request.decode(&body)?;
    if request.version >= KEYS_FROM {
        return answer_many(client, request, &asked);
    }
    let found = find(client, request.version, asked.key_type, asked.key);
    request.answer(&match &found {
        Ok(found) => FindCoordinatorResponse {
            error_message: Some("NONE"),
            node_id: found.node,
            host: &found.host,
            port: found.port,
            ..Default::default()
        },
        Err((code, message)) => FindCoordinatorResponse {
            error_code: code.code(),
            error_message: Some(message),
            node_id: -1,
            port: -1,
            ..Default::default()
        },
    })
}

fn answer_many(client: &Client, request: &Request, asked: &FindCoordinatorRequest<'_>) -> Answer {
    let keys = asked.coordinator_keys.iter();
    let found: Vec<_> = keys
        .map(|key| (*key, find(client, request.version, asked.key_type, key)))
        .collect();
    let coordinators = found.iter().map(|(key, found)| match found {
        Ok(found) => Coordinator {
            key,
            node_id: found.node,
            host: &found.host,
            port: found.port,
            error_message: Some(""),
            ..Default::default()
        },
        Err((code, message)) => Coordinator {
            key,
            node_id: -1,
            port: -1,
            error_code: code.code(),
            error_message: Some(message),
            ..Default::default()
        },
    });
    request.answer(&FindCoordinatorResponse {
        coordinators: coordinators.collect(),
        ..Default::default()
    })
}

fn find(client: &Client, version: i16, kind: i8, key: &str) -> Result<Found, (ErrorCode, String)> {
    let told = |code: ErrorCode| (code, code.sentence().to_owned());
    match kind {
        GROUP => {}
        TRANSACTION => return Err(told(ErrorCode::CoordinatorNotAvailable)),
        SHARE if version >= SHARE_FROM => return Err(told(ErrorCode::CoordinatorNotAvailable)),
        _ => return Err(told(ErrorCode::InvalidRequest)),
    }
    let node = client.backend().locate_group(key).map_err(told)?;
    let image = client.image();
    let endpoint = endpoints::of(client, &image, node).ok_or_else(|| told(ErrorCode::CoordinatorNotAvailable))?;
    Ok(Found {
        node: node.0,
        host: endpoint.host,
        port: endpoint.port,
    })
}
