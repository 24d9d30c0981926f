//! Reads the settings from their sources, in order, and says exactly what is wrong with which.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::declared::{NodeConfig, SETTINGS};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    File(PathBuf),
    Environment,
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => write!(f, "the file {}", path.display()),
            Source::Environment => f.write_str("the environment"),
            Source::Flag => f.write_str("the command line"),
        }
    }
}

/// Why a node does not start with its settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the settings file {path}")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the settings file {path} is not TOML: {reason}")]
    NotToml { path: PathBuf, reason: String },
    #[error("{given} names the setting {key:?}, which does not exist; did you mean {nearest:?}?")]
    UnknownKey {
        key: String,
        nearest: &'static str,
        given: Source,
    },
    #[error(
        "{given} sets {key:?}, which belongs to the cluster and lives in its metadata: \
         set it with `klamm config alter`"
    )]
    ClusterSetting { key: String, given: Source },
    #[error("{given} gives {key} the value {value:?}: {reason}")]
    BadValue {
        key: String,
        value: String,
        reason: String,
        given: Source,
    },
    #[error("the settings do not fit together: {reason}")]
    Inconsistent { reason: String },
}

/// Settings that all brokers must agree on, so that no node may have its own.
const CLUSTER_SETTINGS: &[&str] = &[
    "min_insync_replicas",
    "unclean_leader_election_enable",
    "klamm_durability",
    "durability",
    "default_replication_factor",
    "num_partitions",
    "auto_create_topics_enable",
    "replica_lag_time_max_ms",
    "broker_session_timeout_ms",
];

/// Reads file, environment and flags over the defaults, and checks that they make a node.
pub fn load(
    file: Option<&Path>,
    environment: &BTreeMap<String, String>,
    flags: &[(String, String)],
) -> Result<NodeConfig, ConfigError> {
    let config = read(file, environment, flags)?;
    check_together(&config)?;
    Ok(config)
}

/// The settings, whether or not they make a node: enough for who asks one. `environment` holds all variables; those
/// named `KLAMM_<KEY>` count. Keys may be written with dots, dashes or underscores.
pub fn read(
    file: Option<&Path>,
    environment: &BTreeMap<String, String>,
    flags: &[(String, String)],
) -> Result<NodeConfig, ConfigError> {
    let mut config = NodeConfig::default();
    if let Some(path) = file {
        for (key, value) in read_file(path)? {
            set(&mut config, &key, &value, Source::File(path.to_owned()))?;
        }
    }
    for (name, value) in environment {
        if let Some(key) = name.strip_prefix("KLAMM_") {
            set(&mut config, &key.to_ascii_lowercase(), value, Source::Environment)?;
        }
    }
    for (key, value) in flags {
        set(&mut config, key, value, Source::Flag)?;
    }
    Ok(config)
}

fn read_file(path: &Path) -> Result<Vec<(String, String)>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigError::NotToml {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    let mut pairs = Vec::new();
    for (key, value) in &table {
        flatten(key, value, &mut pairs);
    }
    Ok(pairs)
}

/// `[log] level = "info"` is `log_level`.
fn flatten(key: &str, value: &toml::Value, pairs: &mut Vec<(String, String)>) {
    match value {
        toml::Value::Table(table) => {
            for (inner, value) in table {
                flatten(&format!("{key}_{inner}"), value, pairs);
            }
        }
        other => pairs.push((key.to_owned(), text_of(other))),
    }
}

fn text_of(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) => items.iter().map(text_of).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn set(config: &mut NodeConfig, key: &str, value: &str, given: Source) -> Result<(), ConfigError> {
    let key = key.replace(['.', '-'], "_");
    if CLUSTER_SETTINGS.contains(&key.as_str()) {
        return Err(ConfigError::ClusterSetting { key, given });
    }
    match config.set(&key, value) {
        Ok(true) => Ok(()),
        Ok(false) => Err(ConfigError::UnknownKey {
            nearest: nearest(&key),
            key,
            given,
        }),
        Err(reason) => Err(ConfigError::BadValue {
            key,
            value: value.to_owned(),
            reason,
            given,
        }),
    }
}

fn nearest(key: &str) -> &'static str {
    let best = SETTINGS.iter().min_by_key(|setting| distance(key, setting.key));
    best.map_or("", |setting| setting.key)
}

/// Levenshtein's distance; keys are short.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

fn check_together(config: &NodeConfig) -> Result<(), ConfigError> {
    let inconsistent = |reason: String| Err(ConfigError::Inconsistent { reason });
    if config.controllers.is_empty() {
        return inconsistent(
            "controllers is not set: name the voters, as in controllers = [\"1@10.0.0.1:9190\"]".into(),
        );
    }
    let marks = [
        config.disk_low_bytes,
        config.disk_full_bytes,
        config.disk_read_only_bytes,
    ];
    if !marks.is_sorted_by(|more, less| more >= less) {
        return inconsistent(
            "disk_low_bytes, disk_full_bytes and disk_read_only_bytes must not grow in this order".into(),
        );
    }
    for advertised in &config.advertised_listeners {
        if !config.listeners.iter().any(|listener| listener.name == advertised.name) {
            return inconsistent(format!(
                "advertised_listeners names {}, which is no listener",
                advertised.name
            ));
        }
    }
    Ok(())
}

