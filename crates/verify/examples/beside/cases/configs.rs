//! DescribeConfigs (32) and IncrementalAlterConfigs (44).

use anyhow::Result;
use klamm_wire::describe_configs_request::DescribeConfigsResource;
use klamm_wire::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use klamm_wire::{ApiKey, DescribeConfigsRequest, IncrementalAlterConfigsRequest};

use super::bad_names;
use super::topics::settings;
use crate::case::{ALL, Case, Cases, from};
use crate::session::Session;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

pub fn cases() -> Vec<Case> {
    let mut list = describe();
    list.extend(describe_wrongly());
    list.extend(alter());
    list.extend(alter_wrongly());
    list
}

fn resource<'n>(kind: i8, name: &'n str, keys: Option<&[&'n str]>) -> DescribeConfigsResource<'n> {
    DescribeConfigsResource {
        resource_type: kind,
        resource_name: name,
        configuration_keys: keys.map(<[_]>::to_vec),
    }
}

fn ask(session: &mut Session<'_>, version: i16, what: &str, resources: Vec<DescribeConfigsResource<'_>>) -> Result<()> {
    session.ask_as(
        what,
        version,
        &DescribeConfigsRequest {
            resources,
            ..Default::default()
        },
    )?;
    Ok(())
}

fn describe() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::DescribeConfigs);
    cases.add("all settings of a topic", ALL, |session, version| {
        let topic = session.topic_with("set", &[("segment.bytes", "2000000")])?;
        for include_synonyms in [false, true] {
            let resources = vec![resource(TOPIC, &topic.name, None)];
            session.ask(
                version,
                &DescribeConfigsRequest {
                    resources,
                    include_synonyms,
                    ..Default::default()
                },
            )?;
        }
        Ok(())
    });
    cases.add("documentation", from(3), |session, version| {
        let (topic, _) = session.shared("topic", 1)?;
        let resources = vec![resource(TOPIC, &topic.name, Some(&["retention.ms", "cleanup.policy"]))];
        session.ask(
            version,
            &DescribeConfigsRequest {
                resources,
                include_documentation: true,
                ..Default::default()
            },
        )?;
        Ok(())
    });
    cases.add("some settings of topics", ALL, |session, version| {
        let (topic, _) = session.shared("topic", 1)?;
        let unknown = session.name("unknown");
        let name = topic.name.as_str();
        ask(
            session,
            version,
            "two",
            vec![resource(TOPIC, name, Some(&["segment.ms", "retention.ms"]))],
        )?;
        ask(
            session,
            version,
            "unknown keys",
            vec![resource(TOPIC, name, Some(&["no.such", "segment.ms"]))],
        )?;
        ask(
            session,
            version,
            "a key twice",
            vec![resource(TOPIC, name, Some(&["segment.ms", "segment.ms"]))],
        )?;
        let two = vec![
            resource(TOPIC, &unknown, None),
            resource(TOPIC, name, Some(&["segment.ms"])),
        ];
        ask(session, version, "an unknown topic beside it", two)?;
        let twice = vec![
            resource(TOPIC, name, Some(&["segment.ms"])),
            resource(TOPIC, name, Some(&["flush.ms"])),
        ];
        ask(session, version, "a topic twice", twice)?;
        ask(session, version, "nothing", Vec::new())
    });
    cases.list
}

fn describe_wrongly() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::DescribeConfigs);
    for (what, name) in bad_names() {
        cases.add(format!("a bad topic name: {what}"), ALL, move |session, version| {
            ask(
                session,
                version,
                "",
                vec![resource(TOPIC, &name, Some(&["segment.ms"]))],
            )
        });
    }
    for kind in [0, 1, 3, 7, 99, -1] {
        cases.add(format!("resource type {kind}"), ALL, move |session, version| {
            ask(session, version, "", vec![resource(kind, "x", None)])
        });
    }
    for name in ["9", "x", "-1"] {
        cases.add(format!("broker {name}"), ALL, move |session, version| {
            ask(session, version, "", vec![resource(BROKER, name, Some(&["node.id"]))])
        });
    }
    cases.add(
        "another broker than the one asked, a key of its own",
        ALL,
        |session, version| {
            ask(
                session,
                version,
                "another",
                vec![resource(BROKER, "2", Some(&["node.id"]))],
            )?;
            ask(
                session,
                version,
                "itself",
                vec![resource(BROKER, "1", Some(&["no.such"]))],
            )?;
            ask(
                session,
                version,
                "the cluster",
                vec![resource(BROKER, "", Some(&["no.such"]))],
            )
        },
    );
    cases.list
}

