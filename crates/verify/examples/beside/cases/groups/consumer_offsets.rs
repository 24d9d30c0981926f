//! KIP-848 groups in the other group APIs: offsets with member epochs, descriptions, lists and deletions.

use klamm_wire::offset_commit_request::OffsetCommitRequestPartition;
use klamm_wire::{ApiKey, ConsumerGroupDescribeRequest, ListGroupsRequest};

use super::administration::{ask_listed, delete as delete_groups};
use super::commit::{fetched, of};
use super::delete_offsets::delete as delete_offsets;
use super::fetch_offsets::{callers, fetch};
use super::heartbeat::{BEAT, beat, consumer_described, describe, epoch, full, leave, owning, pair, settled};
use super::living::{self, COMMIT, HEARTBEAT, LEAVE, Member, NOBODY, SYNC, described, heartbeat, sync, topic};
use crate::case::{ALL, Case, Cases, from};

pub fn cases() -> Vec<Case> {
    let mut commits = Cases::of(ApiKey::OffsetCommit);
    commit(&mut commits);
    let mut fetches = Cases::of(ApiKey::OffsetFetch);
    fetch_by_epoch(&mut fetches);
    let mut others = consumer_describe().list;
    others.extend(administration());
    let cases = [commits, fetches];
    cases.into_iter().flat_map(|cases| cases.list).chain(others).collect()
}

fn commit(cases: &mut Cases) {
    cases.add("into a KIP-848 group", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let (member, _) = settled(session, &group, "member", &[&topic.name])?;
        for (what, caller) in [
            ("the member", member.clone()),
            ("a simple consumer", NOBODY.clone()),
            ("the member with epoch -1", member.with(-1)),
            ("no id with the epoch", Member::named("", member.generation)),
            ("an unknown member", Member::named("nobody", member.generation)),
            ("epoch 0", member.with(0)),
            ("an older epoch", member.with(member.generation - 1)),
            ("a later epoch", member.with(member.generation + 1)),
        ] {
            session.ask_as(what, version, &of(version, &group, &caller, &topic))?;
        }
        fetched(session, &group)?;
        leave(session, &group, "member")?;
        for (what, caller) in [
            ("a simple consumer, when it is empty", NOBODY.clone()),
            ("who has left", member.clone()),
            ("any id with epoch -1", Member::named("any", -1)),
        ] {
            session.ask_as(what, version, &of(version, &group, &caller, &topic))?;
        }
        Ok(())
    });
    cases.add("older epochs, partition by partition", from(9), |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let [(one, kept), (two, _)] = pair(session, &group, &topic.name)?;
        for (name, member) in [("one", &one), ("two", &two)] {
            for older in [0, 1, 2] {
                let older = member.with(member.generation - older);
                let mut request = of(version, &group, &older, &topic);
                request.topics[0].partitions = (0..4)
                    .map(|partition_index| OffsetCommitRequestPartition {
                        partition_index,
                        committed_offset: 5,
                        ..Default::default()
                    })
                    .collect();
                let what = format!("{name}, epoch {} less", member.generation - older.generation);
                session.ask_as(&what, version, &request)?;
            }
        }
        session.ask_as("one still owns its part", BEAT, &owning(&group, &one, &kept))?;
        leave(session, &group, "two")?;
        leave(session, &group, "one")
    });
}

