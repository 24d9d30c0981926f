//! Entries for people: a line each, with time, what and why.

use std::fmt::Write;

use super::{Entry, Happened};

/// One line per entry, in the order given. Control characters of names that clients chose are shown, not obeyed.
pub fn render<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> String {
    let mut text = String::new();
    for entry in entries {
        let line = format!("{}  {}", entry.at.utc(), sentence(&entry.happened));
        for character in line.chars() {
            if character.is_control() {
                let _ = write!(text, "{}", character.escape_default());
            } else {
                text.push(character);
            }
        }
        text.push('\n');
    }
    text
}

/// What happened and why, without the time.
pub fn sentence(happened: &Happened) -> String {
    match happened {
        Happened::MemberJoined {
            member,
            client_id,
            client_host,
        } => format!("member {member} joined (client {client_id} at {client_host})"),
        Happened::MemberLeft { member, reason } => match reason.as_deref() {
            Some(reason) if !reason.is_empty() => format!("member {member} left: {reason}"),
            _ => format!("member {member} left"),
        },
        Happened::MemberRemoved { member, cause } => format!("member {member} was removed: {}", cause.sentence()),
        Happened::RebalanceStarted { cause } => format!("rebalance began: {cause}"),
        Happened::RebalanceEnded {
            generation,
            members,
            took_ms,
        } => format!("rebalance ended after {took_ms} ms: generation {generation} with {members} members"),
        Happened::Unowned {
            topic,
            partitions,
            since,
        } => format!("nobody has read {topic} {partitions:?} since {}", since.utc()),
    }
}
