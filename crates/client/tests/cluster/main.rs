//! The client against a cluster: Klamm in this process, or any Kafka cluster that `KLAMM_TEST_BOOTSTRAP` names.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod admin;
mod consume;
mod produce;
mod reading;
mod support;
