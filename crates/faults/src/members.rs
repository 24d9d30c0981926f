//! A group whose members are processes of their own: this program, started anew, which tells what it was given, what it
//! read and committed. They can be killed, stopped and doubled.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use klamm_client::admin::{Admin, GroupDescription, GroupState, OffsetSpec};
use klamm_client::{GroupProtocol, PartitionId};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::fault::Act;
use crate::member_process::now_us;
use crate::owners::{Finding, Told, What, is_shared_out, judge};

/// The members' session; nodes of ours are told that it is also that of KIP-848 groups.
pub const SESSION: Duration = Duration::from_secs(6);
/// From a blow to a group that is stable again: a session, and as long for the rebalance.
const STABLE_MAX: Duration = Duration::from_secs(12);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
const LOOK_MAX: Duration = Duration::from_secs(2);
/// The members that have a name of their own: the last of the first three, and its double.
const STATIC: u32 = 2;
const DOUBLE: u32 = 3;
/// A rebalance that a restart causes would be over by then.
const UNDISTURBED: Duration = Duration::from_secs(2);

type Story = Arc<Mutex<Vec<Told>>>;

struct Process {
    child: Child,
    input: ChildStdin,
    hearing: JoinHandle<()>,
}

/// Dropping it kills them.
pub struct Members {
    bootstrap: String,
    topic: String,
    protocol: GroupProtocol,
    admin: Admin,
    processes: BTreeMap<u32, Process>,
    story: Story,
    /// When the last blow came, if the group has to become stable after it.
    struck: Option<Instant>,
    /// How long it took until the group was stable again, blow by blow.
    stable_after: Vec<f64>,
}

impl Members {
    /// Starts three, and waits until each has its share.
    pub async fn start(bootstrap: &str, topic: &str, protocol: GroupProtocol, admin: Admin) -> anyhow::Result<Members> {
        let mut members = Members {
            bootstrap: bootstrap.to_owned(),
            topic: topic.to_owned(),
            protocol,
            admin,
            processes: BTreeMap::new(),
            story: Story::default(),
            struck: None,
            stable_after: Vec::new(),
        };
        for number in 0..3 {
            members.join(number)?;
        }
        members.stable(3).await?;
        Ok(members)
    }

