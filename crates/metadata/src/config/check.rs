//! Whether a value may be given to a setting. Nothing is accepted and ignored: what has no effect yet is refused
//! with the reason, except for the default.

use std::collections::BTreeMap;

use super::table::{self, Bounds, Kind, Rule};

/// Why a setting is refused. All are INVALID_CONFIG to clients.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    #[error("there is no setting {name}")]
    Unknown { name: String },
    #[error("{name} has no value")]
    Null { name: String },
    #[error("{name} is {expected}, not \"{value}\"")]
    BadValue {
        name: String,
        value: String,
        expected: String,
    },
    #[error("{name}={value} is refused: {reason}")]
    Refused {
        name: String,
        value: String,
        reason: &'static str,
    },
    #[error("flush.messages=1 means klamm.durability=fsync, which contradicts klamm.durability=replicated")]
    Contradiction,
}

/// Topics that the cluster keeps for itself; they may be compacted.
pub fn is_internal_topic(name: &str) -> bool {
    matches!(
        name,
        "__consumer_offsets" | "__transaction_state" | "__klamm_group_history"
    )
}

/// Checks one setting of the topic `topic`; gives the value as it is stored.
pub fn check_topic_setting(topic: &str, name: &str, value: &str) -> Result<String, SettingError> {
    let setting = table::topic_setting(name).ok_or_else(|| SettingError::Unknown { name: name.into() })?;
    let value = check_value(name, setting.kind, setting.bounds, value)?;
    check_rule(setting, name, &value, is_internal_topic(topic))?;
    Ok(value)
}

/// Checks all settings of a topic together.
pub fn check_topic_settings(settings: &BTreeMap<String, String>) -> Result<(), SettingError> {
    let is = |name: &str, value: &str| settings.get(name).is_some_and(|given| given == value);
    if is("flush.messages", "1") && is("klamm.durability", "replicated") {
        return Err(SettingError::Contradiction);
    }
    Ok(())
}

/// Checks one cluster default; gives the value as it is stored.
pub fn check_cluster_default(name: &str, value: &str) -> Result<String, SettingError> {
    let setting = table::cluster_setting(name).ok_or_else(|| SettingError::Unknown { name: name.into() })?;
    let value = check_value(name, setting.kind, setting.bounds, value)?;
    if let Some(topic_setting) = table::topic_default(name) {
        check_rule(topic_setting, name, &value, false)?;
    }
    Ok(value)
}

fn check_rule(setting: &table::TopicSetting, name: &str, value: &str, internal: bool) -> Result<(), SettingError> {
    let refused = |reason| {
        Err(SettingError::Refused {
            name: name.into(),
            value: value.into(),
            reason,
        })
    };
    if value == setting.default {
        return Ok(());
    }
    match setting.rule {
        Rule::DefaultOnly(reason) => refused(reason),
        Rule::InternalOnly(reason) if !internal => refused(reason),
        Rule::CleanupPolicy if !internal && value.split(',').any(|policy| policy == "compact") => {
            refused("log compaction is not supported yet")
        }
        Rule::FlushMessages if value != "1" => {
            refused("set klamm.durability instead; only 1, which means klamm.durability=fsync, is accepted")
        }
        Rule::Open | Rule::InternalOnly(_) | Rule::CleanupPolicy | Rule::FlushMessages => Ok(()),
    }
}

/// The value in its stored form: trimmed, booleans in lower case, lists without blanks and doubles.
fn check_value(name: &str, kind: Kind, bounds: Bounds, value: &str) -> Result<String, SettingError> {
    let value = value.trim();
    let checked = match kind {
        Kind::Boolean => Some(value.to_ascii_lowercase()).filter(|value| value == "true" || value == "false"),
        Kind::Int => integer(value, bounds)
            .filter(|&number| i32::try_from(number).is_ok())
            .map(|n| n.to_string()),
        Kind::Long => integer(value, bounds).map(|number| number.to_string()),
        Kind::Double => fraction(value, bounds).then(|| value.to_string()),
        Kind::String => is_one_of(value, bounds).then(|| value.to_string()),
        Kind::List => list(value, bounds),
    };
    checked.ok_or_else(|| SettingError::BadValue {
        name: name.into(),
        value: value.chars().take(100).collect(),
        expected: expected(kind, bounds),
    })
}

fn integer(value: &str, bounds: Bounds) -> Option<i64> {
    let number: i64 = value.parse().ok()?;
    let fits = match bounds {
        Bounds::Range(min, max) => (min..=max).contains(&number),
        Bounds::ValueOrRange(value, min, max) => number == value || (min..=max).contains(&number),
        Bounds::Any | Bounds::Fraction(..) | Bounds::OneOf(_) => true,
    };
    fits.then_some(number)
}

fn fraction(value: &str, bounds: Bounds) -> bool {
    let Ok(number) = value.parse::<f64>() else {
        return false;
    };
    match bounds {
        Bounds::Fraction(min, max) => (min..=max).contains(&number),
        _ => number.is_finite(),
    }
}

fn is_one_of(value: &str, bounds: Bounds) -> bool {
    match bounds {
        Bounds::OneOf(allowed) => allowed.contains(&value),
        _ => true,
    }
}

fn list(value: &str, bounds: Bounds) -> Option<String> {
    let mut items: Vec<&str> = Vec::new();
    for item in value.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        if !is_one_of(item, bounds) {
            return None;
        }
        if !items.contains(&item) {
            items.push(item);
        }
    }
    Some(items.join(","))
}

fn expected(kind: Kind, bounds: Bounds) -> String {
    match (kind, bounds) {
        (Kind::Boolean, _) => "true or false".into(),
        (_, Bounds::Range(min, i64::MAX)) => format!("a number of at least {min}"),
        (_, Bounds::Range(min, max)) => format!("a number from {min} to {max}"),
        (_, Bounds::ValueOrRange(value, min, max)) => format!("{value} or a number from {min} to {max}"),
        (_, Bounds::Fraction(min, max)) => format!("a number from {min} to {max}"),
        (Kind::List, Bounds::OneOf(allowed)) => format!("a list of {}", allowed.join(", ")),
        (_, Bounds::OneOf(allowed)) => format!("one of {}", allowed.join(", ")),
        (Kind::Int | Kind::Long | Kind::Double, Bounds::Any) => "a number".into(),
        (Kind::String | Kind::List, Bounds::Any) => "a text".into(),
    }
}
