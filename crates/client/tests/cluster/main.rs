//! The client against a real cluster: any Kafka cluster that `KLAMM_TEST_BOOTSTRAP` names.
//!
//! Without the variable the tests print that they were skipped. Some need a hand that kills brokers: set
//! `KLAMM_TEST_CLUSTER` to a command that understands `kill N` and `restart N`, where broker N has node id N.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod admin;
mod consume;
mod failover;
mod produce;
mod support;
