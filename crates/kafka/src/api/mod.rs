//! One file per API: reads the request, asks the broker in the broker's words, writes the answer.

pub(crate) mod api_versions;
pub(crate) mod controller;
pub(crate) mod create_partitions;
pub(crate) mod create_topics;
pub(crate) mod delete_topics;
pub(crate) mod describe_cluster;
pub(crate) mod describe_configs;
pub(crate) mod describe_quorum;
pub(crate) mod describe_topic_partitions;
pub(crate) mod fetch;
pub(crate) mod fetch_session;
pub(crate) mod incremental_alter_configs;
pub(crate) mod init_producer_id;
pub(crate) mod leader_hint;
pub(crate) mod list_offsets;
pub(crate) mod metadata;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod partitions;
pub(crate) mod produce;
pub(crate) mod raft_voters;
