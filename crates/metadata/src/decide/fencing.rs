//! Fencing and unfencing a broker: one entry with all its partitions. Who deserves it is the core's business.

use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{BrokerChange, Cause};
use klamm_types::{BrokerEpoch, NodeId, Timestamp};

use super::overlay::{Overlay, Why};

/// A fence names the registration that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    pub broker: NodeId,
    pub broker_epoch: BrokerEpoch,
    pub cause: Cause,
    pub evidence: String,
    /// When the broker was last known to work, if that is known.
    pub last_contact: Option<Timestamp>,
}

/// Fences the broker and takes it out of every ISR. Evidence about an older registration changes nothing.
/// Says whether records were written.
pub fn fence(overlay: &mut Overlay, fence: &Fence) -> bool {
    let current = overlay.image().broker(fence.broker);
    let Some(in_controlled_shutdown) = current
        .filter(|broker| broker.epoch == fence.broker_epoch && !broker.fenced)
        .map(|broker| broker.in_controlled_shutdown)
    else {
        return false;
    };
    let why = Why {
        last_contact: fence.last_contact,
        ..Why::new(fence.cause, &fence.evidence).about(fence.broker)
    };
    overlay.write(Record::BrokerChange(BrokerChange {
        broker: fence.broker.0,
        broker_epoch: fence.broker_epoch.0,
        fenced: true,
        in_controlled_shutdown,
        decision: Some(overlay.decision(why)),
        working_directories: Vec::new(),
    }));
    leave_every_isr(overlay, fence.broker, why);
    true
}

/// Takes a broker that has just been marked as fenced out of every ISR, and its leadership with it.
fn leave_every_isr(overlay: &mut Overlay, broker: NodeId, why: Why<'_>) {
    for place in overlay.places(|_, state| state.isr.contains(&broker)) {
        if let Some(draft) = overlay.draft(place) {
            overlay.write_draft(place, &draft.leave_isr(broker), why);
        }
    }
}

/// Unfences the broker and elects it where a partition waited for it. Says whether records were written.
pub fn unfence(overlay: &mut Overlay, broker: NodeId, broker_epoch: BrokerEpoch, cause: Cause) -> bool {
    let current = overlay.image().broker(broker);
    if !current.is_some_and(|state| state.epoch == broker_epoch && state.fenced && !state.in_controlled_shutdown) {
        return false;
    }
    overlay.write(Record::BrokerChange(BrokerChange {
        broker: broker.0,
        broker_epoch: broker_epoch.0,
        fenced: false,
        in_controlled_shutdown: false,
        decision: Some(overlay.decision(Why::new(cause, "").about(broker))),
        working_directories: Vec::new(),
    }));
    let why = Why::new(cause, "the leaderless partition has a candidate again").about(broker);
    for place in overlay.places(|_, state| state.leader.is_none() && state.replicas.contains(&broker)) {
        if let Some(draft) = overlay.draft(place) {
            overlay.write_draft(place, &draft, why);
        }
    }
    true
}
