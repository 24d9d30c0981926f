//! A frame's segments as one buffer for a vectored write, so that batches are not copied on their way out.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

pub(crate) struct Segments {
    segments: VecDeque<Bytes>,
    remaining: usize,
}

impl Segments {
    pub fn new(segments: Vec<Bytes>) -> Segments {
        let remaining = segments.iter().map(Bytes::len).sum();
        Segments {
            segments: segments.into_iter().filter(|segment| !segment.is_empty()).collect(),
            remaining,
        }
    }
}

impl Buf for Segments {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.segments.front().map_or(&[], |segment| &segment[..])
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slot, segment) in slices.iter_mut().zip(&self.segments) {
            *slot = IoSlice::new(segment);
            count += 1;
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        self.remaining = self.remaining.saturating_sub(count);
        while count > 0 {
            let Some(front) = self.segments.front_mut() else { return };
            let step = count.min(front.len());
            front.advance(step);
            count -= step;
            if front.is_empty() {
                self.segments.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advances_over_borders() {
        let mut segments = Segments::new(vec![Bytes::from("abc"), Bytes::new(), Bytes::from("de")]);
        assert_eq!((segments.remaining(), segments.chunk()), (5, &b"abc"[..]));
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!(segments.chunks_vectored(&mut slices), 2);
        segments.advance(4);
        assert_eq!((segments.remaining(), segments.chunk()), (1, &b"e"[..]));
        segments.advance(1);
        assert_eq!((segments.remaining(), segments.chunk()), (0, &b""[..]));
    }
}
