//! Whether this node's store is an old copy of itself: what the others remember of it is asked for before it takes part.
//!
//! A restored store has forgotten votes and entries that it has acknowledged. It never votes or counts again: it is put
//! aside, and the node joins with a fresh one. The judgement stands in `claim`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use klamm_proto::quorum::v1 as wire;
use klamm_types::{NodeId, Uuid};
use openraft::StorageHelper;
use tokio::time::{Instant, sleep, timeout};

use super::claim::{Claim, Outdated, Recalled, suffices};
use crate::network::channel;
use crate::network::peers::client;
use crate::node::{Node, Running};
use crate::raft::StateMachine;
use crate::raft::snapshot;
use crate::raft::types::{Membership, RaftId};
use crate::store::ages::StoreAge;
use crate::store::{self, Owner, StoreError, blocking};

/// How often a running store grows older. A copy that is younger than this can only be told by what it has promised.
const AGE_INTERVAL: Duration = Duration::from_secs(10);
/// How soon those are told that did not hear of an age.
const TELL_PAUSE: Duration = Duration::from_millis(250);
const ASK_TIMEOUT: Duration = Duration::from_millis(500);
/// How often those are asked that do not answer, while enough others do: one that is slow may be the one that knows. It
/// costs 2 s where a node is silent, and next to nothing where it refuses connections.
const ROUNDS: u32 = 4;
const RETRY_PAUSE: Duration = Duration::from_millis(50);
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// What became of the question.
pub enum Standing {
    /// Nobody who was heard knows better than the store; it may take part.
    Current,
    /// It was an old copy; a fresh store has taken its place.
    Outdated,
    /// The node stops.
    Stopping,
}

/// Why the question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum RecallError {
    #[error("writing down the age of the quorum's store")]
    Age(#[source] io::Error),
    #[error("reading the quorum's store: {0}")]
    Read(String),
    #[error("putting an old copy of the quorum's store aside: {0}")]
    Replace(String),
}

/// Asks the others what they remember of this store, until enough have answered. Raft must not run yet.
pub async fn confirm(node: &Arc<Node>, raft_id: RaftId) -> Result<Standing, RecallError> {
    let (membership, mut claim) = read_store(node, raft_id).await?;
    claim.age = raise(node, raft_id).await.map_err(RecallError::Age)?;
    let addresses = addresses(node, raft_id, &membership);
    let mut told = Instant::now();
    let mut rounds = 0;
    while !*node.stopping.borrow() {
        let answers = ask(node, &addresses, claim.age).await;
        if let Some(outdated) = refuted(&answers, &claim) {
            tracing::warn!(
                reason = %outdated,
                raft_id,
                "the quorum's store is an old copy of itself; it is put aside, and this node joins again with a fresh one"
            );
            begin_anew(node).await?;
            return Ok(Standing::Outdated);
        }
        let heard: BTreeSet<RaftId> = answers.iter().map(|answer| answer.raft_id).collect();
        rounds += 1;
        let asked_enough = answers.len() == addresses.len() || rounds >= ROUNDS;
        if asked_enough && suffices(&membership, raft_id, &heard) {
            return Ok(Standing::Current);
        }
        if told.elapsed() > COMPLAINT_INTERVAL {
            told = Instant::now();
            tracing::info!(
                ?heard,
                "too few of the other controllers answer whether this store is current"
            );
        }
        tokio::select! {
            () = node.stopped() => {}
            () = sleep(RETRY_PAUSE) => {}
        }
    }
    Ok(Standing::Stopping)
}

