//! For tests and fuzzing: arbitrary values of every message, and a list of all messages to go through.
//!
//! Not part of the product: compiled for this crate's tests and under the feature `testing`.

use std::fmt::Write;

use bytes::Bytes;

use crate::api_key::VersionRange;
use crate::error::DecodeError;
use crate::message::{Decode, Encode};
use crate::reader::Reader;
use support::Source;

#[path = "testing/support.rs"]
pub mod support;

/// One message and what tests do with it, without its type.
pub struct TestedMessage {
    pub name: &'static str,
    /// For requests and responses.
    pub api_key: Option<i16>,
    pub versions: VersionRange,
    /// The bytes of an arbitrary value of this version.
    pub arbitrary: fn(&mut Source, i16) -> Bytes,
    /// Encodes an arbitrary value of this version, decodes it and compares; gives the bytes.
    pub round_trip: fn(&mut Source, i16) -> Bytes,
    /// Decodes bytes; whatever decodes must come back the same after another round. Gives the number of bytes left.
    pub decode: fn(&Bytes, i16) -> Result<usize, DecodeError>,
}

macro_rules! tested {
    ($module:ident, $name:ident, $key:expr) => {
        TestedMessage {
            name: stringify!($name),
            api_key: $key,
            versions: <crate::$module::$name as Encode>::VERSIONS,
            arbitrary: |source, version| {
                let value = crate::$module::$name::arbitrary(source, version);
                value.to_bytes(version).expect("an arbitrary value fits its version")
            },
            round_trip: |source, version| {
                let value = crate::$module::$name::arbitrary(source, version);
                let bytes = value.to_bytes(version).expect("an arbitrary value fits its version");
                let mut reader = Reader::new(&bytes);
                let decoded = crate::$module::$name::decode(&mut reader, version);
                assert_eq!(decoded.as_ref(), Ok(&value), "{} v{version}", stringify!($name));
                assert_eq!(reader.remaining(), 0, "{} v{version}", stringify!($name));
                bytes
            },
            decode: |bytes, version| {
                let mut reader = Reader::new(bytes);
                let value = crate::$module::$name::decode(&mut reader, version)?;
                let again = value.to_bytes(version).expect("what was decoded can be encoded");
                assert_eq!(crate::$module::$name::from_bytes(&again, version).as_ref(), Ok(&value));
                Ok(reader.remaining())
            },
        }
    };
}

include!(concat!(env!("OUT_DIR"), "/arbitrary.rs"));

/// A line `NAME VERSION` and the message's bytes after it: the form of the files in `tests/corpus`.
pub fn corpus_entry(message: &TestedMessage, version: i16, bytes: &[u8]) -> Vec<u8> {
    let mut line = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(line, "{} {version}", message.name);
    let mut entry = line.into_bytes();
    entry.extend_from_slice(bytes);
    entry
}

/// The message, version and bytes of a corpus entry; `None` if the first line names no message.
pub fn parse_corpus_entry(entry: &[u8]) -> Option<(&'static TestedMessage, i16, Bytes)> {
    let end = entry.iter().position(|&byte| byte == b'\n')?;
    let (name, version) = std::str::from_utf8(&entry[..end]).ok()?.split_once(' ')?;
    let message = MESSAGES.iter().find(|message| message.name == name)?;
    Some((
        message,
        version.parse().ok()?,
        Bytes::copy_from_slice(&entry[end + 1..]),
    ))
}

/// One step of fuzzing: decodes an entry, which may be anything; must not panic.
pub fn fuzz_one(entry: &[u8]) {
    if let Some((message, version, bytes)) = parse_corpus_entry(entry) {
        let _ = (message.decode)(&bytes, version);
    }
}

#[cfg(test)]
#[path = "testing/properties_test.rs"]
mod tests;
