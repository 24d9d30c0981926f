//! DescribeConfigs (32): settings in effect, where they come from, and what they mean.
//!
//! Topics: everything in effect for the topic. BROKER with an empty name: the cluster's defaults that were set.
//! BROKER with this node's number: what its process was started with, and the cluster's settings.

use klamm_broker::backend::{NodeSetting, SettingKind};
use klamm_broker::metadata::Image;
use klamm_broker::metadata::config::{ConfigEntry, ConfigSynonym};
use klamm_types::{ErrorCode, validate_topic_name};
use klamm_wire::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use klamm_wire::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};

use crate::context::Client;
use crate::net::request::{Answer, Request};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SOURCE_STATIC_BROKER: i8 = 4;
const SOURCE_DEFAULT: i8 = 5;

/// Everything that is shown of one resource.
#[derive(Default)]
struct Settings {
    /// From the metadata: may be changed.
    shared: Vec<ConfigEntry>,
    /// From the process's start: may not.
    node: Vec<NodeSetting>,
}

/// Why a resource is not described.
struct Refusal {
    code: ErrorCode,
    text: String,
}

pub(crate) fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: DescribeConfigsRequest<'_> = request.decode(&body)?;
    let image = client.image();
    let described: Vec<Result<Settings, Refusal>> = asked
        .resources
        .iter()
        .map(|resource| describe(client, &image, resource))
        .collect();
    let results = asked.resources.iter().zip(&described).map(|(resource, described)| {
        let mut result = DescribeConfigsResult {
            error_message: Some(""),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            ..Default::default()
        };
        match described {
            Ok(settings) => result.configs = write(&asked, resource, settings),
            Err(refusal) => {
                result.error_code = refusal.code.code();
                result.error_message = Some(&refusal.text);
            }
        }
        result
    });
    let results = results.collect();
    request.answer(&DescribeConfigsResponse {
        results,
        ..Default::default()
    })
}

fn describe(client: &Client, image: &Image, resource: &DescribeConfigsResource<'_>) -> Result<Settings, Refusal> {
    let name = resource.resource_name;
    match (resource.resource_type, name) {
        (TOPIC, _) => topic(image, name),
        (BROKER, "") => Ok(Settings {
            shared: image.describe_cluster_defaults(),
            node: Vec::new(),
        }),
        (BROKER, _) if name.parse() == Ok(client.backend().node_id().0) => Ok(Settings {
            shared: image.describe_cluster(),
            node: client.backend().node_settings(),
        }),
        (BROKER, _) => {
            let own = client.backend().node_id();
            Err(invalid(format!(
                "the settings of broker {name:?} are not here: this is broker {own}"
            )))
        }
        (kind, _) => Err(invalid(format!("resources of type {kind} have no settings here"))),
    }
}

fn topic(image: &Image, name: &str) -> Result<Settings, Refusal> {
    if let Err(error) = validate_topic_name(name) {
        return Err(Refusal {
            code: ErrorCode::InvalidTopicException,
            text: error.to_string(),
        });
    }
    if image.topic_by_name(name).is_none() {
        return Err(Refusal {
            code: ErrorCode::UnknownTopicOrPartition,
            text: String::new(),
        });
    }
    Ok(Settings {
        shared: image.describe_topic(name),
        node: Vec::new(),
    })
}

fn invalid(text: String) -> Refusal {
    Refusal {
        code: ErrorCode::InvalidRequest,
        text,
    }
}

/// The settings that were asked for. No keys means all; keys that do not exist are left out.
fn write<'a>(
    asked: &DescribeConfigsRequest<'_>,
    resource: &DescribeConfigsResource<'_>,
    settings: &'a Settings,
) -> Vec<DescribeConfigsResourceResult<'a>> {
    let keys = resource.configuration_keys.as_deref().unwrap_or_default();
    let wanted = |name: &str| keys.is_empty() || keys.contains(&name);
    let shared = settings
        .shared
        .iter()
        .filter(|entry| wanted(entry.name))
        .map(|entry| shared_entry(asked, entry));
    let node = settings
        .node
        .iter()
        .filter(|entry| wanted(&entry.name))
        .map(|entry| node_entry(asked, entry));
    shared.chain(node).collect()
}

fn shared_entry<'a>(asked: &DescribeConfigsRequest<'_>, entry: &'a ConfigEntry) -> DescribeConfigsResourceResult<'a> {
    let synonym = |synonym: &'a ConfigSynonym| DescribeConfigsSynonym {
        name: synonym.name,
        value: Some(&synonym.value),
        source: synonym.source.number(),
    };
    DescribeConfigsResourceResult {
        name: entry.name,
        value: Some(&entry.value),
        read_only: false,
        config_source: entry.source.number(),
        is_sensitive: false,
        synonyms: if asked.include_synonyms {
            entry.synonyms.iter().map(synonym).collect()
        } else {
            Vec::new()
        },
        config_type: entry.kind.number(),
        documentation: asked.include_documentation.then_some(entry.doc),
    }
}

fn node_entry<'a>(asked: &DescribeConfigsRequest<'_>, entry: &'a NodeSetting) -> DescribeConfigsResourceResult<'a> {
    let source = if entry.value == entry.default {
        SOURCE_DEFAULT
    } else {
        SOURCE_STATIC_BROKER
    };
    let mut synonyms = Vec::new();
    if asked.include_synonyms {
        let synonym = |value: &'a Option<String>, source| DescribeConfigsSynonym {
            name: &entry.name,
            value: value.as_deref(),
            source,
        };
        if source == SOURCE_STATIC_BROKER {
            synonyms.push(synonym(&entry.value, SOURCE_STATIC_BROKER));
        }
        if entry.default.is_some() {
            synonyms.push(synonym(&entry.default, SOURCE_DEFAULT));
        }
    }
    DescribeConfigsResourceResult {
        name: &entry.name,
        value: entry.value.as_deref(),
        read_only: true,
        config_source: source,
        is_sensitive: entry.kind == SettingKind::Password,
        synonyms,
        config_type: kind_number(entry.kind),
        documentation: asked.include_documentation.then_some(entry.documentation.as_str()),
    }
}

/// Kafka's number of a setting's type.
fn kind_number(kind: SettingKind) -> i8 {
    match kind {
        SettingKind::Boolean => 1,
        SettingKind::String => 2,
        SettingKind::Int => 3,
        SettingKind::Short => 4,
        SettingKind::Long => 5,
        SettingKind::Double => 6,
        SettingKind::List => 7,
        SettingKind::Password => 9,
    }
}
