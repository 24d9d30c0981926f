//! Producer ids for this broker's clients, out of blocks that the controller gives away once.
//!
//! One task owns the block; whoever wants an id asks it. Ids left over at a stop are lost, which harms nobody.

use std::sync::Arc;
use std::time::Duration;

use klamm_schema::requests::AllocateProducerIdsRequest;
use klamm_schema::requests::controller_reply::Reply;
use klamm_schema::requests::controller_request::Request;
use klamm_types::{BrokerEpoch, ErrorCode, NodeId, ProducerId};
use tokio::sync::{mpsc, oneshot, watch};

use crate::controllers::Controllers;

/// Clients that may wait for an id at a time; more are told to come back.
const WAITING_MAX: usize = 1024;
const ALLOCATE_TIMEOUT: Duration = Duration::from_secs(3);

type Answer = oneshot::Sender<Result<ProducerId, ErrorCode>>;

/// Asks the task.
#[derive(Clone)]
pub struct ProducerIds(mpsc::Sender<Answer>);

impl ProducerIds {
    /// Starts the task on the current runtime. It ends when the last handle is dropped.
    pub fn start(node: NodeId, epoch: watch::Receiver<BrokerEpoch>, controllers: Arc<dyn Controllers>) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        tokio::spawn(
            Task {
                node,
                epoch,
                controllers,
                next: 0,
                end: 0,
            }
            .run(receiver),
        );
        Self(sender)
    }

    /// An id that nobody was given before; COORDINATOR_LOAD_IN_PROGRESS if the controller gives none just now.
    pub async fn allocate(&self) -> Result<ProducerId, ErrorCode> {
        let (answer, answered) = oneshot::channel();
        self.0
            .try_send(answer)
            .map_err(|_| ErrorCode::CoordinatorLoadInProgress)?;
        answered.await.unwrap_or(Err(ErrorCode::CoordinatorLoadInProgress))
    }
}

struct Task {
    node: NodeId,
    epoch: watch::Receiver<BrokerEpoch>,
    controllers: Arc<dyn Controllers>,
    /// What is left of the block.
    next: i64,
    end: i64,
}

impl Task {
    async fn run(mut self, mut wishes: mpsc::Receiver<Answer>) {
        while let Some(answer) = wishes.recv().await {
            if self.next == self.end {
                self.refill().await;
            }
            let given = if self.next < self.end {
                self.next += 1;
                Ok(ProducerId(self.next - 1))
            } else {
                Err(ErrorCode::CoordinatorLoadInProgress)
            };
            // Whoever asked may be gone; the id is lost then.
            let _ = answer.send(given);
        }
    }

    async fn refill(&mut self) {
        let epoch = *self.epoch.borrow();
        let request = AllocateProducerIdsRequest {
            broker: self.node.0,
            broker_epoch: epoch.0,
        };
        match self
            .controllers
            .submit(Request::AllocateProducerIds(request), ALLOCATE_TIMEOUT)
            .await
        {
            Ok(decided) => match decided.reply {
                Reply::AllocateProducerIds(reply) if reply.error_code == 0 && reply.count > 0 => {
                    self.next = reply.first_producer_id;
                    self.end = reply.first_producer_id.saturating_add(i64::from(reply.count));
                }
                other => tracing::info!(?other, "the controller gave no producer ids"),
            },
            Err(error) => tracing::info!(%error, "no producer ids could be had"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;
    use klamm_schema::requests::AllocateProducerIdsReply;

    use super::*;
    use crate::backend::RequestError;
    use crate::controllers::Decided;

    /// Gives blocks of two; every third request fails.
    struct Blocks(Mutex<i64>);

    impl Controllers for Blocks {
        fn submit(&self, _: Request, _: Duration) -> BoxFuture<'static, Result<Decided, RequestError>> {
            let mut asked = self.0.lock().unwrap();
            *asked += 1;
            let first_producer_id = *asked * 1000;
            let reply = AllocateProducerIdsReply {
                first_producer_id,
                count: 2,
                ..Default::default()
            };
            let failed = *asked % 3 == 0;
            let decided = Decided {
                reply: Reply::AllocateProducerIds(reply),
                applied_index: 0,
            };
            async move {
                if failed {
                    Err(ErrorCode::RequestTimedOut.into())
                } else {
                    Ok(decided)
                }
            }
            .boxed()
        }
    }

    #[tokio::test]
    async fn ids_come_from_blocks_and_never_twice() {
        let (_epoch, epoch) = watch::channel(BrokerEpoch(1));
        let ids = ProducerIds::start(NodeId(1), epoch, Arc::new(Blocks(Mutex::new(0))));
        let mut given = Vec::new();
        for _ in 0..6 {
            given.push(ids.allocate().await.map(|id| id.0));
        }
        let refused = Err(ErrorCode::CoordinatorLoadInProgress);
        assert_eq!(given, [Ok(1000), Ok(1001), Ok(2000), Ok(2001), refused, Ok(4000)]);
    }
}
