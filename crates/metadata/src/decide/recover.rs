//! What a quorum that was built anew from a snapshot must write before it decides anything else.
//!
//! The snapshot may be older than what the lost quorum last committed, so every leader epoch is raised well above
//! what it says, every leadership is taken away, and every broker is fenced until it shows that it is alive.
//!
//! A backup is older still, and what it says of in-sync replicas means nothing: one of them may have fallen behind since,
//! and led, it would take the others' acknowledged records away. Then the logs decide. Every broker's registration is
//! replaced by one of no process, so that each has to register again and tell where its logs end; the partition waits
//! for all its replicas, and the one whose log reaches furthest leads.

use klamm_schema::id_bytes;
use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{BrokerChange, Cause, RegisterBroker};
use klamm_types::{Incarnation, LeaderEpoch, NodeId};

use super::overlay::{Overlay, Why};
use crate::image::{BrokerState, FeatureRange, Listener, directory_bytes};

/// Who may hold all committed records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The members of ISR and ELR, as the metadata say: they go up to the end of the quorum, or nearly.
    Members,
    /// Any replica; only its log can tell.
    Logs,
}

/// Fences all brokers and raises every leader epoch by at least `raise_by`.
pub fn recover_quorum(overlay: &mut Overlay, raise_by: u16, basis: Basis) {
    match basis {
        Basis::Members => fence_all(overlay),
        Basis::Logs => forget_processes(overlay),
    }
    let why = Why::new(Cause::QuorumRecovered, evidence(basis));
    for place in overlay.places(|_, _| true) {
        let Some(state) = overlay.image().partition(place.topic, place.partition) else {
            continue;
        };
        let floor = LeaderEpoch(state.leader_epoch.0.saturating_add(i32::from(raise_by)));
        // Nobody waits for a broker that was given up.
        let registered = |replica: &NodeId| overlay.image().broker(*replica).is_some();
        let replicas = state.replicas.iter().copied().filter(registered).collect();
        if let Some(mut draft) = overlay.draft(place) {
            // All at once: whoever was in the ISR stays eligible, none before the other.
            draft.isr.clear();
            draft.depose = true;
            draft.epoch_floor = floor;
            if basis == Basis::Logs {
                draft.recalled = replicas;
            }
            overlay.write_draft(place, &draft, why);
        }
    }
}

fn evidence(basis: Basis) -> &'static str {
    match basis {
        Basis::Members => "a new quorum was built from a snapshot",
        Basis::Logs => "a new quorum was built from a backup",
    }
}

fn fence_all(overlay: &mut Overlay) {
    let why = Why::new(Cause::QuorumRecovered, evidence(Basis::Members));
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
}

/// Registers every broker as it was, but for a process that does not exist; see [`is_of_no_process`].
fn forget_processes(overlay: &mut Overlay) {
    let why = Why::new(Cause::QuorumRecovered, evidence(Basis::Logs));
    let brokers: Vec<(NodeId, BrokerState)> = overlay
        .image()
        .brokers()
        .iter()
        .map(|(id, state)| (*id, state.as_ref().clone()))
        .collect();
    for (id, state) in brokers {
        overlay.write(Record::RegisterBroker(RegisterBroker {
            broker: id.0,
            broker_epoch: overlay.image().highest_broker_epoch().0 + 1,
            incarnation: id_bytes(Incarnation::from_u128(0).as_bytes()),
            listeners: state.listeners.iter().map(Listener::to_message).collect(),
            grpc_address: state.grpc_address,
            http_port: u32::from(state.http_port),
            rack: state.rack,
            directories: directory_bytes(&state.directories),
            features: state.features.iter().map(FeatureRange::to_message).collect(),
            fenced: true,
            in_controlled_shutdown: false,
            last_unfenced_epoch: state.last_unfenced_epoch.0,
            decision: Some(overlay.decision(why.about(id))),
        }));
    }
}

/// Whether the metadata came from a backup, and the broker has not registered since.
pub(super) fn is_of_no_process(broker: &BrokerState) -> bool {
    broker.incarnation == Incarnation::from_u128(0)
}
