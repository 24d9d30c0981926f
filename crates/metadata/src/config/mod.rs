//! Settings of topics and of the cluster: declared once in a table, checked, resolved and described from it.
//!
//! What a broker reads from its own file is not here; nothing here changes an image.

mod check;
mod describe;
mod resolve;
mod table;
#[cfg(test)]
mod tests;

pub use check::{SettingError, check_cluster_default, check_topic_setting, check_topic_settings, is_internal_topic};
pub use describe::{ConfigEntry, ConfigSource, ConfigSynonym};
pub(crate) use resolve::min_isr_for;
pub use resolve::{ClusterConfig, Compression, Durability, TimestampType, TopicConfig};
pub use table::{Bounds, CLUSTER_SETTINGS, ClusterSetting, Kind, Rule, TOPIC_SETTINGS, TopicSetting};
pub use table::{cluster_setting, topic_setting};
