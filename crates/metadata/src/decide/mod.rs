//! Decisions: a request over the image gives records and a reply, and changes nothing but the [`Overlay`].
//!
//! An overlay is the image as it will be once the records decided so far are applied; each decision sees the ones
//! before it. Records state results, so `apply` decides nothing.
//!
//! Whether a broker's session lives is not decided here; the core says so through [`Claim`].

mod alter_partition;
mod brokers;
mod configs;
mod controllers;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod elections;
mod features;
mod fencing;
mod leadership;
mod overlay;
mod placement;
mod producer_ids;
mod recover;
mod registration;
mod shutdown;
#[cfg(test)]
pub(crate) mod tests;

use klamm_schema::requests::controller_reply::Reply;
use klamm_schema::requests::controller_request::Request;

pub use controllers::{Elected, Ended, announce};
pub use elections::{Balance, balance_leaders};
pub use features::bootstrap;
pub use fencing::{Fence, fence, unfence};
pub use overlay::Overlay;
pub use placement::PARTITIONS_PER_REQUEST_MAX;
pub use producer_ids::PRODUCER_ID_BLOCK;
pub use recover::{Basis, recover_quorum};
pub use registration::Claim;

/// Decides one request. The records go to the overlay; the reply holds once they are applied.
pub fn decide(overlay: &mut Overlay, request: &Request, claim: Claim) -> Reply {
    match request {
        Request::RegisterBroker(request) => {
            Reply::RegisterBroker(registration::register_broker(overlay, request, claim))
        }
        Request::UnregisterBroker(request) => Reply::UnregisterBroker(brokers::unregister_broker(overlay, request)),
        Request::CreateTopics(request) => Reply::CreateTopics(create_topics::create_topics(overlay, request)),
        Request::DeleteTopics(request) => Reply::DeleteTopics(delete_topics::delete_topics(overlay, request)),
        Request::CreatePartitions(request) => {
            Reply::CreatePartitions(create_partitions::create_partitions(overlay, request))
        }
        Request::IncrementalAlterConfigs(request) => {
            Reply::IncrementalAlterConfigs(configs::incremental_alter_configs(overlay, request))
        }
        Request::AllocateProducerIds(request) => {
            Reply::AllocateProducerIds(producer_ids::allocate_producer_ids(overlay, request))
        }
        Request::AlterPartition(request) => Reply::AlterPartition(alter_partition::alter_partitions(overlay, request)),
        Request::ControlledShutdown(request) => {
            Reply::ControlledShutdown(shutdown::controlled_shutdown(overlay, request))
        }
        Request::ElectLeaders(request) => Reply::ElectLeaders(elections::elect_leaders(overlay, request)),
        Request::ReportDamage(request) => Reply::ReportDamage(brokers::report_damage(overlay, request)),
        Request::UpdateFeatures(request) => Reply::UpdateFeatures(features::update_features(overlay, request)),
        Request::OperatorElect(request) => Reply::OperatorElect(elections::operator_elect(overlay, request)),
    }
}
