//! What the program does for its group: turns while it polls, and giving everything up when it leaves. Methods of the
//! consumer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::core::{Event, Turn, TurnKind};
use super::error::CommitError;
use super::link::{Link, Next};
use super::listener::{AnyListener, Assigned, Revoked};
use crate::consumer::config::Start;
use crate::consumer::error::ConsumeError;
use crate::consumer::handle::Consumer;
use crate::consumer::record::TopicPartition;

/// How long leaving may take at most. The coordinator notices by itself, later.
const LEAVE_MAX: Duration = Duration::from_secs(30);

impl Consumer {
    pub(super) async fn leave(&mut self, reason: &str) -> Result<(), CommitError> {
        let Some(link) = self.group.as_ref().map(|group| Arc::clone(&group.link)) else {
            return Ok(());
        };
        while let Next::Turn(turn) = link.next() {
            if turn.kind != TurnKind::Lose {
                break;
            }
            self.take_turn(&link, turn).await;
        }
        let (owned, lost) = link.look(|core| (core.owned().clone(), core.has_lost()));
        let outcome = if lost && !owned.is_empty() {
            self.lose(&owned).await;
            // Commits that nobody waited for end before this.
            self.commit_offsets(BTreeMap::new()).await
        } else {
            self.revoke(&owned).await
        };
        let reason = reason.to_owned();
        let left = link.ask(|waiter| Event::Leave { waiter, reason });
        if tokio::time::timeout(LEAVE_MAX, left).await.is_err() {
            tracing::info!("the group's coordinator does not answer the goodbye");
        }
        outcome
    }

    /// Does what the group waits for. Part of `poll`.
    pub(in crate::consumer) async fn take_turns(&mut self) -> Result<(), ConsumeError> {
        let Some(link) = self.group.as_ref().map(|group| Arc::clone(&group.link)) else {
            return Ok(());
        };
        loop {
            match link.next() {
                Next::Turn(turn) => self.take_turn(&link, turn).await,
                Next::Failed(failure) => return Err(ConsumeError::Group(failure)),
                Next::Nothing => return Ok(()),
            }
        }
    }

    async fn take_turn(&mut self, link: &Link, turn: Turn) {
        let mut begun = BTreeSet::new();
        match turn.kind {
            TurnKind::Revoke => {
                if let Err(failure) = self.revoke(&turn.partitions).await {
                    tracing::warn!(error = %failure, "offsets were not committed before partitions were given up");
                }
            }
            TurnKind::Lose => self.lose(&turn.partitions).await,
            TurnKind::Assign => begun = self.accept(&turn.partitions).await,
        }
        link.step(Event::TurnDone { turn: turn.id, begun });
    }

    fn listener(&mut self) -> Option<&mut Box<dyn AnyListener>> {
        let listener = self.group.as_mut()?.listener.get_mut();
        listener.unwrap_or_else(PoisonError::into_inner).as_mut()
    }

    /// Tells the listener, commits, and stops reading.
    async fn revoke(&mut self, partitions: &BTreeSet<TopicPartition>) -> Result<(), CommitError> {
        let mut commits = BTreeMap::new();
        if !partitions.is_empty() {
            let positions = partitions.iter().map(|key| (key.clone(), self.position(key))).collect();
            let mut revoked = Revoked::new(positions);
            if let Some(listener) = self.listener() {
                listener.revoked(&mut revoked).await;
            }
            commits = revoked.into_commits();
        }
        if self
            .group
            .as_ref()
            .is_some_and(|group| group.config.auto_commit_interval.is_some())
        {
            let mut offsets = self.committable();
            offsets.append(&mut commits);
            commits = offsets;
        }
        let outcome = self.commit_offsets(commits).await;
        self.release(partitions);
        match outcome {
            Err(failure) if failure.is_of_unknown_topic() => {
                tracing::info!(error = %failure, "a topic is gone, and its offsets with it");
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Tells the listener, and stops reading.
    async fn lose(&mut self, partitions: &BTreeSet<TopicPartition>) {
        let list: Vec<_> = partitions.iter().cloned().collect();
        if let Some(listener) = self.listener() {
            listener.lost(&list).await;
        }
        self.release(partitions);
    }

    /// Stops reading, and remembers what was paused.
    fn release(&mut self, partitions: &BTreeSet<TopicPartition>) {
        let paused = self.paused();
        for key in partitions {
            self.unassign(key);
        }
        if let Some(group) = &mut self.group {
            group
                .paused
                .extend(paused.into_iter().filter(|key| partitions.contains(key)));
        }
    }

    /// Takes new partitions over; says for which of them the listener chose the start.
    async fn accept(&mut self, partitions: &BTreeSet<TopicPartition>) -> BTreeSet<TopicPartition> {
        let mut assigned = Assigned::new(partitions.iter().cloned().collect());
        if let Some(listener) = self.listener() {
            listener.assigned(&mut assigned).await;
        }
        let starts: BTreeMap<TopicPartition, Start> = assigned.into_starts();
        let begun = starts.keys().cloned().collect();
        {
            let mut core = self.shared.core();
            for key in partitions.iter().filter(|key| !starts.contains_key(key)) {
                core.assign_awaiting(key.clone());
            }
        }
        self.assign(starts);
        let paused = self.group.as_mut().map(|group| std::mem::take(&mut group.paused));
        for key in paused.iter().flatten().filter(|key| partitions.contains(key)) {
            self.shared.core().pause(key);
        }
        begun
    }
}
