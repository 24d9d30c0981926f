//! Takes values off a frame, each length checked against the bytes left before anything is allocated.
//!
//! Knows Kafka's primitive types in both encodings (`flexible` says which), and no message.

use bytes::Bytes;
use klamm_types::Uuid;

use crate::error::DecodeError;

/// The most elements that the arrays of one message may have, numbers apart, and that one array of numbers may have.
pub const ELEMENTS_MAX: usize = 1_000_000;
/// How many elements memory is reserved for before the first one is read.
const CAPACITY_MAX: usize = 1_000;
/// The longest string that the protocol allows.
pub(crate) const STRING_MAX: usize = i16::MAX as usize;

type Result<T> = std::result::Result<T, DecodeError>;

/// A position in a frame. Strings borrow from the frame; byte fields share its allocation.
///
/// A `Bytes` taken from a frame keeps the whole frame in memory: whoever stores a small one for long copies it.
#[derive(Debug)]
pub struct Reader<'a> {
    frame: &'a Bytes,
    position: usize,
    /// Where reading stops: the end of the frame, or of the tagged field being read.
    end: usize,
    /// How many more array elements this message may have.
    elements_left: usize,
}

impl<'a> Reader<'a> {
    pub fn new(frame: &'a Bytes) -> Reader<'a> {
        Reader {
            frame,
            position: 0,
            end: frame.len(),
            elements_left: ELEMENTS_MAX,
        }
    }

    /// How many bytes have not been read. After a message they are surplus, which Kafka allows.
    pub fn remaining(&self) -> usize {
        self.end - self.position
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let left = self.remaining();
        if length > left {
            return Err(DecodeError::Truncated { needed: length, left });
        }
        let taken = &self.frame[self.position..self.position + length];
        self.position += length;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut value = [0; N];
        value.copy_from_slice(self.take(N)?);
        Ok(value)
    }

    /// Any byte but zero is true.
    pub fn bool(&mut self) -> Result<bool> {
        Ok(self.fixed::<1>()? != [0])
    }

    pub fn i8(&mut self) -> Result<i8> {
        Ok(i8::from_be_bytes(self.fixed()?))
    }

    pub fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.fixed()?))
    }

    pub fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.fixed()?))
    }

    pub fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.fixed()?))
    }

    pub fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.fixed()?))
    }

    pub fn uuid(&mut self) -> Result<Uuid> {
        Ok(Uuid(self.fixed()?))
    }

    /// An unsigned number of 7 bits per byte, the lowest first, at most 32 bits in all.
    pub fn uvarint(&mut self) -> Result<u32> {
        let mut value = 0u32;
        for index in 0..5 {
            let [byte] = self.fixed::<1>()?;
            if index == 4 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::BadVarint)
    }

    /// A length in the flexible encoding: the number plus one, or 0 for null.
    fn compact_length(&mut self) -> Result<Option<usize>> {
        Ok(self.uvarint()?.checked_sub(1).map(|length| length as usize))
    }

    /// A length in the fixed encoding: −1 for null, other negative numbers are refused.
    fn fixed_length(length: i64) -> Result<Option<usize>> {
        match length {
            -1 => Ok(None),
            length => usize::try_from(length)
                .map(Some)
                .map_err(|_| DecodeError::BadLength(length)),
        }
    }

    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<&'a str>> {
        let length = match flexible {
            true => self.compact_length()?,
            false => Self::fixed_length(self.i16()?.into())?,
        };
        let Some(length) = length else {
            return Ok(None);
        };
        if length > STRING_MAX {
            return Err(DecodeError::BadLength(length as i64));
        }
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| DecodeError::NotUtf8)?;
        Ok(Some(text))
    }

    pub fn string(&mut self, flexible: bool) -> Result<&'a str> {
        self.nullable_string(flexible)?.ok_or(DecodeError::UnexpectedNull)
    }

    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>> {
        let length = match flexible {
            true => self.compact_length()?,
            false => Self::fixed_length(self.i32()?.into())?,
        };
        let Some(length) = length else {
            return Ok(None);
        };
        let start = self.position;
        self.take(length)?;
        Ok(Some(self.frame.slice(start..start + length)))
    }

    pub fn bytes(&mut self, flexible: bool) -> Result<Bytes> {
        self.nullable_bytes(flexible)?.ok_or(DecodeError::UnexpectedNull)
    }

    /// The number of elements of an array whose elements take at least `size` bytes each.
    fn array_length(&mut self, flexible: bool, size: usize) -> Result<Option<usize>> {
        let count = match flexible {
            true => self.compact_length()?,
            false => Self::fixed_length(self.i32()?.into())?,
        };
        let Some(count) = count else {
            return Ok(None);
        };
        if count > ELEMENTS_MAX {
            return Err(DecodeError::TooManyElements(count));
        }
        let (needed, left) = (count * size, self.remaining());
        if needed > left {
            return Err(DecodeError::Truncated { needed, left });
        }
        Ok(Some(count))
    }

    /// An array of structs, each read by `read`.
    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        version: i16,
        read: impl Fn(&mut Reader<'a>, i16) -> Result<T>,
    ) -> Result<Option<Vec<T>>> {
        let Some(count) = self.array_length(flexible, 1)? else {
            return Ok(None);
        };
        // A struct in memory can be a hundred times its bytes: the sum over nested arrays needs a bound, too.
        self.elements_left = self
            .elements_left
            .checked_sub(count)
            .ok_or(DecodeError::TooManyElements(count))?;
        let mut items = Vec::with_capacity(count.min(CAPACITY_MAX));
        for _ in 0..count {
            items.push(read(self, version)?);
        }
        Ok(Some(items))
    }

    pub fn array<T>(
        &mut self,
        flexible: bool,
        version: i16,
        read: impl Fn(&mut Reader<'a>, i16) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.nullable_array(flexible, version, read)?
            .ok_or(DecodeError::UnexpectedNull)
    }

    pub fn nullable_string_array(&mut self, flexible: bool) -> Result<Option<Vec<&'a str>>> {
        self.nullable_array(flexible, 0, |reader, _| reader.string(flexible))
    }

    pub fn string_array(&mut self, flexible: bool) -> Result<Vec<&'a str>> {
        self.nullable_string_array(flexible)?.ok_or(DecodeError::UnexpectedNull)
    }

    /// Numbers take no more memory than bytes on the wire, so only the one array is bounded, not their sum.
    pub fn nullable_i32_array(&mut self, flexible: bool) -> Result<Option<Vec<i32>>> {
        let Some(count) = self.array_length(flexible, 4)? else {
            return Ok(None);
        };
        let bytes = self.take(count * 4)?;
        let numbers = bytes.chunks_exact(4).map(|four| {
            let mut value = [0; 4];
            value.copy_from_slice(four);
            i32::from_be_bytes(value)
        });
        Ok(Some(numbers.collect()))
    }

    pub fn i32_array(&mut self, flexible: bool) -> Result<Vec<i32>> {
        self.nullable_i32_array(flexible)?.ok_or(DecodeError::UnexpectedNull)
    }

    pub fn i8_array(&mut self, flexible: bool) -> Result<Vec<i8>> {
        let count = self.array_length(flexible, 1)?.ok_or(DecodeError::UnexpectedNull)?;
        let bytes = self.take(count)?;
        Ok(bytes.iter().map(|byte| byte.cast_signed()).collect())
    }

    /// Whether a nullable struct follows. Inside a tagged field the marker is 0 or 1, elsewhere −1 or 1.
    pub fn struct_follows(&mut self, place: StructPlace) -> Result<bool> {
        match place {
            StructPlace::Tagged => Ok(self.uvarint()? > 0),
            StructPlace::Plain => Ok(self.i8()? >= 0),
        }
    }

    /// Begins a tagged section; gives the number of fields.
    pub fn tag_count(&mut self) -> Result<u32> {
        let count = self.uvarint()?;
        // A tagged field takes at least two bytes: its tag and its size.
        let (needed, left) = (count as usize * 2, self.remaining());
        if needed > left {
            return Err(DecodeError::Truncated { needed, left });
        }
        Ok(count)
    }

    /// Begins a tagged field. Until `end_tag` or `skip_tag` nothing beyond the field can be read.
    pub fn begin_tag(&mut self) -> Result<TaggedField> {
        let tag = self.uvarint()?;
        let size = self.uvarint()? as usize;
        let left = self.remaining();
        if size > left {
            return Err(DecodeError::Truncated { needed: size, left });
        }
        let field = TaggedField {
            tag,
            size,
            end_outside: self.end,
        };
        self.end = self.position + size;
        Ok(field)
    }

    /// Ends a tagged field that was read: it must have been read whole.
    pub fn end_tag(&mut self, field: TaggedField) -> Result<()> {
        if self.position != self.end {
            return Err(DecodeError::TaggedFieldSize {
                tag: field.tag,
                size: field.size,
            });
        }
        self.end = field.end_outside;
        Ok(())
    }

    /// Ends a tagged field that is not known.
    pub fn skip_tag(&mut self, field: TaggedField) {
        self.position = self.end;
        self.end = field.end_outside;
    }

    /// Skips a whole tagged section.
    pub fn skip_tags(&mut self) -> Result<()> {
        for _ in 0..self.tag_count()? {
            let field = self.begin_tag()?;
            self.skip_tag(field);
        }
        Ok(())
    }
}

/// Where a nullable struct stands: its marker differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StructPlace {
    Plain,
    Tagged,
}

/// A tagged field that was begun.
#[derive(Debug)]
#[must_use]
pub struct TaggedField {
    pub tag: u32,
    size: usize,
    end_outside: usize,
}

#[cfg(test)]
#[path = "reader/reader_test.rs"]
mod tests;
