//! The commands as people run them: the built binary against real processes.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod backup;
mod completions;
mod consume;
mod doctor;
mod exit_codes;
mod groups;
mod healthcheck;
mod metrics;
mod restart;
mod shapes;
mod support;
mod top;
mod traces;
mod verify;
mod why;
