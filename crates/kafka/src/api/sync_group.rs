//! SyncGroup (14): hands out the assignment of a generation, which the group's leader sends.

use klamm_broker::group::call::{Sync, SyncProtocol};
use klamm_broker::group::reply::Synced;
use klamm_broker::group::{Call, Reply};
use klamm_types::ErrorCode;
use klamm_wire::sync_group_request::SyncGroupRequest;
use klamm_wire::sync_group_response::SyncGroupResponse;

use super::coordinator::{self, owned};
use crate::context::Client;
use crate::net::request::{Answer, Request};

const PROTOCOL_FROM: i16 = 5;

pub(crate) async fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: SyncGroupRequest<'_> = request.decode(&body)?;
    let protocol = (request.version >= PROTOCOL_FROM).then(|| SyncProtocol {
        protocol_type: owned(asked.protocol_type),
        name: owned(asked.protocol_name),
    });
    let assignments = asked.assignments.iter();
    let call = Call::Sync(Box::new(Sync {
        group: asked.group_id.to_owned(),
        generation: asked.generation_id,
        member: asked.member_id.to_owned(),
        instance: owned(asked.group_instance_id),
        protocol,
        assignments: assignments
            .map(|assignment| (assignment.member_id.to_owned(), assignment.assignment.clone()))
            .collect(),
    }));
    let synced = match coordinator::call(client, call).await {
        Ok(Reply::Sync(synced)) => synced,
        Ok(_) => failed(coordinator::wrong_reply()),
        Err(code) => failed(code),
    };
    request.answer(&SyncGroupResponse {
        error_code: synced.error.code(),
        protocol_type: synced.protocol_type.as_deref(),
        protocol_name: synced.protocol.as_deref(),
        assignment: synced.assignment,
        ..Default::default()
    })
}

fn failed(error: ErrorCode) -> Synced {
    Synced {
        error,
        protocol_type: None,
        protocol: None,
        assignment: Default::default(),
    }
}
