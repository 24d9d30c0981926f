//! Settings as DescribeConfigs shows them: value in effect, where it comes from, and its synonyms.

use super::table::{self, Kind, TOPIC_SETTINGS};
use crate::image::{Image, Resource};

/// Where a value comes from, with Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    Topic,
    Broker,
    ClusterDefault,
    Default,
}

impl ConfigSource {
    pub fn number(self) -> i8 {
        match self {
            ConfigSource::Topic => 1,
            ConfigSource::Broker => 2,
            ConfigSource::ClusterDefault => 3,
            ConfigSource::Default => 5,
        }
    }
}

/// One setting with its value in effect. None of ours is sensitive or read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    pub name: &'static str,
    pub value: String,
    pub source: ConfigSource,
    pub kind: Kind,
    /// Most specific first; the first is the one in effect.
    pub synonyms: Vec<ConfigSynonym>,
    pub doc: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    pub name: &'static str,
    pub value: String,
    pub source: ConfigSource,
}

/// Kafka's default for these comes from keys in other units, so their own keys show none.
const WITHOUT_DEFAULT_SYNONYM: &[&str] = &["retention.ms", "segment.ms", "segment.jitter.ms", "flush.ms"];

impl Image {
    /// Every topic setting in effect for a topic of this name, by name.
    pub fn describe_topic(&self, topic: &str) -> Vec<ConfigEntry> {
        let resource = Resource::Topic(topic.into());
        TOPIC_SETTINGS
            .iter()
            .map(|setting| {
                let mut synonyms = Vec::new();
                if let Some(value) = self.config(&resource, setting.name) {
                    synonyms.push(synonym(setting.name, value, ConfigSource::Topic));
                }
                if let Some(name) = setting.cluster_name {
                    if let Some(value) = self.config(&Resource::ClusterDefaults, name) {
                        synonyms.push(synonym(name, value, ConfigSource::ClusterDefault));
                    }
                    if !WITHOUT_DEFAULT_SYNONYM.contains(&setting.name) {
                        synonyms.push(synonym(name, setting.default, ConfigSource::Default));
                    }
                }
                let (value, source) = in_effect(&synonyms, setting.default);
                ConfigEntry {
                    name: setting.name,
                    value,
                    source,
                    kind: setting.kind,
                    synonyms,
                    doc: setting.doc,
                }
            })
            .collect()
    }

    /// Every cluster-wide setting in effect, by name: what each broker shows besides what its own file says.
    pub fn describe_cluster(&self) -> Vec<ConfigEntry> {
        let topic_defaults = TOPIC_SETTINGS.iter().filter_map(|setting| setting.cluster_name);
        let own = table::CLUSTER_SETTINGS.iter().map(|setting| setting.name);
        let mut entries: Vec<ConfigEntry> = topic_defaults
            .chain(own)
            .filter_map(table::cluster_setting)
            .map(|setting| {
                let mut synonyms = Vec::new();
                if let Some(value) = self.config(&Resource::ClusterDefaults, setting.name) {
                    synonyms.push(synonym(setting.name, value, ConfigSource::ClusterDefault));
                }
                synonyms.push(synonym(setting.name, setting.default, ConfigSource::Default));
                let (value, source) = in_effect(&synonyms, setting.default);
                ConfigEntry {
                    name: setting.name,
                    value,
                    source,
                    kind: setting.kind,
                    synonyms,
                    doc: setting.doc,
                }
            })
            .collect();
        entries.sort_by_key(|entry| entry.name);
        entries
    }

    /// The cluster defaults that were set, as DescribeConfigs lists BROKER with an empty name.
    pub fn describe_cluster_defaults(&self) -> Vec<ConfigEntry> {
        let mut entries = self.describe_cluster();
        entries.retain(|entry| entry.source == ConfigSource::ClusterDefault);
        entries
    }
}

fn synonym(name: &'static str, value: &str, source: ConfigSource) -> ConfigSynonym {
    ConfigSynonym {
        name,
        value: value.to_string(),
        source,
    }
}

fn in_effect(synonyms: &[ConfigSynonym], default: &str) -> (String, ConfigSource) {
    match synonyms.first() {
        Some(first) => (first.value.clone(), first.source),
        None => (default.to_string(), ConfigSource::Default),
    }
}
