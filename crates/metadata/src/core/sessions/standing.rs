//! What is known of one registered broker: its session, the probe of it, and the verdict that stands against it.

use klamm_schema::metadata::Cause;
use klamm_types::{BrokerEpoch, Moment, Timestamp};

use crate::core::event::{Now, ProbeId, SessionId};

/// One registration and what was heard of it.
#[derive(Debug)]
pub(super) struct Standing {
    pub epoch: BrokerEpoch,
    /// The entry that an image must contain to contain the registration.
    pub registered_at: u64,
    pub session: Option<SessionId>,
    /// The session ended from the broker's side, and no sign of life came since.
    pub suspected: bool,
    pub last_contact: Moment,
    /// When it was last known to work: the last sign of life in this reign, or the end of its session.
    pub last_known: Option<Timestamp>,
    pub applied_index: u64,
    /// The last heartbeat asked to be unfenced; taken back by every verdict.
    pub ready: bool,
    pub probe: Option<Probing>,
    pub verdict: Option<Verdict>,
    pub distrust_until: Option<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probing {
    pub id: ProbeId,
    pub proof: Proof,
    /// The clock of this process stood still meanwhile: no answer says nothing.
    pub void: bool,
}

/// What no answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// The session ended from the broker's side: death.
    AfterEndOfFile,
    /// Nothing.
    Unsuspected,
}

/// A fence that is called for and not yet in the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub cause: Cause,
    pub evidence: String,
    /// The log has it: it is decided again and again while no entry can be committed, and said once.
    pub told: bool,
}

impl Standing {
    pub fn new(epoch: BrokerEpoch, registered_at: u64, now: Moment) -> Standing {
        Standing {
            epoch,
            registered_at,
            session: None,
            suspected: false,
            last_contact: now,
            last_known: None,
            applied_index: 0,
            ready: false,
            probe: None,
            verdict: None,
            distrust_until: None,
        }
    }

    pub fn sign_of_life(&mut self, now: Now) {
        self.last_contact = now.moment;
        self.last_known = Some(now.timestamp);
        self.suspected = false;
        self.probe = None;
        // A goodbye stands: the broker closed its logs before it said it.
        self.verdict.take_if(|verdict| verdict.cause != Cause::Goodbye);
    }

    pub fn condemn(&mut self, cause: Cause, evidence: String) {
        self.ready = false;
        self.verdict.get_or_insert(Verdict {
            cause,
            evidence,
            told: false,
        });
    }

    pub fn is_distrusted(&self, now: Moment) -> bool {
        self.distrust_until.is_some_and(|until| now < until)
    }
}
