//! What the client knows of the cluster: brokers, topics, and who leads which partition.

mod cluster;
#[cfg(test)]
mod cluster_test;
mod fetch;
mod hedge;
mod keeper;

pub use cluster::{Broker, Cluster, Partition, Topic};
#[cfg(test)]
pub(crate) use cluster::ClusterUpdate;
pub(crate) use cluster::LeaderHint;
pub(crate) use keeper::{Keeper, KeeperConfig};
