//! Tests that span several crates.
