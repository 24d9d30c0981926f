//! Keys and values of the internal topics, and what consumers tell each other: messages after an int16.
//!
//! A key begins with its record type, everything else with its version.

use bytes::Bytes;

use crate::error::{DecodeError, EncodeError};
use crate::message::{Decode, Encode, RecordKey, RecordValue};
use crate::reader::Reader;
use crate::writer::Writer;

/// Record key to bytes: the type, then the key, whose version is always 0.
pub fn encode_record_key<K: RecordKey>(key: &K) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.i16(K::TYPE);
    key.encode(&mut writer, 0)?;
    Ok(writer.finish().into_bytes())
}

/// The type that a record key begins with.
pub fn record_type(key: &Bytes) -> Result<i16, DecodeError> {
    Reader::new(key).i16()
}

/// Bytes to record key; refuses a key of another type.
pub fn decode_record_key<'a, K: RecordKey + Decode<'a>>(key: &'a Bytes) -> Result<K, DecodeError> {
    let mut reader = Reader::new(key);
    let found = reader.i16()?;
    if found != K::TYPE {
        return Err(DecodeError::WrongRecordType {
            expected: K::TYPE,
            found,
        });
    }
    K::decode(&mut reader, 0)
}

/// Record value to bytes.
pub fn encode_record_value<V: RecordValue>(value: &V, version: i16) -> Result<Bytes, EncodeError> {
    encode_versioned(value, version)
}

/// Bytes to record value; a version that is not known is an error.
pub fn decode_record_value<'a, V: RecordValue + Decode<'a>>(value: &'a Bytes) -> Result<V, DecodeError> {
    let mut reader = Reader::new(value);
    let version = reader.i16()?;
    V::decode(&mut reader, version)
}

/// A message after its version.
pub fn encode_versioned<M: Encode>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.i16(version);
    message.encode(&mut writer, version)?;
    Ok(writer.finish().into_bytes())
}

/// What a consumer sent through the coordinator. A version above the highest known is read as the highest known:
/// later versions of the consumer protocol only add fields at the end.
pub fn decode_consumer_protocol<'a, M: Decode<'a>>(bytes: &'a Bytes) -> Result<M, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16()?;
    M::decode(&mut reader, version.min(M::VERSIONS.max))
}
