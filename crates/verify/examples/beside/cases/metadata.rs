//! Metadata (3), DescribeCluster (60) and DescribeTopicPartitions (75).

use klamm_types::Uuid;
use klamm_wire::describe_topic_partitions_request::{Cursor, TopicRequest};
use klamm_wire::metadata_request::MetadataRequestTopic;
use klamm_wire::{ApiKey, DescribeClusterRequest, DescribeTopicPartitionsRequest, MetadataRequest};

use super::{bad_names, unknown_id};
use crate::case::{ALL, Case, Cases, from, until};
use crate::cluster::number;
use crate::session::Session;

/// Topics asked for by name, none of them created by asking.
fn named<'n>(names: &[&'n str]) -> MetadataRequest<'n> {
    let topic = |name: &&'n str| MetadataRequestTopic {
        name: Some(name),
        ..Default::default()
    };
    MetadataRequest {
        topics: Some(names.iter().map(topic).collect()),
        ..Default::default()
    }
}

fn by_id(ids: &[Uuid]) -> MetadataRequest<'static> {
    let topic = |id: &Uuid| MetadataRequestTopic {
        topic_id: *id,
        name: None,
    };
    MetadataRequest {
        topics: Some(ids.iter().map(topic).collect()),
        allow_auto_topic_creation: false,
        ..Default::default()
    }
}

pub fn cases() -> Vec<Case> {
    let mut list = metadata();
    list.extend(bad_names_in_metadata());
    list.extend(identified());
    list.extend(describe_cluster());
    list.extend(describe_topic_partitions());
    list
}

fn quiet(mut request: MetadataRequest<'_>, version: i16) -> MetadataRequest<'_> {
    request.allow_auto_topic_creation = version < 4;
    request
}

fn metadata() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::Metadata);
    cases.add("no topics", from(1), |session, version| {
        session.ask(version, &named(&[]))?;
        Ok(())
    });
    cases.add("all topics of a cluster", ALL, |session, version| {
        session.topic(2)?;
        let topics = if version == 0 { Some(Vec::new()) } else { None };
        session.ask(
            version,
            &quiet(
                MetadataRequest {
                    topics,
                    ..Default::default()
                },
                version,
            ),
        )?;
        Ok(())
    });
    cases.add(
        "a topic, also from its followers, also twice",
        ALL,
        |session, version| {
            let topic = session.topic(4)?;
            for broker in 1..=3 {
                session
                    .to(broker)
                    .ask(version, &quiet(named(&[&topic.name, &topic.name]), version))?;
            }
            Ok(())
        },
    );
    cases.add("authorized operations", from(8), |session, version| {
        let topic = session.topic(1)?;
        let mut request = quiet(named(&[&topic.name]), version);
        request.include_topic_authorized_operations = true;
        request.include_cluster_authorized_operations = version <= 10;
        session.ask(version, &request)?;
        Ok(())
    });
    cases.add("an unknown topic beside a known one", from(4), |session, version| {
        let topic = session.topic(1)?;
        let unknown = session.name("unknown");
        session.ask(version, &quiet(named(&[&unknown, &topic.name]), version))?;
        Ok(())
    });
    cases.add("a topic is created by asking", ALL, |session, version| {
        let name = session.name(version);
        session.ask_as("first", version, &named(&[&name]))?;
        let there = |tree: &klamm_wire::Tree| {
            let topic = tree.field("topics").and_then(|topics| topics.items().first());
            let partitions = topic.map_or(&[][..], |topic| {
                topic.field("partitions").map_or(&[], klamm_wire::Tree::items)
            });
            topic.is_some_and(|topic| number(topic, "error_code") == 0) && partitions.len() == 1
        };
        let tree = session.cluster.until(1, version, &named(&[&name]), there)?;
        let counts = tree.field("topics").map(|topics| topics.items().len());
        anyhow::ensure!(counts == Some(1), "asked for one topic");
        Ok(())
    });
    cases.list
}

fn bad_names_in_metadata() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::Metadata);
    for (what, name) in bad_names() {
        cases.add(format!("a bad name: {what}"), ALL, move |session, version| {
            session.ask(version, &named(&[&name]))?;
            Ok(())
        });
    }
    cases.add("a name that collides with another", ALL, |session, version| {
        let name = session.name("with.dot");
        session.topic_with("with.dot", &[])?;
        session.ask(version, &named(&[&name.replace('.', "_")]))?;
        Ok(())
    });
    cases.list
}

