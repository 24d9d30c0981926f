//! The differences that are meant, each with the place that says why. Everything else that differs is a fault.

use crate::value::Difference;

/// Differences of one kind.
pub struct Accepted {
    /// The beginning of the case's name.
    pub case: &'static str,
    /// The field's path without indexes in brackets; `*` at its beginning or end stands for anything.
    pub field: &'static str,
    pub kafka: &'static str,
    pub klamm: &'static str,
    /// A page, or `docs/compatibility.md: ` and the beginning of the line that explains it.
    pub page: &'static str,
}

/// `*` stands for any value.
pub const ACCEPTED: &[Accepted] = &[
    Accepted {
        case: "ApiVersions: the table",
        field: "api_keys.*",
        kafka: "{*",
        klamm: "(missing)",
        page: "docs/compatibility.md: APIs and features not there yet",
    },
    Accepted {
        case: "ApiVersions: the table",
        field: "supported_features.*",
        kafka: "{*",
        klamm: "(missing)",
        page: "docs/compatibility.md: APIs and features not there yet",
    },
    Accepted {
        case: "ApiVersions: the table",
        field: "finalized_features.*",
        kafka: "{*",
        klamm: "(missing)",
        page: "docs/compatibility.md: APIs and features not there yet",
    },
    Accepted {
        case: "ApiVersions: the table",
        field: "finalized_features.\"kraft.version\"",
        kafka: "(missing)",
        klamm: "{*",
        page: "docs/compatibility.md: `kraft.version`",
    },
    Accepted {
        case: "ApiVersions: bytes: a client id",
        field: "",
        kafka: "{*",
        klamm: "connection closed",
        page: "docs/compatibility.md: client ids that are no text",
    },
    Accepted {
        case: "",
        field: "*error_message",
        kafka: "null",
        klamm: "a text",
        page: "docs/compatibility.md: error messages",
    },
    Accepted {
        case: "",
        field: "*configs.\"klamm.durability\"",
        kafka: "(missing)",
        klamm: "{*",
        page: "docs/compatibility.md: durability",
    },
    Accepted {
        case: "",
        field: "*configs.\"min.insync.replicas\".config_source",
        kafka: "3",
        klamm: "5",
        page: "docs/compatibility.md: `min.insync.replicas`",
    },
    Accepted {
        case: "DescribeConfigs",
        field: "*configs.\"min.insync.replicas\".synonyms",
        kafka: "*",
        klamm: "*",
        page: "docs/compatibility.md: `min.insync.replicas`",
    },
    Accepted {
        case: "CreateTopics: retention.ms=Some(\" 1000 \")",
        field: "*.value",
        kafka: "\" 1000 \"",
        klamm: "\"1000\"",
        page: "docs/compatibility.md: values of settings",
    },
    Accepted {
        case: "CreateTopics: unclean.leader.election.enable",
        field: "*.value",
        kafka: "\"TRUE\"",
        klamm: "\"true\"",
        page: "docs/compatibility.md: values of settings",
    },
    Accepted {
        case: "Produce: a transactional id",
        field: "*",
        kafka: "*",
        klamm: "*",
        page: "docs/compatibility.md: transactional ids",
    },
    Accepted {
        case: "Produce: null instead of records",
        field: "*",
        kafka: "no answer",
        klamm: "*",
        page: "docs/compatibility.md: Produce with null records",
    },
    Accepted {
        case: "Produce: unreadable records",
        field: "responses.partition_responses.*",
        kafka: "*",
        klamm: "*",
        page: "docs/compatibility.md: records that cannot be read",
    },
    Accepted {
        case: "Produce: a batch with codec",
        field: "responses.partition_responses.*",
        kafka: "-1",
        klamm: "*",
        page: "docs/compatibility.md: compression codecs 5 to 7",
    },
    Accepted {
        case: "Produce: a batch with a record that does not parse",
        field: "responses.partition_responses.record_errors",
        kafka: "[]",
        klamm: "[{*",
        page: "docs/compatibility.md: record errors",
    },
    Accepted {
        case: "Produce: records older than",
        field: "responses.partition_responses.record_errors",
        kafka: "[{*",
        klamm: "[{*",
        page: "docs/compatibility.md: record errors",
    },
    Accepted {
        case: "Produce: a producer's epoch -1",
        field: "responses.partition_responses.*",
        kafka: "*",
        klamm: "*",
        page: "docs/compatibility.md: a producer id with epoch −1",
    },
    Accepted {
        case: "Fetch: a limit",
        field: "responses.partitions.records",
        kafka: "*",
        klamm: "*",
        page: "docs/compatibility.md: Fetch at a byte limit",
    },
    Accepted {
        case: "Fetch",
        field: "responses.partitions.aborted_transactions",
        kafka: "null",
        klamm: "[]",
        page: "docs/compatibility.md: aborted transactions of Fetch errors",
    },
    Accepted {
        case: "",
        field: "heartbeat_interval_ms",
        kafka: "5000",
        klamm: "*",
        page: "docs/compatibility.md: heartbeat interval of a KIP-848 member",
    },
    Accepted {
        case: "ConsumerGroupHeartbeat: a pattern that topics match",
        field: "*",
        kafka: "*",
        klamm: "*",
        page: "docs/compatibility.md: subscriptions by pattern",
    },
    Accepted {
        case: "ConsumerGroupHeartbeat: the pattern",
        field: "member_epoch",
        kafka: "1",
        klamm: "2",
        page: "docs/compatibility.md: subscriptions by pattern",
    },
    Accepted {
        case: "ConsumerGroupHeartbeat: a static member repeats its join",
        field: "*",
        kafka: "*",
        klamm: "*",
        page: "docs/compatibility.md: a static member that repeats its join",
    },
    Accepted {
        case: "ConsumerGroupHeartbeat: ",
        field: "assignment",
        kafka: "null",
        klamm: "{topic_partitions*",
        page: "docs/compatibility.md: a KIP-848 member that may have missed",
    },
    Accepted {
        case: "ConsumerGroupHeartbeat: a previous epoch without",
        field: "*",
        kafka: "*",
        klamm: "*",
        page: "docs/compatibility.md: a KIP-848 heartbeat with the previous epoch",
    },
    Accepted {
        case: "JoinGroup: one protocol twice",
        field: "*",
        kafka: "*",
        klamm: "*",
        page: "docs/compatibility.md: a classic member that offers a protocol twice",
    },
    Accepted {
        case: "OffsetDelete: a group whose subscriptions cannot be read",
        field: "*",
        kafka: "*",
        klamm: "*",
        page: "docs/compatibility.md: a consumer whose subscription cannot be read",
    },
    Accepted {
        case: "JoinGroup: what a KIP-848 group refuses",
        field: "*",
        kafka: "*",
        klamm: "*",
        page: "docs/compatibility.md: a consumer whose subscription cannot be read",
    },
    Accepted {
        case: "JoinGroup: into a KIP-848 group, which becomes classic",
        field: "groups.members.member_assignment",
        kafka: "*",
        klamm: "*",
        page: "docs/compatibility.md: assignments while a KIP-848 group becomes classic",
    },
    Accepted {
        case: "JoinGroup: another broker",
        field: "error_code",
        kafka: "26",
        klamm: "16",
        page: "docs/compatibility.md: a bad session timeout",
    },
    Accepted {
        case: "OffsetDelete: a group that has lost its last offset",
        field: "*",
        kafka: "*",
        klamm: "*",
        page: "docs/compatibility.md: the last offset of a group",
    },
    Accepted {
        case: "OffsetFetch: a KIP-848 group with member ids",
        field: "groups.error_code",
        kafka: "-1",
        klamm: "25",
        page: "docs/compatibility.md: OffsetFetch with a member epoch",
    },
    Accepted {
        case: "FindCoordinator: the transactional id",
        field: "*",
        kafka: "*",
        klamm: "*",
        page: "docs/compatibility.md: transactional ids",
    },
    Accepted {
        case: "DescribeGroups: several groups",
        field: "groups",
        kafka: "[*",
        klamm: "[*",
        page: "docs/compatibility.md: a group that DescribeGroups",
    },
    Accepted {
        case: "ConsumerGroupDescribe: several groups",
        field: "groups",
        kafka: "[*",
        klamm: "[*",
        page: "docs/compatibility.md: a group that DescribeGroups",
    },
    Accepted {
        case: "Fetch: session",
        field: "session_id",
        kafka: "*",
        klamm: "0",
        page: "docs/compatibility.md: fetch sessions",
    },
];

