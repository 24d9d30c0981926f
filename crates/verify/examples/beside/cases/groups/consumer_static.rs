//! ConsumerGroupHeartbeat of static members.

use klamm_wire::{ApiKey, ConsumerGroupHeartbeatRequest};

use super::heartbeat::{CONSUMER_DESCRIBE, beat, describe, epoch, full, leave, owning};
use super::living::{self, Member, topic};
use crate::case::{ALL, Case, Cases};

pub fn cases() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::ConsumerGroupHeartbeat);
    held(&mut cases);
    returning(&mut cases);
    cases.list
}

fn instance<'a>(request: ConsumerGroupHeartbeatRequest<'a>) -> ConsumerGroupHeartbeatRequest<'a> {
    ConsumerGroupHeartbeatRequest {
        instance_id: Some("instance"),
        ..request
    }
}

fn held(cases: &mut Cases) {
    cases.add("an instance that a living member has", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        session.ask_as("joins", version, &instance(full(&group, "old", &[&topic.name])))?;
        let old = epoch(session, "old")?;
        session.ask_as("another joins", version, &instance(full(&group, "new", &[&topic.name])))?;
        session.ask_as("the first goes on", version, &instance(beat(&group, &old)))?;
        session.ask_as("without its instance", version, &beat(&group, &old))?;
        for (what, member_epoch) in [
            ("another goes on", old.generation),
            ("another leaves", -1),
            ("for a while", -2),
        ] {
            let other = Member::named("new", member_epoch);
            session.ask_as(what, version, &instance(beat(&group, &other)))?;
        }
        let mut request = beat(&group, &old);
        request.instance_id = Some("other");
        session.ask_as("under another instance", version, &request)?;
        session.ask_as("in an epoch long ago", version, &instance(beat(&group, &old.with(9))))?;
        session.ask_as(
            "the group",
            CONSUMER_DESCRIBE,
            &super::heartbeat::consumer_described(&group),
        )?;
        session.ask_as("leaves for good", version, &instance(beat(&group, &old.with(-1))))?;
        describe(session, "the group then", CONSUMER_DESCRIBE, &group)
    });
    cases.add("a static member repeats its join", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let request = instance(full(&group, "member", &[&topic.name]));
        session.ask_as("joins", version, &request)?;
        session.ask_as("joins again", version, &request)?;
        leave(session, &group, "member")
    });
}

fn returning(cases: &mut Cases) {
    cases.add("a static member leaves for a while", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        session.ask_as("joins", version, &instance(full(&group, "old", &[&topic.name])))?;
        let old = epoch(session, "old")?;
        let owned = [(topic.id, vec![0, 1, 2])];
        session.ask_as("owns all", version, &instance(owning(&group, &old, &owned)))?;
        session.ask_as("leaves for a while", version, &instance(beat(&group, &old.with(-2))))?;
        describe(session, "the group", CONSUMER_DESCRIBE, &group)?;
        session.ask_as("goes on", version, &instance(beat(&group, &old)))?;
        session.ask_as("leaves once more", version, &instance(beat(&group, &old.with(-2))))?;
        session.ask_as(
            "returns with another id",
            version,
            &instance(full(&group, "new", &[&topic.name])),
        )?;
        let new = epoch(session, "new")?;
        describe(session, "the group then", CONSUMER_DESCRIBE, &group)?;
        session.ask_as("the old id", version, &instance(beat(&group, &old)))?;
        session.ask_as("the old id without instance", version, &beat(&group, &old))?;
        session.ask_as("the old id leaves", version, &instance(beat(&group, &old.with(-1))))?;
        session.ask_as("the new one goes on", version, &instance(beat(&group, &new)))?;
        leave(session, &group, "new")
    });
    cases.add("a static member returns under its own id", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        session.ask_as("joins", version, &instance(full(&group, "member", &[&topic.name])))?;
        let member = epoch(session, "member")?;
        session.ask_as("leaves for a while", version, &instance(beat(&group, &member.with(-2))))?;
        session.ask_as("returns", version, &instance(full(&group, "member", &[&topic.name])))?;
        describe(session, "the group", CONSUMER_DESCRIBE, &group)?;
        session.ask_as(
            "leaves for a while again",
            version,
            &instance(beat(&group, &member.with(-2))),
        )?;
        session.ask_as(
            "returns with another subscription",
            version,
            &instance(full(&group, "member", &[])),
        )?;
        describe(session, "the group then", CONSUMER_DESCRIBE, &group)?;
        leave(session, &group, "member")
    });
}
