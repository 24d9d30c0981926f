//! The fast election after a proven death of the Raft leader.
//!
//! openraft's lease lets a vote wait for the leader's time-out, also when its process is known to be gone. So each
//! member holds a watch stream to the leader. When it ends, the member dials the leader's address. If the process is
//! dead, the member drops *its own* lease (by a transfer to the dead member, which only turns the lease off), and
//! campaigns with a pre-vote: first the survivor with the longest log, the others staggered behind it. A pre-vote that
//! is refused changes no term, so a wrong order costs the stagger only. The timers stay as the net.
//!
//! No member acts on another's word: a hint only makes it look for itself.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use klamm_metadata::core::ProbeAnswer;
use klamm_metadata::decide::Ended;
use klamm_proto::quorum::v1 as wire;
use klamm_types::{Incarnation, Timestamp};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::TransferLeaderRequest;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tonic::Streaming;

use super::describe::now_millis;
use crate::network::channel::{self, StreamEnd, stream_end};
use crate::network::peers::client;
use crate::network::probe::{Expected, probe};
use crate::node::{Node, Running};
use crate::raft::convert::log_id_from_wire;
use crate::raft::types::{LogId, Member, Raft, RaftId, Vote};

/// How far apart the survivors campaign. The order is known beforehand as a rule, so that the first one wins, and a
/// second campaign beside it would only do harm.
const STAGGER: Duration = Duration::from_millis(60);
/// How long a campaign may take, one's own or another's, before this member campaigns (again). Two campaigns at once
/// can depose each other's winner, and then wait for its lease.
const CAMPAIGN_TIME: Duration = Duration::from_millis(80);
/// The pause after a pre-vote that was refused, because the other had not noticed the death yet.
const PRE_VOTE_PAUSE: Duration = Duration::from_millis(30);
/// How long fellow survivors may take to tell their last log id; the log of one that does not counts as equal.
const RANK_TIMEOUT: Duration = Duration::from_millis(15);
/// Campaigns after one death; then the timers decide.
const CAMPAIGNS_MAX: u32 = 12;
/// The pause before a watch on a living leader is opened again.
const WATCH_PAUSE: Duration = Duration::from_millis(20);
const WATCH_OPEN_TIMEOUT: Duration = Duration::from_millis(300);

/// The last log id that this member has on disk.
pub fn last_flushed(raft: &Raft) -> Option<LogId> {
    raft.watch_log_progress().get().and_then(|point| point.last_log_id)
}

/// Watches the leader, whoever that is, until the node stops.
pub async fn run(node: Arc<Node>, running: Running, mut hints: mpsc::Receiver<RaftId>) {
    let mut metrics = running.raft.server_metrics();
    loop {
        let leader = running.leader().filter(|(id, _)| *id != running.raft_id);
        let Some((leader, member)) = leader else {
            tokio::select! {
                () = node.stopped() => return,
                changed = metrics.changed() => if changed.is_err() { return },
                // Without a leader to watch there is nobody to suspect.
                _ = hints.recv() => {}
            }
            continue;
        };
        *node.seen_end() = None;
        let watch = Watch {
            running: &running,
            leader,
            member: &member,
        };
        let verdict = tokio::select! {
            () = node.stopped() => return,
            verdict = watch.until_end(&mut hints) => verdict,
        };
        match verdict {
            Verdict::Dead(ended) => {
                let evidence = &ended.evidence;
                tracing::info!(leader, evidence, "the leader of the quorum is dead");
                *node.seen_end() = Some(ended);
                elect(&running, leader).await;
                // Who cannot vote, or is cut off from those who can, hears of no other leader yet.
                sleep(WATCH_PAUSE).await;
            }
            Verdict::Alive => sleep(WATCH_PAUSE).await,
            Verdict::Deposed => {}
        }
    }
}

enum Verdict {
    Dead(Ended),
    Alive,
    /// Another leads by now, or nobody.
    Deposed,
}

struct Watch<'a> {
    running: &'a Running,
    leader: RaftId,
    member: &'a Member,
}

/// What a suspicion rests on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Suspicion {
    /// The leader's side of the connection ended: without an answer to the probe, that is proof.
    ConnectionEnd,
    /// Only a reason to look.
    Hint,
}

