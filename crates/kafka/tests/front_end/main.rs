//! The front end over real sockets, with a broker in memory behind it.

// The whole crate is a test: its helpers may unwrap as the tests themselves do.
#![allow(clippy::unwrap_used)]

mod admin;
mod alter;
mod api_versions;
mod client;
mod configs;
mod connections;
mod directories;
mod elections;
mod fake;
mod fetch;
mod garbage;
mod group_offsets;
mod groups;
mod metadata;
mod offsets;
mod produce;
mod quorum;
mod topic_partitions;
mod world;
