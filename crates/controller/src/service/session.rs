//! One broker's session, as the controller sees it: messages in, replies out, and how the stream ended.
//!
//! How it ended matters more than that it did: the end of the broker's side of the connection is what a dying process
//! leaves behind, a stream error proves nothing.

use std::sync::Arc;
use std::time::Duration;

use klamm_metadata::core::{Closed, Heartbeat, Hello, SessionId};
use klamm_proto::controller::v1::SessionMessage;
use klamm_schema::requests::session_request::Request;
use klamm_schema::requests::{SessionOpen, SessionReply, SessionRequest};
use klamm_types::{BrokerEpoch, ClusterId, ErrorCode, Incarnation, NodeId};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{check_cluster, controller};
use crate::network::channel::{StreamEnd, stream_end};
use crate::node::Node;
use crate::shell::Input;

/// Replies that may wait for the broker to read them.
const QUEUE_MAX: usize = 16;
/// How long a stream may be open without saying whose it is.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);

type Replies = ReceiverStream<Result<SessionMessage, Status>>;

pub async fn serve(node: Arc<Node>, mut requests: Streaming<SessionRequest>) -> Result<Replies, Status> {
    let first = tokio::time::timeout(OPEN_TIMEOUT, requests.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("the session was not opened in time"))??;
    let Some(Request::Open(open)) = first.and_then(|first| first.request) else {
        return Err(Status::invalid_argument("a session begins with an opening"));
    };
    let own = node.config.identity.cluster_id();
    check_cluster(own, &open.cluster_id)?;
    let (replies, stream) = mpsc::channel(QUEUE_MAX);
    if node.acting.borrow().is_none() {
        let (controller, controller_address) = controller(node.known_active());
        let message = SessionMessage {
            controller,
            controller_address,
            reply: Some(SessionReply {
                error_code: i32::from(ErrorCode::NotController.code()),
                error_message: "this node is not the active controller".into(),
                ..SessionReply::default()
            }),
        };
        // The queue is new, so there is room.
        drop(replies.try_send(Ok(message)));
        return Ok(ReceiverStream::new(stream));
    }
    let hello = hello(&open, own)?;
    tokio::spawn(run(node, requests, hello, replies));
    Ok(ReceiverStream::new(stream))
}

fn hello(open: &SessionOpen, own: Option<ClusterId>) -> Result<Hello, Status> {
    let malformed = |what| Status::invalid_argument(format!("the session's {what} is malformed"));
    let cluster = ClusterId::from_slice(&open.cluster_id)
        .or(own)
        .ok_or_else(|| malformed("cluster id"))?;
    Ok(Hello {
        cluster,
        broker: NodeId(open.broker),
        broker_epoch: BrokerEpoch(open.broker_epoch),
        incarnation: Incarnation::from_slice(&open.incarnation).ok_or_else(|| malformed("incarnation"))?,
        applied_index: open.applied_index,
    })
}

/// Reads the stream to its end. The queue between shell and stream ends it from the controller's side.
async fn run(
    node: Arc<Node>,
    mut requests: Streaming<SessionRequest>,
    hello: Hello,
    replies: mpsc::Sender<Result<SessionMessage, Status>>,
) {
    let session = SessionId(node.number());
    let (out, mut messages) = mpsc::channel::<SessionMessage>(QUEUE_MAX);
    if node
        .inputs
        .send(Input::SessionOpened { session, hello, out })
        .await
        .is_err()
    {
        return;
    }
    let how = loop {
        tokio::select! {
            message = messages.recv() => match message {
                // A broker that does not read misses a reply; the next one says all again.
                Some(message) => drop(replies.try_send(Ok(message))),
                // Ended by the controller.
                None => return,
            },
            request = requests.message() => {
                let heartbeat = match next(request) {
                    Ok(heartbeat) => heartbeat,
                    Err(how) => break how,
                };
                if node.inputs.send(Input::SessionHeartbeat { session, heartbeat }).await.is_err() {
                    return;
                }
            }
        }
    };
    tracing::debug!(broker = %hello.broker, ?how, "a session ended");
    // Nobody listens when the node stops.
    drop(node.inputs.send(Input::SessionClosed { session, how }).await);
}

/// The next heartbeat, or how the stream ended.
fn next(request: Result<Option<SessionRequest>, Status>) -> Result<Heartbeat, Closed> {
    match request {
        Ok(Some(SessionRequest {
            request: Some(Request::Heartbeat(heartbeat)),
        })) => Ok(Heartbeat {
            applied_index: heartbeat.applied_index,
            ready: heartbeat.ready,
        }),
        Ok(Some(SessionRequest {
            request: Some(Request::Goodbye(_)),
        })) => Err(Closed::Goodbye),
        // A second opening, or a message of a newer program: the broker is there, the stream is not understood.
        Ok(Some(_)) => Err(Closed::StreamError),
        Ok(None) => Err(Closed::EndOfFile),
        Err(status) => match stream_end(&status) {
            StreamEnd::Connection => Err(Closed::EndOfFile),
            StreamEnd::Stream => Err(Closed::StreamError),
        },
    }
}
