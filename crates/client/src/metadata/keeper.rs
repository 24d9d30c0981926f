//! Keeps the picture of the cluster fresh: one task per client asks when somebody wants to know, and now and then.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::cluster::{Cluster, ClusterUpdate, LeaderHint};
use super::fetch::MetadataQuery;
use super::hedge::ask_any;
use super::insistence::Insistence;
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
    /// Who is asked first: whoever answered last and had news.
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

    /// Takes over an answer; says whether it was news.
    pub fn publish(&self, update: ClusterUpdate) -> bool {
        self.cluster.send_if_modified(|cluster| {
            let mut changed = (**cluster).clone();
            changed.apply(update);
            let news = changed != **cluster;
            if news {
                *cluster = Arc::new(changed);
            }
            news
        })
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
        let mut insistence = Insistence::new(self.config.interval_min);
        loop {
            let idle_from = Instant::now();
            let woken = tokio::time::timeout(self.config.age_max, self.wake.notified()).await;
            let idle = idle_from.elapsed();
            let satisfied = self.ask(woken.is_ok()).await;
            let next = insistence.answered(idle, satisfied);
            if next.asks_again {
                self.refresh();
            }
            tokio::time::sleep(next.rest).await;
        }
    }

    /// `for_news`: somebody has reason to think that the picture is old. False if a broker answered and had none.
    async fn ask(&self, for_news: bool) -> bool {
        let query = MetadataQuery {
            topics: Some(self.state().wanted.iter().cloned().collect()),
            create_topics: self.config.create_topics,
        };
        let answer = ask_any(&self.pool, self.candidates(), &query, self.config.request_timeout).await;
        match answer {
            Some(Ok((address, update))) => {
                tracing::debug!(%address, topics = update.topics.len(), "metadata answered");
                let satisfied = self.publish(update) || !for_news;
                let cluster = self.cluster();
                {
                    let mut state = self.state();
                    state.favourite = Some(favourite_after(address, satisfied, &cluster));
                    state.failure = None;
                }
                let known = |address: &HostPort| cluster.brokers.values().any(|broker| broker.address() == *address);
                self.pool
                    .retain(|address| known(address) || self.config.bootstrap.contains(address));
                satisfied
            }
            Some(Err(failure)) => {
                tracing::debug!(%failure, "no broker answered for metadata");
                self.state().failure = Some(Box::new(failure));
                self.refresh();
                true
            }
            None => true,
        }
    }

    /// Whom to ask: the favourite, those after it in the picture, the bootstrap list; each once.
    fn candidates(&self) -> Vec<HostPort> {
        let mut candidates = beginning_with(self.state().favourite.as_ref(), &self.cluster());
        for address in &self.config.bootstrap {
            if !candidates.contains(address) {
                candidates.push(address.clone());
            }
        }
        candidates
    }
}

/// Whom to ask next. Who was asked for news and has none may itself be behind, as one that does not reach the
/// controllers: then it is somebody else's turn.
fn favourite_after(address: HostPort, satisfied: bool, cluster: &Cluster) -> HostPort {
    let next = beginning_with(Some(&address), cluster).into_iter().nth(1);
    match next {
        Some(next) if !satisfied => next,
        _ => address,
    }
}

/// The brokers in the picture, in turn from `first` on. One that is not in the picture comes before all of them.
fn beginning_with(first: Option<&HostPort>, cluster: &Cluster) -> Vec<HostPort> {
    let mut in_turn: Vec<HostPort> = cluster.brokers.values().map(|broker| broker.address()).collect();
    if let Some(first) = first {
        match in_turn.iter().position(|address| address == first) {
            Some(place) => in_turn.rotate_left(place),
            None => in_turn.insert(0, first.clone()),
        }
    }
    in_turn
}

#[cfg(test)]
mod tests {
    use klamm_types::NodeId;

    use super::*;
    use crate::metadata::Broker;

    fn address(host: &str) -> HostPort {
        HostPort {
            host: host.to_owned(),
            port: 9092,
        }
    }

    fn cluster_of(hosts: &[&str]) -> Cluster {
        let brokers = hosts.iter().zip(1..).map(|(host, id)| Broker {
            id: NodeId(id),
            host: (*host).to_owned(),
            port: 9092,
            rack: None,
        });
        Cluster {
            brokers: brokers.map(|broker| (broker.id, broker)).collect(),
            ..Cluster::default()
        }
    }

    /// Else a client of a broker that is cut from the controllers would hear of its own new leaders from nobody.
    #[test]
    fn who_has_no_news_is_not_asked_again_at_once() {
        let cluster = cluster_of(&["a", "b", "c"]);
        let next = |host, satisfied| favourite_after(address(host), satisfied, &cluster).host;
        assert_eq!(
            [next("a", true), next("c", true), next("elsewhere", true)],
            ["a", "c", "elsewhere"]
        );
        assert_eq!([next("a", false), next("b", false), next("c", false)], ["b", "c", "a"]);
        assert_eq!(next("elsewhere", false), "a");
        assert_eq!(favourite_after(address("a"), false, &cluster_of(&["a"])).host, "a");
        assert_eq!(favourite_after(address("a"), false, &cluster_of(&[])).host, "a");
    }

    /// If the one whose turn it is does not answer, those after it are asked, not the one before it.
    #[test]
    fn the_others_are_asked_in_turn() {
        let cluster = cluster_of(&["a", "b", "c"]);
        let hosts = |first: Option<&str>| {
            let first = first.map(address);
            let in_turn = beginning_with(first.as_ref(), &cluster);
            in_turn
                .into_iter()
                .map(|address| address.host)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(hosts(None), "a b c");
        assert_eq!(hosts(Some("b")), "b c a");
        assert_eq!(hosts(Some("elsewhere")), "elsewhere a b c");
    }
}
