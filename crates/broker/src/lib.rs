//! The broker: partitions, replica streams and the broker's life cycle, as thin shells around the pure cores.

pub mod api;
pub mod backend;
pub mod config;
pub mod controllers;
pub mod coordinator;
pub mod flush;
pub mod grpc;
pub mod lifecycle;
pub mod metrics;
pub mod node;
pub mod pace;
pub mod partitions;
pub mod producer_ids;
pub mod replica;
pub mod space;

pub use klamm_coordinator as group;
pub use klamm_metadata as metadata;
pub use klamm_schema as schema;