fn fetch_by_epoch(cases: &mut Cases) {
    cases.add(
        "a KIP-848 group with member ids and epochs",
        from(9),
        |session, version| {
            let topic = topic(session)?;
            let group = living::group(session, version)?;
            let (member, _) = settled(session, &group, "member", &[&topic.name])?;
            session.ask_as("a commit", COMMIT, &of(COMMIT, &group, &member, &topic))?;
            for (what, (member_id, member_epoch)) in callers(&member) {
                let mut request = fetch(version, &group, Some(&[(&topic, &[0])]));
                request.groups[0].member_id = member_id;
                request.groups[0].member_epoch = member_epoch;
                session.ask_as(what, version, &request)?;
                let mut request = fetch(version, &group, None);
                request.groups[0].member_id = member_id;
                request.groups[0].member_epoch = member_epoch;
                session.ask_as(&format!("{what}, all"), version, &request)?;
            }
            leave(session, &group, "member")?;
            let mut request = fetch(version, &group, Some(&[(&topic, &[0])]));
            request.groups[0].member_id = Some("member");
            request.groups[0].member_epoch = member.generation;
            session.ask_as("when it has left", version, &request)?;
            Ok(())
        },
    );
    cases.add("a KIP-848 group", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let (member, _) = settled(session, &group, "member", &[&topic.name])?;
        session.ask_as("a commit", COMMIT, &of(COMMIT, &group, &member, &topic))?;
        session.ask(version, &fetch(version, &group, Some(&[(&topic, &[0, 1])])))?;
        leave(session, &group, "member")
    });
}

fn consumer_describe() -> Cases {
    let mut cases = Cases::of(ApiKey::ConsumerGroupDescribe);
    for group in ["", "no-such-group"] {
        cases.add(format!("group {group:?}"), ALL, move |session, version| {
            living::to_coordinator(session, group)?;
            session.ask(version, &consumer_described(group))?;
            Ok(())
        });
    }
    cases.add("a classic group", ALL, |session, version| {
        let group = living::group(session, version)?;
        let member = living::alone(session, &group, &["t"])?;
        session.ask_as("stable", version, &consumer_described(&group))?;
        living::close(session, &group, &[&member])?;
        session.ask_as("empty", version, &consumer_described(&group))?;
        Ok(())
    });
    cases.add("a simple consumer's group", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        session.ask_as("commits", COMMIT, &of(COMMIT, &group, &NOBODY, &topic))?;
        session.ask(version, &consumer_described(&group))?;
        Ok(())
    });
    cases.add("a member with all that it may say", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let mut request = full(&group, "member", &[&topic.name, "no-such-topic"]);
        request.instance_id = Some("instance");
        request.rack_id = Some("rack");
        request.server_assignor = Some("range");
        session.ask_as("joins", BEAT, &request)?;
        describe(session, "the group", version, &group)?;
        leave(session, &group, "member")?;
        describe(session, "the empty group", version, &group)
    });
    cases.add("a group that moves", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let (one, _) = settled(session, &group, "one", &[&topic.name])?;
        session.ask_as("two joins", BEAT, &full(&group, "two", &[&topic.name]))?;
        describe(session, "two has nothing", version, &group)?;
        session.ask_as("one hears of it", BEAT, &beat(&group, &one))?;
        describe(session, "one is to give up", version, &group)?;
        leave(session, &group, "one")?;
        describe(session, "one has left", version, &group)?;
        leave(session, &group, "two")
    });
    cases.add("several groups, with authorized operations", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        settled(session, &group, "member", &[&topic.name])?;
        let mut request = ConsumerGroupDescribeRequest {
            group_ids: vec![&group, &group],
            include_authorized_operations: true,
        };
        session.ask_as("one twice", version, &request)?;
        request.group_ids = Vec::new();
        session.ask_as("none", version, &request)?;
        leave(session, &group, "member")
    });
    cases
}

