//! Spans of the controller: how requests and decisions are named, and how a trace comes with a request by gRPC.

use std::collections::BTreeMap;

use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{Cause, Decision, MetadataBatch};
use klamm_schema::requests::controller_request::Request;
use klamm_trace::{Context, Span};
use tonic::metadata::{MetadataMap, MetadataValue};

/// What a request is called in traces.
pub fn request_name(request: &Request) -> &'static str {
    match request {
        Request::RegisterBroker(_) => "RegisterBroker",
        Request::UnregisterBroker(_) => "UnregisterBroker",
        Request::CreateTopics(_) => "CreateTopics",
        Request::DeleteTopics(_) => "DeleteTopics",
        Request::CreatePartitions(_) => "CreatePartitions",
        Request::IncrementalAlterConfigs(_) => "IncrementalAlterConfigs",
        Request::AllocateProducerIds(_) => "AllocateProducerIds",
        Request::AlterPartition(_) => "AlterPartition",
        Request::ControlledShutdown(_) => "ControlledShutdown",
        Request::ElectLeaders(_) => "ElectLeaders",
        Request::ReportDamage(_) => "ReportDamage",
        Request::UpdateFeatures(_) => "UpdateFeatures",
        Request::OperatorElect(_) => "OperatorElect",
    }
}

/// Puts a span's place beside a message.
pub fn send(metadata: &mut MetadataMap, context: Context) {
    if let Ok(value) = MetadataValue::try_from(context.to_header()) {
        metadata.insert(Context::HEADER, value);
    }
}

/// The place of the span that a message was sent in.
pub fn received(metadata: &MetadataMap) -> Option<Context> {
    Context::from_header(metadata.get(Context::HEADER)?.to_str().ok()?)
}

/// What a batch decides: fences and elections by their causes, the rest by what is written.
pub fn describe(span: &mut Span, batch: &MetadataBatch) {
    let mut causes: BTreeMap<&'static str, i64> = BTreeMap::new();
    let (mut fenced, mut leaders) = (0_i64, 0_i64);
    for record in batch.records.iter().filter_map(|record| record.record.as_ref()) {
        let decision = match record {
            Record::BrokerChange(change) => {
                fenced += i64::from(change.fenced);
                change.decision.as_ref()
            }
            Record::PartitionChange(change) => {
                leaders += 1;
                change.decision.as_ref()
            }
            _ => None,
        };
        if let Some(cause) = decision.map(Decision::cause).filter(|cause| *cause != Cause::Unknown) {
            *causes.entry(cause.as_str_name()).or_default() += 1;
        }
    }
    span.set("klamm.records", i64::try_from(batch.records.len()).unwrap_or(i64::MAX));
    if fenced > 0 {
        span.set("klamm.brokers_fenced", fenced);
    }
    if leaders > 0 {
        span.set("klamm.partitions_changed", leaders);
    }
    if !causes.is_empty() {
        let causes = causes.iter().map(|(cause, count)| format!("{cause} {count}"));
        span.set("klamm.causes", causes.collect::<Vec<_>>().join(", "));
    }
}
