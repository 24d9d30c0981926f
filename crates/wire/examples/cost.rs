//! What a request costs the codec: decoding a 100 KB Produce, encoding a Metadata reply of 1,000 partitions.
//!
//!     cargo run -p klamm-wire --release --example cost

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use klamm_types::Uuid;
use klamm_wire::metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic};
use klamm_wire::produce_request::{PartitionProduceData, TopicProduceData};
use klamm_wire::{
    Decode, Encode, EncodeError, MetadataResponse, ProduceRequest, Reader, RequestHeader, encode_request,
    encode_response,
};

const ROUNDS: u32 = 20_000;

fn main() -> Result<(), EncodeError> {
    let one = frame(&produce(1, 100_000))?;
    report("decode Produce v13, 1 partition of 100 KB", one.len(), || decode(&one));
    let many = frame(&produce(100, 1_000))?;
    report("decode Produce v13, 100 partitions of 1 KB", many.len(), || {
        decode(&many)
    });

    let names: Vec<String> = (0..10).map(|number| format!("topic-{number}")).collect();
    let response = metadata(&names);
    let bytes = encode_response(&response, 13, 1)?.into_bytes();
    report("encode Metadata v13, 1,000 partitions", bytes.len(), || {
        black_box(encode_response(black_box(&response), 13, 1)).is_ok()
    });
    report("build and encode it", bytes.len(), || {
        black_box(encode_response(&metadata(black_box(&names)), 13, 1)).is_ok()
    });
    let body = bytes.slice(9..);
    report("decode it", body.len(), || {
        black_box(MetadataResponse::from_bytes(black_box(&body), 13)).is_ok()
    });
    Ok(())
}

fn produce(partitions: i32, size: usize) -> ProduceRequest<'static> {
    let partition_data = (0..partitions).map(|index| PartitionProduceData {
        index,
        records: Some(Bytes::from(vec![7; size])),
    });
    let topic = TopicProduceData {
        topic_id: Uuid::from_u128(1),
        partition_data: partition_data.collect(),
        ..Default::default()
    };
    ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![topic],
        ..Default::default()
    }
}

/// What arrives after the length.
fn frame(request: &ProduceRequest<'_>) -> Result<Bytes, EncodeError> {
    Ok(
        encode_request(request, ProduceRequest::VERSIONS.max, 1, Some("client"))?
            .into_bytes()
            .slice(4..),
    )
}

fn decode(frame: &Bytes) -> bool {
    let mut reader = Reader::new(black_box(frame));
    let Ok(header) = RequestHeader::decode(&mut reader) else {
        return false;
    };
    black_box(ProduceRequest::decode(&mut reader, header.api_version)).is_ok()
}

fn metadata(names: &[String]) -> MetadataResponse<'_> {
    let brokers = (1..=3).map(|node_id| MetadataResponseBroker {
        node_id,
        host: "broker.example.org",
        port: 9092,
        rack: Some("rack"),
    });
    let partitions = |topic: usize| {
        (0..100).map(move |partition| MetadataResponsePartition {
            partition_index: partition,
            leader_id: (topic as i32 + partition) % 3 + 1,
            leader_epoch: 5,
            replica_nodes: vec![1, 2, 3],
            isr_nodes: vec![1, 2, 3],
            ..Default::default()
        })
    };
    let topics = names.iter().enumerate().map(|(index, name)| MetadataResponseTopic {
        name: Some(name),
        topic_id: Uuid::from_u128(index as u128 + 1),
        partitions: partitions(index).collect(),
        ..Default::default()
    });
    MetadataResponse {
        brokers: brokers.collect(),
        cluster_id: Some("cluster"),
        controller_id: 1,
        topics: topics.collect(),
        ..Default::default()
    }
}

/// Prints the mean time of one call.
fn report(what: &str, bytes: usize, call: impl Fn() -> bool) {
    let start = Instant::now();
    let succeeded = (0..ROUNDS).filter(|_| call()).count();
    let micros = start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS);
    println!("{what}: {bytes} bytes, {micros:.2} µs ({succeeded} of {ROUNDS} succeeded)");
}
