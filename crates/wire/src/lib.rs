//! Kafka's requests, responses and coordinator records, to bytes and from bytes.
//!
//! Every message is a struct in a module of its own (`metadata_response::MetadataResponse`), generated from
//! `proto/kafka/` by the build script; the message structs themselves are also here at the top. A struct has the
//! fields of all versions, `Default` gives the protocol's defaults, and decoding fills fields that the version lacks
//! with them. Strings borrow from the frame, byte fields share its allocation.
//!
//! Decoding is bounded and never panics: lengths are checked against the bytes left before memory is taken, a message
//! has at most [`ELEMENTS_MAX`] array elements. Meaning is not checked here, and record batches are only bytes.
//!
//! ```
//! use klamm_wire::metadata_request::MetadataRequestTopic;
//! use klamm_wire::{Decode, MetadataRequest, Reader, RequestHeader, encode_request};
//!
//! let topic = MetadataRequestTopic { name: Some("orders"), ..Default::default() };
//! let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
//! let frame = encode_request(&request, 13, 7, Some("client"))?.into_bytes();
//!
//! let body = frame.slice(4..);
//! let mut reader = Reader::new(&body);
//! let header = RequestHeader::decode(&mut reader)?;
//! assert_eq!((header.correlation_id, header.client_id), (7, Some("client")));
//! assert_eq!(MetadataRequest::decode(&mut reader, header.api_version)?, request);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod api_key;
mod error;
mod frame;
mod header;
mod message;
mod reader;
mod records;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tree;
mod writer;

pub use api_key::{ApiInfo, ApiKey, VersionRange};
pub use error::{DecodeError, EncodeError};
pub use frame::{Frame, encode_request, encode_response};
pub use header::{
    RequestHeader, read_response_header, request_header_version, response_header_version, write_response_header,
};
pub use message::{Decode, Encode, RecordKey, RecordValue, Request, Response};
pub use reader::{ELEMENTS_MAX, Reader, StructPlace, TaggedField};
pub use records::{
    decode_consumer_protocol, decode_record_key, decode_record_value, encode_record_key, encode_record_value,
    encode_versioned, record_type,
};
pub use tree::{ToTree, Tree, read_response};
pub use writer::{COPY_MAX, TagStart, Writer};

/// What generated code uses.
mod generated {
    pub(crate) use bytes::Bytes;
    pub(crate) use klamm_types::Uuid;

    pub(crate) use crate::api_key::{ApiKey, VersionRange};
    pub(crate) use crate::error::{DecodeError, EncodeError};
    pub(crate) use crate::message::{Decode, Encode, RecordKey, RecordValue, Request, Response};
    pub(crate) use crate::reader::{Reader, StructPlace};
    pub(crate) use crate::tree::{ToTree, Tree};
    pub(crate) use crate::writer::Writer;
}

include!(concat!(env!("OUT_DIR"), "/messages.rs"));
