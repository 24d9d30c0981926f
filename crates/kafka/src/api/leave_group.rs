//! LeaveGroup (13): takes members out of a classic group; one member before version 3, several from then on.

use klamm_broker::group::call::{Leave, LeavingMember};
use klamm_broker::group::reply::Left;
use klamm_broker::group::{Call, Reply};
use klamm_types::ErrorCode;
use klamm_wire::leave_group_request::LeaveGroupRequest;
use klamm_wire::leave_group_response::{LeaveGroupResponse, MemberResponse};

use super::coordinator::{self, owned};
use crate::context::Client;
use crate::net::request::{Answer, Request};

const MEMBERS_FROM: i16 = 3;

pub(crate) async fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: LeaveGroupRequest<'_> = request.decode(&body)?;
    let members = if request.version >= MEMBERS_FROM {
        let member = |member: &klamm_wire::leave_group_request::MemberIdentity<'_>| LeavingMember {
            member: member.member_id.to_owned(),
            instance: owned(member.group_instance_id),
            reason: owned(member.reason),
        };
        asked.members.iter().map(member).collect()
    } else {
        vec![LeavingMember {
            member: asked.member_id.to_owned(),
            instance: None,
            reason: None,
        }]
    };
    let call = Call::Leave(Leave {
        group: asked.group_id.to_owned(),
        members,
    });
    let left = match coordinator::call(client, call).await {
        Ok(Reply::Leave(left)) => left,
        Ok(_) => failed(coordinator::wrong_reply()),
        Err(code) => failed(code),
    };
    if request.version < MEMBERS_FROM {
        let one = left.members.first().map_or(ErrorCode::None, |member| member.error);
        let error = if left.error.is_error() { left.error } else { one };
        return request.answer(&LeaveGroupResponse {
            error_code: error.code(),
            ..Default::default()
        });
    }
    let members = left.members.iter().map(|member| MemberResponse {
        member_id: &member.member,
        group_instance_id: member.instance.as_deref(),
        error_code: member.error.code(),
    });
    request.answer(&LeaveGroupResponse {
        error_code: left.error.code(),
        members: members.collect(),
        ..Default::default()
    })
}

fn failed(error: ErrorCode) -> Left {
    Left {
        error,
        members: Vec::new(),
    }
}
