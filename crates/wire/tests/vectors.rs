//! Byte vectors from other implementations, and what may be built in which version.

use bytes::Bytes;
use klamm_types::Uuid;
use klamm_wire::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use klamm_wire::metadata_response::{MetadataResponseBroker, MetadataResponseTopic};
use klamm_wire::produce_response::{LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse};
use klamm_wire::{
    ApiKey, ApiVersionsResponse, ConsumerProtocolAssignment, ConsumerProtocolSubscription, Decode, DecodeError, Encode,
    EncodeError, EndTxnMarker, FetchRequest, FetchResponse, GroupMetadataKey, MetadataRequest, MetadataResponse,
    OffsetCommitKey, OffsetCommitValue, ProduceResponse, Reader, RequestHeader, Response, decode_consumer_protocol,
    decode_record_key, decode_record_value, encode_record_key, encode_record_value, encode_response, encode_versioned,
    read_response_header, record_type, request_header_version, response_header_version,
};

/// Bytes from hexadecimal digits; everything else is for the reader's eye.
fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|letter| letter.to_digit(16).map(|digit| digit as u8))
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The response must encode to these bytes, after the length, and decode from them.
fn check<'a, R: Response + Decode<'a> + PartialEq + std::fmt::Debug>(
    response: &R,
    version: i16,
    correlation_id: i32,
    bytes: &'a Bytes,
) {
    let frame = encode_response(response, version, correlation_id)
        .expect("the version has all fields")
        .into_bytes();
    assert_eq!(frame[..4], (bytes.len() as u32).to_be_bytes());
    assert_eq!(frame.slice(4..), bytes);
    let mut reader = Reader::new(bytes);
    assert_eq!(read_response_header(&mut reader, R::KEY, version), Ok(correlation_id));
    assert_eq!(R::decode(&mut reader, version).as_ref(), Ok(response));
    assert_eq!(reader.remaining(), 0);
}

fn api_versions(error_code: i16) -> ApiVersionsResponse<'static> {
    ApiVersionsResponse {
        error_code,
        api_keys: vec![ApiVersion {
            api_key: ApiKey::ApiVersions.code(),
            min_version: 0,
            max_version: 4,
        }],
        ..Default::default()
    }
}

#[test]
fn api_versions_of_a_version_that_is_not_known_is_answered_in_version_0() {
    check(&api_versions(35), 0, 7, &hex("00000007 0023 00000001 0012 0000 0004"));
}

#[test]
fn api_versions_has_no_tags_in_its_header() {
    check(
        &api_versions(0),
        3,
        7,
        &hex("00000007 0000 02 0012 0000 0004 00 00000000 00"),
    );
}

#[test]
fn api_versions_tells_features_in_tags() {
    let mut response = api_versions(0);
    response.supported_features = vec![SupportedFeatureKey {
        name: "transaction.version",
        min_version: 0,
        max_version: 2,
    }];
    response.finalized_features_epoch = 5;
    response.finalized_features = vec![FinalizedFeatureKey {
        name: "transaction.version",
        max_version_level: 2,
        min_version_level: 2,
    }];
    let name = "14 7472616e73616374696f6e2e76657273696f6e";
    let bytes = hex(&format!(
        "00000007 0000 02 0012 0000 0004 00 00000000 \
         03 00 1a 02 {name} 0000 0002 00 01 08 0000000000000005 02 1a 02 {name} 0002 0002 00"
    ));
    check(&response, 4, 7, &bytes);
}

#[test]
fn metadata_with_an_unknown_topic() {
    let response = MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: 1,
            host: "h",
            port: 9092,
            rack: None,
        }],
        cluster_id: Some("c"),
        controller_id: 1,
        topics: vec![MetadataResponseTopic {
            error_code: 3,
            name: Some("t"),
            ..Default::default()
        }],
        ..Default::default()
    };
    let zero_id = "00".repeat(16);
    let bytes = hex(&format!(
        "00000009 00 00000000 02 00000001 02 68 00002384 00 00 02 63 00000001 02 0003 02 74 {zero_id} 00 01 80000000 00 00"
    ));
    check(&response, 12, 9, &bytes);
}

