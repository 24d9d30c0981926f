//! Bytes that are no request: unknown APIs and versions, frames too short or too long, bodies that do not parse.
//!
//! They stand under ApiVersions, since they belong to no API, and run once.

use bytes::{BufMut, BytesMut};
use klamm_wire::{ApiKey, ListOffsetsRequest, MetadataRequest};

use crate::case::{Case, Cases};
use crate::session::{frame, framed};

fn header(key: i16, version: i16) -> BytesMut {
    let mut body = BytesMut::new();
    body.put_i16(key);
    body.put_i16(version);
    body.put_i32(7);
    body.put_i16(-1);
    body
}

/// An array that announces more elements than there are bytes.
fn announced(count: i32) -> Vec<u8> {
    let mut body = header(ApiKey::Metadata.code(), 4);
    body.put_i32(count);
    framed(&body)
}

/// A Metadata request with other bytes behind its fields.
fn metadata(version: i16, rest: &[u8]) -> Vec<u8> {
    let none = MetadataRequest {
        topics: Some(Vec::new()),
        ..Default::default()
    };
    let body = frame(&none, version).expect("a request without topics can be written");
    framed(&[&body[4..], rest].concat())
}

fn cut(frame: &[u8], bytes: usize) -> Vec<u8> {
    framed(&frame[4..frame.len() - bytes])
}

fn frames() -> Vec<(String, Vec<u8>)> {
    let mut frames: Vec<(String, Vec<u8>)> = Vec::new();
    for key in [-1, 4, 52, 99, 1000, i16::MAX] {
        frames.push((format!("API {key}"), framed(&header(key, 0))));
    }
    for (key, version) in [
        (ApiKey::Produce, 2),
        (ApiKey::Produce, 0),
        (ApiKey::Produce, 14),
        (ApiKey::Fetch, 3),
        (ApiKey::Fetch, 19),
        (ApiKey::ListOffsets, 0),
        (ApiKey::Metadata, 14),
        (ApiKey::Metadata, -1),
        (ApiKey::CreateTopics, 1),
        (ApiKey::DescribeCluster, 3),
    ] {
        frames.push((
            format!("version {version} of {key}"),
            framed(&header(key.code(), version)),
        ));
    }
    frames.push(("an empty frame".into(), framed(&[])));
    frames.push(("a frame of 3 bytes".into(), framed(&[0, 3, 0])));
    frames.push(("a header without its end".into(), framed(&header(3, 1)[..9])));
    frames.push(("a negative frame length".into(), (-1_i32).to_be_bytes().to_vec()));
    frames.push(("the lowest frame length".into(), i32::MIN.to_be_bytes().to_vec()));
    frames.push((
        "a frame length of 104857601".into(),
        104_857_601_i32.to_be_bytes().to_vec(),
    ));
    frames.push((
        "a client id that is cut off".into(),
        framed(&[0, 3, 0, 1, 0, 0, 0, 7, 0, 50, b'x']),
    ));
    frames.push((
        "a client id of length -2".into(),
        framed(&[0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xfe, 0, 0, 0, 0]),
    ));
    frames.push((
        "a client id that is no UTF-8".into(),
        framed(&[0, 3, 0, 1, 0, 0, 0, 7, 0, 2, 0xff, 0xfe, 0, 0, 0, 0]),
    ));
    frames.push(("an array of 2147483647".into(), announced(i32::MAX)));
    frames.push(("an array of -2".into(), announced(-2)));
    for version in [1, 8, 9, 12] {
        frames.push((
            format!("3 surplus bytes behind Metadata {version}"),
            metadata(version, &[1, 0, 0]),
        ));
    }
    frames.push(("a body that is cut off".into(), cut(&metadata(12, &[]), 1)));
    let offsets = frame(
        &ListOffsetsRequest {
            replica_id: -1,
            ..Default::default()
        },
        1,
    );
    frames.push((
        "ListOffsets without its topics".into(),
        cut(&offsets.expect("can be written"), 4),
    ));
    frames.push(("an unknown tagged field".into(), tagged()));
    frames
}

/// Metadata 12 with a field of tag 99 that nobody knows.
fn tagged() -> Vec<u8> {
    let plain = metadata(12, &[]);
    framed(&[&plain[4..plain.len() - 1], &[1, 99, 2, 0xaa, 0xbb]].concat())
}

/// The API and version as which an answer is read: those of the frame, if they exist.
fn read_as(frame: &[u8]) -> (ApiKey, i16) {
    let number = |at: usize| {
        frame
            .get(at..at + 2)
            .map_or(-1, |bytes| i16::from_be_bytes([bytes[0], bytes[1]]))
    };
    match ApiKey::from_code(number(4)) {
        Some(key) if key.valid().contains(number(6)) => (key, number(6)),
        _ => (ApiKey::ApiVersions, 0),
    }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::ApiVersions);
    for (what, bytes) in frames() {
        cases.add(format!("bytes: {what}"), 0..=0, move |session, _| {
            let (key, version) = read_as(&bytes);
            session.send("", key, version, &bytes)?;
            Ok(())
        });
    }
    cases.list
}
