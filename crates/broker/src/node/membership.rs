//! The broker's standing in the cluster: registers, stores its epoch, keeps the session, registers again if it must.
//!
//! ```text
//!   Registering ──epoch granted, stored──► InSession ──session ends──► InSession (same epoch, another stream)
//!        ▲                                      │
//!        └────── epoch stale or unknown ────────┘
//! ```
//! A session that is dropped without a goodbye looks like the death of this process, so it is dropped only by death
//! or when the stream has failed already.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use klamm_controller::{ControllerClient, Session, SessionError};
use klamm_schema::requests::controller_reply::Reply;
use klamm_schema::requests::controller_request::Request;
use klamm_schema::requests::{LastRun, RegisterBrokerRequest, ReplicaLog, SessionHeartbeat, SessionOpen};
use klamm_schema::{Bytes, id_bytes};
use klamm_types::{BrokerEpoch, ClusterId, ErrorCode};
use tokio::sync::{oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::images::Shown;
use crate::api::{PartitionRole, PartitionStatus};
use crate::controllers::Controllers;
use crate::lifecycle::directory::DataDirectory;
use crate::partitions::Partitions;

const REGISTER_TIMEOUT: Duration = Duration::from_secs(5);
const REGISTER_PAUSE: Duration = Duration::from_millis(50);
const SESSION_DEADLINE: Duration = Duration::from_secs(10);
/// A tenth of the shortest sensible session time-out.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(200);
const HEARTBEAT_TIMEOUT: Duration = Duration::from_millis(1000);

/// How the broker stands, for readiness and status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub epoch: Option<BrokerEpoch>,
    pub in_session: bool,
    pub fenced: bool,
}

/// Why the broker can be no member.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    #[error("registering this broker: {code}: {message}")]
    Refused { code: ErrorCode, message: String },
    #[error("the controllers refuse this node: {0}")]
    Stranger(String),
    #[error(transparent)]
    Directory(#[from] crate::lifecycle::directory::DirectoryError),
}

/// Everything the task needs.
pub(crate) struct Membership {
    pub client: ControllerClient,
    pub controllers: Arc<dyn Controllers>,
    pub partitions: Partitions,
    pub shown: Shown,
    pub directory: DataDirectory,
    /// The first registration; epochs and log ends are filled in anew for later ones.
    pub registration: RegisterBrokerRequest,
    pub epoch: watch::Sender<BrokerEpoch>,
    pub standing: watch::Sender<Standing>,
    /// The wish for a goodbye; answered with the directory when it is said.
    pub goodbye: oneshot::Receiver<oneshot::Sender<DataDirectory>>,
}

enum SessionOver {
    /// Open another one under the same epoch.
    Again,
    RegisterAgain,
    Goodbye(oneshot::Sender<DataDirectory>),
}

impl Membership {
    /// Runs until a goodbye was said, or the broker cannot be a member.
    pub async fn run(mut self) -> Result<(), MembershipError> {
        loop {
            let epoch = self.register().await?;
            loop {
                match self.session(epoch).await? {
                    SessionOver::Again => {}
                    SessionOver::RegisterAgain => break,
                    SessionOver::Goodbye(answer) => {
                        let _ = answer.send(self.directory);
                        return Ok(());
                    }
                }
            }
            // Between the two registrations the process lived: what it reported then was reported since.
            self.registration.damaged.clear();
            renew(&mut self.registration.replica_logs, &self.partitions.statuses().await);
        }
    }

    async fn register(&mut self) -> Result<BrokerEpoch, MembershipError> {
        loop {
            let stored = self.directory.stored_epoch.0;
            for directory in &mut self.registration.directories {
                directory.stored_broker_epoch = stored;
            }
            if let Some(cluster) = self.directory.cluster {
                self.registration.cluster_id = id_bytes(cluster.as_bytes());
            }
            let request = Request::RegisterBroker(self.registration.clone());
            match self
                .controllers
                .submit(request, REGISTER_TIMEOUT)
                .await
                .map(|decided| decided.reply)
            {
                Ok(Reply::RegisterBroker(reply)) => {
                    let code = i16::try_from(reply.error_code).ok().and_then(ErrorCode::from_code);
                    match code.unwrap_or(ErrorCode::UnknownServerError) {
                        ErrorCode::None => return self.registered(BrokerEpoch(reply.broker_epoch), &reply.cluster_id),
                        // The former process's session has not ended yet, or the quorum is changing hands.
                        code if code == ErrorCode::DuplicateBrokerRegistration || code.is_retriable() => {
                            tracing::info!(%code, message = reply.error_message, "registering again in a moment");
                        }
                        code => {
                            return Err(MembershipError::Refused {
                                code,
                                message: reply.error_message,
                            });
                        }
                    }
                }
                Ok(other) => tracing::warn!(?other, "a registration was answered with something else"),
                Err(error) if error.code == ErrorCode::RequestTimedOut => {
                    tracing::info!(%error, "no controller has registered this broker yet");
                }
                Err(error) => {
                    return Err(MembershipError::Refused {
                        code: error.code,
                        message: error.message,
                    });
                }
            }
            sleep(REGISTER_PAUSE).await;
        }
    }

    /// Stores the new epoch, durably, before anything is done under it.
    fn registered(&mut self, epoch: BrokerEpoch, cluster: &[u8]) -> Result<BrokerEpoch, MembershipError> {
        let cluster = ClusterId::from_slice(cluster)
            .or(self.directory.cluster)
            .unwrap_or_default();
        self.directory.join(cluster)?;
        self.directory.store_epoch(epoch)?;
        // Should this process have to register again: it lives, and what it wrote is there.
        self.registration.last_run = LastRun::DiedSameBoot.into();
        tracing::info!(%epoch, "registered");
        drop(self.partitions.registered(cluster, epoch));
        self.epoch.send_replace(epoch);
        self.standing.send_modify(|standing| standing.epoch = Some(epoch));
        Ok(epoch)
    }

