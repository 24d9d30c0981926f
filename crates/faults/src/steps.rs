//! Carries the steps of a fault out, one after the other, and remembers when which partitions were struck.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use klamm_client::admin::{Admin, QuorumDescription, QuorumReplica, TopicDescription};
use klamm_verify::Run;
use rustix::process::Signal;
use tokio::time::{Instant, sleep, timeout};

use crate::ask::Asker;
use crate::catch_up::{self, CatchUp, Leaders};
use crate::fault::{Ask, Loss, Step};
use crate::ground::Ground;
use crate::harm::{harm, log_ends};
use crate::ledger::{Gaps, Ledger};
use crate::loss::Facts;
use crate::others::Others;
use crate::why;

/// Acknowledgements of each partition: writes are back then.
const BACK: u64 = 10;
/// How long writes may stay away before a run counts as failed.
const BACK_MAX: Duration = Duration::from_secs(40);
/// How long until all replicas are in sync again, or a victim is not.
const HEALED_MAX: Duration = Duration::from_secs(60);
/// How long until victims that were far behind have everything.
const CATCH_UP_MAX: Duration = Duration::from_secs(900);
/// How long one question may take: a broker that is paused answers nothing.
const LOOK_MAX: Duration = Duration::from_secs(2);
const LOOK_INTERVAL: Duration = Duration::from_millis(25);

/// A blow: when, and which partitions it concerned.
struct Struck {
    at: Duration,
    partitions: Vec<i32>,
}

/// What the steps have left to be read.
pub struct Done {
    blows: Vec<Struck>,
    pub metadata_gap: Option<Duration>,
    pub facts: Facts,
    /// Its times, and the share of the usual throughput that must go on.
    pub catch_up: Option<(CatchUp, u32)>,
}

impl Done {
    /// Of every partition that was struck, blow by blow.
    pub fn gaps(&self, ledger: &Ledger) -> Vec<Gaps> {
        let ends = self.blows.iter().skip(1).map(|next| next.at).chain([Duration::MAX]);
        let of_blow = |(blow, until): (&Struck, Duration)| {
            let gaps = blow
                .partitions
                .iter()
                .map(|&partition| ledger.gaps(partition, blow.at, until));
            gaps.collect::<Vec<_>>()
        };
        self.blows.iter().zip(ends).flat_map(of_blow).collect()
    }
}

/// Whom the steps are about.
pub struct Hit {
    pub brokers: Vec<i32>,
    pub victims: Vec<i32>,
}

pub struct Steps<'a> {
    ground: &'a mut Ground,
    run: &'a Run,
    admin: Admin,
    asker: Asker,
    others: &'a mut Others,
    brokers: Vec<i32>,
    victims: Vec<i32>,
    blows: Vec<Struck>,
    metadata_gap: Option<Duration>,
    facts: Facts,
    usual: Option<(Duration, Duration)>,
    catch_up: Option<(CatchUp, u32)>,
}

