//! A node's settings, each declared once: key, type, default, unit, bounds and text.
//!
//! Sources, later ones win: the defaults, a TOML file, `KLAMM_*` variables, flags. A wrong value or an unknown key
//! stops the start. What is the cluster's to decide (durability, `min.insync.replicas`, topic defaults) lives in the
//! metadata and is refused here. Nothing else in Klamm reads an environment variable.

mod address;
mod declared;
mod load;
mod value;

pub use address::{ControllerAddress, Listener, NamedAddress, Role};
pub use declared::{NodeConfig, SETTINGS, Setting};
pub use load::{ConfigError, Source, example_file, load, read};