/// The example file: every setting with its default, commented out.
pub fn example_file() -> String {
    let mut text = String::from("# A node's settings. Every line shows the default; remove the # to change it.\n");
    for setting in SETTINGS {
        let unit = if setting.unit.is_empty() {
            String::new()
        } else {
            format!(", in {}", setting.unit)
        };
        let default = (setting.default)();
        let kind = (setting.kind)();
        let shown = if matches!(kind, "integer" | "number") {
            default
        } else {
            format!("{default:?}")
        };
        text += &format!(
            "\n#{}\n# {}{unit}; {}\n#{} = {shown}\n",
            setting.text, kind, setting.bounds, setting.key
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let voters = ("controllers".to_owned(), "1@127.0.0.1:9190".to_owned());
        let given = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        std::iter::once(voters).chain(given).collect()
    }

    fn load_flags(pairs: &[(&str, &str)]) -> Result<NodeConfig, ConfigError> {
        load(None, &BTreeMap::new(), &flags(pairs))
    }

    #[test]
    fn later_sources_win() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node.toml");
        std::fs::write(
            &file,
            "node_id = 4\nrack = \"a\"\n[log]\nlevel = \"warn\"\nformat = \"json\"\n",
        )
        .unwrap();
        let environment = BTreeMap::from([
            ("KLAMM_LOG_LEVEL".to_owned(), "debug".to_owned()),
            ("PATH".to_owned(), "/bin".to_owned()),
        ]);
        let config = load(Some(&file), &environment, &flags(&[("node.id", "5")])).unwrap();
        assert_eq!(
            (
                config.node_id,
                config.rack.as_deref(),
                config.log_level.as_str(),
                config.log_format.as_str()
            ),
            (5, Some("a"), "debug", "json")
        );
    }

    #[test]
    fn what_others_tell_of_a_listener_leads_here() {
        let registered = |settings: &[(&str, &str)], bound: &str| {
            let config = load_flags(settings).unwrap();
            config.registered_host(bound.parse().unwrap(), "box")
        };
        let compose = [("node_id", "2"), ("controllers", "1@klamm-1:9190,2@klamm-2:9190")];
        assert_eq!(registered(&compose, "0.0.0.0"), "klamm-2");
        assert_eq!(registered(&compose, "::"), "klamm-2");
        assert_eq!(registered(&compose, "10.1.2.3"), "10.1.2.3");
        let apart = [("node_id", "7"), ("grpc_advertised", "10.0.0.7:9190")];
        assert_eq!(registered(&apart, "0.0.0.0"), "10.0.0.7");
        assert_eq!(
            registered(&[("node_id", "7")], "0.0.0.0"),
            "box",
            "gRPC is bound to all addresses"
        );
        for shared in ["127.0.0.1", "localhost", "[::1]"] {
            let grpc = format!("{shared}:9190");
            assert_eq!(registered(&[("grpc_advertised", &grpc)], "0.0.0.0"), "", "{shared}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let text = |result: Result<NodeConfig, ConfigError>| result.unwrap_err().to_string();
        assert!(text(load_flags(&[("nod_id", "1")])).contains("did you mean \"node_id\""));
        assert!(text(load_flags(&[("node_id", "-1")])).contains("expected 0 or more"));
        assert!(text(load_flags(&[("min.insync.replicas", "1")])).contains("belongs to the cluster"));
        assert!(text(load_flags(&[("roles", "janitor")])).contains("expected broker or controller"));
        assert!(text(load_flags(&[("advertised_listeners", "X://a:1")])).contains("which is no listener"));
        assert!(text(load(None, &BTreeMap::new(), &[])).contains("controllers is not set"));
    }

    #[test]
    fn the_example_holds_every_setting_and_loads() {
        let example = example_file();
        let uncommented: String = example
            .lines()
            .filter_map(|line| {
                line.strip_prefix('#')
                    .filter(|rest| rest.contains(" = ") && !rest.starts_with(' '))
            })
            .filter(|line| !line.starts_with("controllers") && !line.ends_with("\"\""))
            .map(|line| format!("{line}\n"))
            .collect();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node.toml");
        std::fs::write(&file, uncommented).unwrap();
        let config = load(Some(&file), &BTreeMap::new(), &flags(&[])).unwrap();
        let expected = load_flags(&[]).unwrap();
        assert_eq!(config, expected);
        assert!(SETTINGS.iter().all(|setting| example.contains(setting.key)));
    }
}