impl<'a> Steps<'a> {
    pub fn new(ground: &'a mut Ground, run: &'a Run, asker: Asker, hit: Hit, others: &'a mut Others) -> Steps<'a> {
        Steps {
            ground,
            admin: run.client().admin(),
            run,
            asker,
            others,
            brokers: hit.brokers,
            victims: hit.victims,
            blows: Vec::new(),
            metadata_gap: None,
            facts: Facts::default(),
            usual: None,
            catch_up: None,
        }
    }

    pub async fn all(&mut self, steps: &[Step]) -> anyhow::Result<()> {
        for step in steps {
            match step {
                Step::Each(inner) => {
                    for victim in self.victims.clone() {
                        let all = std::mem::replace(&mut self.victims, vec![victim]);
                        Box::pin(self.all(inner)).await?;
                        self.victims = all;
                    }
                }
                Step::Others(inner) => {
                    let others = self.brokers.iter().filter(|broker| !self.victims.contains(broker));
                    let others = others.copied().collect();
                    let all = std::mem::replace(&mut self.victims, others);
                    Box::pin(self.all(inner)).await?;
                    self.victims = all;
                }
                Step::Times(times, inner) => {
                    for _ in 0..*times {
                        Box::pin(self.all(inner)).await?;
                    }
                }
                step => self.one(*step).await.with_context(|| format!("at {step:?}"))?,
            }
        }
        Ok(())
    }

    async fn one(&mut self, step: Step) -> anyhow::Result<()> {
        let victims = self.victims.clone();
        match step {
            Step::Kill => self.end(Signal::KILL).await,
            Step::Terminate => self.end(Signal::TERM).await,
            Step::Pause => {
                self.strike().await?;
                self.ground.cluster.signal(&victims, Signal::STOP).await
            }
            Step::Resume => self.ground.cluster.signal(&victims, Signal::CONT).await,
            Step::Start => self.ground.cluster.start(&victims).await,
            Step::Harm(what) => {
                let topic = &self.run.load().topic;
                victims
                    .iter()
                    .try_for_each(|&victim| harm(what, &self.ground.cluster.data(victim)?, topic))
            }
            Step::Fill => {
                self.strike().await?;
                victims
                    .iter()
                    .try_for_each(|victim| self.ground.small_disk(*victim)?.fill())
            }
            Step::Free => victims
                .iter()
                .try_for_each(|victim| self.ground.small_disk(*victim)?.free()),
            Step::Weather(ways, weather) => {
                self.strike().await?;
                self.ground.set_weather(ways, weather, &victims)
            }
            Step::Reset => {
                self.strike().await?;
                self.ground.reset()
            }
            Step::Clear => self.ground.clear(),
            Step::Trouble(trouble) => {
                self.strike().await?;
                let topic = &self.run.load().topic;
                for &victim in &victims {
                    self.ground.breakable_disk(victim)?.set(trouble, topic);
                }
                Ok(())
            }
            Step::Mend => self.mend(),
            Step::LosePower => {
                self.facts.power_lost = Some(self.run.elapsed());
                for &victim in &victims {
                    self.ground.breakable_disk(victim)?.lose_power()?;
                }
                Ok(())
            }
            Step::WritesBack => steady(self.run, BACK, "writes did not come back").await,
            Step::OutOfSync => self.out_of_sync().await,
            Step::InSync => in_sync(&self.admin, &self.run.load().topic).await,
            Step::Wait(length) => {
                sleep(length).await;
                Ok(())
            }
            Step::Watch(length) => {
                self.strike().await?;
                sleep(length).await;
                Ok(())
            }
            Step::Ask(ask) => self.ask(ask).await,
            step => self.beside(step).await,
        }
    }

    /// What is done to those who run beside the load, and to brokers that are far behind.
    async fn beside(&mut self, step: Step) -> anyhow::Result<()> {
        match step {
            Step::Member(act) => self.others.members()?.act(act).await,
            Step::PauseClient => self.others.client()?.pause().await,
            Step::ResumeClient => self.others.client()?.resume(),
            Step::ClientBack => self.others.client()?.back().await,
            Step::FallBehind => {
                let bytes = self.ground.behind_bytes;
                catch_up::fill(self.run.client(), &self.run.load().topic, bytes).await
            }
            Step::Usual(length) => {
                let from = self.run.elapsed();
                sleep(length).await;
                self.usual = Some((from, self.run.elapsed()));
                Ok(())
            }
            Step::CatchUp(percent) => self.catch_up(percent).await,
            _ => Ok(()),
        }
    }

    async fn end(&mut self, signal: Signal) -> anyhow::Result<()> {
        self.strike().await?;
        self.ground.cluster.signal(&self.victims, signal).await?;
        self.ground.cluster.ended(&self.victims).await
    }

    /// Writes down that something is about to be done to the victims.
    async fn strike(&mut self) -> anyhow::Result<()> {
        let description = self.describe().await.context("asking who leads")?;
        let numbers = |only_led: bool| {
            let partitions = description.partitions.iter();
            let led = |leader: i32| self.victims.contains(&leader);
            let struck = partitions.filter(|one| !only_led || one.leader.is_some_and(|leader| led(leader.0)));
            struck.map(|one| one.partition).collect::<Vec<_>>()
        };
        let led = numbers(true);
        let partitions = if led.is_empty() { numbers(false) } else { led };
        let at = self.run.elapsed();
        self.blows.push(Struck { at, partitions });
        Ok(())
    }

    fn mend(&mut self) -> anyhow::Result<()> {
        for &victim in &self.victims {
            let disk = self.ground.breakable_disk(victim)?;
            ensure!(
                disk.hits() > 0,
                "the disk of node {victim} was never used while it was bad"
            );
            disk.mend();
        }
        Ok(())
    }

    async fn describe(&self) -> anyhow::Result<TopicDescription> {
        Ok(timeout(LOOK_MAX, self.admin.describe_topic(&self.run.load().topic)).await??)
    }

    async fn ask(&mut self, ask: Ask) -> anyhow::Result<()> {
        let struck = self.blows.last().map_or_else(|| self.run.elapsed(), |blow| blow.at);
        let victim = *self.victims.first().context("nobody is hit")?;
        let address = self.ground.cluster.grpc(victim).ok();
        if ask == Ask::UncleanElection {
            let ends = log_ends(&self.ground.cluster.data(victim)?, &self.run.load().topic)?;
            self.facts.chosen = Some((self.run.elapsed(), ends));
        }
        self.asker.ask(ask, victim, address).await?;
        if ask == Ask::NewTopic {
            self.metadata_gap = Some(self.run.elapsed() - struck);
        }
        Ok(())
    }

    async fn catch_up(&mut self, percent: u32) -> anyhow::Result<()> {
        let topic = self.run.load().topic.clone();
        let topics = [catch_up::name(&topic), topic];
        let from = self.run.elapsed();
        let started = self.ground.cluster.start(&self.victims);
        let (admin, victims) = (&self.admin, &self.victims);
        let caught_up = async {
            let mut leaders = Leaders::default();
            loop {
                let mut missing = 0;
                for topic in &topics {
                    // A node that is about to serve may not answer yet.
                    if let Ok(Ok(seen)) = timeout(LOOK_MAX, admin.describe_topic(topic)).await {
                        leaders.seen(&seen, victims)?;
                        missing += seen
                            .partitions
                            .iter()
                            .filter(|one| one.isr.len() < one.replicas.len())
                            .count();
                    } else {
                        missing += 1;
                    }
                }
                if missing == 0 {
                    return anyhow::Ok(());
                }
                sleep(LOOK_INTERVAL).await;
            }
        };
        let both = async { tokio::try_join!(started, caught_up) };
        let late = || format!("the victims did not catch up within {CATCH_UP_MAX:?}");
        timeout(CATCH_UP_MAX, both).await.with_context(late)??;
        let usual = self.usual.context("nobody has seen what is usual")?;
        let during = (from, self.run.elapsed());
        self.catch_up = Some((CatchUp { usual, during }, percent));
        Ok(())
    }

    async fn out_of_sync(&self) -> anyhow::Result<()> {
        let is_out = |topic: &TopicDescription| {
            let mut members = topic.partitions.iter().flat_map(|one| &one.isr);
            !members.any(|member| self.victims.contains(&member.0))
        };
        seen(&self.admin, &self.run.load().topic, "a victim is still in sync", is_out).await
    }

    /// Holds what was asked for against what is there.
    pub async fn finish(mut self, loss: Loss) -> anyhow::Result<Done> {
        self.asker.check().await.context("what was asked for meanwhile")?;
        if loss != Loss::Nothing {
            let http = self
                .ground
                .cluster
                .http(*self.brokers.first().context("there is no broker")?)?;
            self.facts.told = why::possible_losses(&http, &self.run.load().topic).await?;
        }
        Ok(Done {
            blows: self.blows,
            metadata_gap: self.metadata_gap,
            facts: self.facts,
            catch_up: self.catch_up,
        })
    }
}

/// Waits until every partition took `more` writes from now on.
pub async fn steady(run: &Run, more: u64, otherwise: &'static str) -> anyhow::Result<()> {
    let since = run.progress().counts();
    if timeout(BACK_MAX, run.progress().wait_for_more(&since, more))
        .await
        .is_ok()
    {
        return Ok(());
    }
    let now = run.progress().counts();
    let stuck: Vec<_> = (0..)
        .zip(now.iter().zip(&since))
        .filter(|(_, (now, since))| **now < **since + more)
        .collect();
    anyhow::bail!("{otherwise}: within {BACK_MAX:?}, partitions (number, acknowledged now and before) {stuck:?}");
}

/// Waits until all replicas of all partitions are in sync, and every controller that votes keeps up: else the next blow
/// would hit a cluster that still misses a part.
pub async fn in_sync(admin: &Admin, topic: &str) -> anyhow::Result<()> {
    let is_whole = |topic: &TopicDescription| {
        let mut partitions = topic.partitions.iter();
        partitions.all(|one| one.isr.len() == one.replicas.len() && one.leader.is_some())
    };
    seen(admin, topic, "the replicas were not in sync", is_whole).await?;
    let last = Mutex::new(String::new());
    let looking = until(LOOK_INTERVAL, || async {
        let quorum = timeout(LOOK_MAX, admin.describe_quorum()).await;
        let so = matches!(&quorum, Ok(Ok(quorum)) if votes(quorum));
        if !so {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = format!("{quorum:?}");
        }
        so
    });
    let outcome = timeout(HEALED_MAX, looking).await;
    let last = last.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcome.with_context(|| format!("the quorum was not whole within {HEALED_MAX:?}: {last}"))
}

/// Whether every voter has everything. One that has lost its store stays where it was until it is replaced, or is an
/// observer.
fn votes(quorum: &QuorumDescription) -> bool {
    let keeps_up = |voter: &QuorumReplica| {
        let is_observer = quorum.observers.iter().any(|other| other.node == voter.node);
        voter.log_end_offset >= quorum.high_watermark && !is_observer
    };
    quorum.leader.is_some() && quorum.voters.len() >= 3 && quorum.voters.iter().all(keeps_up)
}

/// Waits until a topic looks so.
async fn seen(
    admin: &Admin,
    topic: &str,
    otherwise: &str,
    looks_so: impl Fn(&TopicDescription) -> bool,
) -> anyhow::Result<()> {
    let last = Mutex::new(String::new());
    let looking = until(LOOK_INTERVAL, || async {
        let described = timeout(LOOK_MAX, admin.describe_topic(topic)).await;
        let so = matches!(&described, Ok(Ok(topic)) if looks_so(topic));
        if !so {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = format!("{described:?}");
        }
        so
    });
    let (begin, outcome) = (Instant::now(), timeout(HEALED_MAX, looking).await);
    let last = last.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcome.with_context(|| format!("{otherwise}, after {:?}: {last}", begin.elapsed()))
}

async fn until<F: Future<Output = bool>>(pause: Duration, look: impl Fn() -> F) {
    while !look().await {
        sleep(pause).await;
    }
}
