//! `klamm group reset-offsets`: shows what would change, and changes it when told to.

use std::collections::BTreeMap;

use klamm_client::admin::{Admin, OffsetSpec};
use klamm_client::{Client, CommittedOffset, TopicPartition};
use klamm_types::{LeaderEpoch, Offset, Timestamp};
use serde_json::{Value, json};

use super::{admin_failure, offsets};
use crate::Common;
use crate::failure::Failure;
use crate::output::{self, Table};

#[derive(clap::Args)]
pub struct Args {
    group: String,
    /// The topic to set offsets for.
    #[arg(long, short)]
    topic: String,
    /// Only these partitions; all of the topic without it.
    #[arg(long, short)]
    partition: Vec<i32>,
    /// Where the group is to go on: beginning, end, an offset, @MILLISECONDS for the first record from a time on, or
    /// +N or -N records from where it is.
    #[arg(long, value_parser = target, allow_hyphen_values = true)]
    to: Target,
    /// Do it. Without it, only what would change is shown.
    #[arg(long)]
    execute: bool,
}

/// Where to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Beginning,
    End,
    Offset(i64),
    Time(i64),
    Shift(i64),
}

fn target(text: &str) -> Result<Target, String> {
    let number = |text: &str| text.parse::<i64>().ok().filter(|number| *number >= 0);
    let found = match text {
        "beginning" | "earliest" => Some(Target::Beginning),
        "end" | "latest" => Some(Target::End),
        _ => match text.split_at_checked(1) {
            Some(("@", time)) => number(time).map(Target::Time),
            Some(("+", count)) => number(count).map(Target::Shift),
            Some(("-", count)) => number(count).map(|count| Target::Shift(-count)),
            _ => number(text).map(Target::Offset),
        },
    };
    found.ok_or_else(|| "expected beginning, end, an offset, @MILLISECONDS, +N or -N".to_owned())
}

/// A partition's log as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Log {
    start: i64,
    end: i64,
}

/// The offset that a target means, within what the log holds. `None`: there is nothing to shift from.
fn resolve(target: Target, log: Log, committed: Option<i64>, at_time: Option<i64>) -> Option<i64> {
    let wanted = match target {
        Target::Beginning => log.start,
        Target::End => log.end,
        Target::Offset(offset) => offset,
        Target::Time(_) => at_time.unwrap_or(log.end),
        Target::Shift(count) => committed?.saturating_add(count),
    };
    Some(wanted.clamp(log.start, log.end))
}

struct Change {
    partition: TopicPartition,
    before: Option<i64>,
    after: i64,
}

pub async fn run(common: &Common, client: &Client, args: Args) -> Result<(), Failure> {
    let admin = client.admin();
    let topic = admin.describe_topic(&args.topic).await.map_err(admin_failure)?;
    let mut numbers: Vec<i32> = topic.partitions.iter().map(|partition| partition.partition).collect();
    if !args.partition.is_empty() {
        if let Some(unknown) = args.partition.iter().find(|number| !numbers.contains(number)) {
            return Err(Failure::usage(format!("{} has no partition {unknown}", args.topic)));
        }
        numbers.clone_from(&args.partition);
    }
    let committed = admin.list_group_offsets(&args.group).await.map_err(admin_failure)?;
    let mut changes = Vec::with_capacity(numbers.len());
    for number in numbers {
        let partition = TopicPartition::new(args.topic.as_str(), number);
        let before = committed.get(&partition).map(|committed| committed.offset.0);
        if let Some(after) = look_up(&admin, &partition, args.to, before).await? {
            changes.push(Change {
                partition,
                before,
                after,
            });
        }
    }
    if args.execute {
        let set = changes.iter().map(|change| {
            let offset = CommittedOffset {
                leader_epoch: LeaderEpoch::NONE,
                ..CommittedOffset::new(Offset(change.after))
            };
            (change.partition.clone(), offset)
        });
        let set: BTreeMap<TopicPartition, CommittedOffset> = set.collect();
        let refused = admin
            .alter_group_offsets(&args.group, &set)
            .await
            .map_err(admin_failure)?;
        offsets::all_done("setting offsets", &refused)?;
    }
    print(common, &args, &changes)
}

async fn look_up(
    admin: &Admin,
    partition: &TopicPartition,
    target: Target,
    before: Option<i64>,
) -> Result<Option<i64>, Failure> {
    let find = async |spec| {
        let found = admin.list_offset(&partition.topic, partition.partition, spec).await;
        found
            .map(|found| found.map(|found| found.offset.0))
            .map_err(admin_failure)
    };
    let log = Log {
        start: find(OffsetSpec::Earliest).await?.unwrap_or(0),
        end: find(OffsetSpec::Latest).await?.unwrap_or(0),
    };
    let at_time = match target {
        Target::Time(time) => find(OffsetSpec::AtOrAfter(Timestamp(time))).await?,
        _ => None,
    };
    Ok(resolve(target, log, before, at_time))
}

fn print(common: &Common, args: &Args, changes: &[Change]) -> Result<(), Failure> {
    let value = changes.iter().map(|change| {
        json!({
            "topic": &*change.partition.topic,
            "partition": change.partition.partition.0,
            "before": change.before,
            "after": change.after,
            "executed": args.execute,
        })
    });
    let value: Vec<Value> = value.collect();
    output::print(common.output, &value, |_| {
        let mut table = Table::new(&["TOPIC", "PARTITION", "BEFORE", "AFTER"]);
        for change in changes {
            table.row(vec![
                change.partition.topic.to_string(),
                change.partition.partition.to_string(),
                change
                    .before
                    .map_or_else(|| "-".to_owned(), |offset| offset.to_string()),
                change.after.to_string(),
            ]);
        }
        let told = if args.execute {
            "done"
        } else {
            "nothing was changed: add --execute to do it"
        };
        format!("{table}{told}")
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read() {
        assert_eq!(target("beginning"), Ok(Target::Beginning));
        assert_eq!(target("latest"), Ok(Target::End));
        assert_eq!(target("7"), Ok(Target::Offset(7)));
        assert_eq!(target("@1700000000000"), Ok(Target::Time(1_700_000_000_000)));
        assert_eq!(
            (target("+5"), target("-5")),
            (Ok(Target::Shift(5)), Ok(Target::Shift(-5)))
        );
        for bad in ["", "x", "-", "@", "+x", "1.5"] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn offsets_stay_within_the_log() {
        let log = Log { start: 10, end: 20 };
        assert_eq!(resolve(Target::Beginning, log, None, None), Some(10));
        assert_eq!(resolve(Target::Offset(3), log, None, None), Some(10));
        assert_eq!(resolve(Target::Offset(99), log, None, None), Some(20));
        assert_eq!(resolve(Target::Shift(-3), log, Some(15), None), Some(12));
        assert_eq!(resolve(Target::Shift(-30), log, Some(15), None), Some(10));
        assert_eq!(resolve(Target::Shift(5), log, None, None), None);
        assert_eq!(resolve(Target::Time(5), log, None, Some(14)), Some(14));
        assert_eq!(resolve(Target::Time(5), log, None, None), Some(20));
    }
}
