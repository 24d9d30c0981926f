//! `klamm verify`: puts a load on any Kafka cluster and says whether the cluster keeps its word meanwhile.
//!
//! It breaks nothing itself: whoever does (a person, a script) may say so in a file, and it stands in the report.

mod causes;
mod display;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use klamm_client::{Client, GroupProtocol};
use klamm_verify::{
    Audiences, Description, Ending, Judge, Limits, Live, Load, Monitor, Outages, Report, Run, WorkloadError, to_html,
};

use super::{admin_failure, connect, key_value};
use crate::Common;
use crate::failure::Failure;
use crate::output;
use crate::signals::{StopSignals, stop_signals};
use crate::why::Places;
use display::Display;
use watch::{Marks, Watch};

/// Replicas of each partition, where there are so many brokers.
const REPLICATION_FACTOR: i16 = 3;

#[derive(clap::Args)]
pub struct Args {
    /// How long the load goes on: seconds, or 90s, 10m, 2h. Ctrl-C ends it earlier, with a verdict.
    #[arg(long, default_value = "60s", value_parser = duration)]
    duration: Duration,
    /// The topic to create; it must not exist [default: a name of its own].
    #[arg(long)]
    topic: Option<String>,
    /// Leave the topic and the group behind.
    #[arg(long)]
    keep_topic: bool,
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: i32,
    /// Replicas of each partition [default: 3, or as many as there are brokers].
    #[arg(long)]
    replication_factor: Option<i16>,
    /// A setting of the topic; min.insync.replicas=2 is one to think of.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    config: Vec<(String, String)>,
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    producers: u32,
    /// Records per second over all producers.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
    /// Members of a group that reads everything too; 0 for no group.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=1000))]
    group_members: u32,
    /// The group's protocol: classic or consumer (KIP-848).
    #[arg(long, default_value = "classic", value_parser = group_protocol)]
    group_protocol: GroupProtocol,
    /// So often one member of the group, in turn, leaves without committing what it read last, and comes back; 0: never.
    #[arg(long, default_value_t = 20, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=86_400))]
    rejoin_seconds: u64,
    /// A partition without an acknowledged write for so long counts as unavailable. At a slow rate it is longer.
    #[arg(long, default_value_t = 200, value_name = "MS")]
    gap_bound_ms: u64,
    /// Lines `TIME TEXT` that others append meanwhile, to be shown in the report; TIME is RFC 3339 or milliseconds
    /// since 1970.
    #[arg(long, value_name = "FILE")]
    mark_file: Option<PathBuf>,
    #[command(flatten)]
    places: Places,
    /// Write the report as a page.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number
        .parse()
        .map_err(|_| "expected a number, and s, m or h".to_owned())?;
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(format!("{unit:?} is no unit of time here: s, m or h")),
    };
    match number.checked_mul(seconds) {
        Some(seconds @ 1..=31_536_000) => Ok(Duration::from_secs(seconds)),
        _ => Err("expected between a second and a year".to_owned()),
    }
}

fn group_protocol(text: &str) -> Result<GroupProtocol, String> {
    match text {
        "classic" => Ok(GroupProtocol::Classic),
        "consumer" => Ok(GroupProtocol::Consumer),
        _ => Err("expected classic or consumer".to_owned()),
    }
}

pub async fn run(common: &Common, args: Args) -> Result<ExitCode, Failure> {
    let client = connect(common).await?;
    let load = load(common, &args, &client).await?;
    let mut stop = stop_signals()?;
    let live = Arc::new(Live::new(monitor(&load, &args)));
    let run = tokio::select! {
        started = Run::start(load.clone(), live.clone()) => started,
        () = stop.recv() => return Err(Failure::from(anyhow::anyhow!("stopped before it began"))),
    };
    let run = match run {
        Ok(run) => run,
        Err(error) => {
            // A topic that could not be created is not ours to remove.
            if !matches!(error, WorkloadError::Prepare(_)) && !args.keep_topic {
                let _ = clean_up(&client, &load).await;
            }
            return Err(Failure::from(anyhow::Error::new(error).context("starting the load")));
        }
    };
    let mut report = watched(common, &args, &client, run, &live, &mut stop).await;
    if !args.keep_topic {
        report.troubles.extend(clean_up(&client, &load).await);
    }
    conclude(common, &args, &report)
}

async fn load(common: &Common, args: &Args, client: &Client) -> Result<Load, Failure> {
    let replication_factor = match args.replication_factor {
        Some(factor) => factor,
        None => {
            let brokers = client
                .admin()
                .describe_cluster()
                .await
                .map_err(admin_failure)?
                .brokers
                .len();
            i16::try_from(brokers)
                .unwrap_or(REPLICATION_FACTOR)
                .clamp(1, REPLICATION_FACTOR)
        }
    };
    let made = || format!("klamm-verify-{:08x}", rand::random::<u32>());
    Ok(Load {
        partitions: args.partitions,
        replication_factor,
        configs: args.config.clone(),
        producers: args.producers,
        records_per_second: args.rate,
        record_bytes: args.record_bytes,
        group_members: args.group_members,
        group_protocol: args.group_protocol,
        rejoin_interval: (args.rejoin_seconds > 0).then(|| Duration::from_secs(args.rejoin_seconds)),
        api_timeout: Duration::from_secs(common.timeout.max(1)),
        ..Load::new(&common.bootstrap, args.topic.clone().unwrap_or_else(made))
    })
}

