//! Creates topics that clients ask for and nobody has created, if the cluster's setting allows it.
//!
//! The client is answered "unknown topic" meanwhile and asks again; many clients may ask for one topic at the same
//! time, so a creation that is under way is not begun again. The controller decides everything about the topic.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use klamm_broker::schema::requests::{CreatableTopic, CreateTopicsRequest, controller_request};

use crate::context::Client;

/// Names whose creation may be under way at a time; further ones are created when they are asked for again.
const NAMES_MAX: usize = 1000;
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(crate) struct AutoCreate {
    under_way: Arc<Mutex<BTreeSet<String>>>,
}

impl AutoCreate {
    /// Begins to create what is not being created already. The names are valid and no topic has them.
    pub fn begin(&self, client: &Client, names: &[&str]) {
        let mut begun = Vec::new();
        {
            let mut under_way = lock(&self.under_way);
            for &name in names {
                if under_way.len() < NAMES_MAX && under_way.insert(name.to_owned()) {
                    begun.push(name.to_owned());
                }
            }
        }
        if begun.is_empty() {
            return;
        }
        let cluster_default = |name: &String| CreatableTopic {
            name: name.clone(),
            num_partitions: -1,
            replication_factor: -1,
            ..CreatableTopic::default()
        };
        let topics = begun.iter().map(cluster_default).collect();
        let request = controller_request::Request::CreateTopics(CreateTopicsRequest {
            topics,
            validate_only: false,
        });
        let creation = client.backend().submit(request, TIMEOUT);
        let under_way = self.under_way.clone();
        tokio::spawn(async move {
            if let Err(error) = creation.await {
                tracing::info!(%error, topics = ?begun, "creating topics that clients asked for failed");
            }
            let mut under_way = lock(&under_way);
            for name in &begun {
                under_way.remove(name);
            }
        });
    }
}

/// The set is whole whatever a panicking thread did: every change to it is one call.
fn lock(names: &Mutex<BTreeSet<String>>) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}
