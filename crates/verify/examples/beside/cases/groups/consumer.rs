//! ConsumerGroupHeartbeat: joins, refusals, epochs, departures.

use klamm_wire::{ApiKey, ConsumerGroupHeartbeatRequest};

use super::consumer_patterns;
use super::heartbeat::{BEAT, CONSUMER_DESCRIBE, beat, describe, epoch, full, leave, owning, pair, settled};
use super::living::{self, Member, topic};
use crate::case::{ALL, Case, Cases, until};
use crate::session::Session;

pub fn cases() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::ConsumerGroupHeartbeat);
    missing(&mut cases);
    subscriptions(&mut cases);
    assignors_and_changes(&mut cases);
    consumer_patterns::patterns(&mut cases);
    strangers(&mut cases);
    epochs(&mut cases);
    sharing(&mut cases);
    departures(&mut cases);
    cases.list
}

type Spoil = fn(&mut ConsumerGroupHeartbeatRequest<'_>);

fn missing(cases: &mut Cases) {
    let faults: [(&str, Spoil); 13] = [
        ("no group id", |request| request.group_id = ""),
        ("a blank group id", |request| request.group_id = " "),
        ("no member id", |request| request.member_id = ""),
        ("a blank member id", |request| request.member_id = " "),
        ("epoch -3", |request| request.member_epoch = -3),
        ("no rebalance timeout", |request| request.rebalance_timeout_ms = -1),
        ("a rebalance timeout of 0", |request| request.rebalance_timeout_ms = 0),
        ("no partitions", |request| request.topic_partitions = None),
        ("no subscription", |request| request.subscribed_topic_names = None),
        ("an empty instance id", |request| request.instance_id = Some("")),
        ("an empty rack", |request| request.rack_id = Some("")),
        ("an empty assignor", |request| request.server_assignor = Some("")),
        ("an unsupported assignor", |request| {
            request.server_assignor = Some("sticky")
        }),
    ];
    for (what, spoil) in faults {
        cases.add(format!("a join with {what}"), ALL, move |session, version| {
            let topic = topic(session)?;
            let group = living::group(session, version)?;
            let mut request = full(&group, "member", &[&topic.name]);
            spoil(&mut request);
            session.ask(version, &request)?;
            leave_if_in(session, &group)
        });
    }
    cases.add("a join that owns partitions", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let mut request = full(&group, "member", &[&topic.name]);
        request.topic_partitions = owning(&group, &Member::named("member", 0), &[(topic.id, vec![0])]).topic_partitions;
        session.ask(version, &request)?;
        leave_if_in(session, &group)
    });
}

/// Leaves, if the last answer says that the member is in.
fn leave_if_in(session: &mut Session<'_>, group: &str) -> anyhow::Result<()> {
    let answer = session.answer()?;
    let id = crate::cluster::text(answer, "member_id");
    living::call(session, &id, "given");
    if epoch(session, &id).is_ok() {
        leave(session, group, &id)?;
    }
    Ok(())
}

