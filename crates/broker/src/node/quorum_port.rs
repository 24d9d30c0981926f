//! The port to the active controller, carried out over gRPC: [`Controllers`] on a [`ControllerClient`].

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use klamm_controller::{ControllerClient, SubmitError};
use klamm_schema::id_bytes;
use klamm_schema::requests::ControllerReply;
use klamm_schema::requests::controller_request::Request;
use klamm_types::ErrorCode;
use tokio::time::Instant;

use crate::backend::RequestError;
use crate::controllers::{Controllers, Decided};

/// The pause before an outcome that nobody knows is asked for again.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

pub(crate) struct QuorumPort(pub ControllerClient);

impl Controllers for QuorumPort {
    fn submit(&self, request: Request, timeout: Duration) -> BoxFuture<'static, Result<Decided, RequestError>> {
        let client = self.0.clone();
        let mut request = repeatable(request);
        async move {
            let until = Instant::now() + timeout;
            loop {
                let left = until.saturating_duration_since(Instant::now());
                let reply = client
                    .submit(request.clone(), left)
                    .await
                    .map_err(|error| refused(&error))?;
                match decided(reply) {
                    // Unknown whether it happened.
                    Err(error) if error.code == ErrorCode::RequestTimedOut && Instant::now() + RETRY_PAUSE < until => {
                        tokio::time::sleep(RETRY_PAUSE).await;
                        request.tell_again();
                    }
                    other => return other,
                }
            }
        }
        .boxed()
    }
}

/// What may be repeated without being told that it cannot be done twice: topics are created under ids of this request's
/// own, by which the controller knows them again.
fn repeatable(mut request: Request) -> Request {
    if let Request::CreateTopics(creation) = &mut request {
        for topic in &mut creation.topics {
            topic.topic_id = id_bytes(&rand::random());
        }
    }
    request
}

fn decided(reply: ControllerReply) -> Result<Decided, RequestError> {
    let code = i16::try_from(reply.error_code).ok().and_then(ErrorCode::from_code);
    let code = code.unwrap_or(ErrorCode::UnknownServerError);
    if code.is_error() {
        // Only the controllers among themselves speak of who decides; to clients it is a matter of time.
        let code = if code == ErrorCode::NotController {
            ErrorCode::RequestTimedOut
        } else {
            code
        };
        return Err(RequestError {
            code,
            message: reply.error_message,
        });
    }
    match reply.reply {
        Some(inner) => Ok(Decided {
            reply: inner,
            applied_index: reply.applied_index,
        }),
        None => Err(RequestError {
            code: ErrorCode::RequestTimedOut,
            message: "the controller's reply was empty".into(),
        }),
    }
}

fn refused(error: &SubmitError) -> RequestError {
    let code = match error {
        SubmitError::Deadline { .. } => ErrorCode::RequestTimedOut,
        SubmitError::OtherCluster(_) => ErrorCode::InconsistentClusterId,
        SubmitError::Refused(_) => ErrorCode::ClusterAuthorizationFailed,
    };
    RequestError {
        code,
        message: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use klamm_schema::requests::{CreatableTopic, CreateTopicsRequest};

    use super::*;

    #[test]
    fn every_topic_of_a_creation_has_an_id_of_its_own() {
        let creation = CreateTopicsRequest {
            topics: vec![CreatableTopic::default(); 2],
            validate_only: false,
        };
        let Request::CreateTopics(creation) = repeatable(Request::CreateTopics(creation)) else {
            panic!("it stays a creation");
        };
        let ids: Vec<&[u8]> = creation.topics.iter().map(|topic| &*topic.topic_id).collect();
        assert!(ids[0] != ids[1] && ids.iter().all(|id| id.len() == 16), "{ids:?}");
    }
}
