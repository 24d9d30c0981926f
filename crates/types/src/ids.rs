//! Who and what: nodes, topics, partitions, producers, clusters, directories.

use std::fmt;
use std::str::FromStr;

use crate::offsets::number;

number! {
    /// A node's number, chosen by the operator, stable for ever. Kafka's broker id.
    NodeId(i32)
}
/// Kafka says broker id where it means a node in its broker role.
pub type BrokerId = NodeId;

number! {
    /// One registration of a broker; grows with every registration in the cluster.
    BrokerEpoch(i64)
}
number! {
    /// A partition's number within its topic, from 0.
    PartitionId(i32)
}
number! {
    /// A producer's number, unique in the cluster for ever; `-1` means "not idempotent".
    ProducerId(i64)
}
number! {
    /// Counts the sessions of one producer id; a lower one is fenced.
    ProducerEpoch(i16)
}

impl BrokerEpoch {
    pub const NONE: BrokerEpoch = BrokerEpoch(-1);
}

impl ProducerId {
    pub const NONE: ProducerId = ProducerId(-1);
}

impl ProducerEpoch {
    pub const NONE: ProducerEpoch = ProducerEpoch(-1);
}

/// 16 bytes, shown as Kafka shows them: URL-safe base64 without padding, 22 characters.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

/// Text that is no base64 uuid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a uuid is 22 characters of URL-safe base64")]
pub struct UuidError;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Uuid {
    /// Kafka's "none".
    pub const ZERO: Uuid = Uuid([0; 16]);

    pub fn from_u128(value: u128) -> Uuid {
        Uuid(value.to_be_bytes())
    }

    pub fn to_u128(self) -> u128 {
        u128::from_be_bytes(self.0)
    }

    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// From the bytes of a message; `None` unless there are exactly 16.
    pub fn from_slice(bytes: &[u8]) -> Option<Uuid> {
        bytes.try_into().ok().map(Uuid)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.chunks(3) {
            let mut bits = 0u32;
            for index in 0..3 {
                bits = (bits << 8) | u32::from(chunk.get(index).copied().unwrap_or(0));
            }
            for position in 0..=chunk.len() {
                let sextet = (bits >> (18 - 6 * position)) & 63;
                write!(f, "{}", char::from(ALPHABET[sextet as usize]))?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Uuid {
    type Err = UuidError;

    fn from_str(text: &str) -> Result<Uuid, UuidError> {
        if text.len() != 22 {
            return Err(UuidError);
        }
        let mut bits = 0u128;
        for (position, byte) in text.bytes().enumerate() {
            let sextet = ALPHABET.iter().position(|&letter| letter == byte).ok_or(UuidError)? as u128;
            if position < 21 {
                bits = (bits << 6) | sextet;
            } else if sextet & 15 != 0 {
                return Err(UuidError);
            } else {
                bits = (bits << 2) | (sextet >> 4);
            }
        }
        Ok(Uuid::from_u128(bits))
    }
}

macro_rules! uuid {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl $name {
            pub const ZERO: $name = $name(Uuid::ZERO);

            pub fn from_u128(value: u128) -> $name {
                $name(Uuid::from_u128(value))
            }

            pub fn from_slice(bytes: &[u8]) -> Option<$name> {
                Uuid::from_slice(bytes).map($name)
            }

            pub fn as_bytes(&self) -> &[u8; 16] {
                &self.0.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = UuidError;
            fn from_str(text: &str) -> Result<$name, UuidError> {
                Uuid::from_str(text).map($name)
            }
        }
    };
}

uuid! {
    /// A topic's identity: a topic deleted and created again under its name has another.
    TopicId
}
uuid! {
    /// The identity of one data directory; a restored or foreign directory is told by it.
    DirectoryId
}
uuid! {
    /// One run of a process: drawn at start, never stored, never reused.
    Incarnation
}
uuid! {
    /// The cluster that a node belongs to, agreed at the first start.
    ClusterId
}

/// One partition of one topic. The name is for people; the id decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: TopicId,
    pub partition: PartitionId,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_written_as_kafka_writes_them() {
        let one = Uuid::from_u128(1);
        assert_eq!(one.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!("AAAAAAAAAAAAAAAAAAAAAQ".parse(), Ok(one));
        let other = Uuid::from_u128(0xfedc_ba98_7654_3210_0123_4567_89ab_cdef);
        assert_eq!(other.to_string().parse(), Ok(other));
        for bad in [
            "",
            "AAAAAAAAAAAAAAAAAAAAAR",
            "AAAAAAAAAAAAAAAAAAAAA=",
            "AAAAAAAAAAAAAAAAAAAAAQA",
        ] {
            assert_eq!(bad.parse::<Uuid>(), Err(UuidError), "{bad}");
        }
    }
}
