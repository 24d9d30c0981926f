//! Zig-zag variable-length integers, as used inside records (not the unsigned ones of the wire protocol).

use crate::error::RecordError;

/// A position in a slice, from which numbers and runs of bytes are taken. Never reads past the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8], at: usize) -> Cursor<'a> {
        Cursor { bytes, at }
    }

    pub fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    pub fn byte(&mut self) -> Result<u8, RecordError> {
        let byte = *self.bytes.get(self.at).ok_or(RecordError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    /// Steps over `count` bytes and says where they are.
    pub fn take(&mut self, count: usize) -> Result<std::ops::Range<usize>, RecordError> {
        if count > self.remaining() {
            return Err(RecordError::Truncated);
        }
        let start = self.at;
        self.at += count;
        Ok(start..self.at)
    }

    pub fn varint(&mut self) -> Result<i32, RecordError> {
        let mut raw = 0u32;
        for position in 0..5 {
            let byte = self.byte()?;
            if position == 4 && byte > 0x0f {
                return Err(RecordError::BadVarint);
            }
            raw |= u32::from(byte & 0x7f) << (7 * position);
            if byte & 0x80 == 0 {
                return Ok(((raw >> 1) as i32) ^ -((raw & 1) as i32));
            }
        }
        Err(RecordError::BadVarint)
    }

    pub fn varlong(&mut self) -> Result<i64, RecordError> {
        let mut raw = 0u64;
        for position in 0..10 {
            let byte = self.byte()?;
            if position == 9 && byte > 1 {
                return Err(RecordError::BadVarint);
            }
            raw |= u64::from(byte & 0x7f) << (7 * position);
            if byte & 0x80 == 0 {
                return Ok(((raw >> 1) as i64) ^ -((raw & 1) as i64));
            }
        }
        Err(RecordError::BadVarint)
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Appends `value`. A 32-bit value takes at most five bytes and reads back with [`Cursor::varint`].
pub(crate) fn write_varlong(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push((rest as u8 & 0x7f) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// How many bytes [`write_varlong`] appends.
pub(crate) fn varlong_size(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(value: i64) -> Vec<u8> {
        let mut out = Vec::new();
        write_varlong(&mut out, value);
        assert_eq!(out.len(), varlong_size(value), "{value}");
        out
    }

    #[test]
    fn published_vectors() {
        let vectors: [(i64, &[u8]); 10] = [
            (0, &[0x00]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (-2, &[0x03]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (300, &[0xd8, 0x04]),
            (2147483647, &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (-2147483648, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ];
        for (value, expected) in vectors {
            assert_eq!(bytes_of(value), expected, "{value}");
            assert_eq!(Cursor::new(expected, 0).varint(), Ok(value as i32));
            assert_eq!(Cursor::new(expected, 0).varlong(), Ok(value));
        }
    }

    #[test]
    fn extremes_and_refusals() {
        for value in [i64::MIN, i64::MAX, i64::from(i32::MIN) - 1, i64::from(i32::MAX) + 1] {
            assert_eq!(Cursor::new(&bytes_of(value), 0).varlong(), Ok(value));
        }
        assert_eq!(Cursor::new(&[0x80, 0x80], 0).varint(), Err(RecordError::Truncated));
        assert_eq!(
            Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0x1f], 0).varint(),
            Err(RecordError::BadVarint)
        );
        assert_eq!(Cursor::new(&[0xff; 11], 0).varlong(), Err(RecordError::BadVarint));
        assert_eq!(Cursor::new(&[], 9).take(1), Err(RecordError::Truncated));
    }
}
