//! What can go wrong in administration.

use klamm_types::ErrorCode;
use klamm_wire::{ApiKey, DecodeError};

use crate::error::{MetadataError, RequestError};

/// Why an administrative request failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The request got no answer.
    #[error("sending the {api} request")]
    Request {
        api: ApiKey,
        #[source]
        cause: RequestError,
    },
    /// The answer cannot be read.
    #[error("reading the answer to the {api} request")]
    Decode {
        api: ApiKey,
        #[source]
        cause: DecodeError,
    },
    /// The cluster could not be looked up.
    #[error("looking up the cluster")]
    Metadata(#[from] MetadataError),
    /// The cluster refused; the message is the broker's.
    #[error("{what}: {} ({}): {message}", code.name(), code.code())]
    Refused {
        what: String,
        code: ErrorCode,
        message: String,
    },
    /// The answer does not speak of what was asked for.
    #[error("the answer to the {api} request lacks {what}")]
    Missing { api: ApiKey, what: String },
}

impl AdminError {
    /// The cluster's error code, if it was the cluster that refused.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            AdminError::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_retriable(&self) -> bool {
        match self {
            AdminError::Request { cause, .. } => cause.is_retriable(),
            AdminError::Metadata(cause) => cause.is_retriable(),
            AdminError::Refused { code, .. } => code.is_retriable(),
            AdminError::Decode { .. } | AdminError::Missing { .. } => false,
        }
    }

    /// Whether the cluster may have carried the request out.
    pub fn may_have_had_effect(&self) -> bool {
        match self {
            AdminError::Request { cause, .. } => cause.may_have_had_effect(),
            AdminError::Metadata(_) => false,
            AdminError::Refused { code, .. } => *code == ErrorCode::RequestTimedOut,
            AdminError::Decode { .. } | AdminError::Missing { .. } => true,
        }
    }
}
