//! Kafka's record batch, format 2: view, check, build, rewrite and (de)compress.
//!
//! A batch is the unit that producers send, leaders append, followers copy and consumers read, and it is the same
//! bytes in all four places. This crate therefore hands out batches as reference-counted [`bytes::Bytes`] and never
//! re-encodes one unless it is asked to. It does no I/O, keeps no state and knows nothing of requests or files.
//!
//! * [`BatchHeader`]: the 61 bytes in front of the records, as plain values.
//! * [`Batch`]: one whole batch; [`Batches`] walks a buffer of them; [`CheckRules`] say how deep to look.
//! * [`BatchBuilder`]: records to batch. [`Record`]: one record out of a batch.
//! * [`EndTxnMarker`], [`ControlKind`]: control batches.
//! * [`Compression`]: the four codecs, always with a bound on what comes out.
//!
//! ```
//! use klamm_record::{Batch, BatchBuilder, BatchOptions, CheckRules, DECOMPRESSED_SIZE_MAX};
//! use klamm_types::{LeaderEpoch, Offset, Timestamp};
//!
//! let mut builder = BatchBuilder::new(BatchOptions::default());
//! builder.append(Timestamp(1_700_000_000_000), Some(b"k"), Some(b"v"), &[])?;
//! let batch = builder.build()?;
//!
//! let received = Batch::parse(batch.bytes().clone())?;
//! received.check(&CheckRules::produced())?;
//! let stored = received.assigned(Offset(41), LeaderEpoch(3));
//! assert_eq!(stored.next_offset(), Offset(42));
//! let record = stored.records(DECOMPRESSED_SIZE_MAX)?.next().expect("one record")?;
//! assert_eq!(record.value.as_deref(), Some(&b"v"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod batches;
mod builder;
mod check;
mod compact;
mod compression;
mod control;
mod crc;
mod error;
mod header;
mod record;
mod records;
mod rewrite;
mod varint;

pub use batch::Batch;
pub use batches::{Batches, split_first};
pub use builder::{BatchBuilder, BatchOptions, record_size};
pub use check::{CheckRules, Checked, KeyRule, OriginRule, RecordDepth, TimestampBounds};
pub use compact::{Candidate, Compacted, Verdict};
pub use compression::{Compression, CompressionLevel, compress, decompress};
pub use control::{ControlKind, EndTxnMarker, MarkerBatch, TxnResult};
pub use crc::crc32c;
pub use error::{BatchError, BuildError, CodecFailure, DecompressError, RecordError};
pub use header::{Attributes, BatchHeader, HEADER_SIZE, LOG_OVERHEAD, TimestampType};
pub use record::{Header, Record};
pub use records::Records;
pub use rewrite::{ProducerStamp, recompress};

/// The default bound on what the records of one batch may take once decompressed: 100 MiB.
///
/// Kafka's own bound on a request is as large, so no honest batch is refused by it.
pub const DECOMPRESSED_SIZE_MAX: usize = 100 * 1024 * 1024;
