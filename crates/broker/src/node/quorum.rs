//! The controller quorum in the front end's words: described, and its voters changed.

use std::time::Duration;

use klamm_controller::{ControllerClient, MemberDescription, QuorumDescription as Described, VoterAction};
use klamm_types::{DirectoryId, ErrorCode, Offset};

use crate::backend::{Endpoint, QuorumDescription, QuorumNode, QuorumReplica, RequestError, VoterChange};

/// The name that Kafka's tools expect of a controller's listener.
const LISTENER: &str = "CONTROLLER";
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(2);
const REMOVE_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) async fn describe(client: &ControllerClient) -> Result<QuorumDescription, RequestError> {
    let described = client
        .describe_quorum(DESCRIBE_TIMEOUT)
        .await
        .map_err(|error| RequestError {
            code: ErrorCode::CoordinatorNotAvailable,
            message: error.to_string(),
        })?;
    Ok(convert(&described))
}

pub(crate) async fn change_voters(client: &ControllerClient, change: VoterChange) -> Result<(), RequestError> {
    let (node_id, directory, action, timeout) = match change {
        VoterChange::Add {
            node,
            directory,
            timeout,
            ..
        } => (node, directory, VoterAction::Add, timeout),
        VoterChange::Remove { node, directory } => (node, directory, VoterAction::Remove, REMOVE_TIMEOUT),
    };
    let store_id = (directory != DirectoryId::ZERO).then_some(directory.0);
    let change = klamm_controller::VoterChange {
        node_id,
        store_id,
        action,
    };
    let changed = client.change_voters(change, timeout).await;
    changed.map_err(|error| RequestError {
        code: error.code,
        message: error.message,
    })
}

fn convert(described: &Described) -> QuorumDescription {
    let replica = |member: &&MemberDescription| QuorumReplica {
        node: member.node_id,
        directory: DirectoryId(member.store_id),
        log_end_offset: Offset(member.log_end_offset),
        last_fetch: member.last_fetch,
        last_caught_up: member.last_caught_up,
    };
    let node = |member: &MemberDescription| {
        let (host, port) = member.address.rsplit_once(':').unwrap_or((&member.address, "0"));
        let endpoint = Endpoint {
            name: LISTENER.to_owned(),
            host: host.to_owned(),
            port: port.parse().unwrap_or(0),
        };
        QuorumNode {
            node: member.node_id,
            listeners: vec![endpoint],
        }
    };
    let members = &described.members;
    QuorumDescription {
        leader: described.leader,
        leader_epoch: i32::try_from(described.leader_epoch).unwrap_or(i32::MAX),
        high_watermark: Offset(described.high_watermark),
        voters: members
            .iter()
            .filter(|member| member.is_voter)
            .map(|member| replica(&member))
            .collect(),
        observers: members
            .iter()
            .filter(|member| !member.is_voter)
            .map(|member| replica(&member))
            .collect(),
        nodes: members.iter().map(node).collect(),
    }
}
