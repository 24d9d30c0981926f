//! The quorum's durable state: the Raft log and vote in sled, and a small file that says whose they are.
//!
//! Only `database` and `open` name sled. The metadata snapshot is a plain file and lives with the state machine.

pub mod ages;
pub mod codec;
mod database;
mod files;
pub mod identity;
mod log_store;
mod mark;
#[cfg(test)]
pub mod model;
mod open;
mod rows;
mod view;
mod writer;

pub use files::{blocking, replace_file};
pub use identity::Identity;
pub use log_store::{LogStore, Recovered};
pub use open::{KeptLog, Opened, Owner, StoreError, open, read_log, set_aside, write_fresh};

#[cfg(test)]
mod contract;
#[cfg(test)]
mod tests;
