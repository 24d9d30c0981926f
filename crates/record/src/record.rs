//! One record, and where its parts lie inside a block of records.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use klamm_types::{Offset, Timestamp};

use crate::error::RecordError;
use crate::varint::Cursor;

/// A named value that travels with a record. Names may repeat and their order is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// UTF-8 by agreement; kept as it came, because a broker does not check it.
    pub key: Bytes,
    pub value: Option<Bytes>,
}

impl Header {
    pub fn new(key: impl Into<String>, value: impl Into<Bytes>) -> Header {
        Header {
            key: Bytes::from(key.into()),
            value: Some(value.into()),
        }
    }

    /// A header without a value, which is not the same as one with an empty value.
    pub fn null(key: impl Into<String>) -> Header {
        Header {
            key: Bytes::from(key.into()),
            value: None,
        }
    }

    /// The key as text; bytes that are no UTF-8 are replaced.
    pub fn key_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.key)
    }
}

/// One record of a batch. Its bytes are slices of the batch, or of its decompressed block, and keep that in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: Offset,
    /// The producer's time, or the leader's if the batch carries LogAppendTime. -1: none.
    pub timestamp: Timestamp,
    pub key: Option<Bytes>,
    /// `None` is a tombstone on compacted topics.
    pub value: Option<Bytes>,
    pub headers: Vec<Header>,
}

/// A record as ranges of the block it lies in: nothing is copied or counted until somebody wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawRecord {
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub key: Option<Range<usize>>,
    pub value: Option<Range<usize>>,
    pub headers_count: usize,
    pub headers: Range<usize>,
    /// Where the next record begins.
    pub end: usize,
}

impl RawRecord {
    /// Reads the record at `at` and walks its headers.
    pub fn parse(block: &[u8], at: usize) -> Result<RawRecord, RecordError> {
        let mut cursor = Cursor::new(block, at);
        let length = cursor.varint()?;
        let length = usize::try_from(length).map_err(|_| RecordError::BadLength(length))?;
        let body = cursor.take(length)?;
        let end = body.end;
        let mut cursor = Cursor::new(&block[..end], body.start);
        cursor.byte()?; // The attributes of a record have no meaning yet.
        let timestamp_delta = cursor.varlong()?;
        let offset_delta = cursor.varint()?;
        let key = nullable(&mut cursor)?;
        let value = nullable(&mut cursor)?;
        let count = cursor.varint()?;
        let headers_count = usize::try_from(count).map_err(|_| RecordError::BadHeaderCount(count))?;
        // A header takes at least two bytes, so this bounds the work and later the allocation.
        if headers_count > cursor.remaining() / 2 {
            return Err(RecordError::BadHeaderCount(count));
        }
        let headers_start = cursor.at;
        for _ in 0..headers_count {
            header(&mut cursor)?;
        }
        if cursor.at != end {
            return Err(RecordError::BadLength(length as i32));
        }
        Ok(RawRecord {
            timestamp_delta,
            offset_delta,
            key,
            value,
            headers_count,
            headers: headers_start..end,
            end,
        })
    }

    /// The headers as slices of `block`, which must be the block this record was read from.
    pub fn headers(&self, block: &Bytes) -> Result<Vec<Header>, RecordError> {
        let mut cursor = Cursor::new(&block[..self.headers.end], self.headers.start);
        let mut headers = Vec::with_capacity(self.headers_count);
        for _ in 0..self.headers_count {
            let (key, value) = header(&mut cursor)?;
            headers.push(Header {
                key: block.slice(key),
                value: value.map(|range| block.slice(range)),
            });
        }
        Ok(headers)
    }
}

fn nullable(cursor: &mut Cursor<'_>) -> Result<Option<Range<usize>>, RecordError> {
    match cursor.varint()? {
        -1 => Ok(None),
        length => {
            let length = usize::try_from(length).map_err(|_| RecordError::BadLength(length))?;
            cursor.take(length).map(Some)
        }
    }
}

fn header(cursor: &mut Cursor<'_>) -> Result<(Range<usize>, Option<Range<usize>>), RecordError> {
    let key = nullable(cursor)?.ok_or(RecordError::NullHeaderKey)?;
    Ok((key, nullable(cursor)?))
}
