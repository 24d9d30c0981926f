//! What has to be looked after from time to time: lost stores replaced, snapshots written, strays brought back, and
//! Raft's own end noticed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use klamm_types::NodeId;
use openraft::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::describe::now_millis;
use super::{bootstrap, voters};
use crate::node::{Node, Running};
use crate::raft::types::{Metrics, RaftId};

const INTERVAL: Duration = Duration::from_millis(250);
/// A member that has heard nothing of a leader for so long asks whether it still belongs to the quorum.
const LEADERLESS_MAX: Duration = Duration::from_secs(3);

pub async fn run(node: Arc<Node>, running: Running) {
    let mut tick = interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut snapshot = Snapshot {
        due: Instant::now() + node.config.timing.snapshot_interval,
    };
    let mut led = Instant::now();
    loop {
        tokio::select! {
            () = node.stopped() => return,
            _ = tick.tick() => {}
        }
        let metrics = running.raft.metrics().borrow_watched().clone();
        if *node.stopping.borrow() {
            return;
        }
        if let Err(fatal) = &metrics.running_state {
            node.fail(format!("Raft stopped: {fatal}"));
            return;
        }
        snapshot.look_after(&node, &running, &metrics).await;
        if running.leadership().is_some() {
            record_caught_up(&node, &running, &metrics);
            replace_lost_stores(&running, &metrics).await;
        }
        if is_led(&running, &metrics).await {
            led = Instant::now();
        } else if led.elapsed() > LEADERLESS_MAX {
            led = Instant::now();
            come_back(&node, &running).await;
        }
    }
}

/// Whether a leader has been heard of lately. That Raft names one is not enough: one that has removed this member sends
/// it nothing more, and is named for ever.
async fn is_led(running: &Running, metrics: &Metrics) -> bool {
    if running.leadership().is_some() {
        return true;
    }
    let heard = running.raft.with_raft_state(|state| state.vote_last_modified()).await;
    let lately = matches!(heard, Ok(Some(at)) if at.elapsed() < LEADERLESS_MAX);
    metrics.current_leader.is_some() && lately
}

/// A new snapshot now and then, for the day when the quorum is lost.
struct Snapshot {
    due: Instant,
}

impl Snapshot {
    async fn look_after(&mut self, node: &Node, running: &Running, metrics: &Metrics) {
        if Instant::now() < self.due {
            return;
        }
        self.due = Instant::now() + node.config.timing.snapshot_interval;
        if metrics.last_applied > metrics.snapshot {
            // If it fails, Raft has stopped, which is noticed elsewhere.
            drop(running.raft.trigger().snapshot().await);
        }
    }
}

/// Remembers when each member last had the whole log.
fn record_caught_up(node: &Node, running: &Running, metrics: &Metrics) {
    let mut caught_up = node.caught_up();
    caught_up.retain(|id, _| metrics.membership_config.get_node(id).is_some());
    let Some(replication) = &metrics.replication else {
        return;
    };
    for (id, matched) in replication {
        if matched.map(|id| id.index) >= metrics.last_log_index && voters::is_alive(running, metrics, *id) {
            caught_up.insert(*id, now_millis());
        }
    }
}

/// A learner of a node whose voter lost its store takes that voter's place, once it has caught up. Raft commits this
/// only while the voters that remain are a majority; otherwise nothing is automatic.
async fn replace_lost_stores(running: &Running, metrics: &Metrics) {
    let membership = &metrics.membership_config;
    let voting: BTreeSet<RaftId> = membership.voter_ids().collect();
    let voter_of = |node: NodeId| {
        voting
            .iter()
            .copied()
            .find(|id| membership.get_node(id).is_some_and(|member| member.node_id == node))
    };
    for (fresh, member) in membership.nodes().filter(|(id, _)| !voting.contains(id)) {
        let Some(lost) = voter_of(member.node_id) else { continue };
        if !voters::is_near(metrics, *fresh)
            || voters::is_alive(running, metrics, lost)
            || !voters::is_alive(running, metrics, *fresh)
        {
            continue;
        }
        match voters::replace(running, lost, *fresh).await {
            Ok(()) => tracing::info!(node = %member.node_id, lost, fresh, "replaced a voter that lost its store"),
            Err(error) => tracing::info!(node = %member.node_id, %error, "a lost voter is not replaced yet"),
        }
        return;
    }
}

/// A member that was removed while it was away hears from nobody. Asking to be taken in makes it a learner again.
async fn come_back(node: &Node, running: &Running) {
    for (id, address) in node.config.voters.iter().filter(|(id, _)| **id != node.node_id()) {
        match bootstrap::ask_to_join(node, address).await {
            Ok((raft_id, _)) if raft_id == running.raft_id => return,
            Ok((raft_id, _)) => tracing::warn!(raft_id, "the quorum knows this store by another Raft id"),
            Err(error) => tracing::debug!(node = %id, error, "no way back into the quorum yet"),
        }
    }
}
