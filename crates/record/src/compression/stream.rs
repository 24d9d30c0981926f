//! Gzip, lz4 and zstd: the codecs whose libraries read and write streams.
//!
//! Lz4 is the frame format with independent blocks of 64 KiB, which is all that Java reads. Zstd decoders set aside
//! as much as the frame's window asks, at most 128 MiB, but touch only what comes out.

use std::io::{Read, Write};

use super::Compression;
use crate::error::{CodecFailure, DecompressError};

/// Not more than this is reserved before data is seen to come out.
const FIRST_RESERVE: usize = 64 * 1024;

fn failure(error: impl std::fmt::Display) -> CodecFailure {
    CodecFailure(error.to_string())
}

pub(super) fn gzip(block: &[u8], level: i32) -> Result<Vec<u8>, CodecFailure> {
    let level = flate2::Compression::new(level.unsigned_abs());
    let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(block.len() / 2), level);
    encoder.write_all(block).map_err(failure)?;
    encoder.finish().map_err(failure)
}

pub(super) fn lz4(block: &[u8]) -> Result<Vec<u8>, CodecFailure> {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let info = FrameInfo::new()
        .block_mode(BlockMode::Independent)
        .block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::with_capacity(block.len() / 2));
    encoder.write_all(block).map_err(failure)?;
    encoder.finish().map_err(failure)
}

pub(super) fn zstd(block: &[u8], level: i32) -> Result<Vec<u8>, CodecFailure> {
    zstd::bulk::compress(block, level).map_err(failure)
}

pub(super) fn decompress(codec: Compression, data: &[u8], size_max: usize) -> Result<Vec<u8>, DecompressError> {
    let result = match codec {
        Compression::Gzip => read_bounded(flate2::read::MultiGzDecoder::new(data), data.len(), size_max),
        Compression::Lz4 => read_bounded(lz4_flex::frame::FrameDecoder::new(data), data.len(), size_max),
        _ => zstd::stream::read::Decoder::with_buffer(data)
            .and_then(|decoder| read_bounded(decoder, data.len(), size_max)),
    };
    match result {
        Ok(out) if out.len() > size_max => Err(DecompressError::TooLarge { codec, size_max }),
        Ok(out) => Ok(out),
        Err(error) => Err(DecompressError::Corrupt {
            codec,
            cause: failure(error),
        }),
    }
}

/// Reads to the end, or one byte past `size_max`, whichever comes first.
fn read_bounded(reader: impl Read, input_size: usize, size_max: usize) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(input_size.saturating_mul(2).min(FIRST_RESERVE).min(size_max));
    reader.take((size_max as u64).saturating_add(1)).read_to_end(&mut out)?;
    Ok(out)
}