fn monitor(load: &Load, args: &Args) -> Monitor {
    let partitions = usize::try_from(load.partitions).unwrap_or(0);
    let mut judge = Judge::new(Limits::shared_by(partitions));
    for partition in 0..load.partitions {
        let readers = [(0, Some(0))].into();
        let group = (load.group_members > 0).then_some(0);
        judge.expect(partition, Audiences { readers, group });
    }
    // What is sent to a partition less often than this cannot be acknowledged more often.
    let pace = Duration::from_secs_f64(f64::from(load.partitions) / f64::from(load.records_per_second));
    let bound = Duration::from_millis(args.gap_bound_ms).max(pace * 10);
    Monitor::new(judge, Outages::new(partitions, bound))
}

/// Watches the load to its end, and judges it. Whatever goes wrong meanwhile is part of the report.
async fn watched(
    common: &Common,
    args: &Args,
    client: &Client,
    mut run: Run,
    live: &Live,
    stop: &mut StopSignals,
) -> Report {
    let started_ms = epoch_ms(SystemTime::now()).saturating_sub(i64::try_from(run.elapsed().as_millis()).unwrap_or(0));
    let watch = Watch::start(client.admin(), &run.load().topic, run.started());
    let mut marks = Marks::new(args.mark_file.clone(), started_ms);
    let mut display = Display::new(common.output);
    let end = run.started() + args.duration;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(end) => break,
            () = stop.recv() => break,
            () = display.due() => {
                display.show(run.elapsed(), &live.monitor().snapshot(run.elapsed()));
                marks.look();
            }
        }
    }
    let produced = run.elapsed();
    display.end();
    display.say("stopping the producers, and reading to the end");
    let (ending, troubles) = finished(&mut run, stop).await;
    let changes = watch.end().await;
    let (marks, bad_marks) = marks.end();
    let (causes, untold) = causes::since(common, &args.places, &run.load().topic, started_ms).await;
    let mut monitor = live.monitor().clone();
    monitor.outages.finish(produced);
    monitor.judge.finish(ending);
    let description = description(run.load(), started_ms, produced);
    Report {
        marks,
        causes,
        troubles: [troubles, bad_marks, untold].concat(),
        ..Report::new(description, &monitor, &changes)
    }
}

/// Lets what is under way end, and everybody read to the end. A second signal ends the waiting.
async fn finished(run: &mut Run, stop: &mut StopSignals) -> (Ending, Vec<String>) {
    let ending = async {
        run.stop_producing().await?;
        run.read_to_end().await
    };
    let unread: Result<Vec<_>, WorkloadError> = tokio::select! {
        ended = ending => ended,
        () = stop.recv() => return (Ending::CutShort, vec!["stopped before everything was read".to_owned()]),
    };
    let tell = |error: WorkloadError| format!("{:#}", anyhow::Error::new(error));
    let troubles = match unread {
        Ok(unread) => unread.into_iter().map(tell).collect(),
        Err(error) => vec![tell(error)],
    };
    (Ending::Read, troubles)
}

fn description(load: &Load, started_ms: i64, produced: Duration) -> Description {
    Description {
        bootstrap: load.bootstrap.clone(),
        topic: load.topic.clone(),
        started_ms,
        seconds: produced.as_secs_f64(),
        partitions: load.partitions,
        replication_factor: load.replication_factor,
        configs: load.configs.iter().cloned().collect(),
        producers: load.producers,
        records_per_second: load.records_per_second,
        record_bytes: load.record_bytes,
        group_members: load.group_members,
    }
}

/// Removes what the run made; what could not be removed is told.
async fn clean_up(client: &Client, load: &Load) -> Vec<String> {
    let admin = client.admin();
    let mut left = Vec::new();
    if let Err(error) = admin.delete_topic(&load.topic).await {
        left.push(format!(
            "the topic {} is still there: {:#}",
            load.topic,
            anyhow::Error::new(error)
        ));
    }
    if load.group_members > 0
        && let Err(error) = admin.delete_group(&load.topic).await
    {
        left.push(format!(
            "the group {} is still there: {:#}",
            load.topic,
            anyhow::Error::new(error)
        ));
    }
    left
}

fn conclude(common: &Common, args: &Args, report: &Report) -> Result<ExitCode, Failure> {
    if let Some(path) = &args.report {
        write(path, &to_html(report))?;
    }
    if let Some(path) = &args.json {
        write(
            path,
            &serde_json::to_string(report).context("writing the report as JSON")?,
        )?;
    }
    output::print(common.output, report, display::to_text)?;
    match report.verdict {
        "good" => Ok(ExitCode::SUCCESS),
        "anomalies" => Err(Failure::check(report.sentence())),
        _ => Err(Failure::new(Failure::UNREACHABLE, anyhow::anyhow!(report.sentence()))),
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

fn epoch_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, seconds) in [("60", 60), ("90s", 90), ("10m", 600), ("2h", 7200)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
        for wrong in ["", "0", "m", "1d", "-1s", "1.5h", "99999999999999999999", "9999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
