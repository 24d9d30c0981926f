//! Stories of several members, as text: a command a line, and indented below it what came of it.
//!
//! ```text
//!  join NAME [instance=I] [offers=range:x,sticky:y] [session=SECONDS] [rebalance=SECONDS] [old] [forgets] [because=WORD]
//!  sync NAME [NAME=PARTITIONS …]     heartbeat NAME     leave NAME …     remove INSTANCE …
//!  wait SECONDS                      reload             # a remark
//! ```
//!
//! A name is a client; it speaks with the member id and the generation that it last heard of, unless it `forgets`.
//! Ids are shown short: `a-3` is what call 3 made for client `a`.

use std::collections::BTreeMap;

use super::*;
use crate::draft::Decision;

/// What a client knows of itself.
#[derive(Clone, Debug, Default)]
struct Known {
    member: String,
    generation: i32,
    instance: Option<String>,
}

struct Story {
    bench: Bench,
    clients: BTreeMap<String, Known>,
    /// Who made a call.
    callers: BTreeMap<CallId, String>,
    state: String,
    text: String,
}

impl Story {
    fn run(script: &str) -> String {
        let mut story = Story {
            bench: bench(),
            clients: BTreeMap::new(),
            callers: BTreeMap::new(),
            state: String::new(),
            text: String::new(),
        };
        for line in script.lines().filter(|line| !line.starts_with(' ')) {
            story.text += line;
            story.text += "\n";
            let words: Vec<&str> = line.split_whitespace().collect();
            if let Some((command, words)) = words.split_first()
                && !command.starts_with('#')
            {
                story.command(command, words);
            }
        }
        story.text
    }

    fn command(&mut self, command: &str, words: &[&str]) {
        match command {
            "join" => self.join(words),
            "sync" => self.sync(words),
            "heartbeat" => {
                let known = self.client(words[0]);
                let mut call = heartbeat(&known.member, known.generation);
                if let Call::Heartbeat(call) = &mut call {
                    call.instance = known.instance;
                }
                self.call(words[0], call);
            }
            "leave" => {
                let known: Vec<Known> = words.iter().map(|name| self.client(name)).collect();
                let members = known
                    .iter()
                    .map(|known| (known.member.as_str(), known.instance.as_deref()));
                self.call(words[0], leave(&members.collect::<Vec<_>>()));
            }
            "remove" => {
                let members: Vec<_> = words.iter().map(|instance| ("", Some(*instance))).collect();
                self.call("operator", leave(&members));
            }
            "wait" => {
                for (moment, decision) in self.bench.pass(seconds(words[0])) {
                    if !decision.replies.is_empty() || !decision.history.is_empty() {
                        self.say(&format!("at {:.1} s", moment.0 as f64 / 1e6));
                    }
                    self.tell(&decision);
                }
            }
            "reload" => self.bench.reload(),
            _ => panic!("no such command: {command}"),
        }
        self.tell_state();
    }

    fn client(&self, name: &str) -> Known {
        self.clients.get(name).cloned().unwrap_or_default()
    }

    fn join(&mut self, words: &[&str]) {
        let name = words[0];
        let mut known = self.client(name);
        let mut call = join(name, "");
        for word in &words[1..] {
            match word.split_once('=').unwrap_or((word, "")) {
                ("instance", instance) => known.instance = Some(instance.to_owned()),
                ("offers", offers) => call.protocols = offers.split(',').map(offer).collect(),
                ("session", text) => call.session_timeout_ms = seconds(text).as_millis() as i32,
                ("rebalance", text) => call.rebalance_timeout_ms = seconds(text).as_millis() as i32,
                ("because", reason) => call.reason = Some(reason.to_owned()),
                ("old", _) => {
                    call.member_id_rule = MemberIdRule::Given;
                    call.skip_assignment = SkipAssignment::Unsupported;
                }
                ("forgets", _) => known.member.clear(),
                (other, _) => panic!("no such word: {other}"),
            }
        }
        call.member.clone_from(&known.member);
        call.instance.clone_from(&known.instance);
        self.clients.insert(name.to_owned(), known);
        self.call(name, Call::Join(Box::new(call)));
    }

    fn sync(&mut self, words: &[&str]) {
        let known = self.client(words[0]);
        let assignment = |word: &&str| {
            let (name, partitions) = word.split_once('=').expect("NAME=PARTITIONS");
            (self.client(name).member, Bytes::from(partitions.to_owned()))
        };
        let call = Sync {
            group: "g".to_owned(),
            generation: known.generation,
            member: known.member,
            instance: known.instance,
            protocol: None,
            assignments: words[1..].iter().map(assignment).collect(),
        };
        self.call(words[0], Call::Sync(Box::new(call)));
    }

    fn call(&mut self, name: &str, call: Call) {
        let (id, decision) = self.bench.call(call);
        self.callers.insert(id, name.to_owned());
        self.tell(&decision);
        if !decision.replies.iter().any(|(answered, _)| *answered == id) {
            self.say(&format!("{name} waits"));
        }
    }

    fn tell(&mut self, decision: &Decision) {
        for entry in &decision.history {
            let text = entry_text(&entry.happened);
            self.say(&format!("history: {text}"));
        }
        for record in records(decision) {
            let text = record_text(&record);
            self.say(&format!("record: {text}"));
        }
        for (id, reply) in &decision.replies {
            let name = self.callers.remove(id).expect("a call is answered once");
            if let Reply::Join(joined) = reply {
                self.heard(&name, joined);
            }
            let text = reply_text(reply);
            self.say(&format!("{name} {text}"));
        }
    }

