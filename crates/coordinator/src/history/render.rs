//! Entries for people: a line each, with time, what and why.

use std::fmt::Write;

use klamm_types::Timestamp;

use super::{Entry, Happened, Removal};

/// One line per entry, in the order given. Control characters of names that clients chose are shown, not obeyed.
pub fn render<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> String {
    let mut text = String::new();
    for entry in entries {
        let line = format!("{}  {}", time(entry.at), sentence(&entry.happened));
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
        Happened::MemberRemoved { member, cause } => format!("member {member} was removed: {}", why(*cause)),
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
        } => format!("nobody has read {topic} {partitions:?} since {}", time(*since)),
    }
}

fn why(cause: Removal) -> &'static str {
    match cause {
        Removal::SessionExpired => "no heartbeat within its session timeout",
        Removal::RebalanceTimedOut => "it did not join the rebalance in time",
        Removal::SyncTimedOut => "it did not ask for its assignment in time",
        Removal::RevocationTimedOut => "it did not give up its partitions in time",
        Removal::Replaced => "another process took its instance id",
        Removal::Administered => "by an operator",
        Removal::GroupFull => "the group is full without it",
    }
}

/// `2026-11-27 18:18:03.123Z`
fn time(at: Timestamp) -> String {
    const DAY_MS: i64 = 86_400_000;
    if at.is_none() {
        return "(unknown time)".to_owned();
    }
    let (days, of_day) = (at.0.div_euclid(DAY_MS), at.0.rem_euclid(DAY_MS));
    let (year, month, day) = date(days);
    let (hours, minutes) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (seconds, milliseconds) = (of_day / 1000 % 60, of_day % 1000);
    format!("{year:04}-{month:02}-{day:02} {hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}Z")
}

/// Year, month and day of a day after 1 January 1970, in the Gregorian calendar.
fn date(days: i64) -> (i64, i64, i64) {
    // Years begin in March here, so that the leap day is the last of its year, and 400 years are always 146,097 days.
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}
