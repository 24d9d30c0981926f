//! JoinGroup (11): enters a classic group, and waits for the generation that follows.

use klamm_broker::group::call::{Join, MemberIdRule, SkipAssignment};
use klamm_broker::group::reply::Joined;
use klamm_broker::group::{Call, Reply};
use klamm_types::ErrorCode;
use klamm_wire::join_group_request::JoinGroupRequest;
use klamm_wire::join_group_response::{JoinGroupResponse, JoinGroupResponseMember};

use super::coordinator::{self, owned};
use crate::context::Client;
use crate::net::request::{Answer, Request};

const REBALANCE_TIMEOUT_FROM: i16 = 1;
const MEMBER_ID_REQUIRED_FROM: i16 = 4;
const NULL_PROTOCOL_FROM: i16 = 7;
const SKIP_ASSIGNMENT_FROM: i16 = 9;

pub(crate) async fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: JoinGroupRequest<'_> = request.decode(&body)?;
    let call = Call::Join(Box::new(join(client, request, &asked)));
    let joined = match coordinator::call(client, call).await {
        Ok(Reply::Join(joined)) => *joined,
        Ok(_) => failed(coordinator::wrong_reply()),
        Err(code) => failed(code),
    };
    let protocol = joined.protocol.as_deref();
    let members = joined.members.iter().map(|member| JoinGroupResponseMember {
        member_id: &member.member,
        group_instance_id: member.instance.as_deref(),
        metadata: member.metadata.clone(),
    });
    request.answer(&JoinGroupResponse {
        error_code: joined.error.code(),
        generation_id: joined.generation,
        protocol_type: joined.protocol_type.as_deref(),
        protocol_name: if request.version >= NULL_PROTOCOL_FROM {
            protocol
        } else {
            Some(protocol.unwrap_or(""))
        },
        leader: &joined.leader,
        skip_assignment: joined.skip_assignment,
        member_id: &joined.member,
        members: members.collect(),
        ..Default::default()
    })
}

fn join(client: &Client, request: &Request, asked: &JoinGroupRequest<'_>) -> Join {
    let protocols = asked.protocols.iter();
    Join {
        group: asked.group_id.to_owned(),
        member: asked.member_id.to_owned(),
        instance: owned(asked.group_instance_id),
        client: coordinator::caller(client, request),
        session_timeout_ms: asked.session_timeout_ms,
        rebalance_timeout_ms: if request.version >= REBALANCE_TIMEOUT_FROM {
            asked.rebalance_timeout_ms
        } else {
            asked.session_timeout_ms
        },
        protocol_type: asked.protocol_type.to_owned(),
        protocols: protocols
            .map(|protocol| (protocol.name.to_owned(), protocol.metadata.clone()))
            .collect(),
        reason: owned(asked.reason),
        member_id_rule: if request.version >= MEMBER_ID_REQUIRED_FROM {
            MemberIdRule::Required
        } else {
            MemberIdRule::Given
        },
        skip_assignment: if request.version >= SKIP_ASSIGNMENT_FROM {
            SkipAssignment::Supported
        } else {
            SkipAssignment::Unsupported
        },
    }
}

/// What no coordinator has answered names no member.
fn failed(error: ErrorCode) -> Joined {
    Joined {
        error,
        generation: -1,
        protocol_type: None,
        protocol: None,
        leader: String::new(),
        skip_assignment: false,
        member: String::new(),
        members: Vec::new(),
    }
}
