//! An entry as the topic has it.
//!
//! The key is the slot and the group, `17/orders`; the value is JSON. Entries are few and bounded, so their size is no
//! matter, and JSON can be read by whoever can read a topic, with any Kafka client, also when no broker of this
//! version runs any more. A field that a later version adds is passed over.

use ::bytes::Bytes;
use klamm_types::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Entry, Happened};

/// The format that is written and the newest that is read.
const FORMAT: u32 = 1;

/// Texts that come from clients are cut to so many characters.
const TEXT_CHARACTERS_MAX: usize = 256;

/// An entry, and where it stands in the history of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// Counts the entries of the group; the order of the history.
    pub number: u64,
    pub slot: u32,
    pub entry: Entry,
}

/// A record that is no entry, or one of a later version. Its reader passes over it.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("the key is not a slot and a group")]
    Key,
    #[error("the value is not an entry")]
    Value(#[from] serde_json::Error),
    #[error("the format {0} is newer than {FORMAT}")]
    Format(u32),
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    number: u64,
    at_ms: i64,
    #[serde(flatten)]
    happened: Happened,
}

impl Numbered {
    /// Key and value.
    pub fn to_bytes(&self) -> (Bytes, Bytes) {
        let stored = Stored {
            format: FORMAT,
            number: self.number,
            at_ms: self.entry.at.0,
            happened: cut(&self.entry.happened),
        };
        let value = serde_json::to_vec(&stored).expect("its maps have strings as keys, and its numbers are whole");
        (key(&self.entry.group, self.slot), Bytes::from(value))
    }

    pub fn from_bytes(key: &[u8], value: &[u8]) -> Result<Numbered, Unreadable> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let (slot, group) = read_key(key).ok_or(Unreadable::Key)?;
        let Format { format } = serde_json::from_slice(value)?;
        if format > FORMAT {
            return Err(Unreadable::Format(format));
        }
        let stored: Stored = serde_json::from_slice(value)?;
        Ok(Numbered {
            number: stored.number,
            slot,
            entry: Entry {
                group,
                at: Timestamp(stored.at_ms),
                happened: stored.happened,
            },
        })
    }
}

/// The key of a group's slot.
pub fn key(group: &str, slot: u32) -> Bytes {
    Bytes::from(format!("{slot}/{group}"))
}

/// The slot and the group of a key.
pub fn read_key(key: &[u8]) -> Option<(u32, String)> {
    let (slot, group) = std::str::from_utf8(key).ok()?.split_once('/')?;
    Some((slot.parse().ok()?, group.to_owned()))
}

fn cut(happened: &Happened) -> Happened {
    let cut = |text: &mut String| {
        if let Some((end, _)) = text.char_indices().nth(TEXT_CHARACTERS_MAX) {
            text.truncate(end);
            text.push('…');
        }
    };
    let mut happened = happened.clone();
    match &mut happened {
        Happened::MemberJoined {
            member,
            client_id,
            client_host,
        } => [member, client_id, client_host].into_iter().for_each(cut),
        Happened::MemberLeft { member, reason } => {
            cut(member);
            reason.iter_mut().for_each(cut);
        }
        Happened::MemberRemoved { member, .. } => cut(member),
        Happened::RebalanceStarted { cause } => cut(cause),
        Happened::RebalanceEnded { .. } | Happened::Unowned { .. } => {}
    }
    happened
}

/// A time as milliseconds since 1970.
pub(super) mod milliseconds {
    use klamm_types::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(time.0)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(deserializer).map(Timestamp)
    }
}
