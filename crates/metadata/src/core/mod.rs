//! The controller as one pure object: [`Controller::step`] takes an event with its time and gives effects.
//!
//! ```text
//!                BecameLeader{term}                Applied of that term
//!   Follower ─────────────────────► Elected{term} ─────────────────────► Leading
//!      ▲                                 │                                  │
//!      └───────────── LostLeadership ────┴──────────────────────────────────┘
//! ```
//!
//! Leading, it takes all waiting requests and everything its sessions call for (fences, unfences), decides them one
//! after another over the image plus the records pending in this batch, proposes the records as one entry and takes
//! the next batch when that is applied. If the outcome is unknown it proposes an empty entry first: when that is
//! applied, everything before it is settled.
//!
//! Every controller, leading or not, feeds it all applied entries. It does no I/O and keeps no clock.

mod effect;
mod event;
mod reign;
mod sessions;
mod settings;
mod take_up;
#[cfg(test)]
mod tests;

pub use effect::{Effect, ProbeTarget};
pub use event::{
    Closed, Event, Heartbeat, Hello, Now, Outcome, ProbeAnswer, ProbeId, ProposalId, RequestId, SessionId,
};
pub use sessions::BrokerSession;
pub use settings::Settings;

use klamm_schema::metadata::MetadataBatch;
use klamm_types::{ErrorCode, Moment, NodeId};

use self::reign::Reign;
use crate::decide::Elected;
use crate::image::{ApplyError, Image, Violation};

/// Why the node must stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    #[error("an entry of the metadata log cannot be applied")]
    Apply(#[source] ApplyError),
    #[error("a decision made a record that cannot be applied")]
    Decision(#[source] ApplyError),
}

/// The controller of one node.
#[derive(Debug)]
pub struct Controller {
    settings: Settings,
    image: Image,
    /// `None`: this node follows.
    reign: Option<Reign>,
    numbers: Numbers,
    last_tick: Option<Moment>,
}

/// Numbers that are never used twice, whoever reigns.
#[derive(Debug, Default)]
struct Numbers {
    proposal: u64,
    probe: u64,
}

impl Numbers {
    fn proposal(&mut self) -> ProposalId {
        self.proposal += 1;
        ProposalId(self.proposal)
    }

    fn probe(&mut self) -> ProbeId {
        self.probe += 1;
        ProbeId(self.probe)
    }
}

/// What every part of a step works with.
struct Step<'a> {
    now: Now,
    settings: &'a Settings,
    image: &'a Image,
    numbers: &'a mut Numbers,
    effects: &'a mut Vec<Effect>,
}

impl Controller {
    /// A controller that follows, over what the node's store holds.
    pub fn new(settings: Settings, image: Image) -> Controller {
        Controller {
            settings,
            image,
            reign: None,
            numbers: Numbers::default(),
            last_tick: None,
        }
    }

    /// Takes one event. Everything to be done about it is pushed to `effects`, in order. After a [`Stop`] the node
    /// must not go on.
    pub fn step(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) -> Result<(), Stop> {
        self.notice_lateness(now);
        match event {
            Event::Applied { index, term, batch } => self.applied(now, (index, term), &batch, effects)?,
            Event::SnapshotInstalled { image } => {
                self.image = image;
                self.image_changed(now, effects);
            }
            Event::BecameLeader { term, elected } => self.became_leader(now, term, elected, effects),
            Event::LostLeadership => self.lost_leadership(now, effects),
            Event::Tick => {
                self.last_tick = Some(now.moment);
                self.reign_over(now, effects, Event::Tick);
            }
            event => self.reign_over(now, effects, event),
        }
        self.decide(now, effects)
    }

    /// The metadata as of the last applied entry.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Whether this controller decides requests just now.
    pub fn is_active(&self) -> bool {
        self.reign.as_ref().is_some_and(Reign::is_leading)
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What the active controller knows of a broker's session, for people; `None` elsewhere.
    pub fn session(&self, broker: NodeId) -> Option<BrokerSession> {
        self.reign.as_ref()?.session(broker)
    }

    /// The orderings that hold after every step.
    pub fn validate(&self) -> Result<(), Violation> {
        self.image.validate()?;
        self.validate_reign()
    }

    /// Those of them that do not speak of the image alone: enough after a step that left the image as it was.
    pub fn validate_reign(&self) -> Result<(), Violation> {
        match &self.reign {
            Some(reign) => reign.validate(&self.settings, &self.image),
            None => Ok(()),
        }
    }

    /// Whoever judges waits first checks its own clock: after a pause of this process nobody else was silent.
    fn notice_lateness(&mut self, now: Now) {
        let Some(last) = self.last_tick else {
            self.last_tick = Some(now.moment);
            return;
        };
        if now.moment.since(last) > self.settings.tick_interval + self.settings.lateness_max {
            self.last_tick = Some(now.moment);
            if let Some(reign) = &mut self.reign {
                reign.restart_waits(now.moment);
            }
        }
    }

    fn applied(
        &mut self,
        now: Now,
        (index, term): (u64, u64),
        batch: &MetadataBatch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Stop> {
        self.image.apply_batch(index, term, batch).map_err(Stop::Apply)?;
        if self.reign.as_ref().is_some_and(|reign| term > reign.term()) {
            // Another controller has won a later term; the news of it is still on its way.
            self.lost_leadership(now, effects);
        }
        self.image_changed(now, effects);
        Ok(())
    }

    fn image_changed(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if let Some((reign, mut step)) = self.reign_and_step(now, effects) {
            reign.image_changed(&mut step);
        }
    }

    fn became_leader(&mut self, now: Now, term: u64, elected: Elected, effects: &mut Vec<Effect>) {
        if self.reign.as_ref().is_some_and(|reign| reign.term() >= term) {
            return;
        }
        self.lost_leadership(now, effects);
        self.reign = Some(Reign::new(term, elected));
        // The blank entry may have been applied before the news of the election came.
        self.image_changed(now, effects);
    }

    fn lost_leadership(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if let Some((reign, mut step)) = self.reign_and_step(now, effects) {
            reign.end(&mut step);
        }
        self.reign = None;
    }

    fn reign_over(&mut self, now: Now, effects: &mut Vec<Effect>, event: Event) {
        match self.reign_and_step(now, effects) {
            Some((reign, mut step)) => reign.take(&mut step, event),
            None => refuse(event, effects),
        }
    }

    fn decide(&mut self, now: Now, effects: &mut Vec<Effect>) -> Result<(), Stop> {
        match self.reign_and_step(now, effects) {
            Some((reign, mut step)) => reign.decide(&mut step),
            None => Ok(()),
        }
    }

    fn reign_and_step<'a>(&'a mut self, now: Now, effects: &'a mut Vec<Effect>) -> Option<(&'a mut Reign, Step<'a>)> {
        let reign = self.reign.as_mut()?;
        let step = Step {
            now,
            settings: &self.settings,
            image: &self.image,
            numbers: &mut self.numbers,
            effects,
        };
        Some((reign, step))
    }
}

/// What a controller that does not lead says.
fn refuse(event: Event, effects: &mut Vec<Effect>) {
    match event {
        Event::Request { id, .. } => effects.push(Effect::Reply {
            id,
            reply: reign::undecided(ErrorCode::NotController, "this node is not the active controller"),
        }),
        Event::SessionOpened { session, .. } => effects.push(Effect::EndSession {
            session,
            error: ErrorCode::NotController,
            text: "this node is not the active controller",
        }),
        _ => {}
    }
}
