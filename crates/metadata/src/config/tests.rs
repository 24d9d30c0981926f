//! Settings: the table is sound, values are checked, resolved and described from it.

use std::collections::BTreeMap;

use super::*;
use crate::decide::tests::script::World;

#[test]
fn the_table_is_sound() {
    let names: Vec<&str> = TOPIC_SETTINGS.iter().map(|setting| setting.name).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(names, sorted, "names are in order, for they are searched");
    for setting in TOPIC_SETTINGS {
        assert_eq!(topic_setting(setting.name), Some(setting));
        let stored = check_topic_setting("t", setting.name, setting.default);
        assert_eq!(
            stored.as_deref(),
            Ok(setting.default),
            "{}: the default is accepted",
            setting.name
        );
        assert!(setting.doc.ends_with('.'), "{} has a sentence", setting.name);
        if let Some(name) = setting.cluster_name {
            assert_eq!(
                check_cluster_default(name, setting.default).as_deref(),
                Ok(setting.default),
                "{name}"
            );
        }
    }
    for setting in CLUSTER_SETTINGS {
        assert_eq!(
            check_cluster_default(setting.name, setting.default).as_deref(),
            Ok(setting.default)
        );
        assert!(setting.doc.ends_with('.'), "{} has a sentence", setting.name);
    }
    assert_eq!(
        cluster_setting("min.insync.replicas").map(|setting| setting.default),
        Some("2")
    );
    assert_eq!(cluster_setting("retention.ms"), None);
}

#[test]
fn values_are_checked_and_refusals_say_why() {
    let refusal = |name: &str, value: &str| check_topic_setting("t", name, value).unwrap_err().to_string();
    assert_eq!(refusal("x", "1"), "there is no setting x");
    assert_eq!(
        refusal("retention.ms", "-2"),
        "retention.ms is a number of at least -1, not \"-2\""
    );
    assert_eq!(
        refusal("segment.bytes", "1024"),
        "segment.bytes is a number from 1048576 to 2147483647, not \"1024\""
    );
    assert_eq!(
        refusal("compression.gzip.level", "0"),
        "compression.gzip.level is -1 or a number from 1 to 9, not \"0\""
    );
    assert_eq!(
        refusal("compression.type", "brotli"),
        "compression.type is one of uncompressed, zstd, lz4, snappy, gzip, producer, not \"brotli\""
    );
    assert_eq!(
        refusal("cleanup.policy", "x"),
        "cleanup.policy is a list of compact, delete, not \"x\""
    );
    assert_eq!(
        refusal("cleanup.policy", "delete,compact"),
        "cleanup.policy=delete,compact is refused: log compaction is not supported yet"
    );
    assert_eq!(
        refusal("min.compaction.lag.ms", "5"),
        "min.compaction.lag.ms=5 is refused: log compaction is not supported yet"
    );
    assert_eq!(
        refusal("flush.messages", "10"),
        "flush.messages=10 is refused: set klamm.durability instead; only 1, which means klamm.durability=fsync, is \
         accepted"
    );
    assert_eq!(
        refusal("remote.storage.enable", "true"),
        "remote.storage.enable=true is refused: tiered storage is not supported yet"
    );
    assert_eq!(
        refusal("max.message.bytes", "3000000000").split(',').next(),
        Some("max.message.bytes is a number from 0 to 2147483647")
    );
    let stored = |name: &str, value: &str| check_topic_setting("__consumer_offsets", name, value).unwrap();
    assert_eq!(stored("cleanup.policy", " compact , delete,compact "), "compact,delete");
    assert_eq!(stored("min.cleanable.dirty.ratio", "0.25"), "0.25");
    assert_eq!(stored("unclean.leader.election.enable", "TRUE"), "true");
    assert_eq!(stored("retention.ms", " 007 "), "7");
}

#[test]
fn values_in_effect() {
    let mut world = World::with_brokers(1);
    world.run("create t partitions=1 rf=1 retention.ms=5 compression.type=lz4");
    let config = world.image.effective_config("t");
    assert_eq!((config.retention_ms, config.compression), (5, Compression::Lz4));
    assert_eq!((config.min_insync_replicas, config.durability), (2, Durability::Fsync));
    assert_eq!(config.segment_bytes, 1_073_741_824);
    world.run("set cluster log.retention.ms=9 klamm.durability=replicated min.insync.replicas=1 num.partitions=6");
    let config = world.image.effective_config("t");
    assert_eq!(
        (config.retention_ms, config.min_insync_replicas),
        (5, 1),
        "the topic's own word counts first"
    );
    assert_eq!(config.durability, Durability::Replicated);
    assert_eq!(world.image.effective_config("other").retention_ms, 9);
    assert_eq!(world.image.cluster_config().num_partitions, 6);
    world.run("set t flush.messages=1");
    assert_eq!(
        world.image.durability("t"),
        Durability::Fsync,
        "flush.messages=1 means fsync"
    );
    world.run("set t cleanup.policy=");
    let config = world.image.effective_config("t");
    assert_eq!(
        (config.cleanup_delete, config.retention_ms, config.retention_bytes),
        (false, -1, -1)
    );
}

#[test]
fn what_describe_configs_shows() {
    let mut world = World::with_brokers(1);
    world.run("create t partitions=1 rf=1 max.message.bytes=5 retention.ms=6");
    world.run("set cluster message.max.bytes=7 log.segment.bytes=2000000");
    let entries = world.image.describe_topic("t");
    let shown = |name: &str| {
        let entry = entries.iter().find(|entry| entry.name == name).unwrap();
        let synonyms = entry.synonyms.iter();
        let synonyms =
            synonyms.map(|synonym| format!("{}={}:{}", synonym.name, synonym.value, synonym.source.number()));
        format!(
            "{}:{} {}",
            entry.value,
            entry.source.number(),
            synonyms.collect::<Vec<_>>().join(" ")
        )
    };
    assert_eq!(
        shown("max.message.bytes"),
        "5:1 max.message.bytes=5:1 message.max.bytes=7:3 message.max.bytes=1048588:5"
    );
    assert_eq!(
        shown("segment.bytes"),
        "2000000:3 log.segment.bytes=2000000:3 log.segment.bytes=1073741824:5"
    );
    assert_eq!(shown("min.insync.replicas"), "2:5 min.insync.replicas=2:5");
    assert_eq!(shown("retention.ms"), "6:1 retention.ms=6:1");
    assert_eq!(shown("segment.ms"), "604800000:5 ");
    assert_eq!(shown("remote.storage.enable"), "false:5 ");
    let names: Vec<&str> = world
        .image
        .describe_cluster_defaults()
        .iter()
        .map(|entry| entry.name)
        .collect();
    assert_eq!(names, ["log.segment.bytes", "message.max.bytes"]);
    assert!(world.image.describe_cluster().len() > 30);
}

#[test]
fn contradictions_are_refused() {
    let settings = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_string(), (*value).to_string()))
            .collect()
    };
    let both = settings(&[("flush.messages", "1"), ("klamm.durability", "replicated")]);
    assert_eq!(check_topic_settings(&both), Err(SettingError::Contradiction));
    let agree = settings(&[("flush.messages", "1"), ("klamm.durability", "fsync")]);
    assert_eq!(check_topic_settings(&agree), Ok(()));
}
