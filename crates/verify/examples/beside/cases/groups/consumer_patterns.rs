//! ConsumerGroupHeartbeat: subscriptions by pattern.

use klamm_wire::Tree;

use super::consumer::leave_if_in_named;
use super::heartbeat::{CONSUMER_DESCRIBE, beat, consumer_described, epoch, full, leave, owning};
use super::living::{self, topic};
use crate::case::{Cases, from};
use crate::cluster::{list, number};

/// A pattern that is not resolved after so many heartbeats is not going to be.
const HEARTBEATS_MAX: usize = 10_000;

/// Whether the group's first member is to get something.
fn has_target(described: &Tree) -> bool {
    let members = list(described, "groups")
        .first()
        .map_or(&[][..], |group| list(group, "members"));
    let target = members.first().and_then(|member| member.field("target_assignment"));
    target.is_some_and(|target| !list(target, "topic_partitions").is_empty())
}

pub fn patterns(cases: &mut Cases) {
    for pattern in ["", "(", "[a", "a{2,1}", "*", "(?<=a)b", "no-such-.*"] {
        cases.add(format!("the pattern {pattern:?}"), from(1), move |session, version| {
            let group = living::group(session, version)?;
            let mut request = full(&group, "member", &[]);
            request.subscribed_topic_names = None;
            request.subscribed_topic_regex = Some(pattern);
            session.ask(version, &request)?;
            leave_if_in_named(session, &group)
        });
    }
    cases.add("a pattern that topics match", from(1), |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let mut request = full(&group, "member", &[]);
        request.subscribed_topic_names = None;
        request.subscribed_topic_regex = Some(&topic.name);
        session.ask_as("joins", version, &request)?;
        let mut member = epoch(session, "member")?;
        // Kafka resolves in the background, and computes the target in a heartbeat that follows.
        for _ in 0..HEARTBEATS_MAX {
            let described = session.set_up(CONSUMER_DESCRIBE, &consumer_described(&group))?;
            if has_target(&described) {
                break;
            }
            let answer = session.set_up(version, &beat(&group, &member))?;
            member.generation = i32::try_from(number(&answer, "member_epoch"))?;
        }
        let owned = [(topic.id, vec![0, 1, 2])];
        session.ask_as("owns it", version, &owning(&group, &member, &owned))?;
        let mut request = beat(&group, &member);
        request.subscribed_topic_regex = Some("(");
        session.ask_as("a bad pattern then", version, &request)?;
        leave(session, &group, "member")
    });
}
