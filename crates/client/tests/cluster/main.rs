//! The client against a real cluster: any Kafka cluster that `KLAMM_TEST_BOOTSTRAP` names.
//!
//! Without the variable the tests print that they were skipped.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod admin;
mod consume;
mod produce;
mod support;
