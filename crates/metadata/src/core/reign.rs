//! One term of leadership: the queue of requests, the proposal in flight, and what becomes of both.
//!
//! Sessions and probes are next door; what a decision says is in [`crate::decide`].

use std::collections::VecDeque;

use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{MetadataBatch, NoOp};
use klamm_schema::requests::ControllerReply;
use klamm_schema::requests::controller_reply::Reply;
use klamm_schema::requests::controller_request::Request;
use klamm_types::{ErrorCode, Moment, NodeId};

use super::effect::Effect;
use super::event::{Event, Outcome, ProposalId, RequestId};
use super::sessions::{BrokerSession, Sessions};
use super::settings::Settings;
use super::take_up::TakeUp;
use super::{Step, Stop};
use crate::decide::{self, Balance, Elected, Overlay};
use crate::image::{Image, Violation};
use crate::record;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Elected, but the blank entry of the term is not applied: the image may lack committed entries.
    Elected,
    Leading,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Reign {
    term: u64,
    elected: Elected,
    phase: Phase,
    queue: VecDeque<Waiting>,
    in_flight: Option<InFlight>,
    /// An earlier proposal may or may not be in the log: an empty entry goes first.
    unsettled: bool,
    /// The last proposal failed; the next one waits for a tick, so that nothing spins.
    held: bool,
    sessions: Sessions,
    take_up: TakeUp,
    next_balance: Option<Moment>,
    /// Leads since before the last tick.
    ticked: bool,
}

#[derive(Debug)]
struct Waiting {
    id: RequestId,
    request: Request,
    since: Moment,
}

#[derive(Debug)]
struct InFlight {
    proposal: ProposalId,
    replies: Vec<(RequestId, Reply)>,
    /// Set once the proposal is known to be this entry.
    index: Option<u64>,
}

/// The reply to a request that was not decided.
pub(super) fn undecided(error: ErrorCode, text: &str) -> ControllerReply {
    ControllerReply {
        error_code: i32::from(error.code()),
        error_message: text.to_string(),
        ..ControllerReply::default()
    }
}

pub(super) fn decided(reply: Reply, applied_index: u64) -> ControllerReply {
    ControllerReply {
        applied_index,
        reply: Some(reply),
        ..ControllerReply::default()
    }
}

const UNKNOWN: &str = "it is not known whether the request took effect; ask again";

impl Reign {
    pub fn new(term: u64, elected: Elected) -> Reign {
        Reign {
            term,
            elected,
            phase: Phase::Elected,
            queue: VecDeque::new(),
            in_flight: None,
            unsettled: false,
            held: false,
            sessions: Sessions::new(),
            take_up: TakeUp::default(),
            next_balance: None,
            ticked: false,
        }
    }

    pub fn term(&self) -> u64 {
        self.term
    }

    pub fn is_leading(&self) -> bool {
        self.phase == Phase::Leading
    }

    pub fn session(&self, broker: NodeId) -> Option<BrokerSession> {
        self.sessions.describe(broker)
    }

    pub fn restart_waits(&mut self, now: Moment) {
        self.sessions.restart_waits(now);
    }

    /// Takes over what a new image says: the start of the reign proper, new registrations, fences.
    pub fn image_changed(&mut self, step: &mut Step<'_>) {
        if self.phase == Phase::Elected && step.image.applied_term() == self.term {
            self.phase = Phase::Leading;
            self.next_balance = Some(step.now.moment + step.settings.balance_interval);
            self.sessions.follow_image(step);
            self.sessions.begin(step, self.elected.predecessor(step.image));
        } else if self.is_leading() {
            self.sessions.follow_image(step);
        }
        self.finish_proposal(step);
    }