    fn join(&mut self, number: u32) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(program);
        command.args(["member", "--bootstrap", &self.bootstrap, "--topic", &self.topic]);
        command.args(["--number", &number.to_string()]);
        if number == STATIC || number == DOUBLE {
            command.args(["--instance", "static"]);
        }
        if self.protocol == GroupProtocol::Consumer {
            command.arg("--consumer");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("starting a member")?;
        let input = child.stdin.take().context("a member's input")?;
        let output = child.stdout.take().context("a member's output")?;
        let story = self.story.clone();
        let hearing = tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // A line that a kill has torn says nothing.
                if let Ok(told) = serde_json::from_str(&line) {
                    story.lock().unwrap_or_else(PoisonError::into_inner).push(told);
                }
            }
        });
        self.processes.insert(number, Process { child, input, hearing });
        Ok(())
    }

    fn note(&self, at_us: u64, member: u32, what: What) {
        let told = Told { at_us, member, what };
        self.story.lock().unwrap_or_else(PoisonError::into_inner).push(told);
    }

    fn heard(&self) -> Vec<Told> {
        self.story.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub async fn act(&mut self, act: Act) -> anyhow::Result<()> {
        self.struck = match act {
            Act::Stable(_) => self.struck,
            Act::RestartStatic => None,
            Act::Start(_) | Act::Kill(_) | Act::Pause(_) | Act::Resume(_) | Act::Double => Some(Instant::now()),
        };
        match act {
            Act::Start(number) => self.join(number),
            Act::Kill(number) => self.kill(number).await,
            Act::Pause(number) => {
                self.note(now_us(), number, What::Stale);
                self.signal(number, Signal::STOP)
            }
            Act::Resume(number) => self.signal(number, Signal::CONT),
            Act::Double => self.double().await,
            Act::RestartStatic => self.restart_static().await,
            Act::Stable(count) => self.stable(count).await,
        }
    }

    fn signal(&self, number: u32, signal: Signal) -> anyhow::Result<()> {
        let process = self.processes.get(&number).context("no such member runs")?;
        let pid = process.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        kill_process(pid.context("the member has ended")?, signal).context("signalling a member")
    }

    async fn kill(&mut self, number: u32) -> anyhow::Result<()> {
        self.signal(number, Signal::KILL)?;
        self.ended(number).await
    }

    async fn ended(&mut self, number: u32) -> anyhow::Result<()> {
        let mut process = self.processes.remove(&number).context("no such member runs")?;
        drop(process.input);
        process.child.wait().await?;
        // All that it said is heard before anything is judged.
        process.hearing.await?;
        self.note(now_us(), number, What::Ended);
        Ok(())
    }

    /// Another takes the name of the static member. Of a classic group the former is refused, of the other kind who comes
    /// later, as in Kafka; it ends.
    async fn double(&mut self) -> anyhow::Result<()> {
        let begun = now_us();
        self.join(DOUBLE)?;
        let refused = async {
            loop {
                let is_refused = |told: &Told| matches!(told.what, What::Refused { .. }) && told.at_us > begun;
                if let Some(told) = self.heard().into_iter().find(is_refused) {
                    return told.member;
                }
                sleep(LOOK_INTERVAL).await;
            }
        };
        let refused = timeout(STABLE_MAX, refused).await;
        let refused = refused.context("two members have one name, and neither is refused")?;
        let expected = match self.protocol {
            GroupProtocol::Classic => STATIC,
            GroupProtocol::Consumer => DOUBLE,
        };
        ensure!(
            refused == expected,
            "of two members of one name {refused} was refused, not {expected}"
        );
        self.note(begun, refused, What::Stale);
        self.kill(refused).await
    }

    /// The static member ends as told and comes back: nobody else may notice.
    async fn restart_static(&mut self) -> anyhow::Result<()> {
        let number = [STATIC, DOUBLE]
            .into_iter()
            .find(|number| self.processes.contains_key(number));
        let number = number.context("the static member does not run")?;
        let (begun, before) = (now_us(), self.owned(number));
        self.ended(number).await?;
        self.join(number)?;
        let back = async {
            while self.owned(number) != before || before.is_empty() {
                sleep(LOOK_INTERVAL).await;
            }
        };
        timeout(STABLE_MAX, back)
            .await
            .with_context(|| format!("the static member does not have {before:?} again"))?;
        sleep(UNDISTURBED).await;
        let is_moved = |told: &&Told| {
            let is_change = matches!(told.what, What::Revoked { .. } | What::Lost { .. });
            told.at_us > begun && told.member != number && is_change
        };
        let moved = self.heard().iter().find(is_moved).cloned();
        ensure!(
            moved.is_none(),
            "a static member came back in time, and another was told: {moved:?}"
        );
        Ok(())
    }

    /// What a member has, as it told.
    fn owned(&self, number: u32) -> BTreeSet<i32> {
        let mut owned = BTreeSet::new();
        for told in self.heard().into_iter().filter(|told| told.member == number) {
            match told.what {
                What::Assigned { partitions } => owned.extend(partitions),
                What::Revoked { positions } => owned.retain(|one| positions.iter().all(|(gone, _)| gone != one)),
                What::Lost { partitions } => owned.retain(|one| !partitions.contains(one)),
                What::Ended => owned.clear(),
                _ => {}
            }
        }
        owned
    }

    /// Waits until the group is stable with so many members, every partition with one, and these have told of it: what is
    /// on its way to a member that is stopped just then would be told after others have been given it.
    async fn stable(&mut self, count: usize) -> anyhow::Result<()> {
        let partitions = self.admin.describe_topic(&self.topic).await?.partitions.len();
        let mut last = String::new();
        let stable = async {
            loop {
                let group = timeout(LOOK_MAX, self.admin.describe_group(&self.topic)).await;
                let is_told = is_shared_out(self.heard(), partitions);
                if is_told && matches!(&group, Ok(Ok(group)) if is_stable(group, count, partitions)) {
                    return;
                }
                last = format!("{group:?}");
                sleep(LOOK_INTERVAL).await;
            }
        };
        let outcome = timeout(STABLE_MAX, stable).await;
        outcome.with_context(|| {
            let told = is_shared_out(self.heard(), partitions);
            format!(
                "the group was not stable with {count} members within {STABLE_MAX:?} (as they told: {told}): {last}"
            )
        })?;
        self.stable_after
            .extend(self.struck.map(|struck| struck.elapsed().as_secs_f64()));
        Ok(())
    }

    /// Lets them read and commit everything up to where the partitions end, ends them, and judges what they told.
    pub async fn finish(mut self) -> anyhow::Result<(Finding, Vec<f64>)> {
        let mut ends = BTreeMap::new();
        for one in self.admin.describe_topic(&self.topic).await?.partitions {
            let end = self
                .admin
                .list_offset(&self.topic, PartitionId(one.partition), OffsetSpec::Latest)
                .await?;
            ends.insert(one.partition, end.map_or(0, |end| end.offset.0));
        }
        let committed = |told: &[Told], partition: i32| {
            let offsets = told.iter().filter_map(|told| match &told.what {
                What::Committed { offsets, .. } => Some(offsets),
                _ => None,
            });
            offsets
                .flatten()
                .filter(|(number, _)| *number == partition)
                .map(|(_, offset)| *offset)
                .max()
        };
        let all = async {
            loop {
                let told = self.heard();
                if ends
                    .iter()
                    .all(|(partition, end)| committed(&told, *partition).unwrap_or(0) >= *end)
                {
                    return;
                }
                sleep(LOOK_INTERVAL * 5).await;
            }
        };
        // What is missing, the judge says.
        let _ = timeout(Duration::from_secs(60), all).await;
        for number in self.processes.keys().copied().collect::<Vec<_>>() {
            self.ended(number).await?;
        }
        let finding = judge(self.heard(), &ends);
        if !finding.wrong.is_empty() {
            let some: Vec<_> = finding.wrong.iter().take(5).cloned().collect();
            bail!(
                "{} things are wrong with the group: {}",
                finding.wrong.len(),
                some.join("; ")
            );
        }
        Ok((finding, std::mem::take(&mut self.stable_after)))
    }
}

/// Whether so many members share out so many partitions, each of which has one.
fn is_stable(group: &GroupDescription, count: usize, partitions: usize) -> bool {
    let all: Vec<_> = group.members.iter().flat_map(|member| &member.assignment).collect();
    let different: BTreeSet<_> = all.iter().collect();
    let is_shared_out = all.len() == partitions && different.len() == partitions;
    group.state == GroupState::Stable && group.members.len() == count && is_shared_out
}
