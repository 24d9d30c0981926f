//! A client that is a process of its own, so that it can be stopped between a send and its answer: this program, started
//! anew. It writes to a topic of its own, reads it, and judges what it has seen.
//!
//! ```text
//!   parent ── SIGSTOP, SIGCONT ──► child ── lines of JSON: how far it is ──► parent
//!   parent ── end of its input ──► child: stops writing, reads everything ── its verdict ──► parent
//! ```

use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use klamm_verify::{Load, Run, Verdict};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::ledger::Ledger;

/// A pause must be longer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
const TELL_INTERVAL: Duration = Duration::from_millis(100);
/// Acknowledgements of each partition: it is steady, or back, then.
const STEADY: u64 = 10;
const STEADY_MAX: Duration = Duration::from_secs(60);
/// What is under way, and everything to be read.
const FINISH_MAX: Duration = Duration::from_secs(180);

/// What the child is told.
#[derive(clap::Args)]
pub struct ClientArgs {
    #[arg(long)]
    bootstrap: String,
    #[arg(long)]
    topic: String,
}

/// What the child tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// So many sends are without an answer, and in every partition so many are acknowledged.
    Now {
        under_way: u64,
        acknowledged: u64,
    },
    End(Told),
}

/// A verdict, as it goes from one process to the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    acknowledged: u64,
    read: u64,
    lost: u64,
    doubled: u64,
    reordered: u64,
    inconsistent: u64,
    /// Sends whose outcome nobody knows.
    unknown: u64,
    examples: Vec<String>,
}

impl Told {
    fn new(verdict: &Verdict, unknown: u64) -> Told {
        Told {
            acknowledged: verdict.acknowledged,
            read: verdict.read,
            lost: verdict.lost,
            doubled: verdict.doubled,
            reordered: verdict.reordered,
            inconsistent: verdict.inconsistent,
            unknown,
            examples: verdict.examples.iter().map(ToString::to_string).collect(),
        }
    }

    /// Counts it to a verdict of the same run.
    ///
    /// # Errors
    /// The client's own verdict is bad: what it saw is told in words.
    pub fn add_to(&self, verdict: &mut Verdict) -> anyhow::Result<()> {
        let bad = self.lost + self.doubled + self.reordered + self.inconsistent;
        ensure!(bad == 0, "the client's verdict is bad: {}", self.examples.join("; "));
        verdict.acknowledged += self.acknowledged;
        verdict.read += self.read;
        Ok(())
    }
}

/// The child, as its parent sees it. Dropping it kills it.
pub struct ClientProcess {
    child: Child,
    input: ChildStdin,
    lines: tokio::io::Lines<BufReader<ChildStdout>>,
    acknowledged: u64,
    under_way: u64,
    pauses: u32,
}

impl ClientProcess {
    /// Starts it and waits until its writes are acknowledged.
    pub async fn start(bootstrap: &str, topic: &str) -> anyhow::Result<ClientProcess> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut child = Command::new(program)
            .args(["client", "--bootstrap", bootstrap, "--topic", topic])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting a client")?;
        let input = child.stdin.take().context("the client's input")?;
        let output = child.stdout.take().context("the client's output")?;
        let mut client = ClientProcess {
            child,
            input,
            lines: BufReader::new(output).lines(),
            acknowledged: 0,
            under_way: 0,
            pauses: 0,
        };
        client.back().await?;
        Ok(client)
    }

    /// Stops it once it has said that something is under way.
    pub async fn pause(&mut self) -> anyhow::Result<()> {
        self.hear_all().await;
        while self.under_way == 0 {
            let heard = timeout(STEADY_MAX, self.hear()).await;
            heard.context("nothing was under way when the client was to be stopped")??;
        }
        self.pauses += 1;
        self.signal(Signal::STOP)
    }

    pub fn resume(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        kill_process(pid.context("the client has ended")?, signal).context("signalling the client")
    }

    /// Waits until all its partitions have taken more writes from now on.
    pub async fn back(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        self.hear_all().await;
        let wanted = self.acknowledged + STEADY;
        while self.acknowledged < wanted {
            let heard = timeout(STEADY_MAX.saturating_sub(begun.elapsed()), self.hear()).await;
            let behind = || {
                format!(
                    "the client's writes did not come back within {STEADY_MAX:?}: {}",
                    self.acknowledged
                )
            };
            heard.with_context(behind)??;
        }
        Ok(())
    }

    /// What it has said meanwhile.
    async fn hear_all(&mut self) {
        while timeout(Duration::ZERO, self.hear())
            .await
            .is_ok_and(|heard| heard.is_ok())
        {}
    }

    /// The next line; the verdict if it is that.
    async fn hear(&mut self) -> anyhow::Result<Option<Told>> {
        let Some(line) = self.lines.next_line().await? else {
            bail!("the client has ended, and told no verdict");
        };
        match serde_json::from_str(&line).with_context(|| format!("the client said {line:?}"))? {
            Line::Now {
                under_way,
                acknowledged,
            } => {
                (self.under_way, self.acknowledged) = (under_way, acknowledged);
                Ok(None)
            }
            Line::End(told) => Ok(Some(told)),
        }
    }

    /// Has it write no more and read everything; what it has seen.
    pub async fn finish(mut self) -> anyhow::Result<Told> {
        ensure!(self.pauses > 0, "it was never paused");
        drop(self.input);
        let lines = &mut self.lines;
        let told = timeout(FINISH_MAX, async {
            while let Some(line) = lines.next_line().await? {
                if let Line::End(told) = serde_json::from_str(&line)? {
                    return Ok(told);
                }
            }
            bail!("it has ended, and told no verdict")
        });
        let told = told
            .await
            .with_context(|| format!("no verdict within {FINISH_MAX:?}"))??;
        self.child.wait().await.context("waiting for its end")?;
        Ok(told)
    }
}

