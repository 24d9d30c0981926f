//! DescribeGroups, ListGroups and DeleteGroups.

use anyhow::Result;
use klamm_wire::{ApiKey, DeleteGroupsRequest, DescribeGroupsRequest, ListGroupsRequest, Tree};

use super::commit::{fetched, of};
use super::living::{
    self, COMMIT, HEARTBEAT, JOIN, Member, NOBODY, SYNC, alone, close, describe, described, enter, heartbeat, join,
    joined, knock, sync, to_coordinator, topic, two_joined,
};
use crate::case::{ALL, Case, Cases, from};
use crate::session::Session;

pub fn cases() -> Vec<Case> {
    let mut describe = Cases::of(ApiKey::DescribeGroups);
    describe_groups(&mut describe);
    describe_several(&mut describe);
    let mut lists = Cases::of(ApiKey::ListGroups);
    list_groups(&mut lists);
    let mut delete = Cases::of(ApiKey::DeleteGroups);
    delete_groups(&mut delete);
    let cases = [describe, lists, delete];
    cases.into_iter().flat_map(|cases| cases.list).collect()
}

/// Describes a group that is known to live, in a version.
fn ask_described(session: &mut Session<'_>, what: &str, version: i16, group: &str) -> Result<()> {
    describe(session, "in the newest version", group)?;
    session.ask_as(what, version, &described(group))?;
    Ok(())
}

fn describe_groups(cases: &mut Cases) {
    for group in ["", "no-such-group"] {
        cases.add(format!("group {group:?}"), ALL, move |session, version| {
            to_coordinator(session, group)?;
            session.ask(version, &described(group))?;
            Ok(())
        });
    }
    cases.add("the states of a group", ALL, |session, version| {
        let group = living::group(session, version)?;
        let [first, second] = two_joined(session, &group, &["t"])?;
        ask_described(session, "before the leader syncs", version, &group)?;
        session.ask_as("the leader syncs", SYNC, &sync(&group, &first, &[&first, &second]))?;
        ask_described(session, "stable", version, &group)?;
        let third = knock(session, &group, &["t"], "third")?;
        ask_described(session, "while it rebalances", version, &group)?;
        close(session, &group, &[&first, &second])?;
        session.end("third")?;
        close(session, &group, &[&third])?;
        ask_described(session, "empty", version, &group)
    });
    cases.add("a pending member", ALL, |session, version| {
        let group = living::group(session, version)?;
        session.ask_as("gets an id", JOIN, &join(&group, "", &["t"]))?;
        let member = joined(session, "pending")?;
        ask_described(session, "alone", version, &group)?;
        let first = alone(session, &group, &["t"])?;
        ask_described(session, "beside a member", version, &group)?;
        close(session, &group, &[&first, &member])
    });
    cases.add("a static member", ALL, |session, version| {
        let group = living::group(session, version)?;
        let mut request = join(&group, "", &["t"]);
        request.group_instance_id = Some("instance");
        session.ask_as("joins", JOIN, &request)?;
        let member = joined(session, "static")?;
        session.ask_as("syncs", SYNC, &sync(&group, &member, &[&member]))?;
        ask_described(session, "stable", version, &group)?;
        close(session, &group, &[&member])
    });
    cases.add("a simple consumer's group", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        session.ask_as("commits", COMMIT, &of(COMMIT, &group, &NOBODY, &topic))?;
        ask_described(session, "", version, &group)
    });
}

fn describe_several(cases: &mut Cases) {
    cases.add(
        "several groups, with authorized operations",
        from(3),
        |session, version| {
            let group = living::group(session, version)?;
            let member = alone(session, &group, &["t"])?;
            let request = DescribeGroupsRequest {
                groups: vec![&group, &group],
                include_authorized_operations: true,
            };
            session.ask_as("one twice", version, &request)?;
            let request = DescribeGroupsRequest {
                groups: Vec::new(),
                include_authorized_operations: true,
            };
            session.ask_as("none", version, &request)?;
            close(session, &group, &[&member])?;
            let unknown = session.name("no-such-group");
            to_coordinator(session, &unknown)?;
            let request = DescribeGroupsRequest {
                groups: vec![&unknown],
                include_authorized_operations: true,
            };
            session.ask_as("an unknown one", version, &request)?;
            Ok(())
        },
    );
}

/// Lists, and keeps of the answer what is about this group: others come and go.
pub fn ask_listed(
    session: &mut Session<'_>,
    what: &str,
    version: i16,
    group: &str,
    request: &ListGroupsRequest<'_>,
) -> Result<()> {
    session.ask_as(what, version, request)?;
    session.keep_items("groups", |one| {
        one.field("group_id") == Some(&Tree::Text(group.to_owned()))
    });
    Ok(())
}

