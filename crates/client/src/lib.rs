//! The Klamm SDK.

mod client;
mod config;
mod error;
mod metadata;
mod net;
mod producer;

pub use client::Client;
pub use config::ClientConfig;
pub use producer::*;
pub use error::*;
pub use metadata::{Broker, Cluster, Partition, Topic};
