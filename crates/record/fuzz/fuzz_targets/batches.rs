//! Arbitrary bytes as a buffer of batches. Does what the mutation test does, guided by coverage.

#![no_main]

#[path = "../../tests/record/exercise.rs"]
mod exercise;

libfuzzer_sys::fuzz_target!(|data: &[u8]| exercise::exercise(&bytes::Bytes::copy_from_slice(data)));
