//! Stories of several controllers in one process: each has a runtime of its own, and dropping that is its death, because
//! its sockets end with it. Tests wait for events; the limits only turn a hang into a failure.

mod brokers;
mod copies;
mod elections;
pub mod harness;
mod history;
mod members;
mod quorum;