/// Lets the store grow older while it runs, tells the others, and ends the node if one of them knows better by then.
pub async fn run(node: Arc<Node>, running: Running) {
    loop {
        let age = match raise(&node, running.raft_id).await {
            Ok(age) => Some(age),
            Err(error) => {
                // It is told to nobody, so that nobody can find this store too young.
                tracing::warn!(%error, "the age of the quorum's store could not be written down");
                None
            }
        };
        let due = Instant::now() + AGE_INTERVAL;
        let mut untold = age.is_some();
        while Instant::now() < due {
            if let Some(age) = age.filter(|_| untold) {
                untold = match tell(&node, &running, age).await {
                    Ok(untold) => untold,
                    Err(outdated) => return give_up(&node, outdated),
                };
            }
            let pause = if untold { TELL_PAUSE } else { AGE_INTERVAL };
            tokio::select! {
                () = node.stopped() => return,
                () = sleep(pause.min(due.saturating_duration_since(Instant::now()))) => {}
            }
        }
    }
}

/// Whether some of the members have not been told.
async fn tell(node: &Node, running: &Running, age: StoreAge) -> Result<bool, Outdated> {
    let Ok(membership) = running
        .raft
        .with_raft_state(|state| state.membership_state.effective().membership().clone())
        .await
    else {
        return Ok(false);
    };
    let addresses = addresses(node, running.raft_id, &membership);
    let answers = ask(node, &addresses, age).await;
    // What Raft holds by now only grows; it is the age that may tell.
    let known = answers.iter().map(|answer| Recalled {
        promised: None,
        ..answer.recalled
    });
    let claim = Claim {
        age,
        vote: None,
        last: None,
    };
    for recalled in known {
        recalled.refutes(&claim)?;
    }
    Ok(answers.len() < addresses.len())
}

/// Raft runs on the old copy already: the process has to end, and begins anew when it is started again.
fn give_up(node: &Node, outdated: Outdated) {
    let marked = {
        let mut stored = node.stored();
        stored.outdated = true;
        stored.write(&node.config.folder)
    };
    let marked = marked
        .err()
        .map(|error| format!(" (which could not be noted: {error})"));
    let marked = marked.unwrap_or_default();
    node.fail(format!(
        "the quorum's store is an old copy of itself, {outdated}; started again this node joins with a fresh one{marked}"
    ));
}

/// A larger age, durable when it returns. Nothing else writes the identity meanwhile.
async fn raise(node: &Node, raft_id: RaftId) -> io::Result<StoreAge> {
    let mut older = node.stored().clone();
    older.age += 1;
    let age = older.age;
    let folder = node.config.folder.clone();
    // Without the lock: a disk that stands still holds up nothing else.
    blocking(move || older.write(&folder)).await?;
    node.stored().age = age;
    Ok(StoreAge {
        raft_id,
        age,
        incarnation: node.config.identity.incarnation(),
    })
}

/// The store's last membership, and what it claims; the age in it is not raised yet.
async fn read_store(node: &Node, raft_id: RaftId) -> Result<(Membership, Claim), RecallError> {
    let closed = || RecallError::Read("it is closed".into());
    let mut log = node.log().ok_or_else(closed)?;
    let folder = node.config.folder.clone();
    let mut machine = StateMachine::new(Arc::default(), folder.clone());
    let read = blocking(move || Ok(snapshot::read(&folder))).await;
    let read = read.map_err(|error| RecallError::Read(error.to_string()))?;
    let kept = read.map_err(|error| RecallError::Read(error.to_string()))?;
    let in_log = StorageHelper::new(&mut log, &mut machine)
        .last_membership_in_log(0)
        .await;
    let in_log = in_log.map_err(|error| RecallError::Read(error.to_string()))?.pop();
    let (applied, in_snapshot) = kept.map_or((None, None), |(state, _)| (state.applied, Some(state.membership)));
    let membership = in_log.or(in_snapshot).map(|stored| stored.membership().clone());
    let (vote, last) = log.ends();
    let age = StoreAge {
        raft_id,
        age: node.stored().age,
        incarnation: node.config.identity.incarnation(),
    };
    let last = last.max(applied);
    Ok((membership.unwrap_or_default(), Claim { age, vote, last }))
}

