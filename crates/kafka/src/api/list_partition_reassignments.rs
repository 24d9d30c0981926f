//! ListPartitionReassignments (46): nothing here moves replicas between brokers, so nothing is ever on its way. The API
//! is answered because tools that describe a topic ask for it.

use klamm_wire::list_partition_reassignments_request::ListPartitionReassignmentsRequest;
use klamm_wire::list_partition_reassignments_response::ListPartitionReassignmentsResponse;

use crate::net::request::{Answer, Request};

pub(crate) fn answer(request: &Request) -> Answer {
    let body = request.body();
    let _: ListPartitionReassignmentsRequest<'_> = request.decode(&body)?;
    request.answer(&ListPartitionReassignmentsResponse::default())
}
