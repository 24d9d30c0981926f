//! An answer as it came off the connection: bytes, and what they answer. Decoding borrows from it.

use bytes::Bytes;
use klamm_wire::{Decode, DecodeError, Reader, Request, read_response_header};

/// The frame that answers one request.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub frame: Bytes,
    pub version: i16,
}

impl Reply {
    /// Decodes the answer to an `R`. The caller knows which request this answers; the bytes do not say it.
    pub fn decode<'r, R: Request>(&'r self) -> Result<R::Response<'r>, DecodeError> {
        let mut reader = Reader::new(&self.frame);
        read_response_header(&mut reader, R::KEY, self.version)?;
        R::Response::decode(&mut reader, self.version)
    }
}
