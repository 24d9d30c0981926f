//! One round: members connect, subscribe at once, settle; one leaves, the others settle again; all leave.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::future::try_join_all;
use klamm_client::{Client, Consumer, ConsumerConfig, OffsetReset};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::ownership::{MemberNumber, Ownership};
use super::{Args, Measured, Tell};
use crate::Common;
use crate::failure::Failure;
use crate::kafka::{admin_failure, connect};

const POLL: Duration = Duration::from_millis(500);
/// How often somebody looks whether the assignment is stable; no part of the measured times.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Connections that are opened at a time, before the clock starts.
const CONNECTS_MAX: usize = 16;

/// Where one member's listener tells what happens.
pub(super) struct Told {
    member: MemberNumber,
    begin: Instant,
    ownership: Arc<Mutex<Ownership>>,
}

impl Told {
    pub fn assigned(&self, partitions: &[i32]) {
        let mut ownership = lock(&self.ownership);
        ownership.assigned(self.member, partitions, self.begin.elapsed());
    }

    pub fn given_up(&self, partitions: &[i32]) {
        let mut ownership = lock(&self.ownership);
        ownership.given_up(self.member, partitions, self.begin.elapsed());
    }
}

fn lock(ownership: &Mutex<Ownership>) -> MutexGuard<'_, Ownership> {
    ownership.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A member at work; it leaves its group when it is told.
struct Member {
    leave: watch::Sender<()>,
    task: JoinHandle<anyhow::Result<()>>,
}

/// See the module.
pub(super) struct Round {
    args: Args,
    group: String,
    admin: Client,
    clients: Vec<Client>,
}

impl Round {
    /// Connects the members, and waits until the group's coordinator answers.
    pub async fn new(common: &Common, args: &Args, group: &str) -> Result<Round, Failure> {
        let admin = connect(common).await?;
        let mut clients = Vec::new();
        while clients.len() < usize::from(args.members) {
            let count = CONNECTS_MAX.min(usize::from(args.members) - clients.len());
            clients.extend(try_join_all((0..count).map(|_| connect(common))).await?);
        }
        admin.admin().list_group_offsets(group).await.map_err(admin_failure)?;
        Ok(Round {
            args: args.clone(),
            group: group.to_owned(),
            admin,
            clients,
        })
    }

    pub async fn measure(self) -> Result<Measured, Failure> {
        let partitions = usize::try_from(self.args.partitions).unwrap_or_default();
        let ownership = Arc::new(Mutex::new(Ownership::new(partitions, self.clients.len())));
        let begin = Instant::now();
        let mut members = Vec::new();
        for (number, client) in self.clients.iter().enumerate() {
            let told = Told {
                member: number,
                begin,
                ownership: Arc::clone(&ownership),
            };
            members.push(self.join(client, told)?);
        }
        let start = self.stable_since(&ownership, Duration::ZERO).await;
        let leaving = members.swap_remove(members.len() / 2);
        let told_to_leave = begin.elapsed();
        lock(&ownership).leaves(self.clients.len() / 2);
        leaving.leave.send_replace(());
        let gone = leaving.task.await.context("a member that leaves")?;
        gone.context("a member that leaves")?;
        let leave = self.stable_since(&ownership, told_to_leave).await;
        let (doubled, spread) = {
            let ownership = lock(&ownership);
            (ownership.doubled(), ownership.spread())
        };
        self.end(members).await?;
        Ok(Measured {
            start_seconds: start.map(|at| at.as_secs_f64()),
            leave_seconds: leave.map(|at| at.saturating_sub(told_to_leave).as_secs_f64()),
            doubled,
            spread,
        })
    }

    fn join(&self, client: &Client, told: Told) -> Result<Member, Failure> {
        let mut consumer = client.consumer(ConsumerConfig {
            offset_reset: OffsetReset::Latest,
            group: Some(self.args.group(&self.group)),
            ..ConsumerConfig::default()
        });
        consumer.on_rebalance(Tell { told });
        consumer.subscribe([self.args.topic.as_str()]).context("subscribing")?;
        let (leave, told_to_leave) = watch::channel(());
        Ok(Member {
            leave,
            task: tokio::spawn(take_part(consumer, told_to_leave)),
        })
    }

    /// When the last news came after which all is well and nothing changed; `None` if that does not come.
    async fn stable_since(&self, ownership: &Mutex<Ownership>, after: Duration) -> Option<Duration> {
        let began = Instant::now();
        let settle = Duration::from_secs(self.args.settle_seconds.max(1));
        let patience = Duration::from_secs(self.args.patience_seconds);
        let mut quiet = (Duration::ZERO, Instant::now());
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let (complete, last_news, owned) = {
                let ownership = lock(ownership);
                (ownership.is_complete(), ownership.last_news(), ownership.owned())
            };
            if quiet.0 != last_news {
                quiet = (last_news, Instant::now());
            }
            if complete && last_news > after && quiet.1.elapsed() > settle {
                return Some(last_news);
            }
            if began.elapsed() > patience {
                tracing::warn!(group = self.group, owned, "no stable assignment");
                return None;
            }
        }
    }

    /// All members leave; the group is deleted, if the cluster has noticed by then that it is empty.
    async fn end(&self, members: Vec<Member>) -> Result<(), Failure> {
        for member in &members {
            member.leave.send_replace(());
        }
        for member in members {
            member.task.await.context("a member")?.context("a member")?;
        }
        if let Err(failure) = self.admin.admin().delete_group(&self.group).await {
            tracing::debug!(group = self.group, %failure, "the group stays");
        }
        Ok(())
    }
}

async fn take_part(mut consumer: Consumer, mut told_to_leave: watch::Receiver<()>) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            _ = told_to_leave.changed() => break,
            polled = consumer.poll(POLL) => drop(polled.context("reading the topic")?),
        }
    }
    // The topic is empty, so there is nothing to commit; a rebalance in the middle of leaving may refuse even that.
    if let Err(failure) = consumer.close_because("the measurement wants it").await {
        tracing::debug!(%failure, "a member left without its last commit");
    }
    Ok(())
}
