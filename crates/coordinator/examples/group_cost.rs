//! Prints what a large KIP-848 group costs, and how soon it is stable: `cargo run --release -p klamm-coordinator
//! --example group_cost`.
//!
//! All members join within a second of simulated time and heartbeat when they are told to; a member that has something
//! to give up says a few milliseconds later that it has. Nothing is asserted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use klamm_coordinator::call::{Call, CallId, Client, ConsumerHeartbeat, MemberIdChoice, PartitionsByTopic};
use klamm_coordinator::group::Group;
use klamm_coordinator::reply::Reply;
use klamm_coordinator::topics::Topic;
use klamm_coordinator::{Settings, Shard, Topics, shard};
use klamm_types::{Moment, Timestamp, TopicId, Uuid};

const REVOCATION: Duration = Duration::from_millis(5);

struct Member {
    epoch: i32,
    owned: PartitionsByTopic,
}

fn main() {
    for (members, partitions) in [(200, 500), (1000, 10_000)] {
        run(members, partitions);
    }
}

#[allow(clippy::disallowed_methods, clippy::disallowed_types)] // an example measures; the crate itself does not
fn run(count: usize, partitions: usize) {
    const TOPICS: usize = 10;
    let mut topics = Topics::default();
    for number in 0..TOPICS {
        let topic = Topic {
            id: TopicId(Uuid::from_u128(number as u128 + 1)),
            partitions: vec![BTreeSet::new(); partitions / TOPICS],
        };
        topics.insert(format!("topic-{number}"), topic);
    }
    let names: Vec<String> = topics.iter().map(|(name, _)| name.to_owned()).collect();
    let mut shard = Shard::new(Arc::new(Settings::default()), Arc::new(topics));
    let mut members: BTreeMap<usize, Member> = BTreeMap::new();
    let mut due: BTreeSet<(Moment, usize)> = (0..count)
        .map(|member| (Moment(1_000_000 * (member as u64 + 1) / count as u64), member))
        .collect();
    let (mut beats, mut slowest, mut spent) = (0u64, Duration::ZERO, Duration::ZERO);
    while let Some((now, member)) = due.pop_first() {
        beats += 1;
        let request = request(member, members.get(&member), &names);
        let at = at(now, beats);
        let begin = std::time::Instant::now();
        let decision = shard.decide(
            at,
            shard::Event::Call(CallId(beats), Call::ConsumerHeartbeat(Box::new(request))),
        );
        shard.apply(at, &decision.changes);
        let took = begin.elapsed();
        slowest = slowest.max(took);
        spent += took;
        let Some((_, Reply::ConsumerHeartbeat(reply))) = decision.replies.into_iter().next() else {
            return;
        };
        let known = members.entry(member).or_insert(Member {
            epoch: 0,
            owned: PartitionsByTopic::new(),
        });
        known.epoch = reply.member_epoch;
        let mut wait = Duration::from_millis(u64::try_from(reply.heartbeat_interval_ms).unwrap_or(0));
        if let Some(assignment) = reply.assignment {
            if assignment != known.owned {
                wait = wait.min(REVOCATION);
            }
            known.owned = assignment;
        }
        due.insert((now + wait, member));
        let stable = matches!(shard.group("g"), Some(Group::Consumer(group)) if group.state() == "Stable");
        if stable && members.len() == count {
            println!(
                "{count} members, {partitions} partitions: stable {} ms after the last join, {beats} heartbeats, {spent:?} in all, slowest {slowest:?}",
                now.since(Moment(1_000_000)).as_millis()
            );
            rest(&mut shard, now, &members);
            return;
        }
    }
}

#[allow(clippy::disallowed_methods, clippy::disallowed_types)]
fn rest(shard: &mut Shard, now: Moment, members: &BTreeMap<usize, Member>) {
    let mut spent = Duration::ZERO;
    let mut calls = 1_000_000;
    for (number, member) in members.iter().cycle().take(10 * members.len()) {
        calls += 1;
        let request = request(*number, Some(member), &[]);
        let request = ConsumerHeartbeat { owned: None, ..request };
        let at = at(now, calls);
        let begin = std::time::Instant::now();
        let decision = shard.decide(
            at,
            shard::Event::Call(CallId(calls), Call::ConsumerHeartbeat(Box::new(request))),
        );
        shard.apply(at, &decision.changes);
        spent += begin.elapsed();
    }
    println!(
        "  at rest: {:?} per heartbeat",
        spent / u32::try_from(10 * members.len()).unwrap_or(1)
    );
}

fn at(moment: Moment, draw: u64) -> shard::At {
    shard::At {
        moment,
        wall: Timestamp(i64::try_from(moment.0 / 1000).unwrap_or(0)),
        draw: u128::from(draw),
    }
}

fn request(number: usize, member: Option<&Member>, names: &[String]) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group: "g".to_owned(),
        member: format!("member-{number:06}"),
        member_id: MemberIdChoice::Client,
        member_epoch: member.map_or(0, |member| member.epoch),
        instance: None,
        rack: None,
        client: Client::default(),
        rebalance_timeout_ms: if member.is_none() { 60_000 } else { -1 },
        subscribed_names: member.is_none().then(|| names.to_vec()),
        subscribed_regex: None,
        server_assignor: None,
        owned: Some(member.map_or_else(PartitionsByTopic::new, |member| member.owned.clone())),
    }
}