fn administration() -> Vec<Case> {
    let mut describe = Cases::of(ApiKey::DescribeGroups);
    describe.add("a KIP-848 group", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        settled(session, &group, "member", &[&topic.name])?;
        session.ask_as("stable", version, &described(&group))?;
        leave(session, &group, "member")?;
        session.ask_as("empty", version, &described(&group))?;
        Ok(())
    });
    let mut lists = Cases::of(ApiKey::ListGroups);
    lists.add("a KIP-848 group", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let all = ListGroupsRequest::default();
        let (one, _) = settled(session, &group, "one", &[&topic.name])?;
        ask_listed(session, "stable", version, &group, &all)?;
        session.ask_as("two joins", BEAT, &full(&group, "two", &[&topic.name]))?;
        epoch(session, "two")?;
        session.ask_as("one hears of it", BEAT, &beat(&group, &one))?;
        ask_listed(session, "moves", version, &group, &all)?;
        leave(session, &group, "one")?;
        leave(session, &group, "two")?;
        ask_listed(session, "empty", version, &group, &all)?;
        for states in [&["empty"][..], &["stable"], &["Reconciling", "EMPTY"]] {
            if version >= 4 {
                let request = ListGroupsRequest {
                    states_filter: states.to_vec(),
                    ..Default::default()
                };
                ask_listed(session, &format!("states {states:?}"), version, &group, &request)?;
            }
        }
        Ok(())
    });
    let mut deletions = Cases::of(ApiKey::DeleteGroups);
    deletions.add("a KIP-848 group", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let (member, _) = settled(session, &group, "member", &[&topic.name])?;
        session.ask_as("commits", COMMIT, &of(COMMIT, &group, &member, &topic))?;
        session.ask_as("stable", version, &delete_groups(&[&group]))?;
        leave(session, &group, "member")?;
        session.ask_as("empty", version, &delete_groups(&[&group]))?;
        fetched(session, &group)?;
        session.ask_as("once more", version, &delete_groups(&[&group]))?;
        Ok(())
    });
    let mut offsets = Cases::of(ApiKey::OffsetDelete);
    offsets.add("a KIP-848 group", ALL, |session, version| {
        let topic = topic(session)?;
        let other = session.topic_with("other", &[])?;
        let group = living::group(session, version)?;
        let (member, _) = settled(session, &group, "member", &[&topic.name])?;
        for topic in [&topic, &other] {
            session.ask_as("commits", COMMIT, &of(COMMIT, &group, &member, topic))?;
        }
        let both = [(topic.name.as_str(), &[0, 1, 7][..]), (other.name.as_str(), &[0][..])];
        session.ask_as("stable", version, &delete_offsets(&group, &both))?;
        fetched(session, &group)?;
        leave(session, &group, "member")?;
        session.ask_as("empty", version, &delete_offsets(&group, &both))?;
        fetched(session, &group)
    });
    let classic = classic_requests();
    let cases = [describe, lists, deletions, offsets];
    cases.into_iter().flat_map(|cases| cases.list).chain(classic).collect()
}

/// Members of the new protocol that speak the old one.
fn classic_requests() -> Vec<Case> {
    let mut beats = Cases::of(ApiKey::Heartbeat);
    beats.add("a member of a KIP-848 group", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let (member, _) = settled(session, &group, "member", &[&topic.name])?;
        session.ask_as("the member", version, &heartbeat(&group, &member))?;
        let nobody = Member::named("nobody", member.generation);
        session.ask_as("an unknown member", version, &heartbeat(&group, &nobody))?;
        leave(session, &group, "member")?;
        session.ask_as("when it is empty", HEARTBEAT, &heartbeat(&group, &member))?;
        Ok(())
    });
    let mut syncs = Cases::of(ApiKey::SyncGroup);
    syncs.add("a member of a KIP-848 group", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let (member, _) = settled(session, &group, "member", &[&topic.name])?;
        session.ask_as("the member", version, &sync(&group, &member, &[]))?;
        leave(session, &group, "member")?;
        session.ask_as("when it is empty", SYNC, &sync(&group, &member, &[]))?;
        Ok(())
    });
    let mut leaves = Cases::of(ApiKey::LeaveGroup);
    leaves.add("a member of a KIP-848 group", from(3), |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let (member, _) = settled(session, &group, "member", &[&topic.name])?;
        living::close_by(session, version, &group, &[&member, &Member::named("nobody", 1)])?;
        describe(session, "the group", super::heartbeat::CONSUMER_DESCRIBE, &group)?;
        leave(session, &group, "member")?;
        living::close_by(session, LEAVE, &group, &[&member])
    });
    let cases = [beats, syncs, leaves];
    cases.into_iter().flat_map(|cases| cases.list).collect()
}
