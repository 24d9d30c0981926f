//! Settings of topics and brokers: reading them, changing single ones.

use klamm_types::NodeId;
use klamm_wire::describe_configs_request::DescribeConfigsResource;
use klamm_wire::describe_configs_response::DescribeConfigsResourceResult;
use klamm_wire::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use klamm_wire::{ApiKey, DescribeConfigsRequest, IncrementalAlterConfigsRequest};

use super::{Admin, AdminError, Kind, accept, decode};

/// Whose settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigResource {
    Topic(String),
    /// One broker's own settings; asked of that broker.
    Broker(NodeId),
    /// The defaults of all brokers, kept by the cluster.
    ClusterDefaults,
}

impl ConfigResource {
    fn kind(&self) -> i8 {
        match self {
            ConfigResource::Topic(_) => 2,
            ConfigResource::Broker(_) | ConfigResource::ClusterDefaults => 4,
        }
    }

    fn name(&self) -> String {
        match self {
            ConfigResource::Topic(name) => name.clone(),
            ConfigResource::Broker(node) => node.to_string(),
            ConfigResource::ClusterDefaults => String::new(),
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    Topic,
    Broker,
    ClusterDefault,
    BrokerFile,
    BuiltIn,
    /// A source that this client does not know, by its number.
    Other(i8),
}

impl ConfigSource {
    fn from_wire(number: i8) -> ConfigSource {
        match number {
            1 => ConfigSource::Topic,
            2 => ConfigSource::Broker,
            3 => ConfigSource::ClusterDefault,
            4 => ConfigSource::BrokerFile,
            5 => ConfigSource::BuiltIn,
            other => ConfigSource::Other(other),
        }
    }
}

/// The type of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigValueType {
    Unknown,
    Boolean,
    String,
    Int,
    Short,
    Long,
    Double,
    List,
    Class,
    Password,
}

impl ConfigValueType {
    fn from_wire(number: i8) -> ConfigValueType {
        use ConfigValueType::*;
        const BY_NUMBER: [ConfigValueType; 10] = [
            Unknown, Boolean, String, Int, Short, Long, Double, List, Class, Password,
        ];
        usize::try_from(number)
            .ok()
            .and_then(|index| BY_NUMBER.get(index).copied())
            .unwrap_or(Unknown)
    }
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    pub name: String,
    /// `None`: not set, or not shown because it is a secret.
    pub value: Option<String>,
    pub source: ConfigSource,
    pub read_only: bool,
    pub sensitive: bool,
    pub value_type: ConfigValueType,
    /// What the value would be without the sources above, the nearest first.
    pub synonyms: Vec<ConfigSynonym>,
    pub documentation: Option<String>,
}

/// A value that a setting has from one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    pub name: String,
    pub value: Option<String>,
    pub source: ConfigSource,
}

/// A change of one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlterConfig {
    Set {
        name: String,
        value: String,
    },
    /// Back to the default.
    Delete {
        name: String,
    },
    /// Adds to a list.
    Append {
        name: String,
        value: String,
    },
    /// Takes away from a list.
    Subtract {
        name: String,
        value: String,
    },
}

impl AlterConfig {
    fn to_wire(&self) -> AlterableConfig<'_> {
        let (name, config_operation, value) = match self {
            AlterConfig::Set { name, value } => (name, 0, Some(value.as_str())),
            AlterConfig::Delete { name } => (name, 1, None),
            AlterConfig::Append { name, value } => (name, 2, Some(value.as_str())),
            AlterConfig::Subtract { name, value } => (name, 3, Some(value.as_str())),
        };
        AlterableConfig {
            name,
            config_operation,
            value,
        }
    }
}

impl Admin {
    /// Every setting of a resource with its value and where that comes from.
    ///
    /// # Errors
    /// The resource is not known, or the cluster cannot be reached.
    pub async fn describe_configs(&self, resource: &ConfigResource) -> Result<Vec<ConfigEntry>, AdminError> {
        let name = resource.name();
        let asked = DescribeConfigsResource {
            resource_type: resource.kind(),
            resource_name: &name,
            configuration_keys: None,
        };
        let request = DescribeConfigsRequest {
            resources: vec![asked],
            include_synonyms: true,
            include_documentation: true,
        };
        let reply = match resource {
            ConfigResource::Broker(node) => self.call_node(*node, &request).await?,
            _ => self.call_any(Kind::Read, &request).await?,
        };
        let response = decode::<DescribeConfigsRequest<'_>>(&reply)?;
        let missing = || AdminError::Missing {
            api: ApiKey::DescribeConfigs,
            what: name.clone(),
        };
        let result = response.results.first().ok_or_else(missing)?;
        accept(
            &format!("describing settings of {}", show(resource)),
            result.error_code,
            result.error_message,
        )?;
        Ok(result.configs.iter().map(entry).collect())
    }

    /// Changes single settings; the others stay.
    ///
    /// # Errors
    /// A setting is unknown or its value refused (`INVALID_CONFIG`), or the cluster cannot be reached.
    pub async fn alter_configs(&self, resource: &ConfigResource, changes: &[AlterConfig]) -> Result<(), AdminError> {
        let name = resource.name();
        let asked = AlterConfigsResource {
            resource_type: resource.kind(),
            resource_name: &name,
            configs: changes.iter().map(AlterConfig::to_wire).collect(),
        };
        let request = IncrementalAlterConfigsRequest {
            resources: vec![asked],
            validate_only: false,
        };
        let reply = match resource {
            ConfigResource::Broker(node) => self.call_node(*node, &request).await?,
            _ => self.call_any(Kind::Change, &request).await?,
        };
        let response = decode::<IncrementalAlterConfigsRequest<'_>>(&reply)?;
        let missing = || AdminError::Missing {
            api: ApiKey::IncrementalAlterConfigs,
            what: name.clone(),
        };
        let result = response.responses.first().ok_or_else(missing)?;
        accept(
            &format!("changing settings of {}", show(resource)),
            result.error_code,
            result.error_message,
        )
    }
}

fn show(resource: &ConfigResource) -> String {
    match resource {
        ConfigResource::Topic(name) => format!("topic {name}"),
        ConfigResource::Broker(node) => format!("broker {node}"),
        ConfigResource::ClusterDefaults => "the cluster".to_owned(),
    }
}

fn entry(config: &DescribeConfigsResourceResult<'_>) -> ConfigEntry {
    let synonyms = config.synonyms.iter().map(|synonym| ConfigSynonym {
        name: synonym.name.to_owned(),
        value: synonym.value.map(str::to_owned),
        source: ConfigSource::from_wire(synonym.source),
    });
    ConfigEntry {
        name: config.name.to_owned(),
        value: config.value.map(str::to_owned),
        source: ConfigSource::from_wire(config.config_source),
        read_only: config.read_only,
        sensitive: config.is_sensitive,
        value_type: ConfigValueType::from_wire(config.config_type),
        synonyms: synonyms.collect(),
        documentation: config.documentation.filter(|text| !text.is_empty()).map(str::to_owned),
    }
}