impl Accepted {
    pub fn covers(&self, case: &str, found: &Difference) -> bool {
        let field = without_indexes(&found.field);
        let field = match (self.field.strip_prefix('*'), self.field.strip_suffix('*')) {
            (Some(end), _) => field.ends_with(end),
            (None, Some(begin)) => field.starts_with(begin),
            (None, None) => field == self.field,
        };
        let value = |wanted: &str, value: &str| match wanted.strip_suffix('*') {
            Some(begin) => value.starts_with(begin),
            None => wanted == value,
        };
        field && case.starts_with(self.case) && value(self.kafka, &found.kafka) && value(self.klamm, &found.klamm)
    }
}

fn without_indexes(field: &str) -> String {
    let mut inside = false;
    let keep = |letter: &char| {
        inside = (inside || *letter == '[') && *letter != ']';
        !inside && *letter != ']'
    };
    field.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_accepted_difference_is_explained_in_the_documentation() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for accepted in ACCEPTED {
            let (page, line) = accepted.page.split_once(": ").unwrap_or((accepted.page, ""));
            let text = std::fs::read_to_string(root.join(page)).expect(page);
            let row = format!("| {line}");
            assert!(
                line.is_empty() || text.lines().any(|found| found.starts_with(&row)),
                "{}",
                accepted.page
            );
        }
    }

    #[test]
    fn a_difference_is_covered_by_case_field_and_values() {
        let accepted = Accepted {
            case: "Produce: null",
            field: "responses.*",
            kafka: "no answer",
            klamm: "*",
            page: "",
        };
        let found = |field: &str, kafka: &str| Difference {
            field: field.into(),
            kafka: kafka.into(),
            klamm: "87".into(),
        };
        assert!(accepted.covers(
            "Produce: null records",
            &found("responses[0].partitions[1].error_code", "no answer")
        ));
        assert!(!accepted.covers("Produce: null records", &found("throttle_time_ms", "no answer")));
        assert!(!accepted.covers("Produce: null records", &found("responses[0].index", "3")));
        assert!(!accepted.covers("Produce: acks", &found("responses[0].index", "no answer")));
    }
}
