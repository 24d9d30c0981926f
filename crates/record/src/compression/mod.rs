//! The four codecs of Kafka, one file each where the format needs more than a library call.
//!
//! Decompression never brings out more than its caller allows, whatever the data announces.

mod snappy;
mod stream;

use crate::error::{CodecFailure, DecompressError};

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Compression {
    pub const ALL: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    /// The number in a batch's attributes.
    pub fn id(self) -> u8 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }

    pub fn from_id(id: u8) -> Option<Compression> {
        Compression::ALL.into_iter().find(|codec| codec.id() == id)
    }

    /// The name in `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// By the name in `compression.type`. Topics also say `uncompressed` for none.
    pub fn from_name(name: &str) -> Option<Compression> {
        match name {
            "uncompressed" => Some(Compression::None),
            _ => Compression::ALL.into_iter().find(|codec| codec.name() == name),
        }
    }
}

impl std::fmt::Display for Compression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// How hard to try. Gzip takes 1 to 9, zstd -131072 to 22; snappy and lz4 have one level here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CompressionLevel {
    /// The codec's own default: gzip 6, zstd 3.
    #[default]
    Default,
    /// Brought into the codec's range if it lies outside.
    Level(i32),
}

impl CompressionLevel {
    fn within(self, default: i32, range: std::ops::RangeInclusive<i32>) -> i32 {
        match self {
            CompressionLevel::Default => default,
            CompressionLevel::Level(level) => level.clamp(*range.start(), *range.end()),
        }
    }
}

/// Compresses a block of records.
///
/// # Errors
/// What the codec's library says; none is known to occur on memory.
pub fn compress(codec: Compression, level: CompressionLevel, block: &[u8]) -> Result<Vec<u8>, CodecFailure> {
    match codec {
        Compression::None => Ok(block.to_vec()),
        Compression::Gzip => stream::gzip(block, level.within(6, 1..=9)),
        Compression::Snappy => snappy::compress(block),
        Compression::Lz4 => stream::lz4(block),
        Compression::Zstd => stream::zstd(block, level.within(3, -131_072..=22)),
    }
}

/// Decompresses a block of records into at most `size_max` bytes.
///
/// # Errors
/// The data is corrupt, or more would come out than allowed; the memory used stays near `size_max` then too.
pub fn decompress(codec: Compression, data: &[u8], size_max: usize) -> Result<Vec<u8>, DecompressError> {
    match codec {
        Compression::None if data.len() > size_max => Err(DecompressError::TooLarge { codec, size_max }),
        Compression::None => Ok(data.to_vec()),
        Compression::Snappy => snappy::decompress(data, size_max),
        Compression::Gzip | Compression::Lz4 | Compression::Zstd => stream::decompress(codec, data, size_max),
    }
}
