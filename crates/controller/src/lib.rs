//! The controller quorum.

#![allow(dead_code)]
pub mod raft;
pub mod store;
pub mod network;
