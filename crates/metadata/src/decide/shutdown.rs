//! Controlled shutdown: one entry moves what the broker leads and takes it out of every ISR that keeps
//! min.insync.replicas without it. The goodbye at the very end fences it; that is not here.

use klamm_schema::id_bytes;
use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{BrokerChange, Cause};
use klamm_schema::requests::{ControlledShutdownReply, ControlledShutdownRequest, TopicPartition};
use klamm_types::{BrokerEpoch, NodeId};

use super::overlay::{Overlay, Why, error_fields};

pub(super) fn controlled_shutdown(
    overlay: &mut Overlay,
    request: &ControlledShutdownRequest,
) -> ControlledShutdownReply {
    let broker = NodeId(request.broker);
    let checked = overlay.check_broker_epoch(broker, BrokerEpoch(request.broker_epoch));
    let (error_code, error_message) = error_fields(&checked);
    let mut still_led = Vec::new();
    if checked.is_ok() {
        relieve(overlay, broker);
        for place in overlay.places(|_, state| state.leader == Some(broker)) {
            still_led.push(TopicPartition {
                topic_id: id_bytes(place.topic.as_bytes()),
                partition: place.partition.0,
            });
        }
    }
    ControlledShutdownReply {
        error_code,
        error_message,
        still_led,
    }
}

fn relieve(overlay: &mut Overlay, broker: NodeId) {
    let why = Why::new(Cause::ControlledShutdown, "the broker is about to stop").about(broker);
    let Some(state) = overlay.image().broker(broker) else {
        return;
    };
    if !state.in_controlled_shutdown {
        let change = BrokerChange {
            broker: broker.0,
            broker_epoch: state.epoch.0,
            fenced: state.fenced,
            in_controlled_shutdown: true,
            decision: Some(overlay.decision(why)),
            working_directories: Vec::new(),
        };
        overlay.write(Record::BrokerChange(change));
    }
    for place in overlay.places(|_, state| state.isr.contains(&broker)) {
        let Some(topic) = overlay.image().topic(place.topic) else {
            continue;
        };
        let Some(partition) = topic.partition(place.partition) else {
            continue;
        };
        let min_isr = overlay.image().effective_min_isr(topic, partition);
        let Some(draft) = overlay.draft(place) else {
            continue;
        };
        // Out of the ISR only if the rest is enough and somebody of it may lead (or somebody else leads already).
        let rest: Vec<NodeId> = partition
            .isr
            .iter()
            .copied()
            .filter(|&member| member != broker)
            .collect();
        let led_by_other = partition.leader.is_some_and(|leader| leader != broker);
        let can_lead = led_by_other || rest.iter().any(|&member| overlay.image().may_lead(member));
        let draft = if rest.len() >= min_isr && can_lead {
            draft.leave_isr(broker)
        } else {
            draft
        };
        overlay.write_draft(place, &draft, why);
    }
}