    pub fn take(&mut self, step: &mut Step<'_>, event: Event) {
        match event {
            Event::Request { id, request, .. } => self.queue_request(step, id, request),
            Event::RequestAbandoned { id } => self.abandon(id),
            Event::ProposalOutcome { proposal, outcome } => self.proposal_ended(step, proposal, outcome),
            Event::Tick => self.tick(step),
            Event::SessionOpened { session, hello } => {
                self.sessions.opened(step, session, hello, self.phase == Phase::Leading);
            }
            Event::SessionHeartbeat { session, heartbeat } => self.sessions.heartbeat(step, session, heartbeat),
            Event::SessionClosed { session, how } => self.sessions.closed(step, session, how),
            Event::ProbeAnswered { probe, answer } => self.sessions.probe_answered(step, probe, answer),
            Event::FollowerHint { broker, broker_epoch } => self.sessions.hint(step, broker, broker_epoch),
            Event::BecameLeader { .. }
            | Event::LostLeadership
            | Event::Applied { .. }
            | Event::SnapshotInstalled { .. } => {}
        }
        self.take_up.release(step, &self.sessions);
    }

    fn queue_request(&mut self, step: &mut Step<'_>, id: RequestId, request: Request) {
        if self.queue.len() >= step.settings.requests_max {
            let reply = undecided(
                ErrorCode::RequestTimedOut,
                "too many requests wait for the controller; ask again",
            );
            step.effects.push(Effect::Reply { id, reply });
            return;
        }
        let since = step.now.moment;
        self.queue.push_back(Waiting { id, request, since });
    }