fn change<'n>(name: &'n str, config_operation: i8, value: Option<&'n str>) -> AlterableConfig<'n> {
    AlterableConfig {
        name,
        config_operation,
        value,
    }
}

fn alter_one(
    session: &mut Session<'_>,
    version: i16,
    what: &str,
    kind: i8,
    name: &str,
    configs: Vec<AlterableConfig<'_>>,
) -> Result<()> {
    let resource = AlterConfigsResource {
        resource_type: kind,
        resource_name: name,
        configs,
    };
    for validate_only in [true, false] {
        let resources = vec![resource.clone()];
        session.ask_as(
            what,
            version,
            &IncrementalAlterConfigsRequest {
                resources,
                validate_only,
            },
        )?;
    }
    Ok(())
}

fn alter() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::IncrementalAlterConfigs);
    for (key, value) in settings() {
        cases.add(format!("{key}={value:?}"), from(1), move |session, version| {
            let (topic, _) = session.shared("topic", 1)?;
            alter_one(session, version, "", TOPIC, &topic.name, vec![change(key, 0, value)])
        });
    }
    for operation in [1, 2, 3, 4, -1] {
        cases.add(format!("operation {operation}"), ALL, move |session, version| {
            let (topic, _) = session.shared("topic", 1)?;
            for (key, value) in [
                ("segment.ms", None),
                ("segment.ms", Some("5000")),
                ("cleanup.policy", Some("delete")),
                ("cleanup.policy", None),
                ("no.such", Some("1")),
            ] {
                let what = format!("{key} {value:?}");
                alter_one(
                    session,
                    version,
                    &what,
                    TOPIC,
                    &topic.name,
                    vec![change(key, operation, value)],
                )?;
            }
            Ok(())
        });
    }
    cases.add("a key twice, a resource twice, nothing", ALL, |session, version| {
        let (topic, _) = session.shared("topic", 1)?;
        let name = topic.name.as_str();
        let twice = vec![
            change("segment.ms", 0, Some("5000")),
            change("segment.ms", 0, Some("6000")),
        ];
        alter_one(session, version, "a key twice", TOPIC, name, twice)?;
        let mixed = vec![
            change("segment.ms", 0, Some("5000")),
            change("retention.ms", 0, Some("x")),
        ];
        alter_one(session, version, "good and bad", TOPIC, name, mixed)?;
        alter_one(session, version, "no changes", TOPIC, name, Vec::new())?;
        let one = |key| AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: name,
            configs: vec![change(key, 1, None)],
        };
        let request = |resources| IncrementalAlterConfigsRequest {
            resources,
            validate_only: false,
        };
        session.ask_as(
            "a resource twice",
            version,
            &request(vec![one("segment.ms"), one("flush.ms")]),
        )?;
        session.ask_as("nothing", version, &request(Vec::new()))?;
        Ok(())
    });
    cases.list
}

fn alter_wrongly() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::IncrementalAlterConfigs);
    cases.add("an unknown topic", ALL, |session, version| {
        let unknown = session.name("unknown");
        alter_one(
            session,
            version,
            "good",
            TOPIC,
            &unknown,
            vec![change("segment.ms", 0, Some("5000"))],
        )?;
        alter_one(
            session,
            version,
            "bad",
            TOPIC,
            &unknown,
            vec![change("segment.ms", 0, Some("x"))],
        )
    });
    for (what, name) in bad_names() {
        cases.add(format!("a bad topic name: {what}"), ALL, move |session, version| {
            alter_one(
                session,
                version,
                "",
                TOPIC,
                &name,
                vec![change("segment.ms", 0, Some("5000"))],
            )
        });
    }
    for kind in [0, 1, 3, 99, -1] {
        cases.add(format!("resource type {kind}"), ALL, move |session, version| {
            alter_one(
                session,
                version,
                "",
                kind,
                "x",
                vec![change("segment.ms", 0, Some("5000"))],
            )
        });
    }
    for name in ["9", "x", "2"] {
        cases.add(format!("broker {name}"), ALL, move |session, version| {
            alter_one(
                session,
                version,
                "",
                BROKER,
                name,
                vec![change("log.cleaner.threads", 0, Some("2"))],
            )
        });
    }
    cases.list
}
