//! Heartbeat (12): keeps a member of a classic group alive, and tells it of rebalances.

use klamm_broker::group::call::Heartbeat;
use klamm_broker::group::{Call, Reply};
use klamm_types::ErrorCode;
use klamm_wire::heartbeat_request::HeartbeatRequest;
use klamm_wire::heartbeat_response::HeartbeatResponse;

use super::coordinator::{self, owned};
use crate::context::Client;
use crate::net::request::{Answer, Request};

pub(crate) async fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: HeartbeatRequest<'_> = request.decode(&body)?;
    let call = Call::Heartbeat(Heartbeat {
        group: asked.group_id.to_owned(),
        generation: asked.generation_id,
        member: asked.member_id.to_owned(),
        instance: owned(asked.group_instance_id),
    });
    let error = match coordinator::call(client, call).await {
        Ok(Reply::Heartbeat(error)) => error,
        Ok(_) => coordinator::wrong_reply(),
        // Nobody loses membership because the coordinator has just moved: sessions begin when it has loaded.
        Err(ErrorCode::CoordinatorLoadInProgress) => ErrorCode::None,
        Err(code) => code,
    };
    request.answer(&HeartbeatResponse {
        error_code: error.code(),
        ..Default::default()
    })
}
