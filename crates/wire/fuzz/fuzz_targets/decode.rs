//! Decodes whatever the fuzzer thinks of; what decodes must survive another round unchanged.
//!
//!     cd crates/wire && cargo +nightly fuzz run decode fuzz/corpus/decode tests/corpus
//!
//! The first folder takes what the fuzzer finds, the second is the corpus in the tree. An input is a line
//! `NAME VERSION` and the message's bytes. `cargo test` runs the same corpus with seeded mutations.

#![no_main]

libfuzzer_sys::fuzz_target!(|entry: &[u8]| klamm_wire::testing::fuzz_one(entry));