    fn abandon(&mut self, id: RequestId) {
        self.queue.retain(|waiting| waiting.id != id);
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.replies.retain(|(waiting, _)| *waiting != id);
        }
        self.take_up.abandon(id);
    }

    fn tick(&mut self, step: &mut Step<'_>) {
        self.held = false;
        self.ticked = self.is_leading();
        let now = step.now.moment;
        let wait_max = step.settings.request_wait_max;
        while let Some(first) = self.queue.front().filter(|first| now.since(first.since) > wait_max) {
            let reply = undecided(
                ErrorCode::RequestTimedOut,
                "the controller did not get to the request in time",
            );
            step.effects.push(Effect::Reply { id: first.id, reply });
            self.queue.pop_front();
        }
        if self.is_leading() {
            self.sessions.judge_time_outs(step);
        }
    }

    fn proposal_ended(&mut self, step: &mut Step<'_>, proposal: ProposalId, outcome: Outcome) {
        let Some(in_flight) = self
            .in_flight
            .as_mut()
            .filter(|in_flight| in_flight.proposal == proposal)
        else {
            return;
        };
        let (error, text) = match outcome {
            Outcome::Applied { index } => {
                in_flight.index = Some(index);
                self.finish_proposal(step);
                return;
            }
            Outcome::Rejected => (ErrorCode::NotController, "the quorum did not take the entry; ask again"),
            Outcome::Unknown => {
                self.unsettled = true;
                (ErrorCode::RequestTimedOut, UNKNOWN)
            }
        };
        self.held = true;
        self.drop_in_flight(step, error, text);
    }

    fn drop_in_flight(&mut self, step: &mut Step<'_>, error: ErrorCode, text: &str) {
        for (id, _) in self
            .in_flight
            .take()
            .map(|in_flight| in_flight.replies)
            .unwrap_or_default()
        {
            let reply = undecided(error, text);
            step.effects.push(Effect::Reply { id, reply });
        }
    }

    /// Replies once the entry is in the image; replies about new partitions wait for their leaders.
    fn finish_proposal(&mut self, step: &mut Step<'_>) {
        let applied =
            |in_flight: &mut InFlight| in_flight.index.is_some_and(|index| index <= step.image.applied_index());
        if let Some(in_flight) = self.in_flight.take_if(applied) {
            self.unsettled = false;
            let index = in_flight.index.unwrap_or(step.image.applied_index());
            for (id, reply) in in_flight.replies {
                self.take_up.park(step, &self.sessions, id, decided(reply, index));
            }
        }
    }

    /// Decides what waits, unless a proposal is in flight, and proposes the records as one entry.
    pub fn decide(&mut self, step: &mut Step<'_>) -> Result<(), Stop> {
        if !self.is_leading() || self.in_flight.is_some() || self.held {
            return Ok(());
        }
        if self.unsettled {
            let records = vec![record(Record::NoOp(NoOp {}))];
            let decided_at_ms = step.now.timestamp.0;
            let batch = MetadataBatch { records, decided_at_ms };
            self.propose(step, batch, Vec::new());
            return Ok(());
        }
        let random = step.now.random ^ u128::from(step.numbers.proposal);
        let mut overlay = Overlay::new(step.image, step.now.timestamp, random);
        decide::bootstrap(&mut overlay, step.settings.cluster_id);
        self.sessions.decide(step, &mut overlay);
        let replies = self.decide_queue(step, &mut overlay);
        self.balance(step, &mut overlay);
        // Nothing waits for it, and nothing that others wait for goes behind it.
        if self.ticked || !overlay.records().is_empty() {
            decide::announce(&mut overlay, &self.elected);
        }
        let batch = overlay.into_batch().map_err(Stop::Decision)?;
        if batch.records.is_empty() {
            // Decided on the image alone, all of which is committed.
            for (id, reply) in replies {
                let reply = decided(reply, step.image.applied_index());
                step.effects.push(Effect::Reply { id, reply });
            }
        } else {
            self.propose(step, batch, replies);
        }
        Ok(())
    }

    fn decide_queue(&mut self, step: &mut Step<'_>, overlay: &mut Overlay) -> Vec<(RequestId, Reply)> {
        let mut replies = Vec::new();
        while overlay.bytes() < step.settings.batch_bytes_max {
            let Some(waiting) = self.queue.pop_front() else {
                break;
            };
            let claim = match &waiting.request {
                Request::RegisterBroker(request) => self.sessions.claim(step, overlay.image(), request),
                _ => decide::Claim::Free,
            };
            replies.push((waiting.id, decide::decide(overlay, &waiting.request, claim)));
        }
        replies
    }

    fn balance(&mut self, step: &Step<'_>, overlay: &mut Overlay) {
        let due = self.next_balance.is_some_and(|due| due <= step.now.moment);
        if !due || overlay.bytes() >= step.settings.batch_bytes_max {
            return;
        }
        self.next_balance = Some(step.now.moment + step.settings.balance_interval);
        let balance = Balance {
            imbalance_percent: step.settings.balance_imbalance_percent,
            moves_max: step.settings.balance_moves_max,
        };
        let moved = decide::balance_leaders(overlay, balance);
        if moved > 0 {
            tracing::info!(moved, "preferred leaders are put back in the lead");
        }
    }

    fn propose(&mut self, step: &mut Step<'_>, batch: MetadataBatch, replies: Vec<(RequestId, Reply)>) {
        let proposal = step.numbers.proposal();
        self.in_flight = Some(InFlight {
            proposal,
            replies,
            index: None,
        });
        let term = self.term;
        step.effects.push(Effect::Propose { proposal, term, batch });
    }

    /// Leadership is lost: nothing that waits will be decided here.
    pub fn end(&mut self, step: &mut Step<'_>) {
        self.drop_in_flight(step, ErrorCode::RequestTimedOut, UNKNOWN);
        for waiting in self.queue.drain(..) {
            let reply = undecided(ErrorCode::NotController, "this node is the active controller no longer");
            step.effects.push(Effect::Reply { id: waiting.id, reply });
        }
        self.take_up.release_all(step);
        self.sessions.end(step);
    }

    pub fn validate(&self, settings: &Settings, image: &Image) -> Result<(), Violation> {
        let violation = |what| {
            Err(Violation {
                place: format!("controller of term {}", self.term),
                what,
            })
        };
        if self.queue.len() > settings.requests_max {
            return violation("requests waiting <= requests_max");
        }
        if self.in_flight.is_some() && !self.is_leading() {
            return violation("only a leading controller proposes");
        }
        if self.is_leading() && image.applied_term() < self.term {
            return violation("a leading controller has applied an entry of its term");
        }
        if self.is_leading() {
            return self.sessions.validate(image);
        }
        Ok(())
    }
}
