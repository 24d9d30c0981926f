//! The APIs that this front end serves, with their versions: what ApiVersions lists, what requests are held against,
//! and what the documentation prints.
//!
//! An API is listed when all of it works, never before: clients change their behaviour on what is listed.

use klamm_wire::{ApiKey, VersionRange};

/// Every API served, in the order of their keys. The versions come from the codec's table.
pub const ADVERTISED: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::SyncGroup,
    ApiKey::DescribeGroups,
    ApiKey::ListGroups,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::InitProducerId,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::DescribeConfigs,
    ApiKey::DescribeLogDirs,
    ApiKey::CreatePartitions,
    ApiKey::DeleteGroups,
    ApiKey::ElectLeaders,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::ListPartitionReassignments,
    ApiKey::OffsetDelete,
    ApiKey::DescribeQuorum,
    ApiKey::DescribeCluster,
    ApiKey::ConsumerGroupHeartbeat,
    ApiKey::ConsumerGroupDescribe,
    ApiKey::ListConfigResources,
    ApiKey::DescribeTopicPartitions,
    ApiKey::AddRaftVoter,
    ApiKey::RemoveRaftVoter,
];

/// One line of the table of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdvertisedApi {
    pub key: ApiKey,
    /// What ApiVersions lists.
    pub listed: VersionRange,
    /// What is answered. Differs for Produce, whose old versions are listed for the sake of old clients.
    pub served: VersionRange,
}

/// The table of versions.
pub fn table() -> impl Iterator<Item = AdvertisedApi> {
    ADVERTISED.iter().map(|&key| {
        let (listed, valid) = (key.advertised(), key.valid());
        let served = VersionRange::new(listed.min.max(valid.min), listed.max.min(valid.max));
        AdvertisedApi { key, listed, served }
    })
}

/// Whether requests of this API are answered.
pub fn is_advertised(key: ApiKey) -> bool {
    ADVERTISED.contains(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_kafkas() {
        let rows: Vec<(i16, i16, i16, i16)> = table()
            .map(|row| (row.key.code(), row.listed.min, row.listed.max, row.served.min))
            .collect();
        let expected = [
            (0, 0, 13, 3),
            (1, 4, 18, 4),
            (2, 1, 11, 1),
            (3, 0, 13, 0),
            (8, 2, 10, 2),
            (9, 1, 10, 1),
            (10, 0, 6, 0),
            (11, 0, 9, 0),
            (12, 0, 4, 0),
            (13, 0, 5, 0),
            (14, 0, 5, 0),
            (15, 0, 6, 0),
            (16, 0, 5, 0),
            (18, 0, 4, 0),
            (19, 2, 7, 2),
            (20, 1, 6, 1),
            (22, 0, 5, 0),
            (23, 2, 4, 2),
            (32, 1, 4, 1),
            (35, 1, 5, 1),
            (37, 0, 3, 0),
            (42, 0, 2, 0),
            (43, 0, 2, 0),
            (44, 0, 1, 0),
            (46, 0, 0, 0),
            (47, 0, 0, 0),
            (55, 0, 2, 0),
            (60, 0, 2, 0),
            (68, 0, 1, 0),
            (69, 0, 1, 0),
            (74, 0, 1, 0),
            (75, 0, 0, 0),
            (80, 0, 1, 0),
            (81, 0, 0, 0),
        ];
        assert_eq!(rows, expected);
    }

    /// kafka-python 2.0.2 infers one broker version from the table: each rule is an API and a version of it. If no
    /// rule down to 0.11 matches, it writes message format 1, which is refused.
    #[test]
    fn kafka_python_2_0_2_infers_a_modern_broker() {
        let listed = |key: ApiKey, version: i16| is_advertised(key) && key.advertised().contains(version);
        let rules = [
            (ApiKey::Produce, 8, "2.4"),
            (ApiKey::Fetch, 11, "2.3"),
            (ApiKey::Metadata, 4, "0.11"),
        ];
        let inferred = rules.iter().find(|(key, version, _)| listed(*key, *version));
        assert_eq!(inferred.map(|rule| rule.2), Some("2.4"));
        assert!(listed(ApiKey::Metadata, 0) && listed(ApiKey::Fetch, 4) && listed(ApiKey::Produce, 0));
    }
}
