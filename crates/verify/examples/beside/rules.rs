//! The fields in which two right answers may differ, and how they are compared instead. Whatever is not named here is
//! compared as it was sent.

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    Ignored,
    /// A text or none; null and empty stay apart.
    Presence,
    /// A time of these years, or exactly what it is.
    Now,
    /// A negative number, 0, or any number above.
    Sign,
    /// One of the brokers, or none.
    Broker,
    /// The items, in any order.
    Unordered,
    /// The items by the value of a field, in any order.
    Keyed(&'static str),
}

/// The end of a field's path (`API.field.field`), its rule and the reason.
const RULES: &[(&str, Rule, &str)] = &[
    (".log_append_time_ms", Rule::Now, "a time"),
    (".port", Rule::Sign, "addresses differ"),
    (".error_message", Rule::Presence, "texts are our own"),
    (".batch_index_error_message", Rule::Presence, "texts are our own"),
    (".documentation", Rule::Presence, "texts are our own"),
    (".controller_id", Rule::Broker, "any live broker will do"),
    (
        ".finalized_features_epoch",
        Rule::Sign,
        "the position in the metadata log",
    ),
    (".isr_nodes", Rule::Unordered, "a set"),
    (".brokers", Rule::Unordered, "a set"),
    (
        "Metadata.topics",
        Rule::Unordered,
        "the answer's order is free, Kafka's is that of a hash map",
    ),
    (
        "DescribeQuorum.topics.partitions.current_voters.replica_directory_id",
        Rule::Ignored,
        "unset in a quorum of fixed voters",
    ),
    (
        "JoinGroup.members",
        Rule::Unordered,
        "the answer's order is free, Kafka's is that of a hash map",
    ),
    (
        "DescribeGroups.groups.members",
        Rule::Unordered,
        "the answer's order is free, Kafka's is that of a hash map",
    ),
    (
        "ConsumerGroupDescribe.groups.members",
        Rule::Unordered,
        "the answer's order is free, Kafka's is that of a hash map",
    ),
    (".topic_partitions", Rule::Unordered, "a set"),
    (".topic_partitions.partitions", Rule::Unordered, "a set"),
    (
        "ListGroups.groups",
        Rule::Unordered,
        "the answer's order is free, Kafka's is that of a hash map",
    ),
    (
        "DeleteGroups.results",
        Rule::Unordered,
        "the answer's order is free, Kafka's is that of a hash map",
    ),
    (
        "OffsetFetch.topics",
        Rule::Unordered,
        "the answer's order is free, Kafka's is that of a hash map",
    ),
    (
        "OffsetFetch.topics.partitions",
        Rule::Unordered,
        "the answer's order is free, Kafka's is that of a hash map",
    ),
    (
        "OffsetFetch.groups.topics",
        Rule::Unordered,
        "the answer's order is free, Kafka's is that of a hash map",
    ),
    (
        "OffsetFetch.groups.topics.partitions",
        Rule::Unordered,
        "the answer's order is free, Kafka's is that of a hash map",
    ),
    (
        "OffsetCommit.topics",
        Rule::Unordered,
        "the answer's order is free, Kafka's is that of a hash map",
    ),
    (
        "OffsetDelete.topics",
        Rule::Unordered,
        "the answer's order is free, Kafka's is that of a hash map",
    ),
    (
        "OffsetCommit.topics.partitions",
        Rule::Unordered,
        "the answer's order is free, Kafka's is that of a hash map",
    ),
    (
        "OffsetDelete.topics.partitions",
        Rule::Unordered,
        "the answer's order is free, Kafka's is that of a hash map",
    ),
    (".subscribed_topic_names", Rule::Unordered, "a set"),
    (
        "FindCoordinator.node_id",
        Rule::Broker,
        "any broker may lead the group's partition",
    ),
    (
        "FindCoordinator.coordinators.node_id",
        Rule::Broker,
        "any broker may lead the group's partition",
    ),
    ("InitProducerId.producer_id", Rule::Sign, "unique, no more"),
    ("ApiVersions.api_keys", Rule::Keyed("api_key"), "a set"),
    ("ApiVersions.supported_features", Rule::Keyed("name"), "a set"),
    ("ApiVersions.finalized_features", Rule::Keyed("name"), "a set"),
    ("CreateTopics.topics", Rule::Keyed("name"), "the answer's order is free"),
    ("CreateTopics.topics.configs", Rule::Keyed("name"), "a set"),
    (
        "DeleteTopics.responses",
        Rule::Unordered,
        "the answer's order is free, Kafka shuffles",
    ),
    ("DescribeConfigs.results.configs", Rule::Keyed("name"), "a set"),
    (
        "Produce.responses",
        Rule::Unordered,
        "the answer's order is free, Kafka's is that of a hash map",
    ),
    (
        "Produce.responses.partition_responses",
        Rule::Unordered,
        "the answer's order is free, Kafka's is that of a hash map",
    ),
    (".node_endpoints", Rule::Unordered, "a set"),
    (
        "Fetch.responses",
        Rule::Unordered,
        "the answer's order is free, Kafka puts what failed to the end",
    ),
    (
        "Fetch.responses.partitions",
        Rule::Unordered,
        "the answer's order is free, Kafka puts what failed to the end",
    ),
    (
        "ListOffsets.topics",
        Rule::Unordered,
        "the answer's order is free, Kafka puts what failed to the end",
    ),
    (
        "ListOffsets.topics.partitions",
        Rule::Unordered,
        "the answer's order is free, Kafka puts what failed to the end",
    ),
    (
        "CreatePartitions.results",
        Rule::Unordered,
        "the answer's order is free",
    ),
    (
        "DescribeQuorum.topics.partitions.leader_id",
        Rule::Broker,
        "any voter may lead",
    ),
    (
        "DescribeQuorum.topics.partitions.leader_epoch",
        Rule::Sign,
        "how many elections there were",
    ),
    (
        "DescribeQuorum.topics.partitions.high_watermark",
        Rule::Sign,
        "the position in the metadata log",
    ),
    (
        "DescribeQuorum.topics.partitions.current_voters",
        Rule::Unordered,
        "a set",
    ),
    (
        "DescribeQuorum.topics.partitions.current_voters.log_end_offset",
        Rule::Sign,
        "the position in the metadata log",
    ),
    (".last_fetch_timestamp", Rule::Sign, "a time"),
    (".last_caught_up_timestamp", Rule::Sign, "a time"),
    ("DescribeQuorum.nodes", Rule::Keyed("node_id"), "a set"),
];

/// The rule for a field's path.
pub fn rule(path: &str) -> Option<Rule> {
    let applies = |end: &str| {
        if end.starts_with('.') {
            path.ends_with(end)
        } else {
            path == end
        }
    };
    RULES.iter().find(|(end, _, _)| applies(end)).map(|(_, rule, _)| *rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_a_reason_and_is_found() {
        assert!(RULES.iter().all(|(_, _, why)| !why.is_empty()));
        assert_eq!(rule("Metadata.brokers.port"), Some(Rule::Sign));
        assert_eq!(rule("CreateTopics.topics"), Some(Rule::Keyed("name")));
        assert_eq!(rule("DescribeQuorum.topics"), None);
        assert_eq!(rule("Metadata.report"), None);
    }
}
