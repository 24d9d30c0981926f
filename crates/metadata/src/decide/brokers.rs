//! Taking a broker out of the cluster, and replicas that a broker reports as damaged. Registering is next door.

use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{BrokerChange, Cause, UnregisterBroker};
use klamm_schema::requests::{ReportDamageReply, ReportDamageRequest, UnregisterBrokerReply, UnregisterBrokerRequest};
use klamm_schema::uuid;
use klamm_types::{BrokerEpoch, DirectoryId, ErrorCode, NodeId, PartitionId, TopicId};

use super::leadership::Place;
use super::overlay::{Overlay, Refusal, Why, error_fields};
use crate::image::directory_bytes;

pub(super) fn unregister_broker(overlay: &mut Overlay, request: &UnregisterBrokerRequest) -> UnregisterBrokerReply {
    let (error_code, error_message) = error_fields(&unregister(overlay, NodeId(request.broker)));
    UnregisterBrokerReply {
        error_code,
        error_message,
    }
}

fn unregister(overlay: &mut Overlay, id: NodeId) -> Result<(), Refusal> {
    let broker = overlay.image().broker(id);
    let broker = broker.ok_or_else(|| Refusal::new(ErrorCode::BrokerIdNotRegistered, ""))?;
    if !broker.fenced {
        let text = format!("broker {id} is alive; stop it before it is unregistered");
        return Err(Refusal::new(ErrorCode::InvalidRequest, text));
    }
    let broker_epoch = broker.epoch.0;
    // What it holds is given up: it is out of ELR before it is gone, so nothing waits for it.
    let why = Why::new(Cause::Unregistered, "an operator unregistered the broker").about(id);
    for place in overlay.places(|_, state| state.replicas.contains(&id)) {
        if let Some(mut draft) = overlay.draft(place) {
            draft.disqualified.insert(id, None);
            overlay.write_draft(place, &draft, why);
        }
    }
    overlay.write(Record::UnregisterBroker(UnregisterBroker {
        broker: id.0,
        broker_epoch,
        decision: Some(overlay.decision(why)),
    }));
    Ok(())
}

pub(super) fn report_damage(overlay: &mut Overlay, request: &ReportDamageRequest) -> ReportDamageReply {
    let (error_code, error_message) = error_fields(&take_out_damaged(overlay, request));
    ReportDamageReply {
        error_code,
        error_message,
    }
}

fn take_out_damaged(overlay: &mut Overlay, request: &ReportDamageRequest) -> Result<(), Refusal> {
    let broker = NodeId(request.broker);
    overlay.check_broker_epoch(broker, BrokerEpoch(request.broker_epoch))?;
    let malformed = |error: klamm_schema::BadField| Refusal::new(ErrorCode::InvalidRequest, error.to_string());
    let mut damaged = Vec::with_capacity(request.replicas.len());
    for replica in &request.replicas {
        let place = Place {
            topic: TopicId(uuid("topic_id", &replica.topic_id).map_err(malformed)?),
            partition: PartitionId(replica.partition),
        };
        damaged.push((place, replica.reason.as_str()));
    }
    let mut failed = Vec::with_capacity(request.failed_directories.len());
    for directory in &request.failed_directories {
        failed.push(DirectoryId(uuid("failed_directories", directory).map_err(malformed)?));
    }
    drop_directories(overlay, broker, &failed);
    let in_failed = overlay.places(|_, state| {
        let directory = state.directory_of(broker);
        directory.is_some_and(|directory| failed.contains(&directory))
    });
    for place in in_failed {
        let evidence = "the broker reports that the replica's directory failed";
        let why = Why::new(Cause::Directory, evidence).about(broker);
        disqualify(overlay, place, broker, why);
    }
    for (place, reason) in damaged {
        let why = Why::new(Cause::Damage, reason).about(broker);
        disqualify(overlay, place, broker, why);
    }
    Ok(())
}

fn disqualify(overlay: &mut Overlay, place: Place, broker: NodeId, why: Why<'_>) {
    // A replica that is deleted or moved meanwhile needs nothing.
    let holds = overlay.image().partition(place.topic, place.partition);
    if !holds.is_some_and(|state| state.replicas.contains(&broker)) {
        return;
    }
    if let Some(mut draft) = overlay.draft(place) {
        draft.disqualified.insert(broker, None);
        overlay.write_draft(place, &draft, why);
    }
}

/// No new replica is put into a directory that failed, until the broker registers again. The last one stays named.
fn drop_directories(overlay: &mut Overlay, broker: NodeId, failed: &[DirectoryId]) {
    let Some(state) = overlay.image().broker(broker) else {
        return;
    };
    let mut working = state.directories.clone();
    working.retain(|directory| !failed.contains(directory));
    if working.is_empty() || working.len() == state.directories.len() {
        return;
    }
    let why = Why::new(Cause::Directory, "the broker reports a failed directory").about(broker);
    let change = BrokerChange {
        broker: broker.0,
        broker_epoch: state.epoch.0,
        fenced: state.fenced,
        in_controlled_shutdown: state.in_controlled_shutdown,
        decision: Some(overlay.decision(why)),
        working_directories: directory_bytes(&working),
    };
    overlay.write(Record::BrokerChange(change));
}
