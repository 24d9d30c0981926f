//! Entries for people: what changed and why, without the time.

use std::collections::BTreeSet;

use klamm_schema::metadata::{BrokerStep, Cause};
use klamm_types::NodeId;

use super::{BrokerEntry, ControllerEntry, PartitionEntry, Reason};

/// `leader 2 → 3, epoch 7, ISR 1,2,3 → 1,3: broker 2's process ended (…); 84 ms without a leader`
pub fn partition(entry: &PartitionEntry) -> String {
    let (before, after) = (&entry.before, &entry.after);
    let mut what = Vec::new();
    if before.leader != after.leader {
        let name = |leader: Option<NodeId>| leader.map_or_else(|| "none".to_owned(), |id| id.to_string());
        what.push(format!("leader {} → {}", name(before.leader), name(after.leader)));
    } else if let (Some(leader), true) = (after.leader, before.leader_epoch != after.leader_epoch) {
        what.push(format!("leader {leader} again"));
    }
    if before.leader_epoch != after.leader_epoch {
        what.push(format!("epoch {}", after.leader_epoch));
    }
    let lists = [
        ("ISR", &before.isr, &after.isr),
        ("ELR", &before.elr, &after.elr),
        ("last known ELR", &before.last_known_elr, &after.last_known_elr),
    ];
    for (name, before, after) in lists {
        let (before, after) = (set(before), set(after));
        if before != after {
            what.push(format!("{name} {} → {}", list(&before), list(&after)));
        }
    }
    let mut text = format!("{}: {}", what.join(", "), because(entry));
    if let Some(gap) = entry.without_leader_ms {
        text.push_str(&format!("; {gap} ms without a leader"));
    }
    if entry.possible_loss {
        text.push_str("; acknowledged records may be lost");
    }
    text
}

fn because(entry: &PartitionEntry) -> String {
    let (before, after) = (set(&entry.before.isr), set(&entry.after.isr));
    let cause = match (entry.reason.cause, entry.reason.broker) {
        (Cause::IsrChange, Some(leader)) => {
            let joined: BTreeSet<NodeId> = after.difference(&before).copied().collect();
            let left: BTreeSet<NodeId> = before.difference(&after).copied().collect();
            match (joined.is_empty(), left.is_empty()) {
                (false, true) => format!("{} caught up with leader {leader}", brokers(&joined)),
                (true, false) => format!("{} did not keep up with leader {leader}", brokers(&left)),
                (false, false) => {
                    let (joined, left) = (brokers(&joined), brokers(&left));
                    format!("{joined} caught up with leader {leader}, {left} did not keep up")
                }
                (true, true) => format!("leader {leader} asked for it"),
            }
        }
        (cause, Some(broker)) => sentence(cause, &format!("broker {broker}"), &format!("broker {broker}'s")),
        (cause, None) => sentence(cause, "a broker", "a broker's"),
    };
    with_evidence(cause, &entry.reason)
}

/// `broker 2 fenced: its process ended (127.0.0.1:9191 refuses connections); noticed after 84 ms`
pub fn broker(id: NodeId, entry: &BrokerEntry) -> String {
    let reason = &entry.reason;
    let cause = || with_evidence(sentence(reason.cause, "it", "its"), reason);
    match entry.step {
        BrokerStep::Registered => {
            let what = format!("broker {id} registered, broker epoch {}", entry.broker_epoch);
            with_evidence(what, reason)
        }
        BrokerStep::Fenced => {
            let noticed = reason.last_contact.map(|last| reason.at.0.saturating_sub(last.0));
            let noticed = noticed.filter(|&after| after > 0 && reason.cause != Cause::SessionTimeout);
            let noticed = noticed.map_or_else(String::new, |after| format!("; noticed after {after} ms"));
            format!("broker {id} fenced: {}{noticed}", cause())
        }
        BrokerStep::Unfenced => format!("broker {id} unfenced: {}", cause()),
        BrokerStep::Stopping => format!("broker {id} gives up its leaders: {}", cause()),
        BrokerStep::DirectoryFailed => format!("broker {id} takes no new replicas into a directory: {}", cause()),
        BrokerStep::Unregistered => format!("broker {id} unregistered: {}", cause()),
        BrokerStep::Unknown => format!("broker {id} changed: {}", cause()),
    }
}

/// `controller 3 decides from here on, term 5: controller 1 ended 41 ms before (…)`
pub fn controller(entry: &ControllerEntry) -> String {
    let what = format!(
        "controller {} decides from here on, term {}",
        entry.controller, entry.term
    );
    let Some(predecessor) = entry.reason.broker else {
        return with_evidence(what, &entry.reason);
    };
    let before = entry
        .reason
        .last_contact
        .map(|last| entry.reason.at.0.saturating_sub(last.0));
    let before = before.map_or_else(String::new, |before| format!(" {before} ms before"));
    with_evidence(format!("{what}: controller {predecessor} ended{before}"), &entry.reason)
}

fn with_evidence(text: String, reason: &Reason) -> String {
    match reason.evidence.as_str() {
        "" => text,
        evidence => format!("{text} ({evidence})"),
    }
}

fn sentence(cause: Cause, it: &str, its: &str) -> String {
    match cause {
        Cause::Unknown => "for a reason that this program does not know".to_owned(),
        Cause::Created => "it was created".to_owned(),
        Cause::Registration => format!("{it} registered anew"),
        Cause::SessionTimeout => format!("{it} was silent for a whole session time-out"),
        Cause::ProcessEnded => format!("{its} process ended"),
        Cause::ProcessReplaced => format!("{its} process was replaced by another"),
        Cause::NoAnswer => format!("{its} session ended and nobody answered"),
        Cause::Goodbye => format!("{it} said goodbye"),
        Cause::ControlledShutdown => format!("{it} is to stop"),
        Cause::CaughtUp => format!("{it} has come up"),
        Cause::AliveAgain => format!("{it} proved to be alive"),
        Cause::IsrChange => "the leader asked for it".to_owned(),
        Cause::LeaderSteppedAside => format!("{it} asked to be replaced as leader"),
        Cause::PreferredElection => "the preferred replica leads again".to_owned(),
        Cause::UncleanElection => "the topic allows unclean elections".to_owned(),
        Cause::LastKnownElection => "all last known members were back, and this log reaches furthest".to_owned(),
        Cause::OperatorElection => "an operator chose the leader".to_owned(),
        Cause::Damage => format!("{its} replica is damaged"),
        Cause::Directory => format!("{its} directory cannot be relied on"),
        Cause::UncleanStop => format!("{it} may have lost what it had not flushed"),
        Cause::MinIsrLowered => "min.insync.replicas was lowered".to_owned(),
        Cause::EpochFloor => "a log holds a higher leader epoch than the metadata".to_owned(),
        Cause::Unregistered => format!("{it} was taken out of the cluster"),
        Cause::QuorumRecovered => "a new quorum was built".to_owned(),
        Cause::ControllerElected => "the quorum has a new leader".to_owned(),
    }
}

/// Members in order, so that the same look the same.
fn set(nodes: &[NodeId]) -> BTreeSet<NodeId> {
    nodes.iter().copied().collect()
}

fn brokers(nodes: &BTreeSet<NodeId>) -> String {
    let word = if nodes.len() == 1 { "broker" } else { "brokers" };
    format!("{word} {}", list(nodes))
}

fn list(nodes: &BTreeSet<NodeId>) -> String {
    if nodes.is_empty() {
        return "none".to_owned();
    }
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