fn list_groups(cases: &mut Cases) {
    cases.add("no groups of an unknown state or type", from(4), |session, version| {
        let mut request = ListGroupsRequest {
            states_filter: vec!["NoSuchState"],
            ..Default::default()
        };
        session.ask(version, &request)?;
        if version >= 5 {
            request = ListGroupsRequest {
                types_filter: vec!["nosuchtype"],
                ..Default::default()
            };
            session.ask(version, &request)?;
        }
        Ok(())
    });
    cases.add("a group in its states", ALL, |session, version| {
        let group = living::group(session, version)?;
        let all = ListGroupsRequest::default();
        let member = enter(session, &group, &["t"], "first")?;
        describe(session, "is known", &group)?;
        ask_listed(session, "before the leader syncs", version, &group, &all)?;
        session.ask_as("syncs", SYNC, &sync(&group, &member, &[&member]))?;
        ask_listed(session, "stable", version, &group, &all)?;
        let second = knock(session, &group, &["t"], "second")?;
        ask_listed(session, "while it rebalances", version, &group, &all)?;
        close(session, &group, &[&member])?;
        session.end("second")?;
        close(session, &group, &[&second])?;
        ask_listed(session, "empty", version, &group, &all)
    });
    cases.add("a simple consumer's group", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        session.ask_as("commits", COMMIT, &of(COMMIT, &group, &NOBODY, &topic))?;
        ask_listed(session, "", version, &group, &ListGroupsRequest::default())
    });
    cases.add("by states and types", from(4), |session, version| {
        let group = living::group(session, version)?;
        let member = alone(session, &group, &["t"])?;
        for states in [&["Stable"][..], &["sTABLE", "Empty"], &["Empty"], &["Assigning"], &[""]] {
            let request = ListGroupsRequest {
                states_filter: states.to_vec(),
                ..Default::default()
            };
            ask_listed(session, &format!("states {states:?}"), version, &group, &request)?;
        }
        for types in [
            &["classic"][..],
            &["CLASSIC", "consumer"],
            &["consumer"],
            &["share"],
            &[""],
        ] {
            if version < 5 {
                continue;
            }
            let request = ListGroupsRequest {
                types_filter: types.to_vec(),
                ..Default::default()
            };
            ask_listed(session, &format!("types {types:?}"), version, &group, &request)?;
        }
        close(session, &group, &[&member])
    });
}

pub fn delete<'a>(groups: &[&'a str]) -> DeleteGroupsRequest<'a> {
    DeleteGroupsRequest {
        groups_names: groups.to_vec(),
    }
}

fn delete_groups(cases: &mut Cases) {
    for group in ["", "no-such-group"] {
        cases.add(format!("group {group:?}"), ALL, move |session, version| {
            to_coordinator(session, group)?;
            session.ask(version, &delete(&[group]))?;
            Ok(())
        });
    }
    cases.add("a group that lives, then is empty", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let member = alone(session, &group, &[&topic.name])?;
        session.ask_as("commits", COMMIT, &of(COMMIT, &group, &member, &topic))?;
        session.ask_as("stable", version, &delete(&[&group]))?;
        session.ask_as("it lives", HEARTBEAT, &heartbeat(&group, &member))?;
        let second = knock(session, &group, &["t"], "second")?;
        session.ask_as("while it rebalances", version, &delete(&[&group]))?;
        close(session, &group, &[&member])?;
        session.end("second")?;
        session.ask_as("before it syncs", version, &delete(&[&group]))?;
        close(session, &group, &[&second])?;
        session.ask_as("empty", version, &delete(&[&group]))?;
        fetched(session, &group)?;
        session.ask_as("is gone", living::DESCRIBE, &described(&group))?;
        session.ask_as("once more", version, &delete(&[&group]))?;
        Ok(())
    });
    cases.add("a simple consumer's group", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        session.ask_as("commits", COMMIT, &of(COMMIT, &group, &NOBODY, &topic))?;
        session.ask_as("twice in one request", version, &delete(&[&group, &group]))?;
        fetched(session, &group)
    });
    cases.add("a pending member", ALL, |session, version| {
        let group = living::group(session, version)?;
        session.ask_as("gets an id", JOIN, &join(&group, "", &["t"]))?;
        let pending = joined(session, "pending")?;
        describe(session, "is known", &group)?;
        session.ask_as("alone", version, &delete(&[&group]))?;
        session.ask_as("joins with its id", JOIN, &join(&group, &pending.id, &["t"]))?;
        close(session, &group, &[&Member::named(&pending.id, 1)])
    });
    cases.add("none", ALL, |session, version| {
        living::group(session, version)?;
        session.ask(version, &delete(&[]))?;
        Ok(())
    });
}
