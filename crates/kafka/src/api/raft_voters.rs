//! AddRaftVoter (80) and RemoveRaftVoter (81): changes of the controller quorum, carried out by its leader wherever
//! the request arrives.

use std::time::Duration;

use klamm_broker::backend::{Endpoint, RequestError, VoterChange};
use klamm_types::{DirectoryId, ErrorCode, NodeId};
use klamm_wire::add_raft_voter_request::AddRaftVoterRequest;
use klamm_wire::add_raft_voter_response::AddRaftVoterResponse;
use klamm_wire::remove_raft_voter_request::RemoveRaftVoterRequest;
use klamm_wire::remove_raft_voter_response::RemoveRaftVoterResponse;

use crate::context::Client;
use crate::net::request::{Answer, Request};

pub(crate) async fn add(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: AddRaftVoterRequest<'_> = request.decode(&body)?;
    let listeners = asked.listeners.iter().map(|listener| Endpoint {
        name: listener.name.to_owned(),
        host: listener.host.to_owned(),
        port: listener.port,
    });
    // The answer comes when the change is committed, also if the client would have it earlier: it is then true.
    let change = VoterChange::Add {
        node: NodeId(asked.voter_id),
        directory: DirectoryId(asked.voter_directory_id),
        listeners: listeners.collect(),
        timeout: Duration::from_millis(u64::try_from(asked.timeout_ms).unwrap_or(0)),
    };
    let result = carry_out(client, asked.cluster_id, asked.voter_id, change).await;
    let (error_code, error_message) = parts(&result);
    request.answer(&AddRaftVoterResponse {
        error_code,
        error_message,
        ..Default::default()
    })
}

pub(crate) async fn remove(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: RemoveRaftVoterRequest<'_> = request.decode(&body)?;
    let change = VoterChange::Remove {
        node: NodeId(asked.voter_id),
        directory: DirectoryId(asked.voter_directory_id),
    };
    let result = carry_out(client, asked.cluster_id, asked.voter_id, change).await;
    let (error_code, error_message) = parts(&result);
    request.answer(&RemoveRaftVoterResponse {
        error_code,
        error_message,
        ..Default::default()
    })
}

async fn carry_out(
    client: &Client,
    cluster_id: Option<&str>,
    voter_id: i32,
    change: VoterChange,
) -> Result<(), RequestError> {
    let own = client.backend().cluster_id().to_string();
    if cluster_id.is_some_and(|named| named != own) {
        let message = format!("this cluster is {own}");
        return Err(RequestError {
            code: ErrorCode::InconsistentClusterId,
            message,
        });
    }
    if voter_id < 0 {
        let message = "a voter's id is 0 or more".to_owned();
        return Err(RequestError {
            code: ErrorCode::InvalidRequest,
            message,
        });
    }
    client.backend().change_voters(change).await
}

fn parts(result: &Result<(), RequestError>) -> (i16, Option<&str>) {
    match result {
        Ok(()) => (0, None),
        Err(error) => (error.code.code(), Some(&error.message)),
    }
}
