//! Keeps the picture of the cluster fresh: one task per client asks when somebody wants to know, and now and then.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::cluster::{Cluster, ClusterUpdate, LeaderHint};
use super::fetch::MetadataQuery;
use super::hedge::ask_any;
use crate::error::{MetadataError, RequestError};
use crate::net::{HostPort, Pool};

/// How the picture is kept.
#[derive(Clone, Debug)]
pub(crate) struct KeeperConfig {
    pub bootstrap: Vec<HostPort>,
    pub request_timeout: Duration,
    /// The shortest time between two questions.
    pub interval_min: Duration,
    /// The longest.
    pub age_max: Duration,
    pub create_topics: bool,
}

/// The shared picture and those who want it fresh.
pub(crate) struct Keeper {
    config: KeeperConfig,
    /// Used for nothing else, so that closing a connection that is silent harms nobody.
    pool: Pool,
    cluster: watch::Sender<Arc<Cluster>>,
    wake: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    wanted: BTreeSet<Arc<str>>,
    /// Who answered last, and is asked first.
    favourite: Option<HostPort>,
    failure: Option<Box<RequestError>>,
}

impl Keeper {
    pub fn new(config: KeeperConfig, pool: Pool) -> Keeper {
        Keeper {
            config,
            pool,
            cluster: watch::Sender::new(Arc::new(Cluster::default())),
            wake: Notify::new(),
            state: Mutex::new(State::default()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The picture as it is now.
    pub fn cluster(&self) -> Arc<Cluster> {
        Arc::clone(&self.cluster.borrow())
    }

    /// The picture and its changes.
    pub fn watch(&self) -> watch::Receiver<Arc<Cluster>> {
        self.cluster.subscribe()
    }

    /// Asks for a fresh picture soon; any number of calls until then are one question.
    pub fn refresh(&self) {
        self.wake.notify_one();
    }

    /// Includes a topic in every question from now on; asks at once if it is new.
    pub fn want(&self, topic: &str) {
        let mut state = self.state();
        if !state.wanted.contains(topic) {
            state.wanted.insert(Arc::from(topic));
            self.refresh();
        }
    }

    /// Takes a broker's word on who leads a partition.
    pub fn hint(&self, hint: LeaderHint) {
        self.cluster.send_if_modified(|cluster| {
            let mut changed = (**cluster).clone();
            let news = changed.apply_hint(hint);
            if news {
                *cluster = Arc::new(changed);
            }
            news
        });
    }

    pub fn publish(&self, update: ClusterUpdate) {
        self.cluster.send_if_modified(|cluster| {
            let mut changed = (**cluster).clone();
            changed.apply(update);
            let news = changed != **cluster;
            if news {
                *cluster = Arc::new(changed);
            }
            news
        });
    }

    /// Waits until `found` finds something in the picture, asking again until `timeout` is over.
    pub async fn wait_for<T>(
        &self,
        timeout: Duration,
        mut found: impl FnMut(&Cluster) -> Option<T>,
    ) -> Result<T, MetadataError> {
        let mut watch = self.watch();
        let seek = async {
            loop {
                let now = Arc::clone(&watch.borrow_and_update());
                if let Some(value) = found(&now) {
                    return value;
                }
                self.refresh();
                // Asked again even if the next answer changes nothing: topics appear late on some brokers.
                let _ = tokio::time::timeout(self.config.interval_min * 5, watch.changed()).await;
            }
        };
        match tokio::time::timeout(timeout, seek).await {
            Ok(value) => Ok(value),
            Err(_) => Err(MetadataError::NoBroker {
                waited: timeout,
                cause: self.state().failure.take(),
            }),
        }
    }

    /// Waits for the first answer of all.
    pub async fn wait_for_first(&self, timeout: Duration) -> Result<(), MetadataError> {
        self.wait_for(timeout, |cluster| (!cluster.brokers.is_empty()).then_some(()))
            .await
    }

    /// The task. Runs until it is dropped.
    pub async fn run(&self) {
        loop {
            // Either ending means the same: time to ask.
            let _ = tokio::time::timeout(self.config.age_max, self.wake.notified()).await;
            self.ask().await;
            tokio::time::sleep(self.config.interval_min).await;
        }
    }

    async fn ask(&self) {
        let query = MetadataQuery {
            topics: Some(self.state().wanted.iter().cloned().collect()),
            create_topics: self.config.create_topics,
        };
        let answer = ask_any(&self.pool, self.candidates(), &query, self.config.request_timeout).await;
        match answer {
            Some(Ok((address, update))) => {
                tracing::debug!(%address, topics = update.topics.len(), "metadata answered");
                {
                    let mut state = self.state();
                    state.favourite = Some(address);
                    state.failure = None;
                }
                self.publish(update);
                let cluster = self.cluster();
                let known = |address: &HostPort| cluster.brokers.values().any(|broker| broker.address() == *address);
                self.pool
                    .retain(|address| known(address) || self.config.bootstrap.contains(address));
            }
            Some(Err(failure)) => {
                tracing::debug!(%failure, "no broker answered for metadata");
                self.state().failure = Some(Box::new(failure));
                self.refresh();
            }
            None => {}
        }
    }

    /// Whom to ask: the one who answered last, those in the picture, the bootstrap list; each once.
    fn candidates(&self) -> Vec<HostPort> {
        let favourite = self.state().favourite.clone();
        let cluster = self.cluster();
        let known = cluster.brokers.values().map(|broker| broker.address());
        let mut candidates: Vec<HostPort> = Vec::new();
        for address in favourite
            .into_iter()
            .chain(known)
            .chain(self.config.bootstrap.iter().cloned())
        {
            if !candidates.contains(&address) {
                candidates.push(address);
            }
        }
        candidates
    }
}
