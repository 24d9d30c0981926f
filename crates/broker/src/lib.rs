//! The broker: partitions, replica streams and the broker's life cycle, as thin shells around the pure cores.

pub mod api;
pub mod backend;
pub mod lifecycle;
pub mod grpc;
pub mod config;
pub mod flush;
pub mod partitions;
pub mod replica;

pub use klamm_metadata as metadata;
pub use klamm_schema as schema;
