//! The shell around the metadata core: one task owns the core, turns what happens into events, and carries out its
//! effects. It decides nothing; every choice is the core's.
//!
//! The core sees each applied entry through the feed, on the leader and elsewhere. An outcome of a proposal is handed
//! over only after the entries up to it were.

mod effects;
mod leadership;
mod proposal;

use std::collections::HashMap;
use std::sync::Arc;

use klamm_metadata::core::{
    Closed, Controller, Effect, Event, Heartbeat, Hello, Now, Outcome, ProbeAnswer, ProbeId, ProposalId, RequestId,
    SessionId,
};
use klamm_proto::controller::v1::SessionMessage;
use klamm_schema::metadata::MetadataBatch;
use klamm_schema::requests::ControllerReply;
use klamm_schema::requests::controller_request::Request;
use klamm_trace::Context;
use klamm_types::{BrokerEpoch, ErrorCode, Moment, NodeId, Timestamp};
use openraft::async_runtime::watch::WatchReceiver;
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use crate::node::{Node, Running};
use crate::quorum::describe::now_millis;
use crate::raft::Next;
use crate::raft::types::LeaderId;

/// Bytes of entries handed to the core before it looks at anything else.
const FEED_BYTES: usize = 1 << 20;

/// What reaches the shell from elsewhere in the process.
pub enum Input {
    Request {
        id: RequestId,
        from: NodeId,
        request: Box<Request>,
        reply: oneshot::Sender<ControllerReply>,
        /// The span that waits for the reply, if the request is sampled.
        trace: Option<Context>,
    },
    RequestAbandoned {
        id: RequestId,
    },
    SessionOpened {
        session: SessionId,
        hello: Hello,
        out: mpsc::Sender<SessionMessage>,
    },
    SessionHeartbeat {
        session: SessionId,
        heartbeat: Heartbeat,
    },
    SessionClosed {
        session: SessionId,
        how: Closed,
    },
    FollowerHint {
        broker: NodeId,
        broker_epoch: BrokerEpoch,
    },
    ProposalOutcome {
        proposal: ProposalId,
        outcome: Outcome,
    },
    ProbeAnswered {
        probe: ProbeId,
        answer: ProbeAnswer,
    },
    /// What became of the entry by which a leader that was cut off proves its leadership.
    Proof {
        leader: LeaderId,
        proven: bool,
    },
}

/// Why the shell ended.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    #[error("the metadata core stopped")]
    Stop(#[from] klamm_metadata::core::Stop),
    #[error("decoding entry {index} of the metadata log")]
    Decode {
        index: u64,
        #[source]
        source: prost::DecodeError,
    },
    #[error("Raft stopped: {0}")]
    Raft(String),
}

pub struct Shell {
    node: Arc<Node>,
    running: Running,
    core: Controller,
    effects: Vec<Effect>,
    /// The last entry handed to the core.
    position: u64,
    requests: HashMap<RequestId, oneshot::Sender<ControllerReply>>,
    sessions: HashMap<SessionId, mpsc::Sender<SessionMessage>>,
    leadership: leadership::Leadership,
    /// A reply of the present step rests on an entry that was just committed for it.
    committing: bool,
    /// A sampled request that waits to be decided; the next proposal is taken for its.
    traced: Option<(RequestId, Context)>,
    started: Instant,
}

impl Shell {
    pub fn new(node: Arc<Node>, running: Running) -> Shell {
        let mut settings = node.config.settings.clone();
        settings.cluster_id = Some(running.cluster_id);
        let image = node.feed.image();
        let position = image.applied_index();
        Shell {
            core: Controller::new(settings, image),
            node,
            running,
            effects: Vec::new(),
            position,
            requests: HashMap::new(),
            sessions: HashMap::new(),
            leadership: leadership::Leadership::default(),
            committing: false,
            traced: None,
            started: Instant::now(),
        }
    }