impl Watch<'_> {
    /// Watches until the leader is another, or something about it is known.
    async fn until_end(&self, hints: &mut mpsc::Receiver<RaftId>) -> Verdict {
        let mut metrics = self.running.raft.server_metrics();
        let mut known: Option<Incarnation> = None;
        let mut stream = match timeout(WATCH_OPEN_TIMEOUT, self.open()).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(_)) | Err(_) => return self.verdict(Suspicion::Hint, known).await,
        };
        loop {
            tokio::select! {
                changed = metrics.changed() => {
                    if changed.is_err() || metrics.borrow_watched().current_leader != Some(self.leader) {
                        return Verdict::Deposed;
                    }
                }
                hint = hints.recv() => {
                    if hint == Some(self.leader)
                        && let Verdict::Dead(ended) = self.verdict(Suspicion::Hint, known).await
                    {
                        return Verdict::Dead(ended);
                    }
                }
                message = stream.message() => match message {
                    Ok(Some(message)) if message.goodbye => {}
                    Ok(Some(message)) => known = Incarnation::from_slice(&message.incarnation),
                    Ok(None) => return self.verdict(Suspicion::ConnectionEnd, known).await,
                    Err(status) => {
                        let suspicion = match stream_end(&status) {
                            StreamEnd::Connection => Suspicion::ConnectionEnd,
                            StreamEnd::Stream => Suspicion::Hint,
                        };
                        return self.verdict(suspicion, known).await;
                    }
                },
            }
        }
    }

    async fn open(&self) -> Result<Streaming<wire::WatchMessage>, String> {
        let address = self.running.peers.address(self.member);
        let endpoint = channel::endpoint(address).map_err(|error| error.to_string())?;
        // A connection of its own, so that its end is the end of the process.
        let connection = channel::connect(&endpoint).await.map_err(|error| error.to_string())?;
        let request = wire::WatchRequest {
            envelope: Some(self.running.peers.envelope(self.leader)),
        };
        let stream = client(connection)
            .watch(request)
            .await
            .map_err(|status| status.to_string())?;
        Ok(stream.into_inner())
    }

    /// Dials the leader's address to see for itself.
    async fn verdict(&self, suspicion: Suspicion, known: Option<Incarnation>) -> Verdict {
        let expected = Expected {
            cluster: Some(self.running.cluster_id),
            node: self.member.node_id,
        };
        let last_contact = Timestamp(now_millis());
        let address = self.running.peers.address(self.member);
        let evidence = match probe(address, expected).await {
            ProbeAnswer::Refused => format!("{address} refuses connections"),
            ProbeAnswer::Identified { incarnation } if known.is_some_and(|known| known != incarnation) => {
                format!("another process answers at {address}")
            }
            ProbeAnswer::NoAnswer if suspicion == Suspicion::ConnectionEnd => {
                format!("its connection ended and nobody answers at {address}")
            }
            ProbeAnswer::Identified { .. } | ProbeAnswer::NoAnswer => return Verdict::Alive,
        };
        Verdict::Dead(Ended {
            node: self.member.node_id,
            last_contact,
            evidence,
        })
    }
}

/// Campaigns in turn with the other survivors until one leads.
async fn elect(running: &Running, dead: RaftId) {
    let raft = &running.raft;
    let Ok(vote) = raft.with_raft_state(|state| *state.vote_ref()).await else {
        return;
    };
    if !vote.committed || vote.leader_id.node_id != dead {
        // Somebody campaigns already; its vote has ended the dead leader's lease here.
        return;
    }
    let last = last_flushed(raft);
    let released = raft
        .handle_transfer_leader(TransferLeaderRequest::new(vote, dead, last))
        .await;
    if released.is_err() {
        return;
    }
    let metrics = raft.server_metrics().borrow_watched().clone();
    let voters: Vec<RaftId> = metrics.membership_config.voter_ids().filter(|id| *id != dead).collect();
    if !voters.contains(&running.raft_id) {
        return;
    }
    let rank = rank(running, &metrics.membership_config, dead, last).await;
    let mut turn = Instant::now() + STAGGER * rank;
    let mut seen = vote;
    for _ in 0..CAMPAIGNS_MAX {
        if wait_for_leader(running, &vote, turn).await {
            return;
        }
        let now = raft.server_metrics().borrow_watched().vote;
        if now != seen {
            // A vote is on its way, for another or for this member: let it come to its end.
            seen = now;
            turn = Instant::now() + CAMPAIGN_TIME + STAGGER * rank;
            continue;
        }
        tracing::info!(dead, rank, "campaigning after the leader's death");
        if raft.trigger().elect(true).await.is_err() {
            return;
        }
        turn = Instant::now() + PRE_VOTE_PAUSE;
    }
    // The timers go on from here.
    wait_for_leader(running, &vote, turn).await;
}

/// How many survivors go before this one: those with a longer log, and of the same log those with a lower id.
async fn rank(
    running: &Running,
    membership: &crate::raft::types::StoredMembership,
    dead: RaftId,
    last: Option<LogId>,
) -> u32 {
    let others = membership
        .voter_ids()
        .filter(|id| *id != dead && *id != running.raft_id);
    let asked = others
        .filter_map(|id| Some((id, membership.get_node(&id)?.clone())))
        .map(|(id, member)| async move {
            let connection = channel::lazy(running.peers.address(&member)).ok()?;
            let envelope = Some(running.peers.envelope(id));
            let request = wire::SuspectRequest {
                envelope,
                suspect_raft_id: dead,
            };
            match timeout(RANK_TIMEOUT, client(connection).suspect(request)).await {
                Ok(Ok(reply)) => Some((id, reply.into_inner().last_log_id.as_ref().map(log_id_from_wire))),
                // Not there, or not of this quorum any more.
                Ok(Err(_)) => None,
                Err(_) => Some((id, last)),
            }
        });
    let known = join_all(asked).await.into_iter().flatten();
    known
        .filter(|(id, log)| *log > last || (*log == last && *id < running.raft_id))
        .count() as u32
}

/// Whether someone leads by another vote than `old` before `until`.
async fn wait_for_leader(running: &Running, old: &Vote, until: Instant) -> bool {
    let mut metrics = running.raft.server_metrics();
    let leads = async {
        loop {
            {
                let now = metrics.borrow_watched();
                if now.vote.committed && now.vote != *old && now.current_leader.is_some() {
                    return true;
                }
            }
            if metrics.changed().await.is_err() {
                return true;
            }
        }
    };
    let left = until.saturating_duration_since(Instant::now());
    timeout(left, leads).await.unwrap_or(false)
}