    async fn session(&mut self, epoch: BrokerEpoch) -> Result<SessionOver, MembershipError> {
        let open = SessionOpen {
            cluster_id: self.registration.cluster_id.clone(),
            broker: self.registration.broker,
            broker_epoch: epoch.0,
            incarnation: self.registration.incarnation.clone(),
            applied_index: self.shown.image().applied_index(),
        };
        let opened = tokio::select! {
            opened = self.client.open_session(open, SESSION_DEADLINE) => opened,
            Ok(answer) = &mut self.goodbye => return Ok(SessionOver::Goodbye(answer)),
        };
        match opened {
            Ok(session) => {
                self.standing.send_modify(|standing| standing.in_session = true);
                let over = self.keep(session, epoch).await;
                self.standing.send_modify(|standing| standing.in_session = false);
                Ok(over)
            }
            Err(SessionError::Deadline { last }) => {
                tracing::warn!(
                    last,
                    "no active controller for {SESSION_DEADLINE:?}; the broker goes on serving"
                );
                Ok(SessionOver::Again)
            }
            Err(SessionError::Refused { code, message }) => {
                tracing::info!(%code, message, "the session was refused; registering again");
                Ok(SessionOver::RegisterAgain)
            }
            Err(SessionError::Stranger(reason)) => Err(MembershipError::Stranger(reason)),
        }
    }

    /// Beats until the session is over.
    async fn keep(&mut self, mut session: Session, epoch: BrokerEpoch) -> SessionOver {
        let mut beat = interval(HEARTBEAT_INTERVAL);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shown = self.shown.watch();
        loop {
            tokio::select! {
                _ = beat.tick() => {}
                Ok(()) = shown.changed() => {}
                Ok(answer) = &mut self.goodbye => {
                    session.goodbye().await;
                    return SessionOver::Goodbye(answer);
                }
                next = session.next() => match next {
                    Ok(reply) => {
                        self.standing.send_modify(|standing| standing.fenced = reply.fenced);
                        continue;
                    }
                    Err(end) => {
                        tracing::info!(%end, "the session ended");
                        return SessionOver::Again;
                    }
                },
            }
            let sent = tokio::time::timeout(HEARTBEAT_TIMEOUT, session.heartbeat(self.heartbeat(epoch))).await;
            if !matches!(sent, Ok(Ok(()))) {
                tracing::info!("a heartbeat could not be sent; looking for the active controller");
                return SessionOver::Again;
            }
        }
    }

    fn heartbeat(&self, epoch: BrokerEpoch) -> SessionHeartbeat {
        let image = self.shown.image();
        let own = image.broker(klamm_types::NodeId(self.registration.broker));
        SessionHeartbeat {
            applied_index: image.applied_index(),
            ready: own.is_some_and(|broker| broker.epoch == epoch),
        }
    }
}

/// What a process that registers again tells of its logs: where they end by now, not at its start.
fn renew(logs: &mut Vec<ReplicaLog>, statuses: &[PartitionStatus]) {
    let mut known: BTreeMap<(Bytes, i32), ReplicaLog> = logs
        .drain(..)
        .map(|log| ((log.topic_id.clone(), log.partition), log))
        .collect();
    for status in statuses {
        let place = (
            id_bytes(status.partition.topic.as_bytes()),
            status.partition.partition.0,
        );
        // One that has failed stays as it was told; nobody knows where it ends.
        if status.role == PartitionRole::Stopped {
            continue;
        }
        let before = known.get(&place);
        let log = ReplicaLog {
            topic_id: place.0.clone(),
            partition: place.1,
            highest_leader_epoch: before
                .map_or(-1, |log| log.highest_leader_epoch)
                .max(status.last_epoch.0),
            last_epoch: status.last_epoch.0,
            log_end_offset: status.log_end_offset.0,
            unflushed: before.is_some_and(|log| log.unflushed),
        };
        known.insert(place, log);
    }
    logs.extend(known.into_values());
}

#[cfg(test)]
mod tests {
    use klamm_types::{LeaderEpoch, Offset, PartitionId, TopicId, TopicPartition};

    use super::*;
    use crate::node::figures::tests::status;

    fn log(topic: u128, (highest_leader_epoch, last_epoch, log_end_offset): (i32, i32, i64)) -> ReplicaLog {
        ReplicaLog {
            topic_id: id_bytes(TopicId::from_u128(topic).as_bytes()),
            partition: 0,
            highest_leader_epoch,
            last_epoch,
            log_end_offset,
            unflushed: false,
        }
    }

    #[test]
    fn who_registers_again_tells_where_its_logs_end_by_now() {
        let now = |topic, role, epoch, end| PartitionStatus {
            partition: TopicPartition {
                topic: TopicId::from_u128(topic),
                partition: PartitionId(0),
            },
            last_epoch: LeaderEpoch(epoch),
            log_end_offset: Offset(end),
            ..status(role, &[1])
        };
        let mut logs = vec![log(1, (3, 2, 10)), log(2, (3, 3, 10)), log(3, (1, 1, 5))];
        let statuses = [
            now(1, PartitionRole::Leader, 2, 90),
            now(2, PartitionRole::Stopped, -1, 0),
            now(4, PartitionRole::Follower, 6, 7),
        ];
        renew(&mut logs, &statuses);
        let expected = [
            log(1, (3, 2, 90)),
            log(2, (3, 3, 10)),
            log(3, (1, 1, 5)),
            log(4, (6, 6, 7)),
        ];
        assert_eq!(logs, expected);
    }
}
