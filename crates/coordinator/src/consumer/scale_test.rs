//! A large group is stable soon after its last member has come, by the heartbeats that members are told to send.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use klamm_types::Moment;

use crate::call::{Call, CallId};
use crate::settings::Settings;
use crate::shard::Event;

use super::world::{Client, World, topics};

const MEMBERS: usize = 200;
const TOPICS: u128 = 10;

/// Simulated time; nothing here waits or measures.
#[test]
fn two_hundred_members_share_500_partitions_within_a_second() {
    let names: Vec<String> = (0..TOPICS).map(|number| format!("topic-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let described: Vec<(&str, u128, usize)> = names.iter().zip(1..).map(|(name, id)| (*name, id, 50)).collect();
    let mut world = World::new(Settings::default(), topics(&described));
    let mut clients: BTreeMap<usize, Client> = (0..MEMBERS)
        .map(|number| (number, Client::new(&format!("m{number:03}"), &names, "")))
        .collect();
    let mut due: BTreeSet<(Moment, usize)> = (0..MEMBERS)
        .map(|number| (world.moment + Duration::from_millis(5 * number as u64), number))
        .collect();
    let last_join = world.moment + Duration::from_millis(5 * (MEMBERS as u64 - 1));
    let mut calls = 0;
    while let Some((now, number)) = due.pop_first() {
        calls += 1;
        world.moment = now;
        let client = clients.get_mut(&number).unwrap();
        let request = client.request();
        let at = world.at();
        let call = Event::Call(CallId(calls), Call::ConsumerHeartbeat(Box::new(request.clone())));
        let decision = world.shard.decide(at, call);
        world.shard.apply(at, &decision.changes);
        let crate::Reply::ConsumerHeartbeat(reply) = &decision.replies[0].1 else {
            panic!("{decision:?}");
        };
        client.hear(&request, reply);
        let owned = client.owned.clone();
        client.revoke();
        let mut wait = Duration::from_millis(u64::try_from(reply.heartbeat_interval_ms).unwrap());
        if client.owned != owned {
            wait = Duration::from_millis(5);
        }
        due.insert((now + wait, number));
        if world.group().unwrap().state() == "Stable" && now >= last_join {
            break;
        }
    }
    world.shard.validate().unwrap();
    assert!(
        world.moment.since(last_join) < Duration::from_secs(1),
        "{:?}",
        world.moment.since(last_join)
    );
    let loads = clients
        .values()
        .map(|client| client.owned.values().map(BTreeSet::len).sum::<usize>());
    let (fewest, most) = (loads.clone().min(), loads.max());
    assert!(fewest >= Some(2) && most <= Some(3), "{fewest:?} {most:?}");
    assert!(calls < 20_000, "{calls} heartbeats");
}
