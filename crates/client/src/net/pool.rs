//! Connections for short requests, one per address, shared by everybody who uses one client.
//!
//! Producers and consumers have connections of their own: a fetch that waits for data, or a produce that waits for
//! replicas, would hold up what comes behind it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::address::HostPort;
use super::connection::Connection;
use super::dial::Dialer;
use crate::error::ConnectError;

type Slot = Arc<tokio::sync::Mutex<Option<Connection>>>;

/// The open connections by address.
pub(crate) struct Pool {
    dialer: Dialer,
    slots: Mutex<BTreeMap<HostPort, Slot>>,
}

impl Pool {
    pub fn new(dialer: Dialer) -> Pool {
        Pool {
            dialer,
            slots: Mutex::new(BTreeMap::new()),
        }
    }

    pub fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// The open connection to `address`, or a new one. Whoever comes while it is dialled waits for the same dial.
    pub async fn get(&self, address: &HostPort) -> Result<Connection, ConnectError> {
        let slot = self.slot(address);
        let mut place = slot.lock().await;
        if let Some(connection) = place.as_ref()
            && !connection.is_closed()
        {
            return Ok(connection.clone());
        }
        *place = None;
        let connection = self.dialer.dial(address).await?;
        *place = Some(connection.clone());
        Ok(connection)
    }

    /// Forgets the connections to addresses that are not wanted any more.
    pub fn retain(&self, wanted: impl Fn(&HostPort) -> bool) {
        self.slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|address, _| wanted(address));
    }

    fn slot(&self, address: &HostPort) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(address.clone()).or_default())
    }
}
