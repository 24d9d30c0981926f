//! What a quorum that was built anew from a snapshot must write before it decides anything else.
//!
//! The snapshot may be older than what the lost quorum last committed, so every leader epoch is raised well above
//! what it says, every leadership is taken away, and every broker is fenced until it shows that it is alive.

use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{BrokerChange, Cause};
use klamm_types::LeaderEpoch;

use super::overlay::{Overlay, Why};

/// Fences all brokers and raises every leader epoch by at least `raise_by`.
pub fn recover_quorum(overlay: &mut Overlay, raise_by: u16) {
    let why = Why::new(Cause::QuorumRecovered, "a new quorum was built from a snapshot");
    let alive = overlay.image().brokers().iter().filter(|(_, state)| !state.fenced);
    let changes: Vec<BrokerChange> = alive
        .map(|(id, state)| BrokerChange {
            broker: id.0,
            broker_epoch: state.epoch.0,
            fenced: true,
            in_controlled_shutdown: state.in_controlled_shutdown,
            decision: Some(overlay.decision(why.about(*id))),
            working_directories: Vec::new(),
        })
        .collect();
    for change in changes {
        overlay.write(Record::BrokerChange(change));
    }
    for place in overlay.places(|_, _| true) {
        let Some(state) = overlay.image().partition(place.topic, place.partition) else {
            continue;
        };
        let floor = LeaderEpoch(state.leader_epoch.0.saturating_add(i32::from(raise_by)));
        if let Some(mut draft) = overlay.draft(place) {
            // All at once: whoever was in the ISR stays eligible, none before the other.
            draft.isr.clear();
            draft.depose = true;
            draft.epoch_floor = floor;
            overlay.write_draft(place, &draft, why);
        }
    }
}
