//! Where a broker keeps its replicas, how large they are, and how much room there is.

use klamm_types::{NodeId, PartitionId};
use klamm_wire::DescribeLogDirsRequest;

use super::{Admin, AdminError, accept, decode};

/// A data directory of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDirDescription {
    /// The absolute path on the broker's machine.
    pub path: String,
    /// Bytes of the file system on which it lies; unknown to Kafka before 3.3.
    pub total_bytes: Option<u64>,
    /// Bytes that are still free there.
    pub usable_bytes: Option<u64>,
    pub replicas: Vec<LogDirReplica>,
}

/// A replica in a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDirReplica {
    pub topic: String,
    pub partition: PartitionId,
    /// Bytes of all its segments.
    pub size_bytes: u64,
}

impl Admin {
    /// The data directories of one broker with the replicas in them.
    ///
    /// # Errors
    /// The broker cannot be reached, or one of its directories has failed (`KAFKA_STORAGE_ERROR`).
    pub async fn describe_log_dirs(&self, broker: NodeId) -> Result<Vec<LogDirDescription>, AdminError> {
        let request = DescribeLogDirsRequest { topics: None };
        let reply = self.call_node(broker, &request).await?;
        let response = decode::<DescribeLogDirsRequest<'_>>(&reply)?;
        let what = "describing log directories";
        accept(what, response.error_code, None)?;
        let known = |bytes: i64| u64::try_from(bytes).ok();
        let mut directories = Vec::new();
        for found in &response.results {
            accept(&format!("{what}: {}", found.log_dir), found.error_code, None)?;
            let replicas = found.topics.iter().flat_map(|topic| {
                topic.partitions.iter().map(|partition| LogDirReplica {
                    topic: topic.name.to_owned(),
                    partition: PartitionId(partition.partition_index),
                    size_bytes: known(partition.partition_size).unwrap_or(0),
                })
            });
            directories.push(LogDirDescription {
                path: found.log_dir.to_owned(),
                total_bytes: known(found.total_bytes),
                usable_bytes: known(found.usable_bytes),
                replicas: replicas.collect(),
            });
        }
        Ok(directories)
    }
}
