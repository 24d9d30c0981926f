//! Elections that somebody asks for: preferred leaders (by request or by balance) and an operator's choice.
//! Elections that follow from fences, registrations and ISR changes happen where those are decided.

use std::collections::BTreeMap;

use klamm_schema::metadata::Cause;
use klamm_schema::requests::{
    ElectLeadersReply, ElectLeadersRequest, OperatorElectReply, OperatorElectRequest, OperatorElection, PartitionResult,
};
use klamm_schema::{Bytes, id_bytes, uuid};
use klamm_types::{ErrorCode, NodeId, PartitionId, TopicId};

use super::leadership::{Place, furthest_log};
use super::overlay::{Overlay, Refusal, Why, error_fields};
use crate::image::{Image, PartitionState};

pub(super) fn elect_leaders(overlay: &mut Overlay, request: &ElectLeadersRequest) -> ElectLeadersReply {
    let mut partitions = Vec::new();
    if request.all {
        for place in overlay.places(|_, _| true) {
            let outcome = elect_preferred(overlay, place);
            // Asked for everything, what needs nothing is left out.
            if !outcome
                .as_ref()
                .is_err_and(|refusal| refusal.code == ErrorCode::ElectionNotNeeded)
            {
                partitions.push(result(id_bytes(place.topic.as_bytes()), place.partition.0, &outcome));
            }
        }
    }
    for asked in &request.partitions {
        let outcome = read_place(&asked.topic_id, asked.partition).and_then(|place| elect_preferred(overlay, place));
        partitions.push(result(asked.topic_id.clone(), asked.partition, &outcome));
    }
    ElectLeadersReply { partitions }
}

fn elect_preferred(overlay: &mut Overlay, place: Place) -> Result<(), Refusal> {
    let state = find(overlay.image(), place)?;
    let preferred = state.replicas.first().copied();
    if state.leader == preferred {
        return Err(Refusal::new(
            ErrorCode::ElectionNotNeeded,
            "the preferred replica leads",
        ));
    }
    let Some(preferred) = preferred.filter(|&broker| can_take_over(overlay.image(), state, broker)) else {
        return Err(Refusal::new(
            ErrorCode::PreferredLeaderNotAvailable,
            "the preferred replica is not alive or not in sync",
        ));
    };
    let why = Why::new(Cause::PreferredElection, "asked for");
    put_in_lead(overlay, place, preferred, why);
    Ok(())
}

fn can_take_over(image: &Image, state: &PartitionState, broker: NodeId) -> bool {
    state.isr.contains(&broker) && image.may_lead(broker)
}

fn put_in_lead(overlay: &mut Overlay, place: Place, broker: NodeId, why: Why<'_>) {
    if let Some(mut draft) = overlay.draft(place) {
        draft.prefer = Some(broker);
        overlay.write_draft(place, &draft, why);
    }
}

/// When leaders are moved back without being asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// A broker that lacks more than this share of the partitions it should lead gets them back.
    pub imbalance_percent: u32,
    /// At most so many leaders move at once.
    pub moves_max: usize,
}

/// Puts preferred leaders back where a broker lacks too many. Says how many moved.
pub fn balance_leaders(overlay: &mut Overlay, balance: Balance) -> usize {
    if !overlay.image().cluster_config().auto_leader_rebalance_enable {
        return 0;
    }
    let mut wanted: BTreeMap<NodeId, (u64, Vec<Place>)> = BTreeMap::new();
    for (topic, partition, state) in overlay.image().partitions() {
        let Some(&preferred) = state.replicas.first() else {
            continue;
        };
        let (total, lacking) = wanted.entry(preferred).or_default();
        *total += 1;
        if state.leader != Some(preferred) && can_take_over(overlay.image(), state, preferred) {
            lacking.push(Place {
                topic: topic.id,
                partition,
            });
        }
    }
    let mut moved = 0;
    let why = Why::new(Cause::PreferredElection, "balance");
    for (broker, (total, lacking)) in wanted {
        let lacks_too_many = lacking.len() as u64 * 100 > total * u64::from(balance.imbalance_percent);
        if !lacks_too_many {
            continue;
        }
        for place in lacking {
            if moved == balance.moves_max {
                return moved;
            }
            put_in_lead(overlay, place, broker, why);
            moved += 1;
        }
    }
    moved
}

pub(super) fn operator_elect(overlay: &mut Overlay, request: &OperatorElectRequest) -> OperatorElectReply {
    let mut partitions = Vec::with_capacity(request.elections.len());
    for asked in &request.elections {
        let outcome = operator_elect_one(overlay, asked);
        partitions.push(result(asked.topic_id.clone(), asked.partition, &outcome));
    }
    OperatorElectReply { partitions }
}

fn operator_elect_one(overlay: &mut Overlay, asked: &OperatorElection) -> Result<(), Refusal> {
    let place = read_place(&asked.topic_id, asked.partition)?;
    let state = find(overlay.image(), place)?;
    if state.leader.is_some() {
        return Err(Refusal::new(ErrorCode::ElectionNotNeeded, "the partition has a leader"));
    }
    let alive = |broker: NodeId| overlay.image().may_lead(broker);
    let chosen = if asked.leader >= 0 {
        Some(NodeId(asked.leader)).filter(|broker| state.replicas.contains(broker) && alive(*broker))
    } else {
        let in_order = || state.replicas.iter().copied().find(|&broker| alive(broker));
        furthest_log(state, alive).or_else(in_order)
    };
    let chosen = chosen.ok_or_else(|| {
        let text = "no replica that could be chosen is alive";
        Refusal::new(ErrorCode::EligibleLeadersNotAvailable, text)
    })?;
    let why = Why::new(Cause::OperatorElection, "an operator chose the leader").about(chosen);
    if let Some(mut draft) = overlay.draft(place) {
        draft.force = Some(chosen);
        overlay.write_draft(place, &draft, why);
    }
    Ok(())
}

fn read_place(topic_id: &[u8], partition: i32) -> Result<Place, Refusal> {
    let topic = uuid("topic_id", topic_id);
    let topic = topic.map_err(|error| Refusal::new(ErrorCode::InvalidRequest, error.to_string()))?;
    Ok(Place {
        topic: TopicId(topic),
        partition: PartitionId(partition),
    })
}

fn find(image: &Image, place: Place) -> Result<&PartitionState, Refusal> {
    let state = image.partition(place.topic, place.partition);
    state
        .map(AsRef::as_ref)
        .ok_or_else(|| Refusal::new(ErrorCode::UnknownTopicOrPartition, ""))
}

fn result(topic_id: Bytes, partition: i32, outcome: &Result<(), Refusal>) -> PartitionResult {
    let (error_code, error_message) = error_fields(outcome);
    PartitionResult {
        topic_id,
        partition,
        error_code,
        error_message,
    }
}
