//! Blocks of producer ids. An id is never given out twice; a block whose reply was lost is lost.

use klamm_schema::metadata::ProducerIds;
use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::requests::{AllocateProducerIdsReply, AllocateProducerIdsRequest};
use klamm_types::{BrokerEpoch, ErrorCode, NodeId};

use super::overlay::{Overlay, Refusal, error_fields};

/// Ids in one block.
pub const PRODUCER_ID_BLOCK: i32 = 1_000;

pub(super) fn allocate_producer_ids(
    overlay: &mut Overlay,
    request: &AllocateProducerIdsRequest,
) -> AllocateProducerIdsReply {
    let outcome = allocate(overlay, request);
    let (error_code, error_message) = error_fields(&outcome);
    AllocateProducerIdsReply {
        error_code,
        error_message,
        first_producer_id: *outcome.as_ref().unwrap_or(&-1),
        count: if outcome.is_ok() { PRODUCER_ID_BLOCK } else { 0 },
    }
}

fn allocate(overlay: &mut Overlay, request: &AllocateProducerIdsRequest) -> Result<i64, Refusal> {
    overlay.check_broker_epoch(NodeId(request.broker), BrokerEpoch(request.broker_epoch))?;
    let first = overlay.image().next_producer_id().0;
    let next = first.checked_add(i64::from(PRODUCER_ID_BLOCK));
    let next = next.ok_or_else(|| Refusal::new(ErrorCode::UnknownServerError, "all producer ids are given out"))?;
    overlay.write(Record::ProducerIds(ProducerIds {
        broker: request.broker,
        broker_epoch: request.broker_epoch,
        next_producer_id: next,
    }));
    Ok(first)
}