    /// Runs until the node stops.
    pub async fn run(mut self, mut inputs: mpsc::Receiver<Input>) -> Result<(), ShellError> {
        let mut applied = self.node.feed.watch();
        let mut metrics = self.running.raft.server_metrics();
        let node = self.node.clone();
        let mut tick = tokio::time::interval(self.core.settings().tick_interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = node.stopped() => return Ok(()),
                changed = metrics.changed() => {
                    // Both may be true at once; an orderly stop is no failure.
                    if changed.is_err() && *node.stopping.borrow() {
                        return Ok(());
                    }
                    changed.map_err(|_| ShellError::Raft("its task has ended".into()))?;
                    self.look_at_leadership().await?;
                }
                // The sender lives in the node, which this shell holds.
                _ = applied.changed() => {}
                input = inputs.recv() => match input {
                    Some(input) => self.take(input).await?,
                    None => return Ok(()),
                },
                _ = tick.tick() => {
                    self.look_at_quorum().await?;
                    self.step(Event::Tick).await?;
                }
            }
            self.feed().await?;
        }
    }

    async fn take(&mut self, input: Input) -> Result<(), ShellError> {
        match input {
            Input::Request {
                id,
                from,
                request,
                reply,
                trace,
            } => {
                if self.leadership.acting().is_none() {
                    // The caller is gone if this fails.
                    drop(reply.send(not_controller()));
                    return Ok(());
                }
                self.requests.insert(id, reply);
                self.traced = self.traced.or(trace.map(|context| (id, context)));
                let request = *request;
                self.step(Event::Request { id, from, request }).await
            }
            Input::RequestAbandoned { id } => {
                self.requests.remove(&id);
                self.untrace(id);
                self.step(Event::RequestAbandoned { id }).await
            }
            Input::SessionOpened { session, hello, out } => {
                if self.leadership.acting().is_none() {
                    effects::end_session(
                        &out,
                        self.node.node_id(),
                        ErrorCode::NotController,
                        "not the controller",
                    );
                    return Ok(());
                }
                self.sessions.insert(session, out);
                self.step(Event::SessionOpened { session, hello }).await
            }
            Input::SessionHeartbeat { session, heartbeat } => {
                self.step(Event::SessionHeartbeat { session, heartbeat }).await
            }
            Input::SessionClosed { session, how } => {
                self.sessions.remove(&session);
                self.step(Event::SessionClosed { session, how }).await
            }
            Input::FollowerHint { broker, broker_epoch } => {
                self.step(Event::FollowerHint { broker, broker_epoch }).await
            }
            Input::ProposalOutcome { proposal, outcome } => {
                // The core has to see the entry before it hears of it.
                self.feed().await?;
                self.committing = matches!(outcome, Outcome::Applied { .. });
                let result = self.step(Event::ProposalOutcome { proposal, outcome }).await;
                self.committing = false;
                result
            }
            Input::ProbeAnswered { probe, answer } => self.step(Event::ProbeAnswered { probe, answer }).await,
            Input::Proof { leader, proven } => self.proof(leader, proven).await,
        }
    }

    /// Hands every applied entry that the core has not seen to it.
    async fn feed(&mut self) -> Result<(), ShellError> {
        loop {
            match self.node.feed.after(self.position, FEED_BYTES) {
                Next::Nothing => return Ok(()),
                Next::Snapshot(image) => {
                    self.position = image.applied_index();
                    self.step(Event::SnapshotInstalled { image }).await?;
                }
                Next::Entries(entries) => {
                    for entry in entries {
                        let (index, term) = (entry.index, entry.term);
                        let batch = MetadataBatch::decode(entry.batch)
                            .map_err(|source| ShellError::Decode { index, source })?;
                        self.position = index;
                        self.step(Event::Applied { index, term, batch }).await?;
                    }
                }
            }
        }
    }

    /// One step of the core, and everything that it wants done.
    async fn step(&mut self, event: Event) -> Result<(), ShellError> {
        let now = self.now();
        self.core.step(now, event, &mut self.effects)?;
        for effect in std::mem::take(&mut self.effects) {
            self.carry_out(effect).await;
        }
        Ok(())
    }

    /// A request that has been decided without a proposal has no part in the next one.
    fn untrace(&mut self, id: RequestId) {
        self.traced = self.traced.filter(|(traced, _)| *traced != id);
    }

    fn now(&self) -> Now {
        Now {
            moment: Moment(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)),
            timestamp: Timestamp(now_millis()),
            random: crate::random::number(),
        }
    }
}

pub fn not_controller() -> ControllerReply {
    ControllerReply {
        error_code: i32::from(ErrorCode::NotController.code()),
        error_message: "this node is not the active controller".into(),
        ..ControllerReply::default()
    }
}
