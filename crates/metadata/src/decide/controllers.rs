//! A controller that takes over says so, for the history: nothing is decided by it.

use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{Cause, ControllerChange};
use klamm_types::{NodeId, Timestamp};

use super::overlay::{Overlay, Why};
use crate::image::Image;

/// The node that the quorum elected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elected {
    pub node: NodeId,
    /// The quorum's term, as DescribeQuorum tells it.
    pub term: u64,
    /// A controller that this node saw end, the last one that it watched.
    pub ended: Option<Ended>,
}

impl Elected {
    /// The end of the controller before this one, if this node saw it.
    pub fn predecessor(&self, image: &Image) -> Option<&Ended> {
        let before = image.controller_history().back()?.controller;
        self.ended.as_ref().filter(|ended| ended.node == before)
    }
}

/// The end of a controller, as another saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub node: NodeId,
    /// When it was last known to work.
    pub last_contact: Timestamp,
    pub evidence: String,
}

/// Writes who decides from here on, unless the image says so already. Says whether records were written.
pub fn announce(overlay: &mut Overlay, elected: &Elected) -> bool {
    let last = overlay.image().controller_history().back();
    let known = last.is_some_and(|last| (last.controller, last.term) == (elected.node, elected.term));
    if known || !overlay.image().keeps_history() {
        return false;
    }
    let ended = elected.predecessor(overlay.image());
    let why = Why {
        broker: ended.map(|ended| ended.node),
        last_contact: ended.map(|ended| ended.last_contact),
        ..Why::new(
            Cause::ControllerElected,
            ended.map_or("", |ended| ended.evidence.as_str()),
        )
    };
    overlay.write(Record::ControllerChange(ControllerChange {
        controller: elected.node.0,
        term: elected.term,
        decision: Some(overlay.decision(why)),
    }));
    true
}
