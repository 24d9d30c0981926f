//! What the client knows of the cluster: brokers, topics, and who leads which partition.

mod cluster;
#[cfg(test)]
mod cluster_test;
mod fetch;
mod hedge;
mod insistence;
mod keeper;

#[cfg(test)]
pub(crate) use cluster::ClusterUpdate;
pub(crate) use cluster::LeaderHint;
pub use cluster::{Broker, Cluster, Partition, Topic};
pub(crate) use keeper::{Keeper, KeeperConfig};
