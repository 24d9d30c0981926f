//! Whole frames: header and message together, as a connection carries them.
//!
//! Does no I/O: a frame is a list of segments for a vectored write.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::EncodeError;
use crate::header::{RequestHeader, write_response_header};
use crate::message::{Request, Response};
use crate::writer::Writer;

/// Encoded bytes in order, in as few segments as avoid copying large fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    segments: Vec<Bytes>,
    length: usize,
}

impl Frame {
    pub(crate) fn new(segments: Vec<Bytes>, length: usize) -> Frame {
        Frame { segments, length }
    }

    /// The bytes of all segments together.
    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub fn segments(&self) -> &[Bytes] {
        &self.segments
    }

    pub fn into_segments(self) -> Vec<Bytes> {
        self.segments
    }

    /// All in one piece; copies only if there are several segments.
    pub fn into_bytes(mut self) -> Bytes {
        if self.segments.len() == 1 {
            return self.segments.remove(0);
        }
        let mut whole = BytesMut::with_capacity(self.length);
        for segment in &self.segments {
            whole.put_slice(segment);
        }
        whole.freeze()
    }
}

/// A request with its length and header before it. The client sends this.
pub fn encode_request<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
) -> Result<Frame, EncodeError> {
    let header = RequestHeader {
        api_key: R::KEY,
        api_version: version,
        correlation_id,
        client_id,
    };
    let mut writer = Writer::new();
    writer.i32(0);
    header.encode(&mut writer)?;
    request.encode(&mut writer, version)?;
    writer.finish_with_length()
}

/// A response with its length and header before it. The broker sends this.
pub fn encode_response<R: Response>(response: &R, version: i16, correlation_id: i32) -> Result<Frame, EncodeError> {
    let mut writer = Writer::new();
    writer.i32(0);
    write_response_header(&mut writer, R::KEY, version, correlation_id);
    response.encode(&mut writer, version)?;
    writer.finish_with_length()
}