    fn heard(&mut self, name: &str, joined: &Joined) {
        let known = self.clients.entry(name.to_owned()).or_default();
        match joined.error {
            ErrorCode::None => (known.member, known.generation) = (joined.member.clone(), joined.generation),
            ErrorCode::MemberIdRequired => known.member.clone_from(&joined.member),
            _ => {}
        }
    }

    fn tell_state(&mut self) {
        let state = match self.bench.shard.group("g") {
            Some(AnyGroup::Classic(group)) => {
                let members: Vec<&str> = group.members().map(|member| member.member.as_str()).collect();
                format!("{} {} [{}]", group.state_name(), group.generation(), members.join(" "))
            }
            Some(AnyGroup::Consumer(_)) | None => "no group".to_owned(),
        };
        if state != self.state {
            self.say(&format!("= {state}"));
            self.state = state;
        }
    }

    fn say(&mut self, text: &str) {
        self.text += "    ";
        self.text += &shorten(text);
        self.text += "\n";
    }
}

fn offer(text: &str) -> (String, Bytes) {
    let (name, metadata) = text.split_once(':').unwrap_or((text, "m"));
    (name.to_owned(), Bytes::from(metadata.to_owned()))
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs_f64(text.parse().expect("a number of seconds"))
}

fn shown(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn reply_text(reply: &Reply) -> String {
    match reply {
        Reply::Join(joined) if joined.error == ErrorCode::MemberIdRequired => {
            format!("is to join as {}", joined.member)
        }
        Reply::Join(joined) if joined.error != ErrorCode::None => format!("cannot join: {}", joined.error.name()),
        Reply::Join(joined) => {
            let protocol = joined.protocol.as_deref().unwrap_or("-");
            let mut text = format!(
                "joined {} {protocol} as {}, leader {}",
                joined.generation, joined.member, joined.leader
            );
            if !joined.members.is_empty() {
                let member = |member: &JoinedMember| format!("{}:{}", member.member, shown(&member.metadata));
                let members: Vec<String> = joined.members.iter().map(member).collect();
                text += &format!(", of {}", members.join(" "));
            }
            if joined.skip_assignment {
                text += ", need not assign";
            }
            text
        }
        Reply::Sync(synced) if synced.error != ErrorCode::None => format!("has no assignment: {}", synced.error.name()),
        Reply::Sync(synced) if synced.assignment.is_empty() => "owns nothing".to_owned(),
        Reply::Sync(synced) => format!("owns {}", shown(&synced.assignment)),
        Reply::Heartbeat(error) => format!("hears {}", error.name()),
        Reply::Leave(left) => {
            let members = left.members.iter().map(|member| member.error.name());
            format!("left: {}", members.collect::<Vec<_>>().join(" "))
        }
        other => panic!("not of the classic protocol: {other:?}"),
    }
}

fn record_text(record: &Record) -> String {
    let Record::ClassicGroup { value: Some(value), .. } = record else {
        panic!("not of the classic protocol: {record:?}")
    };
    let protocol = value.protocol.as_deref().unwrap_or("-");
    let leader = value.leader.as_deref().unwrap_or("-");
    let member = |member: &ClassicMember| format!("{}={}", member.member, shown(&member.assignment));
    let members: Vec<String> = value.members.iter().map(member).collect();
    format!(
        "{} {protocol} leader {leader} [{}]",
        value.generation,
        members.join(" ")
    )
}

fn entry_text(happened: &Happened) -> String {
    match happened {
        Happened::MemberJoined { member, .. } => format!("{member} joined"),
        Happened::MemberLeft { member, .. } => format!("{member} left"),
        Happened::MemberRemoved { member, cause } => format!("{member} removed, {cause:?}"),
        Happened::RebalanceStarted { cause } => format!("rebalance: {cause}"),
        Happened::RebalanceEnded {
            generation,
            members,
            took_ms,
        } => {
            format!("generation {generation} of {members} after {took_ms} ms")
        }
        Happened::Unowned { .. } => panic!("not of the classic protocol: {happened:?}"),
    }
}

/// Every id as prefix and number of the call that made it.
fn shorten(text: &str) -> String {
    const MIDDLE: &str = "-00000000-0000-4000-8000-";
    let mut parts = text.split(MIDDLE);
    let mut short = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (number, rest) = part.split_at(12);
        let number = u64::from_str_radix(number, 16).expect("an id ends with a number");
        short += &format!("-{number}{rest}");
    }
    short
}

fn check(name: &str, script: &str) {
    let actual = Story::run(script);
    assert!(actual == script, "the story {name} went like this:\n{actual}");
}

#[test]
fn a_rolling_restart_of_dynamic_members() {
    check("rolling", include_str!("stories/rolling.txt"));
}

#[test]
fn static_members_are_restarted_and_removed() {
    check("static", include_str!("stories/static.txt"));
}

#[test]
fn the_coordinator_moves_during_a_rebalance() {
    check("moves", include_str!("stories/moves.txt"));
}

#[test]
fn a_group_goes_over_to_cooperative_rebalancing() {
    check("cooperative", include_str!("stories/cooperative.txt"));
}

#[test]
fn a_member_dies_in_each_phase() {
    check("deaths", include_str!("stories/deaths.txt"));
}
