//! What consumers subscribe to, read from the metadata that they send each other through the coordinator.
//!
//! Read in version 0 only, which every later version begins with. What cannot be read is not an error: the metadata is
//! the members' own business, and the coordinator then knows of no subscription.

use std::collections::BTreeSet;

use bytes::Bytes;
use klamm_wire::ConsumerProtocolSubscription;
use klamm_wire::Decode;

use super::group::{CONSUMER_PROTOCOL_TYPE, Group};

/// The topics of all members under the group's protocol.
pub(super) fn subscribed_topics(group: &Group) -> Option<BTreeSet<String>> {
    if group.protocol_type.as_deref() != Some(CONSUMER_PROTOCOL_TYPE) {
        return None;
    }
    if group.members.is_empty() {
        return Some(BTreeSet::new());
    }
    let protocol = group.protocol.as_deref()?;
    let mut all = BTreeSet::new();
    for member in group.members.values() {
        all.extend(topics(member.metadata(protocol)?)?);
    }
    Some(all)
}

/// The topics of one member's metadata; `None` if it cannot be read.
pub fn topics(metadata: &Bytes) -> Option<BTreeSet<String>> {
    const VERSION_BYTES: usize = 2;
    if metadata.len() < VERSION_BYTES {
        return None;
    }
    let body = metadata.slice(VERSION_BYTES..);
    let subscription = ConsumerProtocolSubscription::from_bytes(&body, 0).ok()?;
    Some(subscription.topics.into_iter().map(str::to_owned).collect())
}
