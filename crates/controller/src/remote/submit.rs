//! Submitting a request: to the active controller, wherever that is by now, until it is answered or time is up.

use std::time::Duration;

use klamm_proto::controller::v1::SubmitRequest;
use klamm_schema::requests::controller_request::Request;
use klamm_schema::requests::{ControllerReply, ControllerRequest};
use klamm_types::{ErrorCode, NodeId};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Code;

use super::ControllerClient;
use crate::identity::OtherCluster;
use crate::spans;

/// The pause after every controller was asked in vain.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// Why a request has no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// It may have been carried out; every request may be repeated.
    #[error("no controller answered in time; the last said: {last}")]
    Deadline { last: String },
    #[error("the controllers belong to another cluster")]
    OtherCluster(#[from] OtherCluster),
    #[error("the controllers refuse this node: {0}")]
    Refused(String),
}

impl SubmitError {
    pub fn is_retriable(&self) -> bool {
        matches!(self, SubmitError::Deadline { .. })
    }

    pub fn may_have_had_effect(&self) -> bool {
        matches!(self, SubmitError::Deadline { .. })
    }
}

impl ControllerClient {
    /// The active controller's reply. One of REQUEST_TIMED_OUT means that the outcome is unknown; the request may be
    /// repeated. A request whose connection broke is repeated here.
    pub async fn submit(&self, mut request: Request, deadline: Duration) -> Result<ControllerReply, SubmitError> {
        let until = Instant::now() + deadline;
        let mut last = String::from("no controllers are known");
        loop {
            for node in self.candidates() {
                let Some(mut client) = self.client(node) else { continue };
                let left = until.saturating_duration_since(Instant::now());
                let message = SubmitRequest {
                    cluster_id: self.identity().cluster_bytes(),
                    node_id: self.identity().node_id().0,
                    hops: 0,
                    deadline_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
                    request: Some(ControllerRequest {
                        request: Some(request.clone()),
                    }),
                };
                let mut message = tonic::Request::new(message);
                if let Some(parent) = klamm_trace::current() {
                    spans::send(message.metadata_mut(), parent.context());
                }
                let answer = tokio::select! {
                    answer = timeout_at(until, client.submit(message)) => match answer {
                        Err(_) => return Err(SubmitError::Deadline { last }),
                        Ok(answer) => answer,
                    },
                    // The one that was asked may be paused, and its answer may never come.
                    () = self.superseded(node) => Err(tonic::Status::aborted("another controller took over")),
                };
                match answer.map(tonic::Response::into_inner) {
                    Ok(answer) => {
                        self.identity().agree_bytes(&answer.cluster_id)?;
                        let reply = answer.reply.unwrap_or_default();
                        if reply.error_code != i32::from(ErrorCode::NotController.code()) {
                            self.heard_active(answer.controller, &answer.controller_address);
                            return Ok(reply);
                        }
                        last = format!("node {node}: it is not the active controller");
                        self.not_active(node);
                        self.heard_active(answer.controller, &answer.controller_address);
                    }
                    Err(status) if refuses(status.code()) => {
                        return Err(SubmitError::Refused(status.message().to_owned()));
                    }
                    Err(status) => {
                        last = format!("node {node}: {status}");
                        self.not_active(node);
                        request.tell_again();
                    }
                }
            }
            if Instant::now() + RETRY_PAUSE >= until {
                return Err(SubmitError::Deadline { last });
            }
            sleep(RETRY_PAUSE).await;
        }
    }
}

impl ControllerClient {
    /// Waits until another becomes the active controller, as far as is heard, if `node` is held for it now.
    async fn superseded(&self, node: NodeId) {
        let mut active = self.watch_active();
        if *active.borrow_and_update() != Some(node) {
            std::future::pending::<()>().await;
        }
        loop {
            if active.changed().await.is_err() {
                // Cannot happen while `self` holds the sender.
                std::future::pending::<()>().await;
            }
            if active.borrow().is_some_and(|active| active != node) {
                return;
            }
        }
    }
}

/// A stranger is refused for good, and so is a malformed message.
pub(super) fn refuses(code: Code) -> bool {
    matches!(code, Code::PermissionDenied | Code::InvalidArgument)
}