/// Where the other members are reached, and those of the configuration.
fn addresses(node: &Node, raft_id: RaftId, membership: &Membership) -> BTreeMap<NodeId, String> {
    let members = membership.nodes().filter(|(id, _)| **id != raft_id);
    let mut addresses: BTreeMap<NodeId, String> = members
        .map(|(_, member)| (member.node_id, member.address.clone()))
        .collect();
    // The configuration's count over those in the membership, which may be old.
    addresses.extend(node.config.voters.iter().map(|(id, address)| (*id, address.clone())));
    addresses.remove(&node.node_id());
    addresses
}

struct Answer {
    /// The answering node's own, 0 if it is in no quorum.
    raft_id: RaftId,
    recalled: Recalled,
}

async fn ask(node: &Node, addresses: &BTreeMap<NodeId, String>, age: StoreAge) -> Vec<Answer> {
    let asked = addresses.iter().map(|(id, address)| async move {
        let channel = channel::lazy(address).ok()?;
        let request = wire::HelloRequest {
            node_id: node.node_id().0,
            cluster_id: node.config.identity.cluster_bytes(),
            store: Some(age.to_wire()),
        };
        let reply = timeout(ASK_TIMEOUT, client(channel).hello(request))
            .await
            .ok()?
            .ok()?
            .into_inner();
        let recalled = Recalled::from_wire(&reply).ok()?;
        #[cfg(test)]
        let recalled = match crate::simulated::is_planted(crate::simulated::Planted::OldCopyTakesPart) {
            true => Recalled::default(),
            false => recalled,
        };
        (reply.node_id == id.0).then_some(Answer {
            raft_id: reply.raft_id,
            recalled,
        })
    });
    join_all(asked).await.into_iter().flatten().collect()
}

fn refuted(answers: &[Answer], claim: &Claim) -> Option<Outdated> {
    answers.iter().find_map(|answer| answer.recalled.refutes(claim).err())
}

/// Puts the old copy aside and opens a fresh store. After a crash in between the next start does it.
async fn begin_anew(node: &Node) -> Result<(), RecallError> {
    let failed = |error: &dyn std::fmt::Display| RecallError::Replace(error.to_string());
    {
        let mut stored = node.stored();
        stored.outdated = true;
        stored.write(&node.config.folder).map_err(|error| failed(&error))?;
    }
    node.close_store();
    let owner = Owner {
        node_id: node.node_id(),
        cluster_id: node.config.identity.cluster_id(),
        fresh_store_id: Uuid::from_u128(crate::random::number()),
    };
    let folder = node.config.folder.clone();
    let opened = blocking(move || Ok(store::open(&folder, &owner))).await;
    let opened: Result<_, StoreError> = opened.map_err(|error| failed(&error))?;
    node.set_store(opened.map_err(|error| failed(&error))?);
    Ok(())
}

/// What this node remembers of the caller's store. The age that the caller has now is durable here when this returns.
pub async fn remember(node: &Node, request: &wire::HelloRequest) -> io::Result<Recalled> {
    let Some(Ok(seen)) = request.store.as_ref().map(StoreAge::from_wire) else {
        return Ok(Recalled::default());
    };
    // Other clusters were refused. Who names none is in no quorum, and has no age to tell.
    if request.cluster_id.is_empty() {
        return Ok(Recalled::default());
    }
    let caller = NodeId(request.node_id);
    let ages = Arc::clone(&node.ages);
    // Not given up with the call: a caller that waits too briefly for a slow disk would never be remembered.
    let remembering = tokio::spawn(async move {
        let mut ages = ages.lock_owned().await;
        let known = ages.get(caller);
        if let Some(grown) = ages.with(caller, seen) {
            let written = grown.clone();
            blocking(move || written.write()).await?;
            *ages = grown;
        }
        Ok::<_, io::Error>(known)
    });
    let known = remembering.await.map_err(io::Error::other)??;
    let promised = node.promises.get(seen.raft_id);
    Ok(Recalled { known, promised })
}
