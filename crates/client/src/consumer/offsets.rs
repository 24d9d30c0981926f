//! Asking all leaders where their partitions begin or end, until each has answered.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use klamm_types::{NodeId, Offset, Timestamp};
use tokio::time::{Instant, sleep};

use super::config::IsolationLevel;
use super::core::{ListPart, ListedPart};
use super::error::{ConsumeError, Obstacle};
use super::record::TopicPartition;
use super::requests::list_offsets;
use crate::client::Client;
use crate::error::RequestError;

/// A leader that is silent for so long is given up, so that its successor is asked.
const ATTEMPT_MAX: Duration = Duration::from_secs(2);

/// Which end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogEnd {
    Beginning,
    End,
}

impl LogEnd {
    fn timestamp(self) -> Timestamp {
        match self {
            LogEnd::End => Timestamp(-1),
            LogEnd::Beginning => Timestamp(-2),
        }
    }
}

/// What is still to be asked, and why it is.
struct Open {
    waiting: BTreeMap<TopicPartition, Obstacle>,
    found: BTreeMap<TopicPartition, Offset>,
}

/// Asks for one end of each partition's log. Gives up after the client's `api_timeout`.
pub(super) async fn ask_all(
    client: &Client,
    partitions: Vec<TopicPartition>,
    end: LogEnd,
    isolation: IsolationLevel,
) -> Result<BTreeMap<TopicPartition, Offset>, ConsumeError> {
    let allowed = client.config().api_timeout;
    let started = Instant::now();
    let waiting = partitions
        .into_iter()
        .map(|partition| (partition, Obstacle::UnknownPartition))
        .collect();
    let mut open = Open {
        waiting,
        found: BTreeMap::new(),
    };
    loop {
        let left = allowed.saturating_sub(started.elapsed());
        let timeout = client
            .config()
            .request_timeout
            .min(ATTEMPT_MAX)
            .min(left.max(Duration::from_millis(1)));
        let asked = by_leader(client, &mut open, end)
            .into_iter()
            .map(|(node, parts)| async move {
                let listed = ask(client, node, &parts, isolation, timeout).await;
                (parts, listed)
            });
        for (parts, listed) in join_all(asked).await {
            open.take(parts, listed)?;
        }
        let Some((partition, obstacle)) = open.waiting.first_key_value() else {
            return Ok(open.found);
        };
        let waited = started.elapsed();
        if waited >= allowed {
            return Err(ConsumeError::Unavailable {
                partition: partition.clone(),
                waited,
                cause: obstacle.clone(),
            });
        }
        client.refresh();
        sleep(client.config().retry_backoff).await;
    }
}

async fn ask(
    client: &Client,
    node: NodeId,
    parts: &[ListPart],
    isolation: IsolationLevel,
    timeout: Duration,
) -> Result<Vec<ListedPart>, RequestError> {
    let connection = client.connection(node).await?;
    list_offsets(&connection, parts, isolation, timeout).await
}

/// Sorts what is waiting by the leaders known now.
fn by_leader(client: &Client, open: &mut Open, end: LogEnd) -> BTreeMap<NodeId, Vec<ListPart>> {
    let cluster = client.cluster();
    let mut leaders: BTreeMap<NodeId, Vec<ListPart>> = BTreeMap::new();
    for (key, obstacle) in &mut open.waiting {
        let Some(state) = cluster
            .topic(&key.topic)
            .and_then(|topic| topic.partition(key.partition))
        else {
            *obstacle = Obstacle::UnknownPartition;
            continue;
        };
        let Some(leader) = state.leader else {
            *obstacle = Obstacle::NoLeader;
            continue;
        };
        leaders.entry(leader).or_default().push(ListPart {
            partition: key.clone(),
            leader_epoch: state.leader_epoch,
            timestamp: end.timestamp(),
        });
    }
    leaders
}

impl Open {
    /// Takes over one leader's answer, or why there is none.
    fn take(
        &mut self,
        parts: Vec<ListPart>,
        listed: Result<Vec<ListedPart>, RequestError>,
    ) -> Result<(), ConsumeError> {
        let listed = match listed {
            Ok(listed) => listed,
            Err(cause) => {
                let cause = std::sync::Arc::new(cause);
                for ListPart { partition, .. } in parts {
                    if !cause.is_retriable() {
                        return Err(ConsumeError::Request { partition, cause });
                    }
                    self.waiting.insert(partition, Obstacle::Request(cause.clone()));
                }
                return Ok(());
            }
        };
        for ListedPart {
            partition,
            code,
            offset,
        } in listed
        {
            if !self.waiting.contains_key(&partition) {
                continue;
            }
            if code.is_error() && !code.is_retriable() {
                return Err(ConsumeError::Refused { partition, code });
            }
            if code.is_error() {
                self.waiting.insert(partition, Obstacle::Refused(code));
            } else {
                self.waiting.remove(&partition);
                self.found.insert(partition, offset);
            }
        }
        Ok(())
    }
}
