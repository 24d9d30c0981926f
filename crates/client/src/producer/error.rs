//! Why a record could not be taken, or not be delivered.

use std::sync::Arc;
use std::time::Duration;

use klamm_record::BuildError;
use klamm_types::{ErrorCode, PartitionId};

use crate::error::{MetadataError, RequestError};

/// Why [`Producer::send`](crate::Producer::send) did not take a record. It was not sent and never will be.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("looking up the topic of a record")]
    Topic(#[source] MetadataError),
    #[error("topic \"{topic}\" has {count} partitions and no partition {partition}")]
    UnknownPartition {
        topic: Arc<str>,
        partition: PartitionId,
        count: usize,
    },
    #[error("a record of {size} bytes is larger than the {size_max} bytes allowed")]
    TooLarge { size: usize, size_max: usize },
    #[error("the record cannot be written into a batch")]
    Build(#[source] BuildError),
    /// The buffer stayed full. Delivery is slower than production.
    #[error("no room in the buffer within {waited:?}")]
    BufferFull { waited: Duration },
    #[error("the producer is closed")]
    Closed,
}

impl SendError {
    /// Whether sending the record again may succeed.
    pub fn is_retriable(&self) -> bool {
        match self {
            SendError::Topic(cause) => cause.is_retriable(),
            SendError::BufferFull { .. } => true,
            SendError::UnknownPartition { .. } | SendError::TooLarge { .. } | SendError::Build(_) => false,
            SendError::Closed => false,
        }
    }

    /// Never: the record was not taken.
    pub fn may_have_had_effect(&self) -> bool {
        false
    }
}

/// Whether a batch that failed may be in the log all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is certain that the batch was not written.
    None,
    /// The batch may have been written. Reading the topic tells.
    Possible,
}

/// Why a record was not delivered. All records of a batch fail alike.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProduceError {
    /// A broker refused the batch, for a reason that a retry does not mend.
    #[error("the broker refused the batch{}", text(.message))]
    Refused {
        #[source]
        code: ErrorCode,
        message: Option<String>,
        effect: Effect,
    },
    /// `delivery_timeout` is over. `last` is what the last attempt met, if there was one.
    #[error("not delivered within {waited:?}")]
    TimedOut {
        waited: Duration,
        effect: Effect,
        #[source]
        last: Option<ErrorCode>,
    },
    /// The connection was lost after the batch was sent, and the guarantee forbids to send it again.
    #[error("the connection was lost after the batch was sent")]
    ConnectionLost,
    /// An earlier batch of the partition failed, and whether this one was written cannot be found out any more.
    #[error("an earlier batch failed and the fate of this one is unknown")]
    EarlierBatchFailed,
    /// The request cannot be made in any version that the broker speaks.
    #[error("the produce request cannot be made")]
    Request(#[source] Arc<RequestError>),
    #[error("building the batch")]
    Build(#[source] BuildError),
    /// The producer was closed or dropped before the batch was delivered.
    #[error("the producer was closed before the record was delivered")]
    Closed { effect: Effect },
}

fn text(message: &Option<String>) -> String {
    message.as_ref().map(|text| format!(": {text}")).unwrap_or_default()
}

impl ProduceError {
    /// Whether sending the record again may succeed. The producer has retried already; with a possible effect, sending
    /// again may write the record twice.
    pub fn is_retriable(&self) -> bool {
        match self {
            ProduceError::Refused { code, .. } => code.is_retriable(),
            ProduceError::TimedOut { .. } | ProduceError::ConnectionLost | ProduceError::EarlierBatchFailed => true,
            ProduceError::Request(cause) => cause.is_retriable(),
            ProduceError::Build(_) | ProduceError::Closed { .. } => false,
        }
    }

    /// Whether the record may be in the log.
    pub fn may_have_had_effect(&self) -> bool {
        match self {
            ProduceError::Refused { effect, .. }
            | ProduceError::TimedOut { effect, .. }
            | ProduceError::Closed { effect } => *effect == Effect::Possible,
            ProduceError::ConnectionLost | ProduceError::EarlierBatchFailed => true,
            ProduceError::Request(_) | ProduceError::Build(_) => false,
        }
    }
}
