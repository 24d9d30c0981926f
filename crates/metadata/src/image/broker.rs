//! A registered broker as the metadata knows it. Whether its session lives is not metadata.

use klamm_schema::metadata::{self as schema, Cause};
use klamm_types::{BrokerEpoch, DirectoryId, Incarnation};

/// A named address that clients reach the broker at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub name: String,
    pub host: String,
    pub port: u16,
}

/// The levels of one feature that the broker's program knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureRange {
    pub name: String,
    pub min_level: u32,
    pub max_level: u32,
}

/// One broker's last registration and its standing.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerState {
    pub epoch: BrokerEpoch,
    pub incarnation: Incarnation,
    /// A fenced broker leads nothing, is in no ISR and is not shown to clients.
    pub fenced: bool,
    /// It asked to be relieved; it is given no leaders and joins no ISR until it registers again.
    pub in_controlled_shutdown: bool,
    pub listeners: Vec<Listener>,
    /// host:port of its gRPC server.
    pub grpc_address: String,
    pub http_port: u16,
    pub rack: Option<String>,
    /// In the order the broker gave them.
    pub directories: Vec<DirectoryId>,
    pub features: Vec<FeatureRange>,
    /// The last broker epoch in which it was unfenced; a directory that stores an older one missed writes.
    pub last_unfenced_epoch: BrokerEpoch,
    /// Why it stands as it stands.
    pub cause: Cause,
}

impl BrokerState {
    pub fn listener(&self, name: &str) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.name == name)
    }
}

impl Listener {
    pub fn to_message(&self) -> schema::Listener {
        schema::Listener {
            name: self.name.clone(),
            host: self.host.clone(),
            port: u32::from(self.port),
        }
    }

    /// `None` if the port is no port or a name is empty.
    pub fn from_message(message: &schema::Listener) -> Option<Listener> {
        if message.name.is_empty() {
            return None;
        }
        Some(Listener {
            name: message.name.clone(),
            host: message.host.clone(),
            port: u16::try_from(message.port).ok()?,
        })
    }
}

impl FeatureRange {
    pub fn to_message(&self) -> schema::FeatureRange {
        schema::FeatureRange {
            name: self.name.clone(),
            min_level: self.min_level,
            max_level: self.max_level,
        }
    }

    pub fn from_message(message: &schema::FeatureRange) -> FeatureRange {
        FeatureRange {
            name: message.name.clone(),
            min_level: message.min_level,
            max_level: message.max_level,
        }
    }
}
