//! What the APIs have in common that only the active controller can answer. Clients may ask any broker.

use std::time::Duration;

use klamm_broker::backend::RequestError;
use klamm_broker::schema::requests::{controller_reply, controller_request};
use klamm_types::ErrorCode;

use crate::context::Client;

/// The most that a client may make a request wait.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// The time that the client gives. Without any, nothing is begun: the answer would be "out of time" anyway, and this
/// way it is known that nothing happened.
pub(crate) fn timeout(timeout_ms: i32) -> Result<Duration, RequestError> {
    match u64::try_from(timeout_ms) {
        Ok(ms) if ms > 0 => Ok(Duration::from_millis(ms).min(WAIT_MAX)),
        _ => Err(RequestError {
            code: ErrorCode::RequestTimedOut,
            message: "the request allows no time, nothing was done".to_owned(),
        }),
    }
}

pub(crate) async fn submit(
    client: &Client,
    request: controller_request::Request,
    timeout: Duration,
) -> Result<controller_reply::Reply, RequestError> {
    match client.backend().submit(request, timeout).await {
        // Clients take every broker for the controller; to them this can only mean "not now".
        Err(error) if error.code == ErrorCode::NotController => Err(RequestError {
            code: ErrorCode::RequestTimedOut,
            message: "no controller has answered".to_owned(),
        }),
        result => result,
    }
}

/// A reply of another kind than the request: a fault of ours that no retry mends.
pub(crate) fn wrong_reply() -> RequestError {
    RequestError {
        code: ErrorCode::UnknownServerError,
        message: "the controller answered something else".to_owned(),
    }
}
