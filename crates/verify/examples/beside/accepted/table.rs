//! The differences, by the lines of the documentation that explain them.

use super::Explained;

/// Every accepted difference, by the line that explains it. `*` at the end of a value stands for anything.
pub const ACCEPTED: &[Explained] = &[
    Explained {
        line: "APIs and features not there yet",
        differences: &[
            ("ApiVersions: the table", "api_keys.*", "{*", "(missing)"),
            ("ApiVersions: the table", "supported_features.*", "{*", "(missing)"),
            ("ApiVersions: the table", "finalized_features.*", "{*", "(missing)"),
        ],
    },
    Explained {
        line: "`kraft.version`",
        differences: &[(
            "ApiVersions: the table",
            "finalized_features.\"kraft.version\"",
            "(missing)",
            "{*",
        )],
    },
    Explained {
        line: "client ids that are no text",
        differences: &[("ApiVersions: bytes: a client id", "", "{*", "connection closed")],
    },
    Explained {
        line: "error messages",
        differences: &[("", "*error_message", "null", "a text")],
    },
    Explained {
        line: "durability",
        differences: &[("", "*configs.\"klamm.durability\"", "(missing)", "{*")],
    },
    Explained {
        line: "`min.insync.replicas`",
        differences: &[
            ("", "*configs.\"min.insync.replicas\".config_source", "3", "5"),
            ("DescribeConfigs", "*configs.\"min.insync.replicas\".synonyms", "*", "*"),
        ],
    },
    Explained {
        line: "values of settings",
        differences: &[
            (
                "CreateTopics: retention.ms=Some(\" 1000 \")",
                "*.value",
                "\" 1000 \"",
                "\"1000\"",
            ),
            (
                "CreateTopics: unclean.leader.election.enable",
                "*.value",
                "\"TRUE\"",
                "\"true\"",
            ),
        ],
    },
    Explained {
        line: "transactional ids",
        differences: &[
            (
                "Produce: a transactional id",
                "responses.partition_responses.error_code",
                "0",
                "35",
            ),
            (
                "Produce: a transactional id",
                "responses.partition_responses.base_offset|responses.partition_responses.log_start_offset",
                "0",
                "-1",
            ),
        ],
    },
    Explained {
        line: "Produce with null records",
        differences: &[("Produce: null instead of records", "", "no answer", "{responses [{*")],
    },
    Explained {
        line: "records that cannot be read",
        differences: &[
            (
                "Produce: unreadable records: ",
                "responses.partition_responses.error_code",
                "-1",
                "0",
            ),
            (
                "Produce: unreadable records: ",
                "responses.partition_responses.base_offset",
                "-1",
                "0",
            ),
            (
                "Produce: unreadable records: spoilt Gzip",
                "responses.partition_responses.error_code",
                "87",
                "0",
            ),
            (
                "Produce: unreadable records: offset deltas",
                "responses.partition_responses.base_offset",
                "0",
                "-1",
            ),
            (
                "Produce: unreadable records: offset deltas",
                "responses.partition_responses.error_code",
                "0",
                "87",
            ),
            (
                "Produce: unreadable records: offset deltas",
                "responses.partition_responses.record_errors",
                "[]",
                "[{batch_index 0,*",
            ),
        ],
    },
    Explained {
        line: "compression codecs 5 to 7",
        differences: &[
            (
                "Produce: a batch with codec",
                "responses.partition_responses.error_code",
                "-1",
                "87",
            ),
            (
                "Produce: a batch with codec",
                "responses.partition_responses.error_code",
                "-1",
                "6",
            ),
            (
                "Produce: a batch with codec",
                "responses.partition_responses.log_start_offset",
                "-1",
                "0",
            ),
        ],
    },
    Explained {
        line: "record errors",
        differences: &[
            (
                "Produce: a batch with a record that does not parse",
                "responses.partition_responses.record_errors",
                "[]",
                "[{*",
            ),
            (
                "Produce: records older than",
                "responses.partition_responses.record_errors",
                "[{*",
                "[{*",
            ),
        ],
    },
    Explained {
        line: "a producer id with epoch −1",
        differences: &[
            (
                "Produce: a producer's epoch -1",
                "responses.partition_responses.error_code",
                "0",
                "87",
            ),
            (
                "Produce: a producer's epoch -1",
                "responses.partition_responses.base_offset",
                "0",
                "-1",
            ),
        ],
    },
    Explained {
        line: "Fetch at a byte limit",
        differences: &[
            (
                "Fetch: a limit",
                "responses.partitions.records",
                "120 bytes *",
                "112 bytes *",
            ),
            (
                "Fetch: a limit",
                "responses.partitions.records",
                "200 bytes *",
                "112 bytes *",
            ),
            (
                "Fetch: a limit",
                "responses.partitions.records",
                "210 bytes *",
                "112 bytes *",
            ),
            (
                "Fetch: a limit",
                "responses.partitions.records",
                "220 bytes *",
                "112 bytes *",
            ),
            (
                "Fetch: a limit",
                "responses.partitions.records",
                "330 bytes *",
                "224 bytes *",
            ),
        ],
    },
    Explained {
        line: "aborted transactions of Fetch errors",
        differences: &[("Fetch", "responses.partitions.aborted_transactions", "null", "[]")],
    },
    Explained {
        line: "heartbeat interval of a KIP-848 member",
        differences: &[("", "heartbeat_interval_ms", "5000", "*")],
    },
    Explained {
        line: "subscriptions by pattern",
        differences: &[
            (
                "ConsumerGroupHeartbeat: a pattern that topics match",
                "member_epoch",
                "1",
                "2",
            ),
            (
                "ConsumerGroupHeartbeat: a pattern that topics match",
                "assignment.topic_partitions",
                "[]",
                "[{topic_id the id of*",
            ),
            ("ConsumerGroupHeartbeat: the pattern", "member_epoch", "1", "2"),
        ],
    },
    Explained {
        line: "a static member that repeats its join",
        differences: &[
            (
                "ConsumerGroupHeartbeat: a static member repeats its join",
                "error_code",
                "111",
                "0",
            ),
            (
                "ConsumerGroupHeartbeat: a static member repeats its join",
                "error_message",
                "a text",
                "null",
            ),
            (
                "ConsumerGroupHeartbeat: a static member repeats its join",
                "member_epoch",
                "0",
                "2",
            ),
            (
                "ConsumerGroupHeartbeat: a static member repeats its join",
                "member_id",
                "null",
                "\"member\"",
            ),
            (
                "ConsumerGroupHeartbeat: a static member repeats its join",
                "heartbeat_interval_ms",
                "0",
                "100",
            ),
        ],
    },
    Explained {
        line: "a KIP-848 member that may have missed",
        differences: &[("ConsumerGroupHeartbeat: ", "assignment", "null", "{topic_partitions*")],
    },
    Explained {
        line: "a KIP-848 heartbeat with the previous epoch",
        differences: &[
            (
                "ConsumerGroupHeartbeat: a previous epoch without",
                "error_code",
                "110",
                "0",
            ),
            (
                "ConsumerGroupHeartbeat: a previous epoch without",
                "error_message",
                "a text",
                "null",
            ),
            (
                "ConsumerGroupHeartbeat: a previous epoch without",
                "member_epoch",
                "0",
                "3",
            ),
            (
                "ConsumerGroupHeartbeat: a previous epoch without",
                "member_id",
                "null",
                "\"one\"",
            ),
            (
                "ConsumerGroupHeartbeat: a previous epoch without",
                "heartbeat_interval_ms",
                "0",
                "100",
            ),
        ],
    },
    Explained {
        line: "a classic member that offers a protocol twice",
        differences: &[
            ("JoinGroup: one protocol twice", "error_code", "-1", "0"),
            ("JoinGroup: one protocol twice", "generation_id", "-1", "1"),
            (
                "JoinGroup: one protocol twice",
                "leader|member_id",
                "\"\"",
                "beside-<first>",
            ),
            (
                "JoinGroup: one protocol twice",
                "members",
                "[]",
                "[{member_id beside-<first>,*",
            ),
            ("JoinGroup: one protocol twice", "protocol_name", "\"\"", "\"range\""),
            ("JoinGroup: one protocol twice", "protocol_name", "null", "\"range\""),
            ("JoinGroup: one protocol twice", "protocol_type", "null", "\"consumer\""),
        ],
    },
    Explained {
        line: "a consumer whose subscription cannot be read",
        differences: &[
            (
                "OffsetDelete: a group whose subscriptions cannot be read",
                "error_code",
                "-1",
                "0",
            ),
            (
                "OffsetDelete: a group whose subscriptions cannot be read",
                "error_code|members.error_code",
                "25",
                "0",
            ),
            (
                "OffsetDelete: a group whose subscriptions cannot be read",
                "generation_id",
                "-1",
                "2",
            ),
            (
                "OffsetDelete: a group whose subscriptions cannot be read",
                "leader|member_id|members.member_id",
                "\"\"",
                "beside-<first>",
            ),
            (
                "OffsetDelete: a group whose subscriptions cannot be read",
                "members",
                "[]",
                "[{member_id beside-<first>,*",
            ),
            (
                "OffsetDelete: a group whose subscriptions cannot be read",
                "protocol_name",
                "null",
                "\"range\"",
            ),
            (
                "OffsetDelete: a group whose subscriptions cannot be read",
                "protocol_type",
                "null",
                "\"consumer\"",
            ),
            (
                "OffsetDelete: a group whose subscriptions cannot be read",
                "assignment",
                "0 bytes *",
                "2 bytes 646f",
            ),
            ("JoinGroup: what a KIP-848 group refuses", "error_code", "-1", "23"),
            ("JoinGroup: what a KIP-848 group refuses", "error_code", "79", "23"),
            ("JoinGroup: what a KIP-848 group refuses", "member_id", "\"*", "\"\""),
        ],
    },
    Explained {
        line: "assignments while a KIP-848 group becomes classic",
        differences: &[(
            "JoinGroup: into a KIP-848 group, which becomes classic",
            "groups.members.member_assignment",
            "*",
            "*",
        )],
    },
    Explained {
        line: "a bad session timeout",
        differences: &[("JoinGroup: another broker", "error_code", "26", "16")],
    },
    Explained {
        line: "the last offset of a group",
        differences: &[
            (
                "OffsetDelete: a group that has lost its last offset",
                "error_code",
                "0",
                "69",
            ),
            (
                "OffsetDelete: a group that has lost its last offset",
                "topics",
                "[{name*",
                "[]",
            ),
        ],
    },
    Explained {
        line: "OffsetFetch with a member epoch",
        differences: &[(
            "OffsetFetch: a KIP-848 group with member ids",
            "groups.error_code",
            "-1",
            "25",
        )],
    },
    Explained {
        line: "transactional ids",
        differences: &[(
            "FindCoordinator: the transactional id",
            "coordinators.error_message",
            "\"\"",
            "a text",
        )],
    },
    Explained {
        line: "a group that DescribeGroups",
        differences: &[
            ("DescribeGroups: several groups", "groups", "[*", "[*"),
            ("ConsumerGroupDescribe: several groups", "groups", "[*", "[*"),
        ],
    },
    Explained {
        line: "fetch sessions",
        differences: &[("Fetch: session", "session_id", "*", "0")],
    },
];