fn subscriptions(cases: &mut Cases) {
    cases.add("a member alone", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        session.ask_as("joins", version, &full(&group, "member", &[&topic.name]))?;
        let member = epoch(session, "member")?;
        describe(session, "has joined", CONSUMER_DESCRIBE, &group)?;
        session.ask_as("rests", version, &beat(&group, &member))?;
        let owned = [(topic.id, vec![0, 1, 2])];
        session.ask_as("says what it owns", version, &owning(&group, &member, &owned))?;
        session.ask_as("rests again", version, &beat(&group, &member))?;
        let mut request = full(&group, "member", &[&topic.name]);
        request.member_epoch = member.generation;
        request.topic_partitions = owning(&group, &member, &owned).topic_partitions;
        session.ask_as("says everything again", version, &request)?;
        leave(session, &group, "member")?;
        describe(session, "has left", CONSUMER_DESCRIBE, &group)
    });
    cases.add(
        "subscribed to nothing, to what does not exist, to more",
        ALL,
        |session, version| {
            let topic = topic(session)?;
            let group = living::group(session, version)?;
            session.ask_as("nothing", version, &full(&group, "member", &[]))?;
            let mut member = epoch(session, "member")?;
            let unknown = session.name("no-such-topic");
            for (what, topics) in [
                ("what does not exist", vec![unknown.as_str()]),
                ("both", vec![topic.name.as_str(), &unknown]),
                ("one twice", vec![topic.name.as_str(), &topic.name]),
                ("a name that no topic may have", vec!["a b", ""]),
                ("nothing again", vec![]),
            ] {
                let mut request = beat(&group, &member);
                request.subscribed_topic_names = Some(topics);
                session.ask_as(what, version, &request)?;
                member = epoch(session, "member")?;
                session.ask_as("owns nothing", version, &owning(&group, &member, &[]))?;
                member = epoch(session, "member")?;
                describe(session, "the group", CONSUMER_DESCRIBE, &group)?;
            }
            leave(session, &group, "member")
        },
    );
}

fn assignors_and_changes(cases: &mut Cases) {
    for assignor in ["uniform", "range", "UNIFORM"] {
        cases.add(format!("the assignor {assignor:?}"), ALL, move |session, version| {
            let topic = topic(session)?;
            let group = living::group(session, version)?;
            let mut request = full(&group, "member", &[&topic.name]);
            request.server_assignor = Some(assignor);
            session.ask(version, &request)?;
            describe(session, "the group", CONSUMER_DESCRIBE, &group)?;
            leave_if_in_named(session, &group)
        });
    }
    cases.add("a member changes what it is", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let (mut member, _) = settled(session, &group, "member", &[&topic.name])?;
        let changes: [(&str, Spoil); 5] = [
            ("another assignor", |request| request.server_assignor = Some("range")),
            ("an unsupported assignor", |request| {
                request.server_assignor = Some("sticky")
            }),
            ("a rack", |request| request.rack_id = Some("rack")),
            ("another timeout", |request| request.rebalance_timeout_ms = 40_000),
            ("an instance", |request| request.instance_id = Some("instance")),
        ];
        for (what, change) in changes {
            let mut request = beat(&group, &member);
            change(&mut request);
            session.ask_as(what, version, &request)?;
            member = epoch(session, "member").unwrap_or(member);
            describe(session, "the group", CONSUMER_DESCRIBE, &group)?;
        }
        leave(session, &group, "member")
    });
}

pub fn leave_if_in_named(session: &mut Session<'_>, group: &str) -> anyhow::Result<()> {
    let gone = Member::named("member", -1);
    session.ask_as("leaves", BEAT, &beat(group, &gone))?;
    Ok(())
}

fn strangers(cases: &mut Cases) {
    for member_epoch in [1, -1, -2] {
        cases.add(
            format!("an unknown group, epoch {member_epoch}"),
            ALL,
            move |session, version| {
                let group = living::group(session, version)?;
                let stranger = Member::named("stranger", member_epoch);
                session.ask_as("a dynamic member", version, &beat(&group, &stranger))?;
                let mut request = beat(&group, &stranger);
                request.instance_id = Some("instance");
                session.ask_as("a static member", version, &request)?;
                Ok(())
            },
        );
    }
    cases.add("unknown members of a living group", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        settled(session, &group, "member", &[&topic.name])?;
        for member_epoch in [1, -1, -2] {
            let stranger = Member::named("stranger", member_epoch);
            session.ask_as(&format!("epoch {member_epoch}"), version, &beat(&group, &stranger))?;
            let mut request = beat(&group, &stranger);
            request.instance_id = Some("instance");
            session.ask_as(&format!("epoch {member_epoch}, static"), version, &request)?;
        }
        leave(session, &group, "member")
    });
    cases.add("the group gives out the member id", until(0), |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        session.ask(version, &full(&group, "", &[&topic.name]))?;
        leave_if_in(session, &group)
    });
}