/// The child: runs until its input ends.
pub async fn run_client(args: ClientArgs) -> anyhow::Result<()> {
    let load = Load {
        partitions: 6,
        producers: 2,
        records_per_second: 600,
        configs: vec![("min.insync.replicas".to_owned(), "2".to_owned())],
        request_timeout: REQUEST_TIMEOUT,
        ..Load::new(args.bootstrap, args.topic)
    };
    let ledger = Arc::new(Ledger::new(load.partitions, false));
    let mut run = Run::start(load, ledger.clone()).await.context("starting the load")?;
    let mut input = tokio::io::stdin();
    let mut byte = [0];
    loop {
        tokio::select! {
            ended = input.read(&mut byte) => match ended? {
                0 => break,
                _ => continue,
            },
            () = sleep(TELL_INTERVAL) => {
                let acknowledged = run.progress().counts().into_iter().min().unwrap_or(0);
                let under_way = ledger.under_way();
                tell(&Line::Now { under_way, acknowledged })?;
            }
        }
    }
    run.stop_producing().await?;
    if let Some(unread) = run.read_to_end().await?.pop() {
        return Err(anyhow::Error::new(unread).context("reading everything back"));
    }
    let admin = run.client().admin();
    admin
        .delete_topic(&run.load().topic)
        .await
        .context("deleting the client's topic")?;
    tell(&Line::End(Told::new(&ledger.finish(), ledger.failures())))
}

fn tell(line: &Line) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{}", serde_json::to_string(line)?).context("telling the parent")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_verdict_is_no_good_run() {
        let mut verdict = Verdict {
            acknowledged: 5,
            read: 5,
            ..Verdict::default()
        };
        let good = Told {
            acknowledged: 3,
            read: 4,
            unknown: 1,
            ..Told::default()
        };
        good.add_to(&mut verdict).unwrap();
        assert_eq!((verdict.acknowledged, verdict.read), (8, 9));
        let examples = vec!["1:7 at 3 and at 9".to_owned()];
        for bad in [
            Told {
                doubled: 1,
                examples,
                ..good.clone()
            },
            Told {
                lost: 1,
                ..good.clone()
            },
            Told {
                reordered: 1,
                ..good.clone()
            },
            Told {
                inconsistent: 1,
                ..good
            },
        ] {
            let said = bad.add_to(&mut verdict).unwrap_err().to_string();
            assert!(bad.doubled == 0 || said.contains("1:7 at 3 and at 9"), "{said}");
        }
    }

    #[test]
    fn lines_are_read_as_they_were_written() {
        let now = Line::Now {
            under_way: 2,
            acknowledged: 3,
        };
        for line in [
            now,
            Line::End(Told {
                doubled: 1,
                ..Told::default()
            }),
        ] {
            let text = serde_json::to_string(&line).unwrap();
            assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
        }
    }
}
