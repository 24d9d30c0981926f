//! InitProducerId (22): a number for an idempotent producer.
//!
//! Transactional ids are not served: they are refused with a code that no client retries. Clients do not come so far,
//! because FindCoordinator, which they need first, is not listed.

use klamm_types::ErrorCode;
use klamm_wire::init_producer_id_request::InitProducerIdRequest;
use klamm_wire::init_producer_id_response::InitProducerIdResponse;

use crate::context::Client;
use crate::net::request::{Answer, Request};

pub(crate) async fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: InitProducerIdRequest<'_> = request.decode(&body)?;
    let result = match refusal(&asked) {
        Some(code) => Err(code),
        // A producer that names the id it had gets a fresh one: it asks because it cannot go on with the old one.
        None => client.backend().allocate_producer_id().await,
    };
    request.answer(&match result {
        Ok(id) => InitProducerIdResponse {
            producer_id: id.0,
            producer_epoch: 0,
            ..Default::default()
        },
        Err(code) => InitProducerIdResponse {
            error_code: code.code(),
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        },
    })
}

/// The time-out is not looked at: without a transactional id it means nothing, and clients send anything.
fn refusal(asked: &InitProducerIdRequest<'_>) -> Option<ErrorCode> {
    match asked.transactional_id {
        Some("") => Some(ErrorCode::InvalidRequest),
        Some(_) => Some(ErrorCode::UnsupportedVersion),
        None if (asked.producer_id == -1) != (asked.producer_epoch == -1) => Some(ErrorCode::InvalidRequest),
        None => None,
    }
}