/// Topics by id.
fn identified() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::Metadata);
    cases.add("by id, known, unknown and zero", from(12), |session, version| {
        let topic = session.topic(1)?;
        for id in [topic.id, unknown_id(), Uuid::ZERO] {
            session.ask(version, &by_id(&[id]))?;
        }
        session.ask(version, &by_id(&[topic.id, unknown_id(), topic.id]))?;
        Ok(())
    });
    cases.add(
        "an id or no name before ids were served",
        10..=11,
        |session, version| {
            let topic = session.topic(1)?;
            session.ask_as("an id", version, &by_id(&[topic.id]))?;
            session.ask_as("no name", version, &by_id(&[Uuid::ZERO]))?;
            session.ask_as("no name among two", version, &by_id(&[topic.id, Uuid::ZERO]))?;
            Ok(())
        },
    );
    cases.add("id and name together", from(10), |session, version| {
        let topic = session.topic(1)?;
        let other = session.topic_with("other", &[])?;
        let both = |id| MetadataRequestTopic {
            topic_id: id,
            name: Some(&other.name),
        };
        let request = |topics| {
            quiet(
                MetadataRequest {
                    topics: Some(topics),
                    ..Default::default()
                },
                version,
            )
        };
        session.ask_as("both in one", version, &request(vec![both(topic.id)]))?;
        session.ask_as(
            "an id beside a name",
            version,
            &request(vec![both(topic.id), both(Uuid::ZERO)]),
        )?;
        Ok(())
    });
    cases.list
}

fn describe_cluster() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::DescribeCluster);
    cases.add("brokers", ALL, |session, version| {
        for include_cluster_authorized_operations in [false, true] {
            let request = DescribeClusterRequest {
                include_cluster_authorized_operations,
                ..Default::default()
            };
            session.ask(version, &request)?;
        }
        Ok(())
    });
    for endpoint_type in [0, 2, 3, -1] {
        cases.add(
            format!("endpoint type {endpoint_type}"),
            from(1),
            move |session, version| {
                session.ask(
                    version,
                    &DescribeClusterRequest {
                        endpoint_type,
                        ..Default::default()
                    },
                )?;
                Ok(())
            },
        );
    }
    cases.add("fenced brokers too", from(2), |session, version| {
        session.ask(
            version,
            &DescribeClusterRequest {
                include_fenced_brokers: true,
                ..Default::default()
            },
        )?;
        Ok(())
    });
    cases.list
}

fn describe(
    session: &mut Session<'_>,
    version: i16,
    names: &[&str],
    limit: i32,
    cursor: Option<Cursor<'_>>,
) -> anyhow::Result<()> {
    let topics = names.iter().map(|name| TopicRequest { name }).collect();
    session.ask(
        version,
        &DescribeTopicPartitionsRequest {
            topics,
            response_partition_limit: limit,
            cursor,
        },
    )?;
    Ok(())
}

fn describe_topic_partitions() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::DescribeTopicPartitions);
    cases.add("topics, named in any order and twice", ALL, |session, version| {
        let topic = session.topic(5)?;
        let other = session.topic_with("other", &[])?;
        let unknown = session.name("unknown");
        describe(
            session,
            version,
            &[&topic.name, &other.name, &unknown, &topic.name],
            2000,
            None,
        )
    });
    for limit in [0, -1, 1, 2, 3, i32::MAX] {
        cases.add(format!("at most {limit} partitions"), ALL, move |session, version| {
            let topic = session.topic(2)?;
            let other = session.topic_with("other", &[])?;
            let zero = session.topic_with("unrelated", &[])?;
            describe(session, version, &[&topic.name, &other.name, &zero.name], limit, None)
        });
    }
    cases.add("from a cursor on", ALL, |session, version| {
        let topic = session.topic(3)?;
        let other = session.topic_with("other", &[])?;
        let unknown = session.name("unknown");
        let between = session.name("p");
        let places = [
            (&topic.name, 1),
            (&topic.name, 3),
            (&topic.name, 99),
            (&topic.name, -1),
            (&other.name, 0),
            (&unknown, 0),
            (&between, 0),
        ];
        for (topic_name, partition_index) in places {
            let cursor = Some(Cursor {
                topic_name,
                partition_index,
            });
            describe(session, version, &[&topic.name, &other.name], 2, cursor)?;
        }
        Ok(())
    });
    cases.add("all topics from a cursor on", ALL, |session, version| {
        let topic = session.topic(3)?;
        let gone = session.name("tn");
        for (topic_name, partition_index) in [(&topic.name, 1), (&gone, 0), (&topic.name, 7)] {
            describe(
                session,
                version,
                &[],
                2,
                Some(Cursor {
                    topic_name,
                    partition_index,
                }),
            )?;
        }
        Ok(())
    });
    for (what, name) in bad_names() {
        cases.add(format!("a bad name: {what}"), until(0), move |session, version| {
            describe(session, version, &[&name], 2000, None)
        });
    }
    cases.list
}
