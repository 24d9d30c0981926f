//! Snappy, in both dresses: raw, and in the framing of the xerial library that Java uses.
//!
//! The framing is a 16-byte head (magic, version, oldest compatible version) and then chunks, each a big-endian
//! length and raw snappy data. We write the framing, which every client reads, and read both.

use super::Compression;
use crate::error::{CodecFailure, DecompressError};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const HEAD_SIZE: usize = 16;
/// Bytes of a chunk before compression; what Java uses.
const CHUNK_SIZE: usize = 32 * 1024;
/// Raw snappy cannot expand by more: its longest copy makes 64 bytes of three.
const EXPANSION_MAX: usize = 32;

pub(super) fn compress(block: &[u8]) -> Result<Vec<u8>, CodecFailure> {
    let mut encoder = snap::raw::Encoder::new();
    let mut out = Vec::with_capacity(HEAD_SIZE + block.len() / 2);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&1i32.to_be_bytes());
    out.extend_from_slice(&1i32.to_be_bytes());
    for chunk in block.chunks(CHUNK_SIZE) {
        let compressed = encoder
            .compress_vec(chunk)
            .map_err(|error| CodecFailure(error.to_string()))?;
        // A chunk of 32 KiB stays far below 2 GiB however badly it compresses.
        out.extend_from_slice(&(compressed.len() as i32).to_be_bytes());
        out.extend_from_slice(&compressed);
    }
    Ok(out)
}

pub(super) fn decompress(data: &[u8], size_max: usize) -> Result<Vec<u8>, DecompressError> {
    let mut out = Vec::new();
    if !data.starts_with(&MAGIC) {
        append_raw(data, size_max, &mut out)?;
        return Ok(out);
    }
    let mut rest = data
        .get(HEAD_SIZE..)
        .ok_or_else(|| corrupt("the framing ends within its head"))?;
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| corrupt("a chunk length is negative"))?;
        let chunk = tail
            .get(..length)
            .ok_or_else(|| corrupt("a chunk is longer than the data"))?;
        append_raw(chunk, size_max, &mut out)?;
        rest = &tail[length..];
    }
    if rest.is_empty() {
        Ok(out)
    } else {
        Err(corrupt("the framing ends within a chunk length"))
    }
}

fn append_raw(data: &[u8], size_max: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
    let announced = snap::raw::decompress_len(data).map_err(|error| corrupt(&error.to_string()))?;
    if announced > size_max.saturating_sub(out.len()) {
        return Err(DecompressError::TooLarge {
            codec: Compression::Snappy,
            size_max,
        });
    }
    // The announcement costs a few bytes and would be believed by the allocation below.
    if announced > data.len().saturating_mul(EXPANSION_MAX) {
        return Err(corrupt("more is announced than the data can hold"));
    }
    let start = out.len();
    out.resize(start + announced, 0);
    let written = snap::raw::Decoder::new()
        .decompress(data, &mut out[start..])
        .map_err(|error| corrupt(&error.to_string()))?;
    out.truncate(start + written);
    Ok(())
}

fn corrupt(text: &str) -> DecompressError {
    DecompressError::Corrupt {
        codec: Compression::Snappy,
        cause: CodecFailure(text.to_owned()),
    }
}
