//! What goes into a producer, and what comes back.

use std::sync::Arc;

use bytes::Bytes;
use klamm_record::Header;
use klamm_types::{Offset, PartitionId, Timestamp};

/// A record to send.
///
/// ```
/// use klamm_client::ProducerRecord;
///
/// let record = ProducerRecord::to("orders").key("customer-7").value("{}").header("trace", "abc");
/// assert_eq!(record.key.as_deref(), Some(&b"customer-7"[..]));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerRecord {
    pub topic: Arc<str>,
    /// None: chosen by the key, or spread over the partitions if there is no key.
    pub partition: Option<PartitionId>,
    /// None: the time of `send`.
    pub timestamp: Option<Timestamp>,
    pub key: Option<Bytes>,
    /// None is a tombstone on compacted topics.
    pub value: Option<Bytes>,
    pub headers: Vec<Header>,
}

impl ProducerRecord {
    /// A record for this topic, empty so far.
    pub fn to(topic: impl Into<Arc<str>>) -> ProducerRecord {
        ProducerRecord {
            topic: topic.into(),
            partition: None,
            timestamp: None,
            key: None,
            value: None,
            headers: Vec::new(),
        }
    }

    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> ProducerRecord {
        self.key = Some(key.into());
        self
    }

    #[must_use]
    pub fn value(mut self, value: impl Into<Bytes>) -> ProducerRecord {
        self.value = Some(value.into());
        self
    }

    /// Adds a header; one of the same name may be there already.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> ProducerRecord {
        self.headers.push(Header::new(name, value));
        self
    }

    /// Sends the record to this partition whatever its key.
    #[must_use]
    pub fn partition(mut self, partition: i32) -> ProducerRecord {
        self.partition = Some(PartitionId(partition));
        self
    }

    /// Milliseconds since 1970. Topics with LogAppendTime replace it.
    #[must_use]
    pub fn timestamp(mut self, timestamp: Timestamp) -> ProducerRecord {
        self.timestamp = Some(timestamp);
        self
    }
}

/// Where a delivered record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub topic: Arc<str>,
    pub partition: PartitionId,
    /// -1 if the broker was not asked to acknowledge.
    pub offset: Offset,
    /// The record's own, or the broker's if the topic has LogAppendTime.
    pub timestamp: Timestamp,
}
