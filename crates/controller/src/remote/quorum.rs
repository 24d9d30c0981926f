//! Describing and changing the quorum from any node.

use std::time::Duration;

use klamm_proto::quorum::v1 as wire;
use klamm_types::{ErrorCode, NodeId, Uuid};
use tokio::time::{Instant, sleep, timeout_at};

use super::ControllerClient;
use crate::controller::VoterChangeError;
use crate::network::peers::client;
use crate::quorum::describe::{QuorumDescription, from_wire};
use crate::quorum::voters::{VoterAction, VoterChange};

const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// How long one controller may take before the next is asked for its description.
const ASK_TIMEOUT: Duration = Duration::from_millis(500);

/// No controller has answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no controller answered in time; the last said: {last}")]
pub struct Unanswered {
    pub last: String,
}

impl ControllerClient {
    /// The quorum as its leader sees it; if there is none, as any controller sees it when time is up.
    pub async fn describe_quorum(&self, deadline: Duration) -> Result<QuorumDescription, Unanswered> {
        let until = Instant::now() + deadline;
        let mut last = String::from("no controllers are known");
        let mut partial = None;
        while Instant::now() < until {
            for node in self.candidates() {
                let Some(channel) = self.channel(node) else { continue };
                let request = wire::DescribeRequest {
                    cluster_id: self.identity().cluster_bytes(),
                };
                let limit = until.min(Instant::now() + ASK_TIMEOUT);
                match timeout_at(limit, client(channel).describe(request)).await {
                    Ok(Ok(reply)) => {
                        let reply = reply.into_inner();
                        let leader = |state: &&wire::MemberState| {
                            state
                                .member
                                .as_ref()
                                .is_some_and(|member| member.node_id == reply.leader_node_id)
                        };
                        let leader = reply
                            .members
                            .iter()
                            .find(leader)
                            .and_then(|state| state.member.as_ref());
                        self.heard_active(reply.leader_node_id, leader.map_or("", |member| &member.address));
                        let by_leader = reply.leader_node_id == node.0;
                        match from_wire(reply) {
                            Ok(description) if by_leader => return Ok(description),
                            Ok(description) => partial = Some(description),
                            Err(error) => last = format!("node {node}: {error}"),
                        }
                    }
                    Ok(Err(status)) => last = format!("node {node}: {status}"),
                    Err(_) => last = format!("node {node}: no answer"),
                }
            }
            sleep(RETRY_PAUSE).await;
        }
        partial.ok_or(Unanswered { last })
    }

    /// Adds or removes a voter, through whichever controller is active.
    pub async fn change_voters(&self, change: VoterChange, deadline: Duration) -> Result<(), VoterChangeError> {
        let until = Instant::now() + deadline;
        let mut last = String::from("no controllers are known");
        while Instant::now() < until {
            for node in self.candidates() {
                let Some(channel) = self.channel(node) else { continue };
                let request = change.to_wire(self.identity().cluster_bytes());
                match timeout_at(until, client(channel).change_voters(request)).await {
                    Ok(Ok(reply)) => match outcome(reply.into_inner()) {
                        Err(error) if error.code == ErrorCode::NotController => last = error.message,
                        outcome => return outcome,
                    },
                    Ok(Err(status)) => last = format!("node {node}: {status}"),
                    Err(_) => last = format!("node {node}: no answer"),
                }
            }
            sleep(RETRY_PAUSE).await;
        }
        Err(VoterChangeError {
            code: ErrorCode::RequestTimedOut,
            message: last,
        })
    }

    /// Tells the active controller that a broker seems to have died; it looks for itself. Worth one attempt only.
    pub async fn suspect(&self, broker: NodeId, broker_epoch: klamm_types::BrokerEpoch) {
        let Some(mut client) = self.candidates().first().and_then(|node| self.client(*node)) else {
            return;
        };
        let request = klamm_proto::controller::v1::SuspectBrokerRequest {
            cluster_id: self.identity().cluster_bytes(),
            broker: broker.0,
            broker_epoch: broker_epoch.0,
        };
        // The controller has other ways to notice.
        drop(tokio::time::timeout(ASK_TIMEOUT, client.suspect(request)).await);
    }
}

impl VoterChange {
    pub(crate) fn to_wire(self, cluster_id: bytes::Bytes) -> wire::ChangeVotersRequest {
        let store = |id: Uuid| bytes::Bytes::copy_from_slice(&id.0);
        wire::ChangeVotersRequest {
            cluster_id,
            node_id: self.node_id.0,
            store_id: self.store_id.map(store).unwrap_or_default(),
            remove: self.action == VoterAction::Remove,
            hops: 0,
        }
    }
}

/// The reply as a result.
pub(crate) fn outcome(reply: wire::ChangeVotersReply) -> Result<(), VoterChangeError> {
    match ErrorCode::from_code(reply.error_code as i16).unwrap_or(ErrorCode::UnknownServerError) {
        ErrorCode::None => Ok(()),
        code => Err(VoterChangeError {
            code,
            message: reply.message,
        }),
    }
}
