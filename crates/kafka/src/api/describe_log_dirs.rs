//! DescribeLogDirs (35): this broker's data directory, and the replicas in it with their sizes.
//!
//! There is one directory per node. Free is what its disk has left without the node's reserve.

use std::collections::{BTreeMap, BTreeSet};

use klamm_wire::describe_log_dirs_request::DescribeLogDirsRequest;
use klamm_wire::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};

use crate::context::Client;
use crate::net::request::{Answer, Request};

pub(crate) async fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: DescribeLogDirsRequest<'_> = request.decode(&body)?;
    let directory = client.backend().describe_data_directory().await;
    let image = client.image();
    let wanted = wanted(&asked);
    let mut topics: BTreeMap<&str, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for replica in &directory.replicas {
        // A deleted topic's files outlive it for a moment; they have no name that clients know.
        let Some(topic) = image.topic(replica.partition.topic) else {
            continue;
        };
        let partition = replica.partition.partition.0;
        let is_wanted = |wanted: &BTreeSet<_>| wanted.contains(&(&*topic.name, partition));
        if wanted.as_ref().is_none_or(is_wanted) {
            topics.entry(&topic.name).or_default().push(DescribeLogDirsPartition {
                partition_index: partition,
                partition_size: in_bytes(Some(replica.size_bytes)),
                // How far a log is behind its own high watermark: it never is.
                offset_lag: 0,
                is_future_key: false,
            });
        }
    }
    let topics = topics
        .into_iter()
        .map(|(name, partitions)| DescribeLogDirsTopic { name, partitions });
    request.answer(&DescribeLogDirsResponse {
        results: vec![DescribeLogDirsResult {
            log_dir: &directory.path,
            topics: topics.collect(),
            total_bytes: in_bytes(directory.total_bytes),
            usable_bytes: in_bytes(directory.usable_bytes),
            ..Default::default()
        }],
        ..Default::default()
    })
}

/// -1 stands for what is not known.
fn in_bytes(known: Option<u64>) -> i64 {
    known.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// The partitions that were asked for; no topics means all.
fn wanted<'a>(asked: &DescribeLogDirsRequest<'a>) -> Option<BTreeSet<(&'a str, i32)>> {
    let topics = asked.topics.as_ref()?.iter();
    let partitions = topics.flat_map(|topic| topic.partitions.iter().map(|partition| (topic.topic, *partition)));
    Some(partitions.collect())
}
