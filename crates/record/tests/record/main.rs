//! The crate from outside: published vectors, every check, a dumb twin, and damaged input.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod checks;
mod common;
mod exercise;
mod mutations;
mod twin;
mod vectors;
