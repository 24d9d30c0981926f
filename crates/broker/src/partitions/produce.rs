//! Produce, in the caller's task: the checks, the way into the worker's queue, and the ticket to wait on.

use klamm_replication::{Acks as CoreAcks, Origin};
use klamm_types::{ErrorCode, LeaderEpoch, LogStartOffset, TopicPartition};
use tokio::sync::oneshot;

use super::Partitions;
use super::check;
use super::clock::wall;
use super::command::{AcceptedAt, Command, ProduceCommand, ProduceReply};
use super::steps::{self, Steps};
use crate::api::{
    Acks, FollowerReads, Isolation, ListOffsetRequest, OffsetSpec, PartitionError, ProduceError, ProduceRequest,
    Produced,
};

/// A produce request on its way. Dropping it changes nothing about the batch.
#[derive(Debug)]
pub struct Ticket(State);

#[derive(Debug)]
enum State {
    Refused(Box<ProduceError>),
    Waiting(oneshot::Receiver<Result<Produced, ProduceError>>, Box<PartitionError>),
}

impl Ticket {
    /// What became of the batch.
    pub async fn wait(self) -> Result<Produced, ProduceError> {
        match self.0 {
            State::Refused(error) => Err(*error),
            // If nobody answers, the partition was let go of, or the broker is stopping.
            State::Waiting(answer, otherwise) => answer.await.unwrap_or_else(|_| Err((*otherwise).into())),
        }
    }

    fn refused(error: PartitionError) -> Ticket {
        Ticket(State::Refused(Box::new(error.into())))
    }
}

/// A coordinator's append on its way.
#[derive(Debug)]
pub struct CoordinatorTicket {
    accepted: oneshot::Receiver<AcceptedAt>,
    ticket: Ticket,
}

impl CoordinatorTicket {
    /// The place that the batch was given; `None` if it was refused, which the ticket explains.
    pub async fn accepted(&mut self) -> Option<AcceptedAt> {
        (&mut self.accepted).await.ok()
    }

    /// Whether the batch is committed.
    pub fn into_ticket(self) -> Ticket {
        self.ticket
    }
}

/// Of a batch that no topic's `max.message.bytes` bounds; a log takes more than that.
const COORDINATOR_BATCH_BYTES_MAX: usize = 64 << 20;

impl Partitions {
    /// Checks a batch and gives it to its partition. When this returns, the batch has its place in the queue: batches
    /// given one after another are appended in that order. It waits while the queue is full.
    pub async fn produce(&self, request: ProduceRequest) -> Ticket {
        let partition = request.partition;
        let mut steps = Steps::begin();
        let Some(settings) = self.shared.topic_settings(partition.topic) else {
            return self.refuse(self.shared.not_hosted(partition));
        };
        let accepted = match check::accept(request.records.clone(), &settings.produce, wall()) {
            Ok(accepted) => accepted,
            Err(error) if check::is_one_batch(request.records) => return self.refuse_batch(partition, error).await,
            Err(error) => return self.refuse(error),
        };
        steps::done(&mut steps, "checks");
        let acks = match request.acks {
            Acks::None => CoreAcks::None,
            Acks::Leader => CoreAcks::Leader,
            Acks::All => CoreAcks::All,
        };
        let worker = &self.shared.workers[self.shared.worker_of(partition)];
        let Ok(place) = worker.admit(accepted.batch.size()).await else {
            return self.refuse(self.shared.not_hosted(partition));
        };
        let (done, answer) = oneshot::channel();
        let command = ProduceCommand {
            partition,
            batch: accepted.batch,
            acks,
            timeout: request.timeout,
            origin: Origin::Client,
            log_append_time: accepted.log_append_time,
            reply: ProduceReply { accepted: None, done },
            steps,
            place,
        };
        self.enqueue(partition, command, answer)
    }

    /// Appends a coordinator's batch, if this broker still leads the partition in `leader_epoch`.
    pub async fn append_as_coordinator(&self, request: ProduceRequest, leader_epoch: LeaderEpoch) -> CoordinatorTicket {
        let partition = request.partition;
        let (accepted_sender, accepted) = oneshot::channel();
        let worker = &self.shared.workers[self.shared.worker_of(partition)];
        let batch = match klamm_record::Batch::parse(request.records) {
            Ok(batch) => batch,
            Err(error) => {
                let error = PartitionError {
                    message: Some(error.to_string()),
                    ..PartitionError::from(ErrorCode::InvalidRecord)
                };
                return CoordinatorTicket {
                    accepted,
                    ticket: self.refuse(error),
                };
            }
        };
        if batch.size() > COORDINATOR_BATCH_BYTES_MAX {
            let ticket = self.refuse(ErrorCode::MessageTooLarge.into());
            return CoordinatorTicket { accepted, ticket };
        }
        let Ok(place) = worker.admit(batch.size()).await else {
            let ticket = self.refuse(self.shared.not_hosted(partition));
            return CoordinatorTicket { accepted, ticket };
        };
        let (done, answer) = oneshot::channel();
        let command = ProduceCommand {
            partition,
            batch,
            acks: CoreAcks::All,
            timeout: request.timeout,
            origin: Origin::Coordinator { leader_epoch },
            log_append_time: klamm_types::Timestamp::NONE,
            reply: ProduceReply {
                accepted: Some(accepted_sender),
                done,
            },
            steps: None,
            place,
        };
        CoordinatorTicket {
            accepted,
            ticket: self.enqueue(partition, command, answer),
        }
    }

    fn enqueue(
        &self,
        partition: TopicPartition,
        command: ProduceCommand,
        answer: oneshot::Receiver<Result<Produced, ProduceError>>,
    ) -> Ticket {
        let otherwise = PartitionError::from(ErrorCode::NotLeaderOrFollower);
        if !self.shared.send(partition, Command::Produce(Box::new(command))) {
            return self.refuse(otherwise);
        }
        Ticket(State::Waiting(answer, Box::new(otherwise)))
    }

    /// Refuses a batch for what is in it. A client that came to the wrong broker must hear that instead, or it gives up
    /// where it should move on.
    async fn refuse_batch(&self, partition: TopicPartition, error: PartitionError) -> Ticket {
        let start = ListOffsetRequest {
            partition,
            current_leader_epoch: LeaderEpoch::NONE,
            spec: OffsetSpec::Earliest,
            isolation: Isolation::ReadUncommitted,
            followers: FollowerReads::Refused,
        };
        let start = match self.list_offset(start).await {
            Ok(listed) => listed.offset,
            Err(elsewhere) => return self.refuse(elsewhere),
        };
        self.shared.metrics.produce_errors.add(1);
        let log_start_offset = match error.code {
            ErrorCode::InvalidRecord | ErrorCode::InvalidTimestamp => LogStartOffset(start.0),
            _ => LogStartOffset(-1),
        };
        Ticket(State::Refused(Box::new(ProduceError {
            log_start_offset,
            ..ProduceError::from(error)
        })))
    }

    fn refuse(&self, error: PartitionError) -> Ticket {
        self.shared.metrics.produce_errors.add(1);
        Ticket::refused(error)
    }
}
