//! Fetch, ListOffsets and OffsetForLeaderEpoch, in the caller's task: asking the workers concerned and gathering what
//! they answer. A fetch that found too little waits until a core wakes it; nothing is asked at intervals.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use klamm_replication::{ReadFrom, RequestId};
use klamm_types::{ErrorCode, TopicPartition};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::Partitions;
use super::command::{Command, EpochEndCommand, FetchCommand, ListOffsetCommand, Park};
use super::reads::isolation;
use super::shared::Shared;
use crate::api::{
    EpochEnd, EpochEndRequest, FetchPartition, FetchRequest, FetchedData, FetchedPartition, FollowerReads,
    ListOffsetRequest, ListedOffset, PartitionError,
};

static NEXT_FETCH: AtomicU64 = AtomicU64::new(1);

/// Partitions in which a fetch may be parked. Dropping it, also when the caller has gone, wakes nobody any more.
struct Parked<'a> {
    shared: &'a Shared,
    park: Park,
    partitions: Vec<TopicPartition>,
    used: bool,
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        if !self.used {
            return;
        }
        let mut by_worker: BTreeMap<usize, Vec<TopicPartition>> = BTreeMap::new();
        for &partition in &self.partitions {
            by_worker
                .entry(self.shared.worker_of(partition))
                .or_default()
                .push(partition);
        }
        for (worker, partitions) in by_worker {
            // A worker that has ended has nothing parked.
            let _ = self.shared.workers[worker].push(Command::CancelFetch {
                request: self.park.request,
                partitions,
            });
        }
    }
}

impl Partitions {
    /// Reads from several partitions. Answers at once if `min_bytes` are there, something is wrong, or no wait is
    /// allowed; else when enough has come or `max_wait` is over. The answer has the order of the request.
    pub async fn fetch(&self, request: FetchRequest) -> Vec<FetchedPartition> {
        let deadline = Instant::now() + request.max_wait;
        let parts = last_of_each(&request.partitions);
        let id = RequestId(NEXT_FETCH.fetch_add(1, Ordering::Relaxed));
        let mut parked = Parked {
            shared: &self.shared,
            park: Park {
                request: id,
                wake: Arc::new(Notify::new()),
            },
            partitions: parts.iter().map(|(_, part)| part.partition).collect(),
            used: false,
        };
        loop {
            let may_wait = !request.max_wait.is_zero() && Instant::now() < deadline && !parts.is_empty();
            let park = may_wait.then(|| parked.park.clone());
            parked.used |= park.is_some();
            let answer = self.fetch_round(&request, &parts, park).await;
            if !may_wait || answers_at_once(&answer, request.min_bytes) {
                return bounded(answer, request.max_bytes);
            }
            let parent = klamm_trace::current();
            let begin = parent.as_ref().map(|_| std::time::Instant::now());
            let woken = tokio::time::timeout_at(deadline, parked.park.wake.notified()).await;
            if let Some((parent, begin)) = parent.zip(begin) {
                parent.part("wait for records", begin, std::time::Instant::now());
            }
            if woken.is_err() {
                return bounded(answer, request.max_bytes);
            }
        }
    }

    /// Asks every worker concerned once.
    async fn fetch_round(
        &self,
        request: &FetchRequest,
        parts: &[(usize, FetchPartition)],
        park: Option<Park>,
    ) -> Vec<FetchedPartition> {
        let mut by_worker: BTreeMap<usize, Vec<(usize, FetchPartition)>> = BTreeMap::new();
        for &(index, part) in parts {
            by_worker
                .entry(self.shared.worker_of(part.partition))
                .or_default()
                .push((index, part));
        }
        let mut replies = Vec::with_capacity(by_worker.len());
        for (worker, parts) in by_worker {
            let (reply, answer) = oneshot::channel();
            let asked = parts.clone();
            let command = FetchCommand {
                parts,
                isolation: isolation(request.isolation),
                from: read_from(request.followers),
                min_bytes: request.min_bytes,
                max_bytes: request.max_bytes,
                park: park.clone(),
                reply,
            };
            let sent = self.shared.workers[worker].push(Command::Fetch(Box::new(command)));
            replies.push((asked, sent.is_ok().then_some(answer)));
        }
        let mut answers = Vec::with_capacity(parts.len());
        for (asked, answer) in replies {
            match answer {
                Some(answer) => answers.extend(answer.await.unwrap_or_else(|_| self.without_answer(&asked))),
                None => answers.extend(self.without_answer(&asked)),
            }
        }
        answers.sort_by_key(|(index, _)| *index);
        answers.into_iter().map(|(_, fetched)| fetched).collect()
    }

    /// A worker that has ended, or threads that have too much to do.
    fn without_answer(&self, asked: &[(usize, FetchPartition)]) -> Vec<(usize, FetchedPartition)> {
        let error = |part: &FetchPartition| FetchedPartition {
            partition: part.partition,
            result: Err(self.shared.not_hosted(part.partition)),
        };
        asked.iter().map(|(index, part)| (*index, error(part))).collect()
    }

    /// Finds one offset.
    pub async fn list_offset(&self, request: ListOffsetRequest) -> Result<ListedOffset, PartitionError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::ListOffset(Box::new(ListOffsetCommand { request, reply }));
        if !self.shared.send(request.partition, command) {
            return Err(self.shared.not_hosted(request.partition));
        }
        answer
            .await
            .unwrap_or_else(|_| Err(PartitionError::from(ErrorCode::RequestTimedOut)))
    }

    /// Finds where a leader epoch ends.
    pub async fn epoch_end(&self, request: EpochEndRequest) -> Result<EpochEnd, PartitionError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::EpochEnd(Box::new(EpochEndCommand { request, reply }));
        if !self.shared.send(request.partition, command) {
            return Err(self.shared.not_hosted(request.partition));
        }
        answer
            .await
            .unwrap_or_else(|_| Err(self.shared.not_hosted(request.partition)))
    }
}

fn read_from(followers: FollowerReads) -> ReadFrom {
    match followers {
        FollowerReads::Allowed => ReadFrom::AnyReplica,
        FollowerReads::Refused => ReadFrom::Leader,
    }
}

/// A partition that is named twice is answered once: the last entry counts.
fn last_of_each(partitions: &[FetchPartition]) -> Vec<(usize, FetchPartition)> {
    let mut seen = HashSet::with_capacity(partitions.len());
    let mut parts: Vec<(usize, FetchPartition)> = Vec::with_capacity(partitions.len());
    for (index, part) in partitions.iter().enumerate().rev() {
        if seen.insert(part.partition) {
            parts.push((index, *part));
        }
    }
    parts.reverse();
    parts
}

fn answers_at_once(answer: &[FetchedPartition], min_bytes: usize) -> bool {
    let mut bytes = 0;
    for fetched in answer {
        match &fetched.result {
            Err(_) => return true,
            Ok(data) if data.diverging.is_some() => return true,
            Ok(data) => bytes += size(data),
        }
    }
    bytes >= min_bytes
}

/// Workers do not know of each other: together they may have found more than was asked for.
fn bounded(mut answer: Vec<FetchedPartition>, max_bytes: usize) -> Vec<FetchedPartition> {
    let mut bytes = 0;
    for fetched in &mut answer {
        if let Ok(data) = &mut fetched.result {
            let size = size(data);
            if bytes > 0 && bytes + size > max_bytes {
                data.records.clear();
            } else {
                bytes += size;
            }
        }
    }
    answer
}

fn size(data: &FetchedData) -> usize {
    data.records.iter().map(bytes::Bytes::len).sum()
}
