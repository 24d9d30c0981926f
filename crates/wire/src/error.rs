//! What can go wrong between bytes and messages.

/// Bytes that are not the message they should be. Nothing was changed by trying; a connection that sent them is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the message ends early: {needed} bytes are needed, {left} are left")]
    Truncated { needed: usize, left: usize },
    #[error("a length of {0} is negative or too large")]
    BadLength(i64),
    #[error("an array announces {0} elements, more than a message may hold")]
    TooManyElements(usize),
    #[error("null stands where the version allows none")]
    UnexpectedNull,
    #[error("a string is not UTF-8")]
    NotUtf8,
    #[error("a variable-length number is longer than 5 bytes")]
    BadVarint,
    #[error("tagged field {tag} does not fill the {size} bytes it announces")]
    TaggedFieldSize { tag: u32, size: usize },
    #[error("version {version} of {message} is not known")]
    UnknownVersion { message: &'static str, version: i16 },
    #[error("API key {0} is not known")]
    UnknownApiKey(i16),
    #[error("record type {found} stands where {expected} is expected")]
    WrongRecordType { expected: i16, found: i16 },
}

/// A message that cannot be said in the version asked for. A fault of the one who built it, not of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("version {version} of {message} is not known")]
    UnknownVersion { message: &'static str, version: i16 },
    #[error("{message} has no field {field} in version {version}, but it is set")]
    FieldNotInVersion {
        message: &'static str,
        field: &'static str,
        version: i16,
    },
    #[error("field {field} of {message} must not be null in version {version}")]
    Null {
        message: &'static str,
        field: &'static str,
        version: i16,
    },
    #[error("a string of {0} bytes is longer than the protocol's 32767")]
    StringTooLong(usize),
    #[error("{0} bytes or elements are more than the protocol can count")]
    TooLarge(usize),
}
