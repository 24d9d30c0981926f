//! How the store writes things down: a log entry as rows of at most 4 KiB, a pointer as one row, each with a version
//! and a checksum of our own. Nothing here touches sled.
//!
//! Rows are small because sled moves what is large to a file of its own that it never syncs, and does so with a whole
//! leaf of up to 17 rows, not only with a single value: beyond 128 KiB.

use bytes::Bytes;
use klamm_proto::quorum::v1 as wire;
use prost::Message;

use crate::raft::convert::{entry_from_wire, entry_to_wire};
use crate::raft::types::Entry;

/// The most bytes that one row's value holds.
pub const ROW_BYTES_MAX: usize = 4 * 1024;
/// The most bytes that one entry may take in its stored form.
pub const ENTRY_BYTES_MAX: usize = 2 * 1024 * 1024;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 9;
const LOG_PREFIX: u8 = b'l';
const STATE_PREFIX: u8 = b's';

/// A row's key and value.
pub type Row = ([u8; 13], Vec<u8>);

/// Why stored bytes are refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("the stored form has version {0}, this program reads version 1")]
    Version(u8),
    #[error("the stored form is cut short")]
    Short,
    #[error("the stored form fails its checksum")]
    Checksum,
    #[error("the stored form holds no entry")]
    Content,
    #[error("a row's key is malformed")]
    Key,
    #[error("an entry of {0} bytes is larger than the store takes")]
    TooLarge(usize),
}

/// Frames `body`: version, length, checksum.
pub fn seal(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
    out.push(VERSION);
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(&checksum(body).to_be_bytes());
    out.extend_from_slice(body);
    out
}

/// Takes a frame apart and checks it; what follows the frame is an error too.
pub fn unseal(sealed: &[u8]) -> Result<&[u8], CodecError> {
    let (header, body) = sealed.split_at_checked(HEADER_BYTES).ok_or(CodecError::Short)?;
    if header[0] != VERSION {
        return Err(CodecError::Version(header[0]));
    }
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
    if length as usize != body.len() {
        return Err(CodecError::Short);
    }
    if u32::from_be_bytes([header[5], header[6], header[7], header[8]]) != checksum(body) {
        return Err(CodecError::Checksum);
    }
    Ok(body)
}

/// The rows of an entry, in order of their parts.
pub fn entry_rows(entry: &Entry) -> Result<Vec<Row>, CodecError> {
    let body = entry_to_wire(entry).encode_to_vec();
    if body.len() > ENTRY_BYTES_MAX {
        return Err(CodecError::TooLarge(body.len()));
    }
    let sealed = seal(&body);
    let parts = sealed.chunks(ROW_BYTES_MAX).enumerate();
    Ok(parts
        .map(|(part, bytes)| (log_key(entry.log_id.index, part as u32), bytes.to_vec()))
        .collect())
}

/// The entry whose rows were joined to `sealed`.
pub fn entry_from_rows(sealed: Vec<u8>) -> Result<Entry, CodecError> {
    unseal(&sealed)?;
    let body = Bytes::from(sealed).slice(HEADER_BYTES..);
    let entry = wire::Entry::decode(body).map_err(|_| CodecError::Content)?;
    entry_from_wire(entry).map_err(|_| CodecError::Content)
}

pub fn log_key(index: u64, part: u32) -> [u8; 13] {
    let mut key = [LOG_PREFIX; 13];
    key[1..9].copy_from_slice(&index.to_be_bytes());
    key[9..].copy_from_slice(&part.to_be_bytes());
    key
}

/// Index and part of a row of the log.
pub fn parse_log_key(key: &[u8]) -> Result<(u64, u32), CodecError> {
    let key: &[u8; 13] = key.try_into().map_err(|_| CodecError::Key)?;
    if key[0] != LOG_PREFIX {
        return Err(CodecError::Key);
    }
    let index = key[1..9]
        .try_into()
        .map(u64::from_be_bytes)
        .map_err(|_| CodecError::Key)?;
    let part = key[9..]
        .try_into()
        .map(u32::from_be_bytes)
        .map_err(|_| CodecError::Key)?;
    Ok((index, part))
}

/// The range of all rows of the log.
pub fn log_keys() -> std::ops::RangeInclusive<[u8; 13]> {
    log_key(0, 0)..=log_key(u64::MAX, u32::MAX)
}

pub fn state_key(name: &str) -> Vec<u8> {
    let mut key = vec![STATE_PREFIX];
    key.extend_from_slice(name.as_bytes());
    key
}

fn checksum(body: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, body) as u32
}

#[cfg(test)]
mod tests {
    use openraft::vote::RaftLeaderId;

    use super::*;
    use crate::raft::types::{Command, LeaderId, LogId, Payload};

    fn entry(bytes: usize) -> Entry {
        let log_id = LogId {
            leader_id: LeaderId::new(1, 1),
            index: 9,
        };
        Entry {
            log_id,
            payload: Payload::Normal(Command::Records(Bytes::from(vec![7; bytes]))),
        }
    }

    #[test]
    fn a_large_entry_is_split_and_joined() {
        let rows = entry_rows(&entry(1 << 20)).unwrap();
        assert_eq!(rows.len(), 257);
        assert!(rows.iter().all(|(_, bytes)| bytes.len() <= ROW_BYTES_MAX));
        assert_eq!(parse_log_key(&rows[256].0), Ok((9, 256)));
        let joined: Vec<u8> = rows.into_iter().flat_map(|(_, bytes)| bytes).collect();
        assert_eq!(entry_from_rows(joined), Ok(entry(1 << 20)));
    }

    #[test]
    fn damage_is_noticed() {
        let sealed = seal(b"some body");
        assert_eq!(unseal(&sealed), Ok(&b"some body"[..]));
        for position in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[position] ^= 0x10;
            assert!(
                unseal(&damaged).is_err(),
                "a flipped bit in byte {position} went unnoticed"
            );
        }
        assert_eq!(unseal(&sealed[..sealed.len() - 1]), Err(CodecError::Short));
        assert_eq!(unseal(b""), Err(CodecError::Short));
    }

    #[test]
    fn entries_are_bounded() {
        assert!(matches!(
            entry_rows(&entry(ENTRY_BYTES_MAX)),
            Err(CodecError::TooLarge(_))
        ));
    }
}
