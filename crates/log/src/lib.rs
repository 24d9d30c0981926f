//! klamm-log
pub mod disk;
mod config;
mod error;
#[allow(unused_variables, dead_code, clippy::unimplemented)]
mod api_skeleton;
pub use api_skeleton::*;
pub use config::LogConfig;
pub use disk::{DirectoryEntry, Disk, DiskFile, EntryKind, OpenMode, RealDisk, SimDisk};
pub use error::*;