fn epochs(cases: &mut Cases) {
    cases.add("wrong epochs", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let [(one, kept), _] = pair(session, &group, &topic.name)?;
        for (what, member_epoch) in [
            ("a later epoch", one.generation + 1),
            ("an epoch long ago", one.generation - 2),
        ] {
            let wrong = one.with(member_epoch);
            session.ask_as(what, version, &beat(&group, &wrong))?;
            let request = owning(&group, &wrong, &kept);
            session.ask_as(&format!("{what}, saying what it owns"), version, &request)?;
        }
        session.ask_as("the right one goes on", version, &beat(&group, &one))?;
        leave(session, &group, "one")?;
        leave(session, &group, "two")
    });
    cases.add("the previous epoch", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let [(one, kept), _] = pair(session, &group, &topic.name)?;
        let before = one.with(one.generation - 1);
        session.ask_as("owning less", version, &owning(&group, &before, &[]))?;
        session.ask_as("owning what it has", version, &owning(&group, &before, &kept))?;
        let more = [(topic.id, vec![0, 1, 2])];
        session.ask_as("owning more", version, &owning(&group, &before, &more))?;
        leave(session, &group, "one")?;
        leave(session, &group, "two")
    });
    cases.add("a previous epoch without what is owned", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let [(one, _), _] = pair(session, &group, &topic.name)?;
        let before = one.with(one.generation - 1);
        session.ask(version, &beat(&group, &before))?;
        leave(session, &group, "one")?;
        leave(session, &group, "two")
    });
    cases.add("a member joins again under its id", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        settled(session, &group, "member", &[&topic.name])?;
        session.ask_as("unchanged", version, &full(&group, "member", &[&topic.name]))?;
        describe(session, "the group", CONSUMER_DESCRIBE, &group)?;
        session.ask_as("changed", version, &full(&group, "member", &[]))?;
        describe(session, "the group then", CONSUMER_DESCRIBE, &group)?;
        leave(session, &group, "member")
    });
}

fn sharing(cases: &mut Cases) {
    cases.add("two members share", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let (one, owned) = settled(session, &group, "one", &[&topic.name])?;
        session.ask_as("two joins", version, &full(&group, "two", &[&topic.name]))?;
        let two = epoch(session, "two")?;
        describe(session, "two has nothing", CONSUMER_DESCRIBE, &group)?;
        session.ask_as("one hears of it", version, &beat(&group, &one))?;
        let kept = super::heartbeat::assigned(session)?.unwrap_or_default();
        let one = epoch(session, "one")?;
        describe(session, "one is to give up", CONSUMER_DESCRIBE, &group)?;
        session.ask_as("one still owns all", version, &owning(&group, &one, &owned))?;
        session.ask_as("two still has nothing", version, &beat(&group, &two))?;
        session.ask_as("one gives up", version, &owning(&group, &one, &kept))?;
        let one = epoch(session, "one")?;
        session.ask_as("two gets its part", version, &beat(&group, &two))?;
        describe(session, "all is shared", CONSUMER_DESCRIBE, &group)?;
        leave(session, &group, "two")?;
        session.ask_as("one gets all back", version, &beat(&group, &one))?;
        describe(session, "one has all", CONSUMER_DESCRIBE, &group)?;
        leave(session, &group, "one")
    });
}

fn departures(cases: &mut Cases) {
    cases.add("a dynamic member leaves", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        settled(session, &group, "member", &[&topic.name])?;
        let member = |epoch| Member::named("member", epoch);
        session.ask_as("as static members do", version, &beat(&group, &member(-2)))?;
        session.ask_as("for good", version, &beat(&group, &member(-1)))?;
        session.ask_as("once more", version, &beat(&group, &member(-1)))?;
        session.ask_as("goes on", version, &beat(&group, &member(2)))?;
        describe(session, "the group", CONSUMER_DESCRIBE, &group)?;
        session.ask_as("joins again", version, &full(&group, "member", &[&topic.name]))?;
        leave(session, &group, "member")
    });
}
