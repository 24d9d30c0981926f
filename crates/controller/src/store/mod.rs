//! The quorum's durable state: the Raft log and vote in sled, and a small file that says whose they are.
//!
//! Only this module and its children name sled. The metadata snapshot is a plain file and lives with the state machine.

pub mod ages;
pub mod codec;
mod files;
pub mod identity;
mod log_store;
mod open;
mod rows;
mod view;
mod writer;

pub use files::replace_file;
pub use identity::Identity;
pub use log_store::{LogStore, Recovered};
pub use open::{KeptLog, Opened, Owner, StoreError, open, read_log, set_aside, write_fresh};

#[cfg(test)]
mod tests;
