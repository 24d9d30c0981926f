//! `klamm group`: which groups there are, who is in them, how far they are, and why they did what they did.

mod offsets;
mod reset;
mod show;
mod why;

use std::process::ExitCode;

use klamm_client::TopicPartition;

use super::{admin_failure, all_tried, connect};
use crate::Common;
use crate::failure::Failure;

#[derive(clap::Subcommand)]
pub enum Command {
    /// List groups.
    List {
        /// Only those in this state, such as Stable or Empty.
        #[arg(long)]
        state: Option<String>,
        /// Only those of this protocol: classic or consumer.
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
    },
    /// Show state, protocol, epochs and members of groups.
    Describe {
        #[arg(required = true)]
        groups: Vec<String>,
    },
    /// Show the members of a group and what each has.
    Members { group: String },
    /// Show the committed offsets of a group.
    Offsets { group: String },
    /// Show how far a group is behind, by partition, and who reads it.
    Lag { group: String },
    /// Set the offsets of a group without members. Shows what would change; --execute does it.
    ResetOffsets(reset::Args),
    /// Delete groups that have no members, with their offsets.
    Delete {
        #[arg(required = true)]
        groups: Vec<String>,
    },
    /// Delete offsets of a group, for topics that no member reads.
    DeleteOffsets {
        group: String,
        #[arg(long, short)]
        topic: String,
        /// Only these partitions; all that the group has committed without it.
        #[arg(long, short)]
        partition: Vec<i32>,
    },
    /// Tell what happened in a group: who joined, left or was removed and why, and how long rebalances took.
    Why {
        group: String,
        /// Only the last so many entries.
        #[arg(long, short)]
        max: Option<usize>,
    },
}

pub async fn run(common: &Common, command: Command) -> Result<ExitCode, Failure> {
    let client = connect(common).await?;
    let admin = client.admin();
    match command {
        Command::List { state, kind } => show::list(common, &admin, state.as_deref(), kind.as_deref()).await?,
        Command::Describe { groups } => show::describe(common, &admin, &groups).await?,
        Command::Members { group } => show::members(common, &admin, &group).await?,
        Command::Offsets { group } => offsets::offsets(common, &admin, &group).await?,
        Command::Lag { group } => offsets::lag(common, &admin, &group).await?,
        Command::ResetOffsets(args) => reset::run(common, &client, args).await?,
        Command::Delete { groups } => {
            let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
            all_tried(admin.delete_groups(&groups).await.into_values())?;
        }
        Command::DeleteOffsets {
            group,
            topic,
            partition,
        } => offsets::delete(&admin, &group, &topic, &partition).await?,
        Command::Why { group, max } => why::run(common, &client, &group, max).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Partitions in a row: `orders[0,1] payments[2]`.
fn partitions<'a>(list: impl IntoIterator<Item = &'a TopicPartition>) -> String {
    let mut text = String::new();
    let mut topic = None;
    for partition in list {
        if topic == Some(&partition.topic) {
            text.push(',');
        } else {
            if topic.is_some() {
                text.push_str("] ");
            }
            text.push_str(&partition.topic);
            text.push('[');
            topic = Some(&partition.topic);
        }
        text.push_str(&partition.partition.to_string());
    }
    if topic.is_some() {
        text.push(']');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_told_by_topic() {
        let at = |topic: &str, number| TopicPartition::new(topic, number);
        let list = [at("a", 0), at("a", 2), at("b", 1)];
        assert_eq!(partitions(&list), "a[0,2] b[1]");
        assert_eq!(partitions(&[]), "");
    }
}
