//! The service for brokers: requests are decided here if this node acts as the controller, else passed on.

use std::sync::Arc;
use std::time::Duration;

use klamm_metadata::core::RequestId;
use klamm_proto::controller::v1 as wire;
use klamm_proto::controller::v1::controller_client::ControllerClient as GrpcClient;
use klamm_proto::controller::v1::controller_server::Controller;
use klamm_schema::requests::controller_request::Request as Kind;
use klamm_schema::requests::{ControllerReply, SessionRequest};
use klamm_trace::{Context, Kind as SpanKind, Span};
use klamm_types::{BrokerEpoch, ErrorCode, NodeId};
use tokio::sync::oneshot;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{check_cluster, controller, follow, session};
use crate::network::channel::{self, MESSAGE_BYTES_MAX};
use crate::node::Node;
use crate::shell::{Input, not_controller};
use crate::spans;

/// A request is passed on once: from a controller that is not active to the one that it holds for active.
const HOPS_MAX: u32 = 1;
const DEADLINE_MAX: Duration = Duration::from_secs(60);
const DEADLINE_DEFAULT: Duration = Duration::from_secs(10);

pub struct BrokerService {
    node: Arc<Node>,
}

impl BrokerService {
    pub fn new(node: Arc<Node>) -> BrokerService {
        BrokerService { node }
    }

    fn reply(&self, reply: ControllerReply) -> Response<wire::SubmitReply> {
        let (controller, controller_address) = controller(self.node.known_active());
        Response::new(wire::SubmitReply {
            cluster_id: self.node.config.identity.cluster_bytes(),
            controller,
            controller_address,
            reply: Some(reply),
        })
    }

    /// A trace that came with a request goes on here.
    fn span(&self, from: Option<Context>, request: &Kind) -> Option<Span> {
        let mut span = self.node.config.tracer.continued(from?, "decide", SpanKind::Server)?;
        span.set("klamm.request", spans::request_name(request));
        Some(span)
    }

    /// The shell's reply, in time.
    async fn decide(
        &self,
        from: NodeId,
        request: Kind,
        limit: Duration,
        trace: Option<Context>,
    ) -> Result<ControllerReply, Status> {
        let id = RequestId(self.node.number());
        let (reply, answer) = oneshot::channel();
        let request = Box::new(request);
        let input = Input::Request {
            id,
            from,
            request,
            reply,
            trace,
        };
        let mut waiting = Waiting {
            node: self.node.clone(),
            id,
            answered: false,
        };
        let closed = || Status::unavailable("this controller is stopping");
        let asked = async {
            self.node.inputs.send(input).await.map_err(|_| closed())?;
            answer.await.map_err(|_| closed())
        };
        let result = tokio::time::timeout(limit, asked).await;
        waiting.answered = result.is_ok();
        match result {
            Ok(reply) => reply,
            Err(_) => Ok(ControllerReply {
                error_code: i32::from(ErrorCode::RequestTimedOut.code()),
                error_message: "not decided in time; it may still be carried out".into(),
                ..ControllerReply::default()
            }),
        }
    }

    async fn pass_on(
        &self,
        mut request: wire::SubmitRequest,
        limit: Duration,
        trace: Option<Context>,
    ) -> Result<wire::SubmitReply, Status> {
        let running = self
            .node
            .running()
            .ok_or_else(|| Status::unavailable("this node is in no quorum yet"))?;
        let nobody = || Status::unavailable("no controller is known to be active");
        let (raft_id, member) = running.leader().ok_or_else(nobody)?;
        if raft_id == running.raft_id {
            return Err(nobody());
        }
        request.hops += 1;
        let channel = channel::lazy(running.peers.address(&member)).map_err(|e| Status::unavailable(e.to_string()))?;
        let mut client = GrpcClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let mut request = Request::new(request);
        if let Some(context) = trace {
            spans::send(request.metadata_mut(), context);
        }
        match tokio::time::timeout(limit, client.submit(request)).await {
            Ok(answer) => answer.map(Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded(
                "the active controller did not answer in time",
            )),
        }
    }
}

/// Tells the shell when the caller of a request has gone away.
struct Waiting {
    node: Arc<Node>,
    id: RequestId,
    answered: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.answered {
            // With a full queue the reply is made in vain, which does no harm.
            drop(self.node.inputs.try_send(Input::RequestAbandoned { id: self.id }));
        }
    }
}

#[tonic::async_trait]
impl Controller for BrokerService {
    async fn submit(&self, request: Request<wire::SubmitRequest>) -> Result<Response<wire::SubmitReply>, Status> {
        let trace = spans::received(request.metadata());
        let request = request.into_inner();
        check_cluster(self.node.config.identity.cluster_id(), &request.cluster_id)?;
        let limit = match request.deadline_ms {
            0 => DEADLINE_DEFAULT,
            millis => Duration::from_millis(u64::from(millis)).min(DEADLINE_MAX),
        };
        if self.node.acting.borrow().is_some() {
            let kind = request.request.and_then(|request| request.request);
            let kind = kind.ok_or_else(|| Status::invalid_argument("the request is empty or of an unknown kind"))?;
            let mut span = self.span(trace, &kind);
            let context = span.as_ref().map(Span::context);
            let reply = self.decide(NodeId(request.node_id), kind, limit, context).await?;
            if let Some(span) = &mut span
                && reply.error_code != 0
            {
                span.fail(reply.error_message.clone());
            }
            return Ok(self.reply(reply));
        }
        if request.hops < HOPS_MAX && self.node.running().is_some_and(|running| running.leader().is_some()) {
            return self.pass_on(request, limit, trace).await.map(Response::new);
        }
        Ok(self.reply(not_controller()))
    }

    type SessionStream = ReceiverStream<Result<wire::SessionMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        session::serve(self.node.clone(), request.into_inner())
            .await
            .map(Response::new)
    }

    async fn suspect(
        &self,
        request: Request<wire::SuspectBrokerRequest>,
    ) -> Result<Response<wire::SuspectBrokerReply>, Status> {
        let request = request.into_inner();
        check_cluster(self.node.config.identity.cluster_id(), &request.cluster_id)?;
        if self.node.acting.borrow().is_none() {
            return Err(Status::failed_precondition("this node is not the active controller"));
        }
        let (broker, broker_epoch) = (NodeId(request.broker), BrokerEpoch(request.broker_epoch));
        // A hint is worth nothing once it had to wait.
        drop(self.node.inputs.try_send(Input::FollowerHint { broker, broker_epoch }));
        Ok(Response::new(wire::SuspectBrokerReply {}))
    }

    type FollowMetadataStream = ReceiverStream<Result<wire::MetadataUpdate, Status>>;

    async fn follow_metadata(
        &self,
        request: Request<wire::FollowMetadataRequest>,
    ) -> Result<Response<Self::FollowMetadataStream>, Status> {
        let request = request.into_inner();
        check_cluster(self.node.config.identity.cluster_id(), &request.cluster_id)?;
        let running = self
            .node
            .running()
            .ok_or_else(|| Status::unavailable("this node is in no quorum yet"))?;
        Ok(Response::new(follow::serve(
            self.node.clone(),
            running,
            request.applied_index,
        )))
    }
}
