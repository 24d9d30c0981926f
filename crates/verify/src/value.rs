//! Values that no two sends share, so that every record read can be traced to the send that made it.

use std::fmt;

/// One send: by which producer, and which of its sends to this partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value {
    pub producer: u32,
    /// Counts the producer's sends to one partition, from 0.
    pub number: u64,
}

impl Value {
    /// The value as a record carries it, filled up to `size` bytes if it is shorter.
    pub fn encode(self, size: usize) -> Vec<u8> {
        let mut bytes = self.to_string().into_bytes();
        bytes.push(b'|');
        if bytes.len() < size {
            bytes.resize(size, b'.');
        }
        bytes
    }

    /// Back from a record; `None` for a value that no workload of ours made.
    pub fn decode(bytes: &[u8]) -> Option<Value> {
        let end = bytes.iter().take(64).position(|&byte| byte == b'|')?;
        let text = std::str::from_utf8(&bytes[..end]).ok()?;
        let (producer, number) = text.split_once(':')?;
        Some(Value {
            producer: producer.parse().ok()?,
            number: number.parse().ok()?,
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.producer, self.number)
    }
}

/// What a record holds, in words.
pub(crate) fn show(value: Option<Value>) -> String {
    value.map_or_else(|| "a foreign record".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_a_record() {
        let value = Value {
            producer: 3,
            number: 41,
        };
        assert_eq!(Value::decode(&value.encode(100)), Some(value));
        assert_eq!(value.encode(100).len(), 100);
        assert_eq!(Value::decode(&value.encode(0)), Some(value));
        for foreign in [&b"hello"[..], b"", b"1:2", b"x:1|", b"-1:2|"] {
            assert_eq!(Value::decode(foreign), None);
        }
    }
}
