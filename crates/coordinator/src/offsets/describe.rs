//! ListGroups, and DescribeGroups of classic groups.

use std::collections::BTreeSet;

use klamm_types::ErrorCode;

use super::Offsets;
use crate::call::{CallId, ListGroups};
use crate::classic;
use crate::draft::{Decision, Draft};
use crate::group::Group;
use crate::reply::{DescribedGroup, DescribedMember, ListedGroup, Reply};
use crate::shard::Shard;

const CLASSIC: &str = "classic";
const CONSUMER: &str = "consumer";
const EMPTY: &str = "Empty";
const DEAD: &str = "Dead";

/// The groups of the shard that pass both filters, in order of their names.
pub fn list_groups(shard: &Shard, id: CallId, filter: &ListGroups) -> Decision {
    let states: BTreeSet<String> = filter.states.iter().map(|state| state.to_lowercase()).collect();
    let types: BTreeSet<String> = filter.types.iter().map(|kind| kind.to_lowercase()).collect();
    let passes = |group: &ListedGroup| {
        (states.is_empty() || states.contains(&group.state.to_lowercase()))
            && (types.is_empty() || types.contains(&group.kind))
    };
    let groups = shard.groups().map(|(name, _)| name);
    let names: BTreeSet<&str> = groups.chain(shard.offsets().groups()).collect();
    let groups = names
        .into_iter()
        .map(|name| listed(name, shard.group(name)))
        .filter(passes);
    Decision {
        replies: vec![(id, Reply::ListGroups(groups.collect()))],
        ..Decision::default()
    }
}

fn listed(name: &str, group: Option<&Group>) -> ListedGroup {
    let (protocol_type, state, kind) = match group {
        Some(Group::Classic(group)) => (group.protocol_type().unwrap_or_default(), group.state_name(), CLASSIC),
        Some(Group::Consumer(group)) => (CONSUMER, group.state(), CONSUMER),
        None => ("", EMPTY, CLASSIC),
    };
    ListedGroup {
        group: name.to_owned(),
        protocol_type: protocol_type.to_owned(),
        state: state.to_owned(),
        kind: kind.to_owned(),
    }
}

/// DescribeGroups, of one group; one of the other kind is described as if there were none.
pub fn describe_group(draft: &mut Draft<'_>, offsets: &Offsets, id: CallId) {
    let name = draft.name();
    let described = match draft.group() {
        Some(Group::Classic(group)) => described(name, group),
        Some(Group::Consumer(_)) => dead(name, format!("Group {name} is not a classic group.")),
        None if offsets.has_group(name) => DescribedGroup {
            error: ErrorCode::None,
            message: None,
            state: EMPTY.to_owned(),
            ..dead(name, String::new())
        },
        None => dead(name, format!("Group {name} not found.")),
    };
    draft.reply(id, Reply::DescribeGroup(Box::new(described)));
}

fn described(name: &str, group: &classic::Group) -> DescribedGroup {
    // Before the members have their assignments, what they offer is still being negotiated.
    let protocol = if group.is_stable() { group.protocol() } else { None };
    let members = group.members().map(|member| DescribedMember {
        member: member.member.clone(),
        instance: member.instance.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        metadata: protocol
            .and_then(|protocol| member.metadata(protocol))
            .cloned()
            .unwrap_or_default(),
        assignment: member.assignment.clone(),
    });
    DescribedGroup {
        error: ErrorCode::None,
        message: None,
        group: name.to_owned(),
        state: group.state_name().to_owned(),
        protocol_type: group.protocol_type().unwrap_or_default().to_owned(),
        protocol: protocol.unwrap_or_default().to_owned(),
        members: members.collect(),
    }
}

fn dead(name: &str, message: String) -> DescribedGroup {
    DescribedGroup {
        error: ErrorCode::GroupIdNotFound,
        message: Some(message),
        group: name.to_owned(),
        state: DEAD.to_owned(),
        protocol_type: String::new(),
        protocol: String::new(),
        members: Vec::new(),
    }
}
