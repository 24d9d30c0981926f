//! A broker's session with the active controller: heartbeats up, the committed index and the fence down.

use std::time::Duration;

use klamm_proto::controller::v1::SessionMessage;
use klamm_schema::requests::session_request::Request;
use klamm_schema::requests::{SessionGoodbye, SessionHeartbeat, SessionOpen, SessionReply, SessionRequest};
use klamm_types::{ErrorCode, NodeId};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::ControllerClient;
use super::submit::refuses;

/// Messages that may wait for the stream.
const QUEUE_MAX: usize = 16;
/// How long one controller may take to answer the opening.
const OPEN_TIMEOUT: Duration = Duration::from_millis(500);
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// Without a word from the controller for so long, the session is over: the controller is paused or cut off. Shorter
/// than a session time-out, so that another controller is found before this broker is fenced.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// How long a goodbye waits to be heard.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);

/// Why no session could be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    #[error("no active controller opened a session in time; the last said: {last}")]
    Deadline { last: String },
    /// STALE_BROKER_EPOCH and BROKER_ID_NOT_REGISTERED: register again.
    #[error("the controller refuses the session: {code}, {message}")]
    Refused { code: ErrorCode, message: String },
    #[error("the controllers refuse this node: {0}")]
    Stranger(String),
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionEnd {
    /// The controller said why: NOT_CONTROLLER when it is active no longer.
    #[error("the controller ended the session: {code}, {message}")]
    ByController { code: ErrorCode, message: String },
    #[error("the session's stream ended: {0}")]
    Stream(String),
}

/// An open session. Dropped without a goodbye, it looks like the death of this process.
pub struct Session {
    client: ControllerClient,
    controller: NodeId,
    heard: Instant,
    requests: mpsc::Sender<SessionRequest>,
    replies: Streaming<SessionMessage>,
    first: Option<SessionReply>,
}

impl ControllerClient {
    /// Opens a session with the active controller, looking for it until `deadline` is over. The controller's answer to
    /// the opening is the first that [`Session::next`] returns.
    pub async fn open_session(&self, open: SessionOpen, deadline: Duration) -> Result<Session, SessionError> {
        let until = Instant::now() + deadline;
        let mut last = String::from("no controllers are known");
        loop {
            for node in self.candidates() {
                let limit = until.min(Instant::now() + OPEN_TIMEOUT);
                match timeout_at(limit, self.open_with(node, open.clone())).await {
                    Ok(Ok(session)) => {
                        self.heard_active(node.0, "");
                        return Ok(session);
                    }
                    Ok(Err(Failure::Final(error))) => return Err(error),
                    Ok(Err(Failure::Next(text))) => last = format!("node {node}: {text}"),
                    Err(_) => {
                        self.not_active(node);
                        last = format!("node {node}: no answer");
                    }
                }
                if Instant::now() >= until {
                    return Err(SessionError::Deadline { last });
                }
            }
            sleep(RETRY_PAUSE).await;
            if Instant::now() >= until {
                return Err(SessionError::Deadline { last });
            }
        }
    }

    async fn open_with(&self, node: NodeId, open: SessionOpen) -> Result<Session, Failure> {
        let mut client = self.connect(node).await.map_err(|text| {
            self.not_active(node);
            Failure::Next(text)
        })?;
        let (requests, queue) = mpsc::channel(QUEUE_MAX);
        let request = SessionRequest {
            request: Some(Request::Open(open)),
        };
        // The queue is new, so there is room.
        requests
            .try_send(request)
            .map_err(|error| Failure::Next(error.to_string()))?;
        let status = |status: tonic::Status| match refuses(status.code()) {
            true => Failure::Final(SessionError::Stranger(status.message().to_owned())),
            false => {
                self.not_active(node);
                Failure::Next(status.to_string())
            }
        };
        let mut replies = client
            .session(ReceiverStream::new(queue))
            .await
            .map_err(status)?
            .into_inner();
        let first = replies.message().await.map_err(status)?;
        let Some(first) = first else {
            return Err(Failure::Next("it ended the stream".into()));
        };
        let reply = first.reply.unwrap_or_default();
        match ErrorCode::from_code(reply.error_code as i16).unwrap_or(ErrorCode::UnknownServerError) {
            ErrorCode::None => {
                let (client, heard) = (self.clone(), Instant::now());
                Ok(Session {
                    client,
                    controller: node,
                    heard,
                    requests,
                    replies,
                    first: Some(reply),
                })
            }
            ErrorCode::NotController => {
                self.not_active(node);
                self.heard_active(first.controller, &first.controller_address);
                Err(Failure::Next("it is not the active controller".into()))
            }
            code => Err(Failure::Final(SessionError::Refused {
                code,
                message: reply.error_message,
            })),
        }
    }
}

enum Failure {
    Final(SessionError),
    Next(String),
}

impl Session {
    /// The controller that the session is with.
    pub fn controller(&self) -> NodeId {
        self.controller
    }

    /// Sends a sign of life. Waits while the stream is clogged, so use it with a time limit.
    pub async fn heartbeat(&self, heartbeat: SessionHeartbeat) -> Result<(), SessionEnd> {
        let request = SessionRequest {
            request: Some(Request::Heartbeat(heartbeat)),
        };
        let ended = |_| SessionEnd::Stream("its sending side is closed".into());
        self.requests.send(request).await.map_err(ended)
    }

    /// The controller's next message, or how the session ended. The controller answers each heartbeat; one that has
    /// said nothing for a second counts as gone. May be dropped while waiting.
    pub async fn next(&mut self) -> Result<SessionReply, SessionEnd> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        let Ok(message) = timeout_at(self.heard + SILENCE_MAX, self.replies.message()).await else {
            self.client.not_active(self.controller);
            return Err(SessionEnd::Stream(format!(
                "the controller was silent for {SILENCE_MAX:?}"
            )));
        };
        match message {
            Ok(Some(message)) => {
                self.heard = Instant::now();
                let reply = message.reply.unwrap_or_default();
                match ErrorCode::from_code(reply.error_code as i16).unwrap_or(ErrorCode::UnknownServerError) {
                    ErrorCode::None => Ok(reply),
                    code => Err(SessionEnd::ByController {
                        code,
                        message: reply.error_message,
                    }),
                }
            }
            Ok(None) => Err(SessionEnd::Stream("the controller closed it".into())),
            Err(status) => Err(SessionEnd::Stream(status.to_string())),
        }
    }

    /// Says that this broker has closed its logs and will not serve again; waits until the controller has heard it.
    pub async fn goodbye(mut self) {
        let request = SessionRequest {
            request: Some(Request::Goodbye(SessionGoodbye {})),
        };
        let said = async {
            if self.requests.send(request).await.is_ok() {
                // The controller ends the stream in answer to a goodbye.
                while let Ok(Some(_)) = self.replies.message().await {}
            }
        };
        if timeout(GOODBYE_TIMEOUT, said).await.is_err() {
            tracing::info!(controller = %self.controller, "the controller did not hear this broker's goodbye in time");
        }
    }
}
