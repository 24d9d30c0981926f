//! The newest batches of a log, in memory, so that followers and tail readers need no file.
//!
//! Bounded by the memory it pins: large batches keep the buffer that they came in, small ones are copied into blocks
//! of the tail's own, so that a few hundred bytes do not hold a whole request. It is exact to within one block.
//! What leaves the tail is still in the file.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use klamm_record::Batch;
use klamm_types::Offset;

/// Batches up to this size are copied.
const COPY_MAX: usize = 16 << 10;
const BLOCK_MIN: usize = 4 << 10;
const BLOCK_MAX: usize = 64 << 10;
/// Batches smaller than this on average are joined for the reader: long lists cost more than a copy.
const JOIN_BELOW: usize = 8 << 10;

#[derive(Debug)]
struct Entry {
    base: Offset,
    next: Offset,
    bytes: Bytes,
}

#[derive(Debug, Default)]
pub(crate) struct Tail {
    entries: VecDeque<Entry>,
    bytes_max: usize,
    /// Bytes of all entries.
    held: usize,
    /// Where the next small batch goes; its capacity is pinned too.
    block: BytesMut,
    block_size: usize,
}

/// Whole batches, one after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchBytes {
    /// Each holds one or more whole batches.
    pub chunks: Vec<Bytes>,
    /// Bytes in all chunks.
    pub size: usize,
    /// The offset after the last batch; the offset asked for if there is none.
    pub next_offset: Offset,
}

impl BatchBytes {
    pub(crate) fn empty(offset: Offset) -> BatchBytes {
        BatchBytes {
            next_offset: offset,
            ..BatchBytes::default()
        }
    }

    pub(crate) fn one(bytes: Bytes, next_offset: Offset) -> BatchBytes {
        BatchBytes {
            size: bytes.len(),
            chunks: vec![bytes],
            next_offset,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// All batches in one buffer; copies only if there is more than one chunk.
    pub fn into_bytes(mut self) -> Bytes {
        match self.chunks.len() {
            0 => Bytes::new(),
            1 => self.chunks.remove(0),
            _ => join(self.chunks.iter(), self.size),
        }
    }
}

fn join<'a>(chunks: impl Iterator<Item = &'a Bytes>, size: usize) -> Bytes {
    let mut joined = BytesMut::with_capacity(size);
    chunks.for_each(|chunk| joined.extend_from_slice(chunk));
    joined.freeze()
}

impl Tail {
    pub fn new(bytes_max: usize) -> Tail {
        Tail {
            bytes_max,
            ..Tail::default()
        }
    }

    /// Bytes that the tail pins.
    pub fn pinned(&self) -> usize {
        self.held + self.block.capacity()
    }

    pub fn set_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
        self.shrink(bytes_max);
    }

    /// Lets go of the oldest batches until no more than `bytes` are pinned.
    pub fn shrink(&mut self, bytes: usize) {
        if self.block.capacity() > bytes / 4 {
            self.block = BytesMut::new();
            self.block_size = 0;
        }
        self.evict(bytes);
    }

    fn evict(&mut self, bytes_max: usize) {
        while self.pinned() > bytes_max {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.held -= oldest.bytes.len();
        }
    }

    /// Takes batches that follow those it has.
    pub fn push(&mut self, batches: &[Batch]) {
        for batch in batches {
            if batch.size() > self.bytes_max / 2 {
                // One that would push all others out is served from the file, and so are those before it.
                self.clear();
                continue;
            }
            let bytes = match batch.size() <= COPY_MAX {
                true => self.copy(batch.bytes()),
                false => batch.bytes().clone(),
            };
            self.held += bytes.len();
            self.entries.push_back(Entry {
                base: batch.base_offset(),
                next: batch.next_offset(),
                bytes,
            });
        }
        self.evict(self.bytes_max);
    }

    fn copy(&mut self, bytes: &Bytes) -> Bytes {
        if self.block.capacity() < bytes.len() {
            // Blocks grow with the traffic, so that a quiet partition holds little.
            let size = (self.block_size * 2).clamp(BLOCK_MIN, BLOCK_MAX);
            self.block_size = size;
            self.block = BytesMut::with_capacity(size.max(bytes.len()));
        }
        self.block.extend_from_slice(bytes);
        self.block.split().freeze()
    }

    pub fn clear(&mut self) {
        self.entries.clear();
        self.held = 0;
    }

    /// Forgets batches that begin at `end` or later, and any that reaches past it.
    pub fn truncate(&mut self, end: Offset) {
        while let Some(last) = self.entries.back()
            && last.next > end
        {
            self.held -= last.bytes.len();
            self.entries.pop_back();
        }
    }

    /// Batches from the one that holds `offset`, below `up_to`, as many as `max_bytes` allow but at least one if there
    /// is one. `None`: the tail does not reach back so far.
    pub fn read(&self, offset: Offset, max_bytes: usize, up_to: Offset) -> Option<BatchBytes> {
        if offset < self.entries.front()?.base {
            return None;
        }
        let first = self.entries.partition_point(|entry| entry.next <= offset);
        let (mut size, mut count, mut next_offset) = (0, 0, offset);
        for entry in self.entries.range(first..) {
            if entry.next > up_to || (count > 0 && size + entry.bytes.len() > max_bytes) {
                break;
            }
            size += entry.bytes.len();
            count += 1;
            next_offset = entry.next;
        }
        let chunks = || self.entries.range(first..first + count).map(|entry| &entry.bytes);
        let chunks = match count {
            0 => Vec::new(),
            1 => chunks().cloned().collect(),
            _ if size / count < JOIN_BELOW => vec![join(chunks(), size)],
            _ => chunks().cloned().collect(),
        };
        Some(BatchBytes {
            chunks,
            size,
            next_offset,
        })
    }
}
