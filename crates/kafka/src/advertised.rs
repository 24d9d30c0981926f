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

/// The table of versions as `docs/compatibility.md` prints it.
pub fn markdown() -> String {
    let mut text = String::from(MARKDOWN_HEAD);
    for AdvertisedApi { key, listed, served } in table() {
        let mut versions = range(listed);
        if served != listed {
            versions = format!("{versions} listed, {} served", range(served));
        }
        if let Some(remark) = remark(key) {
            versions = format!("{versions}, {remark}");
        }
        text += &format!("| {} | {key} | {versions} |\n", key.code());
    }
    text
}

/// Begins the table in the documentation; an empty line ends it.
const MARKDOWN_HEAD: &str = "| key | API | versions |\n| --- | --- | --- |\n";

/// A page with the table in it brought up to date; `None` if the page has no such table.
pub fn with_table(page: &str) -> Option<String> {
    let begin = page.find(MARKDOWN_HEAD)?;
    let end = begin + page[begin..].find("\n\n")? + 1;
    Some([&page[..begin], &markdown(), &page[end..]].concat())
}

fn range(versions: VersionRange) -> String {
    match versions {
        VersionRange { min, max } if min == max => min.to_string(),
        VersionRange { min, max } => format!("{min}–{max}"),
    }
}

/// What the numbers alone do not say.
fn remark(key: ApiKey) -> Option<&'static str> {
    match key {
        ApiKey::Produce => Some("as in Kafka (old librdkafka switches compression off otherwise)"),
        ApiKey::InitProducerId => Some("without transactional id"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_documentation_prints_this_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/compatibility.md");
        let page = std::fs::read_to_string(path).expect("the page is there");
        let text = "the page has the table; `scripts/write-compatibility` brings it up to date";
        assert_eq!(with_table(&page).as_deref(), Some(page.as_str()), "{text}");
    }

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
