//! Puts values into a frame. Small parts are copied into one buffer; large byte fields are only referred to, so that
//! a fetched batch goes from the log to the socket without a copy.
//!
//! Knows Kafka's primitive types in both encodings (`flexible` says which), and no message.

use bytes::Bytes;
use klamm_types::Uuid;

use crate::error::EncodeError;
use crate::frame::Frame;
use crate::reader::{STRING_MAX, StructPlace};

/// Byte fields longer than this are referred to, shorter ones copied.
pub const COPY_MAX: usize = 4096;

type Result<T> = std::result::Result<T, EncodeError>;

/// A frame in the making.
#[derive(Debug, Default)]
pub struct Writer {
    buffer: Vec<u8>,
    /// Large fields, each with the place in `buffer` before which it belongs; the places ascend.
    large: Vec<(usize, Bytes)>,
    large_bytes: usize,
    /// How many tagged fields are open. Within them everything is copied: their size stands before them.
    open_tags: usize,
}

impl Writer {
    pub fn new() -> Writer {
        Writer::default()
    }

    /// With room for `capacity` bytes of small parts.
    pub fn with_capacity(capacity: usize) -> Writer {
        Writer {
            buffer: Vec::with_capacity(capacity),
            ..Writer::default()
        }
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.buffer.len() + self.large_bytes
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything written, as segments.
    pub fn finish(self) -> Frame {
        let length = self.len();
        let buffer = Bytes::from(self.buffer);
        let mut segments = Vec::with_capacity(self.large.len() * 2 + 1);
        let mut start = 0;
        for (place, bytes) in self.large {
            if place > start {
                segments.push(buffer.slice(start..place));
            }
            segments.push(bytes);
            start = place;
        }
        if start < buffer.len() {
            segments.push(buffer.slice(start..));
        }
        Frame::new(segments, length)
    }

    /// Everything written, after its length as int32, which is how a connection carries it.
    pub(crate) fn finish_with_length(mut self) -> Result<Frame> {
        let length = self.len();
        let prefix = i32::try_from(length - 4).map_err(|_| EncodeError::TooLarge(length))?;
        self.buffer[..4].copy_from_slice(&prefix.to_be_bytes());
        Ok(self.finish())
    }

    pub fn bool(&mut self, value: bool) {
        self.buffer.push(value.into());
    }

    pub fn i8(&mut self, value: i8) {
        self.buffer.extend_from_slice(&value.to_be_bytes());
    }

    pub fn i16(&mut self, value: i16) {
        self.buffer.extend_from_slice(&value.to_be_bytes());
    }

    pub fn u16(&mut self, value: u16) {
        self.buffer.extend_from_slice(&value.to_be_bytes());
    }

    pub fn i32(&mut self, value: i32) {
        self.buffer.extend_from_slice(&value.to_be_bytes());
    }

    pub fn i64(&mut self, value: i64) {
        self.buffer.extend_from_slice(&value.to_be_bytes());
    }

    pub fn uuid(&mut self, value: Uuid) {
        self.buffer.extend_from_slice(&value.0);
    }

    pub fn uvarint(&mut self, value: u32) {
        let (bytes, length) = uvarint_bytes(value);
        self.buffer.extend_from_slice(&bytes[..length]);
    }

    /// The length of an array or a byte field: int32, or the number plus one in the flexible encoding.
    fn length(&mut self, length: usize, flexible: bool) -> Result<()> {
        let fixed = i32::try_from(length).map_err(|_| EncodeError::TooLarge(length))?;
        match flexible {
            true => self.uvarint(fixed as u32 + 1),
            false => self.i32(fixed),
        }
        Ok(())
    }

    fn null(&mut self, flexible: bool) {
        match flexible {
            true => self.uvarint(0),
            false => self.i32(-1),
        }
    }

    pub fn string(&mut self, value: &str, flexible: bool) -> Result<()> {
        if value.len() > STRING_MAX {
            return Err(EncodeError::StringTooLong(value.len()));
        }
        match flexible {
            true => self.uvarint(value.len() as u32 + 1),
            false => self.i16(value.len() as i16),
        }
        self.buffer.extend_from_slice(value.as_bytes());
        Ok(())
    }

    pub fn nullable_string(&mut self, value: Option<&str>, flexible: bool) -> Result<()> {
        match (value, flexible) {
            (Some(value), _) => self.string(value, flexible)?,
            (None, true) => self.uvarint(0),
            (None, false) => self.i16(-1),
        }
        Ok(())
    }

    pub fn bytes(&mut self, value: &Bytes, flexible: bool) -> Result<()> {
        self.length(value.len(), flexible)?;
        if value.len() > COPY_MAX && self.open_tags == 0 {
            self.large.push((self.buffer.len(), value.clone()));
            self.large_bytes += value.len();
        } else {
            self.buffer.extend_from_slice(value);
        }
        Ok(())
    }

    pub fn nullable_bytes(&mut self, value: Option<&Bytes>, flexible: bool) -> Result<()> {
        match value {
            Some(value) => self.bytes(value, flexible)?,
            None => self.null(flexible),
        }
        Ok(())
    }

    /// An array of structs, each written by `write`.
    pub fn array<T>(
        &mut self,
        items: &[T],
        flexible: bool,
        version: i16,
        write: impl Fn(&T, &mut Writer, i16) -> Result<()>,
    ) -> Result<()> {
        self.length(items.len(), flexible)?;
        for item in items {
            write(item, self, version)?;
        }
        Ok(())
    }

    pub fn nullable_array<T>(
        &mut self,
        items: Option<&[T]>,
        flexible: bool,
        version: i16,
        write: impl Fn(&T, &mut Writer, i16) -> Result<()>,
    ) -> Result<()> {
        match items {
            Some(items) => self.array(items, flexible, version, write)?,
            None => self.null(flexible),
        }
        Ok(())
    }

    pub fn string_array(&mut self, items: &[&str], flexible: bool) -> Result<()> {
        self.array(items, flexible, 0, |item, writer, _| writer.string(item, flexible))
    }

    pub fn nullable_string_array(&mut self, items: Option<&[&str]>, flexible: bool) -> Result<()> {
        match items {
            Some(items) => self.string_array(items, flexible)?,
            None => self.null(flexible),
        }
        Ok(())
    }

    pub fn i32_array(&mut self, items: &[i32], flexible: bool) -> Result<()> {
        self.length(items.len(), flexible)?;
        for &item in items {
            self.i32(item);
        }
        Ok(())
    }

    pub fn i8_array(&mut self, items: &[i8], flexible: bool) -> Result<()> {
        self.length(items.len(), flexible)?;
        for &item in items {
            self.i8(item);
        }
        Ok(())
    }

    pub fn nullable_i32_array(&mut self, items: Option<&[i32]>, flexible: bool) -> Result<()> {
        match items {
            Some(items) => self.i32_array(items, flexible)?,
            None => self.null(flexible),
        }
        Ok(())
    }

    /// Says that a nullable struct follows. Inside a tagged field the marker is 0 or 1, elsewhere −1 or 1.
    pub fn struct_follows(&mut self, follows: bool, place: StructPlace) {
        match (follows, place) {
            (true, _) => self.i8(1),
            (false, StructPlace::Plain) => self.i8(-1),
            (false, StructPlace::Tagged) => self.i8(0),
        }
    }

    /// Begins a tagged field; what is written until `end_tag` is its content.
    pub fn begin_tag(&mut self, tag: u32) -> TagStart {
        self.uvarint(tag);
        self.open_tags += 1;
        TagStart(self.buffer.len())
    }

    /// Ends a tagged field: puts its size, known only now, before its content.
    pub fn end_tag(&mut self, start: TagStart) -> Result<()> {
        self.open_tags -= 1;
        let size = self.buffer.len() - start.0;
        let size = u32::try_from(size).map_err(|_| EncodeError::TooLarge(size))?;
        let (bytes, length) = uvarint_bytes(size);
        self.buffer.extend_from_slice(&bytes[..length]);
        self.buffer[start.0..].rotate_right(length);
        Ok(())
    }
}

/// Where the content of a tagged field begins.
#[derive(Debug)]
#[must_use]
pub struct TagStart(usize);

fn uvarint_bytes(mut value: u32) -> ([u8; 5], usize) {
    let mut bytes = [0; 5];
    let mut length = 0;
    loop {
        bytes[length] = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return (bytes, length + 1);
        }
        bytes[length] |= 0x80;
        length += 1;
    }
}

#[cfg(test)]
#[path = "writer/writer_test.rs"]
mod tests;
