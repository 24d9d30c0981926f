//! What can go wrong between the program and the cluster. Each operation has its own enum; all of them answer the
//! same two questions: is a retry sensible, and may the failed attempt have had an effect.

use std::time::Duration;

use klamm_types::ErrorCode;
use klamm_wire::{ApiKey, DecodeError, EncodeError};

pub use crate::net::address::AddressError;
use crate::net::address::HostPort;

/// Why no connection to a broker could be made. Nothing was sent that could have had an effect.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("resolving the name {address}")]
    Resolve {
        address: HostPort,
        #[source]
        cause: std::io::Error,
    },
    #[error("the name {address} resolves to no address")]
    NoAddress { address: HostPort },
    #[error("dialling {address}")]
    Dial {
        address: HostPort,
        #[source]
        cause: std::io::Error,
    },
    #[error("dialling {address} took longer than {waited:?}")]
    TimedOut { address: HostPort, waited: Duration },
    #[error("asking {address} for its API versions")]
    Handshake {
        address: HostPort,
        #[source]
        cause: Box<RequestError>,
    },
    #[error("{address} refused to tell its API versions")]
    Refused {
        address: HostPort,
        #[source]
        code: ErrorCode,
    },
}

/// Why a request got no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// There is no connection; the request was not sent.
    #[error("connecting to the broker")]
    Connect(#[source] ConnectError),
    /// No broker of that number is in the cluster's metadata.
    #[error("broker {node} is not known")]
    UnknownBroker { node: i32 },
    /// The connection ended before the request was written.
    #[error("the connection to {address} was closed before the {api} request was sent")]
    NotSent { address: HostPort, api: ApiKey },
    /// The connection ended, or was given up, after the request was written or while it was.
    #[error("the connection to {address} was lost before the {api} request was answered")]
    Lost { address: HostPort, api: ApiKey },
    /// No answer in time. The connection was closed, because answers come in order.
    #[error("{address} did not answer the {api} request within {waited:?}")]
    TimedOut {
        address: HostPort,
        api: ApiKey,
        waited: Duration,
    },
    /// The broker speaks no version of this API that we speak.
    #[error("{address} offers no version of {api} that this client knows")]
    Unsupported { address: HostPort, api: ApiKey },
    /// The request cannot be expressed in the negotiated version. It was not sent.
    #[error("writing the {api} request")]
    Encode {
        api: ApiKey,
        #[source]
        cause: EncodeError,
    },
    /// The answer cannot be read.
    #[error("reading the answer to the {api} request")]
    Decode {
        api: ApiKey,
        #[source]
        cause: DecodeError,
    },
}

impl RequestError {
    /// Whether the same request may succeed later or at another broker.
    pub fn is_retriable(&self) -> bool {
        match self {
            RequestError::Connect(_)
            | RequestError::UnknownBroker { .. }
            | RequestError::NotSent { .. }
            | RequestError::Lost { .. }
            | RequestError::TimedOut { .. } => true,
            RequestError::Unsupported { .. } | RequestError::Encode { .. } | RequestError::Decode { .. } => false,
        }
    }

    /// Whether the broker may have carried the request out.
    pub fn may_have_had_effect(&self) -> bool {
        match self {
            RequestError::Lost { .. } | RequestError::TimedOut { .. } | RequestError::Decode { .. } => true,
            RequestError::Connect(_)
            | RequestError::UnknownBroker { .. }
            | RequestError::NotSent { .. }
            | RequestError::Unsupported { .. }
            | RequestError::Encode { .. } => false,
        }
    }
}

/// Why the cluster, or a topic of it, could not be looked up. Looking up changes nothing, unless a topic is created
/// by it.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    #[error("the bootstrap list is empty")]
    NoBootstrap,
    #[error("reading the bootstrap list")]
    BadBootstrap(#[source] AddressError),
    /// Nobody answered in time; the cause is the last failure, if there was one.
    #[error("no broker answered within {waited:?}")]
    NoBroker {
        waited: Duration,
        #[source]
        cause: Option<Box<RequestError>>,
    },
    /// The cluster does not know the topic, or it has no partitions yet, after all of the time allowed.
    #[error("topic \"{topic}\" was not found within {waited:?}")]
    UnknownTopic { topic: String, waited: Duration },
    /// The cluster refuses the topic.
    #[error("looking up topic \"{topic}\"")]
    Refused {
        topic: String,
        #[source]
        code: ErrorCode,
    },
    #[error("the client was closed")]
    Closed,
}

impl MetadataError {
    /// Whether asking again later may succeed.
    pub fn is_retriable(&self) -> bool {
        match self {
            MetadataError::NoBroker { .. } | MetadataError::UnknownTopic { .. } => true,
            MetadataError::Refused { code, .. } => code.is_retriable(),
            MetadataError::NoBootstrap | MetadataError::BadBootstrap(_) | MetadataError::Closed => false,
        }
    }

    /// Looking up has no effect, except that a topic may be created where the cluster does so by itself.
    pub fn may_have_had_effect(&self) -> bool {
        false
    }
}

/// A code from the wire; codes that this client does not know count as UNKNOWN_SERVER_ERROR.
pub(crate) fn code_from_wire(code: i16) -> ErrorCode {
    ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError)
}
