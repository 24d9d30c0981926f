//! The stream of metadata to one broker: what this node has applied, a snapshot when that is shorter, and heartbeats
//! with the committed index. The reader's pace sets the pace; nothing is queued for it.

use std::sync::Arc;
use std::time::Duration;

use klamm_metadata::image::Image;
use klamm_proto::controller::v1::MetadataUpdate;
use klamm_proto::controller::v1::metadata_update::{Delta, Heartbeat, Update};
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::controller;
use crate::node::{Node, Running};
use crate::raft::Next;

const QUEUE_MAX: usize = 16;
const READ_BYTES: usize = 256 * 1024;
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(200);

type Updates = ReceiverStream<Result<MetadataUpdate, Status>>;

pub fn serve(node: Arc<Node>, running: Running, applied_index: u64) -> Updates {
    let (updates, stream) = mpsc::channel(QUEUE_MAX);
    let task = Stream {
        node,
        running,
        updates,
        position: applied_index,
    };
    // The task ends when the reader is gone.
    tokio::spawn(async move { drop(task.run().await) });
    ReceiverStream::new(stream)
}

struct Stream {
    node: Arc<Node>,
    running: Running,
    updates: mpsc::Sender<Result<MetadataUpdate, Status>>,
    position: u64,
}

/// Nobody reads any more, or the node stops.
struct Over;

impl Stream {
    async fn run(mut self) -> Result<(), Over> {
        let mut applied = self.node.feed.watch();
        let node = self.node.clone();
        let mut next_heartbeat = Instant::now();
        loop {
            self.send_applied().await?;
            if Instant::now() >= next_heartbeat {
                self.send(Update::Heartbeat(self.heartbeat())).await?;
                next_heartbeat = Instant::now() + HEARTBEAT_INTERVAL;
            }
            tokio::select! {
                () = node.stopped() => return Ok(()),
                () = self.updates.closed() => return Err(Over),
                changed = applied.changed() => changed.map_err(|_| Over)?,
                () = sleep_until(next_heartbeat) => {}
            }
        }
    }

    async fn send_applied(&mut self) -> Result<(), Over> {
        loop {
            match self.node.feed.after(self.position, READ_BYTES) {
                Next::Nothing => return Ok(()),
                Next::Snapshot(image) => self.send_snapshot(&image).await?,
                Next::Entries(entries) => {
                    for entry in entries {
                        let (index, term, batch) = (entry.index, entry.term, entry.batch);
                        self.send(Update::Delta(Delta { index, term, batch })).await?;
                        self.position = index;
                    }
                }
            }
        }
    }

    async fn send_snapshot(&mut self, image: &Image) -> Result<(), Over> {
        for part in image.to_snapshot() {
            self.send(Update::Snapshot(part)).await?;
        }
        self.position = image.applied_index();
        Ok(())
    }

    fn heartbeat(&self) -> Heartbeat {
        let metrics = self.running.raft.metrics().borrow_watched().clone();
        let committed = metrics.local_committed.max(metrics.cluster_committed);
        let (controller, controller_address) = controller(self.node.known_active());
        Heartbeat {
            committed_index: committed.map_or(0, |id| id.index),
            controller,
            controller_address,
            cluster_id: self.node.config.identity.cluster_bytes(),
        }
    }

    async fn send(&self, update: Update) -> Result<(), Over> {
        self.updates
            .send(Ok(MetadataUpdate { update: Some(update) }))
            .await
            .map_err(|_| Over)
    }
}
