//! AlterPartition: a leader asks for another ISR. Partition and leader epochs make the request a compare-and-set
//! (KIP-497), broker epochs keep a restarted follower from joining on its former standing (KIP-903).

use std::collections::BTreeSet;

use klamm_schema::metadata::Cause;
use klamm_schema::requests::{
    AlterPartition, AlterPartitionReply, AlterPartitionRequest, AlterPartitionResult, IsrMember,
};
use klamm_schema::uuid;
use klamm_types::planted::{Bug, is_planted};
use klamm_types::{BrokerEpoch, ErrorCode, LeaderEpoch, NodeId, PartitionEpoch, PartitionId, TopicId};

use super::leadership::{Draft, Place};
use super::overlay::{Overlay, Refusal, Why, error_fields};
use crate::image::PartitionState;

pub(super) fn alter_partitions(overlay: &mut Overlay, request: &AlterPartitionRequest) -> AlterPartitionReply {
    let leader = NodeId(request.broker);
    let checked = overlay.check_broker_epoch(leader, BrokerEpoch(request.broker_epoch));
    let (error_code, error_message) = error_fields(&checked);
    let mut partitions = Vec::new();
    if checked.is_ok() {
        partitions.extend(request.partitions.iter().map(|asked| alter_one(overlay, leader, asked)));
    }
    AlterPartitionReply {
        error_code,
        error_message,
        partitions,
    }
}

fn alter_one(overlay: &mut Overlay, leader: NodeId, asked: &AlterPartition) -> AlterPartitionResult {
    let place = uuid("topic_id", &asked.topic_id).map(|topic| Place {
        topic: TopicId(topic),
        partition: PartitionId(asked.partition),
    });
    let (outcome, leadership) = match place {
        Err(error) => (Err(Refusal::new(ErrorCode::InvalidRequest, error.to_string())), None),
        Ok(place) => {
            let outcome = alter(overlay, leader, place, asked);
            let state = overlay.image().partition(place.topic, place.partition);
            (outcome, state.map(|state| state.to_leadership()))
        }
    };
    let (error_code, error_message) = error_fields(&outcome);
    AlterPartitionResult {
        topic_id: asked.topic_id.clone(),
        partition: asked.partition,
        error_code,
        error_message,
        leadership,
    }
}

fn alter(overlay: &mut Overlay, leader: NodeId, place: Place, asked: &AlterPartition) -> Result<(), Refusal> {
    let topic = overlay.image().topic(place.topic);
    let topic = topic.ok_or_else(|| Refusal::new(ErrorCode::UnknownTopicId, ""))?;
    let state = topic.partition(place.partition);
    let state = state.ok_or_else(|| Refusal::new(ErrorCode::UnknownTopicOrPartition, ""))?;
    if !is_planted(Bug::AcceptStaleEpoch) {
        check_epochs(state, leader, asked)?;
    }
    check_members(overlay, state, leader, &asked.new_isr)?;
    let lost: BTreeSet<NodeId> = asked.lost_data.iter().map(|&id| NodeId(id)).collect();
    let new_isr: Vec<NodeId> = asked.new_isr.iter().map(|member| NodeId(member.broker)).collect();
    if lost
        .iter()
        .any(|broker| new_isr.contains(broker) || !state.replicas.contains(broker))
    {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "a replica that lost data is named in the new ISR, or is no replica",
        ));
    }
    let steps_aside = !new_isr.contains(&leader);
    if steps_aside && !new_isr.iter().any(|&member| overlay.image().may_lead(member)) {
        return Err(Refusal::new(
            ErrorCode::EligibleLeadersNotAvailable,
            "nobody else in the new ISR may lead",
        ));
    }
    let mut draft = Draft::new(state);
    draft.isr = new_isr;
    // A leader that does not know what became of an earlier request asks for the committed ISR again. The raised
    // partition epoch refuses the earlier one for good and lets the leader stop counting whom it proposed.
    draft.settle = true;
    for broker in lost {
        // Only members count; a replica outside ISR and ELR claims nothing that could be taken.
        draft.disqualified.insert(broker, None);
    }
    let cause = if steps_aside {
        Cause::LeaderSteppedAside
    } else {
        Cause::IsrChange
    };
    let evidence = if asked.lost_data.is_empty() {
        ""
    } else {
        "a replica's log lacks committed records"
    };
    let why = Why::new(cause, evidence).about(leader);
    match overlay.write_draft(place, &draft, why) {
        Some(outcome) if outcome.state.leader != Some(leader) => Err(Refusal::new(
            ErrorCode::NewLeaderElected,
            "the ISR is changed and another broker leads now",
        )),
        _ => Ok(()),
    }
}

fn check_epochs(state: &PartitionState, leader: NodeId, asked: &AlterPartition) -> Result<(), Refusal> {
    let refuse = |code, text: String| Err(Refusal::new(code, text));
    let leader_epoch = LeaderEpoch(asked.leader_epoch);
    if leader_epoch < state.leader_epoch {
        return refuse(
            ErrorCode::FencedLeaderEpoch,
            format!("the leader epoch is {}, not {leader_epoch}", state.leader_epoch),
        );
    }
    // The broker knows more than this controller: it must have heard it from another one.
    let partition_epoch = PartitionEpoch(asked.partition_epoch);
    if leader_epoch > state.leader_epoch || partition_epoch > state.partition_epoch {
        return refuse(
            ErrorCode::NotController,
            "the request's epochs lie ahead of the metadata".into(),
        );
    }
    if state.leader != Some(leader) {
        return refuse(
            ErrorCode::InvalidRequest,
            format!("broker {leader} does not lead the partition"),
        );
    }
    if partition_epoch < state.partition_epoch {
        return refuse(
            ErrorCode::InvalidUpdateVersion,
            format!(
                "the partition epoch is {}, not {partition_epoch}",
                state.partition_epoch
            ),
        );
    }
    Ok(())
}

fn check_members(
    overlay: &Overlay,
    state: &PartitionState,
    leader: NodeId,
    members: &[IsrMember],
) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    for member in members {
        let broker = NodeId(member.broker);
        if !state.replicas.contains(&broker) || !seen.insert(broker) {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!("broker {broker} is no replica of the partition or is named twice"),
            ));
        }
        let ineligible = |text: String| Err(Refusal::new(ErrorCode::IneligibleReplica, text));
        let Some(registered) = overlay.image().broker(broker).filter(|registered| !registered.fenced) else {
            return ineligible(format!("broker {broker} is fenced"));
        };
        if registered.in_controlled_shutdown && !state.isr.contains(&broker) {
            return ineligible(format!("broker {broker} is about to stop"));
        }
        let epoch = BrokerEpoch(member.broker_epoch);
        if registered.epoch != epoch && !(broker == leader && epoch == BrokerEpoch::NONE) {
            return ineligible(format!("broker {broker} has epoch {}, not {epoch}", registered.epoch));
        }
    }
    if seen.is_empty() {
        return Err(Refusal::new(ErrorCode::InvalidRequest, "the new ISR is empty"));
    }
    Ok(())
}
