//! Reading the rows of the store from its database, and the check of the whole store when it is opened. Blocking; never on a
//! runtime's thread. Writes nothing.

use std::io;
use std::ops::Range;

use klamm_proto::quorum::v1 as wire;
use prost::Message;

use super::codec::{self, CodecError};
use super::database::{Database, Pair};
use super::log_store::{COMMITTED, PURGED, Recovered, VOTE};
use crate::raft::convert;
use crate::raft::types::{Entry, LogId, Vote};

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error("reading the store's rows")]
    Read(#[source] io::Error),
    #[error("reading the store's {what}")]
    Row {
        what: String,
        #[source]
        source: CodecError,
    },
    #[error("the store has entry {found} where entry {due} was due")]
    Hole { due: u64, found: u64 },
    #[error("the store has its log but no vote")]
    NoVote,
}

impl From<io::Error> for ScanError {
    fn from(source: io::Error) -> Self {
        ScanError::Read(source)
    }
}

pub fn seal_log_id(id: &LogId) -> Vec<u8> {
    codec::seal(&convert::log_id_to_wire(id).encode_to_vec())
}

/// The keys of all rows whose entries lie in `range`.
pub fn keys(db: &Database, range: Range<u64>) -> io::Result<Vec<Vec<u8>>> {
    if range.is_empty() {
        return Ok(Vec::new());
    }
    let rows = db.range(codec::log_key(range.start, 0)..codec::log_key(range.end, 0));
    rows.map(|row| row.map(|(key, _)| key)).collect()
}

/// Entries of `range` and their bytes, at most `bytes_max` but at least one entry. A missing entry is an error.
pub fn read(db: &Database, range: Range<u64>, bytes_max: usize) -> io::Result<(Vec<Entry>, usize)> {
    let mut entries = Vec::new();
    let mut bytes = 0;
    let mut due = range.start;
    let rows = db.range(codec::log_key(range.start, 0)..codec::log_key(range.end, 0));
    for sealed in Joined::new(rows) {
        let (index, sealed) = sealed.map_err(io::Error::other)?;
        if index != due {
            return Err(io::Error::other(ScanError::Hole { due, found: index }));
        }
        if !entries.is_empty() && bytes + sealed.len() > bytes_max {
            return Ok((entries, bytes));
        }
        bytes += sealed.len();
        entries.push(entry(index, sealed).map_err(io::Error::other)?);
        due += 1;
    }
    if due != range.end {
        return Err(io::Error::other(ScanError::Hole { due, found: range.end }));
    }
    Ok((entries, bytes))
}

/// Reads everything once: pointers, every row, every checksum, no hole.
pub fn scan(db: &Database) -> Result<Recovered, ScanError> {
    let mut recovered = Recovered {
        vote: vote(db)?,
        committed: state(db, COMMITTED, log_id)?,
        purged: state(db, PURGED, log_id)?,
        last: None,
        first_index: 0,
    };
    recovered.last = recovered.purged;
    let mut first = None;
    let mut due = recovered.purged.map_or(0, |id| id.index + 1);
    for sealed in Joined::new(db.range(codec::log_keys())) {
        let (index, sealed) = sealed?;
        let entry = entry(index, sealed)?;
        if recovered.purged.is_some_and(|purged| index <= purged.index) {
            // A purge whose rows were not all removed when the process ended.
            continue;
        }
        if index != due {
            return Err(ScanError::Hole { due, found: index });
        }
        first.get_or_insert(index);
        recovered.last = Some(entry.log_id);
        due = index + 1;
    }
    // A vote always precedes what it lets a leader append, except the very first membership entry, at index 0.
    if recovered.vote.is_none() && recovered.last.is_some_and(|last| last.index > 0) {
        return Err(ScanError::NoVote);
    }
    recovered.first_index = first.unwrap_or(due);
    Ok(recovered)
}

pub fn vote(db: &Database) -> Result<Option<Vote>, ScanError> {
    state(db, VOTE, |bytes| {
        convert::vote_from_wire(wire::Vote::decode(bytes).ok()).ok()
    })
}

fn log_id(bytes: &[u8]) -> Option<LogId> {
    wire::LogId::decode(bytes).ok().map(|id| convert::log_id_from_wire(&id))
}

/// The pointer `name`, if it was ever set.
pub fn state<T>(db: &Database, name: &str, decode: impl Fn(&[u8]) -> Option<T>) -> Result<Option<T>, ScanError> {
    let Some(sealed) = db.get(&codec::state_key(name))? else {
        return Ok(None);
    };
    let row = |source| ScanError::Row {
        what: format!("pointer {name:?}"),
        source,
    };
    let body = codec::unseal(&sealed).map_err(row)?;
    decode(body).map(Some).ok_or(row(CodecError::Content))
}

fn entry(index: u64, sealed: Vec<u8>) -> Result<Entry, ScanError> {
    let row = |source| ScanError::Row {
        what: format!("entry {index}"),
        source,
    };
    let entry = codec::entry_from_rows(sealed).map_err(row)?;
    if entry.log_id.index != index {
        return Err(row(CodecError::Content));
    }
    Ok(entry)
}

/// Joins the rows of each entry; yields (index, joined bytes).
struct Joined<I> {
    rows: I,
    open: Option<(u64, u32, Vec<u8>)>,
}

impl<I: Iterator<Item = io::Result<Pair>>> Joined<I> {
    fn new(rows: I) -> Self {
        Joined { rows, open: None }
    }
}

impl<I: Iterator<Item = io::Result<Pair>>> Iterator for Joined<I> {
    type Item = Result<(u64, Vec<u8>), ScanError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(row) = self.rows.next() else {
                return self.open.take().map(|(index, _, bytes)| Ok((index, bytes)));
            };
            let (key, value) = match row {
                Ok(row) => row,
                Err(error) => return Some(Err(error.into())),
            };
            let bad = |source| ScanError::Row {
                what: "log".into(),
                source,
            };
            let (index, part) = match codec::parse_log_key(&key) {
                Ok(parsed) => parsed,
                Err(source) => return Some(Err(bad(source))),
            };
            match &mut self.open {
                Some((open, parts, bytes)) if *open == index => {
                    if part != *parts || bytes.len() > codec::ENTRY_BYTES_MAX {
                        return Some(Err(bad(CodecError::Key)));
                    }
                    *parts += 1;
                    bytes.extend_from_slice(&value);
                }
                open => {
                    if part != 0 {
                        return Some(Err(bad(CodecError::Key)));
                    }
                    if let Some((index, _, bytes)) = open.replace((index, 1, value)) {
                        return Some(Ok((index, bytes)));
                    }
                }
            }
        }
    }
}