#[test]
fn produce_names_the_new_leader_in_tags() {
    let response = ProduceResponse {
        responses: vec![TopicProduceResponse {
            name: "t",
            partition_responses: vec![PartitionProduceResponse {
                index: 0,
                error_code: 6,
                base_offset: -1,
                log_append_time_ms: -1,
                log_start_offset: -1,
                current_leader: LeaderIdAndEpoch {
                    leader_id: 2,
                    leader_epoch: 5,
                },
                ..Default::default()
            }],
            ..Default::default()
        }],
        node_endpoints: vec![NodeEndpoint {
            node_id: 2,
            host: "h",
            port: 9093,
            rack: None,
        }],
        ..Default::default()
    };
    let bytes = hex(
        "00000009 00 02 02 74 02 00000000 0006 ffffffffffffffff ffffffffffffffff ffffffffffffffff 01 00 \
         01 00 09 00000002 00000005 00 00 00000000 01 00 0d 02 00000002 02 68 00002385 00 00",
    );
    check(&response, 10, 9, &bytes);
}

#[test]
fn librdkafka_leaves_three_surplus_bytes() {
    let body = hex("00 00 00 00 01 00 00");
    let mut reader = Reader::new(&body);
    let expected = MetadataRequest {
        topics: None,
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    assert_eq!(MetadataRequest::decode(&mut reader, 13), Ok(expected));
    assert_eq!(reader.remaining(), 3);
}

#[test]
fn headers() {
    assert_eq!(request_header_version(ApiKey::Metadata, 8), 1);
    assert_eq!(request_header_version(ApiKey::Metadata, 9), 2);
    assert_eq!(request_header_version(ApiKey::OffsetDelete, 0), 1);
    assert_eq!(request_header_version(ApiKey::ApiVersions, 3), 2);
    for version in 0..=4 {
        assert_eq!(response_header_version(ApiKey::ApiVersions, version), 0);
    }
    assert_eq!(response_header_version(ApiKey::Fetch, 11), 0);
    assert_eq!(response_header_version(ApiKey::Fetch, 12), 1);

    // ApiVersions in a version that nobody knows, with an unknown tag in the header.
    let bytes = hex("0012 0063 00000007 0001 63 01 00 02 abcd 02 61 02 62 00");
    let mut reader = Reader::new(&bytes);
    let header = RequestHeader {
        api_key: ApiKey::ApiVersions,
        api_version: 99,
        correlation_id: 7,
        client_id: Some("c"),
    };
    assert_eq!(RequestHeader::decode(&mut reader), Ok(header));
    assert!(!header.api_key.serves(header.api_version));
    assert_eq!(reader.remaining(), 5);

    let unknown = hex("0004 0000 00000007 ffff");
    assert_eq!(
        RequestHeader::decode(&mut Reader::new(&unknown)),
        Err(DecodeError::UnknownApiKey(4))
    );
}

#[test]
fn a_field_that_the_version_lacks_is_an_error_unless_ignorable() {
    let follower = FetchRequest {
        replica_id: 3,
        ..Default::default()
    };
    assert!(follower.to_bytes(14).is_ok());
    let error = EncodeError::FieldNotInVersion {
        message: "FetchRequest",
        field: "ReplicaId",
        version: 15,
    };
    assert_eq!(follower.to_bytes(15), Err(error));

    let in_session = FetchRequest {
        session_id: 3,
        ..Default::default()
    };
    let dropped = in_session.to_bytes(6).unwrap();
    assert_eq!(FetchRequest::from_bytes(&dropped, 6), Ok(FetchRequest::default()));
}

#[test]
fn null_is_an_error_where_the_version_has_none() {
    let all_topics = MetadataRequest {
        topics: None,
        ..Default::default()
    };
    let error = EncodeError::Null {
        message: "MetadataRequest",
        field: "Topics",
        version: 0,
    };
    assert_eq!(all_topics.to_bytes(0), Err(error));
    let null_topics = hex("ffffffff");
    assert_eq!(
        MetadataRequest::from_bytes(&null_topics, 0),
        Err(DecodeError::UnexpectedNull)
    );
}

#[test]
fn an_array_of_2_to_the_31_elements_is_refused_at_once() {
    // MetadataRequest v0 and v13, FetchResponse v4: arrays that announce all there is.
    let cases = [
        MetadataRequest::from_bytes(&hex("7fffffff"), 0).err(),
        MetadataRequest::from_bytes(&hex("ffffffff0f"), 13).err(),
        FetchResponse::from_bytes(&hex("00000000 7fffffff"), 4).err(),
    ];
    let expected = [0x7fff_ffff, 0xffff_fffe, 0x7fff_ffff].map(|count| Some(DecodeError::TooManyElements(count)));
    assert_eq!(cases, expected);
}

#[test]
fn keys_and_values_of_internal_topics() {
    let key = OffsetCommitKey {
        group: "g",
        topic: "t",
        partition: 3,
    };
    let bytes = encode_record_key(&key).unwrap();
    assert_eq!(bytes, hex("0001 0001 67 0001 74 00000003"));
    assert_eq!(record_type(&bytes), Ok(1));
    assert_eq!(decode_record_key(&bytes), Ok(key));
    assert_eq!(
        decode_record_key::<GroupMetadataKey>(&bytes),
        Err(DecodeError::WrongRecordType { expected: 2, found: 1 })
    );

    let value = OffsetCommitValue {
        offset: 7,
        leader_epoch: 2,
        metadata: "m",
        commit_timestamp: 9,
        topic_id: Uuid::from_u128(1),
        ..Default::default()
    };
    let bytes = encode_record_value(&value, 4).unwrap();
    assert_eq!(
        bytes,
        hex(&format!(
            "0004 0000000000000007 00000002 02 6d 0000000000000009 01 00 10 {}01",
            "00".repeat(15)
        ))
    );
    assert_eq!(decode_record_value(&bytes), Ok(value));
    let newer = hex("0005 00");
    assert!(decode_record_value::<OffsetCommitValue>(&newer).is_err());

    assert_eq!(
        encode_versioned(&EndTxnMarker { coordinator_epoch: 0 }, 0).unwrap(),
        hex("0000 00000000")
    );
}

#[test]
fn a_newer_consumer_protocol_is_read_as_the_newest_known() {
    let newer = hex("0009 00000001 0001 74 ffffffff 00000000 00000005 0001 72 abcdef");
    let expected = ConsumerProtocolSubscription {
        topics: vec!["t"],
        generation_id: 5,
        rack_id: Some("r"),
        ..Default::default()
    };
    assert_eq!(decode_consumer_protocol(&newer), Ok(expected));
    let empty = hex("0000 00000000 ffffffff");
    assert_eq!(
        decode_consumer_protocol(&empty),
        Ok(ConsumerProtocolAssignment::default())
    );
}

#[test]
fn records_are_neither_copied_in_nor_out() {
    use klamm_wire::fetch_response::{FetchableTopicResponse, PartitionData};
    let records = Bytes::from(vec![7; 100_000]);
    let response = FetchResponse {
        responses: vec![FetchableTopicResponse {
            topic: "t",
            partitions: vec![PartitionData {
                records: Some(records.clone()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let frame = encode_response(&response, 12, 1).unwrap();
    let [before, middle, after] = frame.segments() else {
        panic!("{} segments", frame.segments().len());
    };
    assert_eq!(middle.as_ptr(), records.as_ptr());
    assert_eq!(before.len() + middle.len() + after.len(), frame.len());

    let whole = frame.into_bytes().slice(9..);
    let decoded = FetchResponse::from_bytes(&whole, 12).unwrap();
    assert_eq!(decoded, response);
    let taken = decoded.responses[0].partitions[0].records.as_ref().unwrap();
    assert!(whole.as_ptr_range().contains(&taken.as_ptr()));
}
