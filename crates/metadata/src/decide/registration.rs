//! Registration: a broker's process takes over its broker id. What it may still claim to hold is decided here.
//!
//! The entry that grants the new broker epoch also takes the lead from the broker and raises the leader epoch of all
//! it led, takes it out of every ISR, and takes out of ELR what its disks cannot prove.

use std::collections::{BTreeMap, BTreeSet};

use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{Cause, RegisterBroker};
use klamm_schema::requests::{LastRun, RegisterBrokerReply, RegisterBrokerRequest};
use klamm_schema::{Bytes, id_bytes, uuid};
use klamm_types::planted::{Bug, is_planted};
use klamm_types::{
    BrokerEpoch, ClusterId, DirectoryId, ErrorCode, Incarnation, LeaderEpoch, LogEndOffset, NodeId, PartitionId,
    TopicId,
};

use super::leadership::{Draft, Place};
use super::overlay::{Overlay, Refusal, Why, error_fields};
use super::recover::{Basis, is_of_no_process};
use crate::config::Durability;
use crate::image::{FeatureRange, Listener, LogEnd, PartitionState, directory_bytes};

/// Whether another process may be alive under the broker id that a registration asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The id is free, or its last holder is fenced or known to be gone.
    Free,
    /// The last holder's session lives, or nobody can tell yet.
    Held,
}

/// Reported epochs above this are refused: they would use up the numbers.
const LEADER_EPOCH_MAX: i32 = i32::MAX / 2;
const BROKER_EPOCH_MAX: i64 = i64::MAX / 2;

pub(super) fn register_broker(
    overlay: &mut Overlay,
    request: &RegisterBrokerRequest,
    claim: Claim,
) -> RegisterBrokerReply {
    let outcome = register(overlay, request, claim);
    let (error_code, error_message) = error_fields(&outcome);
    RegisterBrokerReply {
        error_code,
        error_message,
        broker_epoch: outcome.map_or(-1, |epoch| epoch.0),
        cluster_id: overlay
            .image()
            .cluster_id()
            .map_or_else(Bytes::new, |id| id_bytes(id.as_bytes())),
    }
}

fn register(overlay: &mut Overlay, request: &RegisterBrokerRequest, claim: Claim) -> Result<BrokerEpoch, Refusal> {
    check_cluster(overlay, request)?;
    let report = Report::read(request)?;
    check_features(overlay, request)?;
    check_directories(overlay, &report)?;
    let previous = overlay.image().broker(report.broker);
    let mut last_unfenced_epoch = BrokerEpoch::NONE;
    if let Some(previous) = previous {
        if previous.incarnation == report.incarnation {
            // The same process asks again, because the first reply was lost.
            return Ok(previous.epoch);
        }
        if claim == Claim::Held {
            return Err(Refusal::new(
                ErrorCode::DuplicateBrokerRegistration,
                format!("broker {} is registered by a process that may be alive", report.broker),
            ));
        }
        last_unfenced_epoch = previous.last_unfenced_epoch;
    }
    let basis = match previous.is_some_and(is_of_no_process) {
        true => Basis::Logs,
        false => Basis::Members,
    };
    let stored = report.directories.values().copied().max().unwrap_or(BrokerEpoch::NONE);
    let mut epoch = BrokerEpoch(overlay.image().highest_broker_epoch().max(stored).0 + 1);
    if let Some(previous) = previous.filter(|_| is_planted(Bug::ReuseBrokerEpoch)) {
        epoch = previous.epoch;
    }
    let directories: Vec<DirectoryId> = report.directory_order.clone();
    let why = Why::new(Cause::Registration, report.last_run_text()).about(report.broker);
    overlay.write(Record::RegisterBroker(RegisterBroker {
        broker: request.broker,
        broker_epoch: epoch.0,
        incarnation: request.incarnation.clone(),
        listeners: request.listeners.clone(),
        grpc_address: request.grpc_address.clone(),
        http_port: request.http_port,
        rack: request.rack.clone(),
        directories: directory_bytes(&directories),
        features: request.features.clone(),
        fenced: true,
        in_controlled_shutdown: false,
        last_unfenced_epoch: last_unfenced_epoch.0,
        decision: Some(overlay.decision(why)),
    }));
    settle_partitions(overlay, &report, (basis, last_unfenced_epoch));
    Ok(epoch)
}

fn check_cluster(overlay: &Overlay, request: &RegisterBrokerRequest) -> Result<(), Refusal> {
    if request.cluster_id.is_empty() {
        return Ok(());
    }
    let asked = uuid("cluster_id", &request.cluster_id)
        .map(ClusterId)
        .map_err(malformed)?;
    match overlay.image().cluster_id() {
        Some(ours) if ours != asked => Err(Refusal::new(
            ErrorCode::InconsistentClusterId,
            format!("the broker belongs to cluster {asked}, this is cluster {ours}"),
        )),
        _ => Ok(()),
    }
}

fn check_features(overlay: &Overlay, request: &RegisterBrokerRequest) -> Result<(), Refusal> {
    let known: Vec<FeatureRange> = request.features.iter().map(FeatureRange::from_message).collect();
    for (name, &level) in overlay.image().features() {
        let range = known.iter().find(|range| range.name == *name);
        if !range.is_some_and(|range| (range.min_level..=range.max_level).contains(&level)) {
            return Err(Refusal::new(
                ErrorCode::UnsupportedVersion,
                format!("the cluster runs at level {level} of {name}, which the broker does not know"),
            ));
        }
    }
    Ok(())
}

fn check_directories(overlay: &Overlay, report: &Report) -> Result<(), Refusal> {
    for (id, other) in overlay.image().brokers() {
        let shared = other
            .directories
            .iter()
            .find(|directory| report.directories.contains_key(directory));
        if let Some(directory) = shared.filter(|_| *id != report.broker) {
            return Err(Refusal::new(
                ErrorCode::InvalidRegistration,
                format!("the data directory {directory} belongs to broker {id}"),
            ));
        }
    }
    Ok(())
}

fn malformed(error: klamm_schema::BadField) -> Refusal {
    Refusal::new(ErrorCode::InvalidRegistration, error.to_string())
}

/// A registration, read and checked for form.
struct Report {
    broker: NodeId,
    incarnation: Incarnation,
    last_run: LastRun,
    directory_order: Vec<DirectoryId>,
    /// With the broker epoch stored in each; NONE in a new one.
    directories: BTreeMap<DirectoryId, BrokerEpoch>,
    damaged: BTreeSet<Place>,
    logs: BTreeMap<Place, ReportedLog>,
}

struct ReportedLog {
    highest_leader_epoch: LeaderEpoch,
    end: LogEnd,
    unflushed: bool,
}

impl Report {
    fn read(request: &RegisterBrokerRequest) -> Result<Report, Refusal> {
        let refuse = |text: &str| Err(Refusal::new(ErrorCode::InvalidRegistration, text));
        if request.broker < 0 || uuid("incarnation", &request.incarnation).is_ok_and(|id| id.is_zero()) {
            return refuse("the broker id is negative or the incarnation is zero");
        }
        let names: BTreeSet<&str> = request
            .listeners
            .iter()
            .map(|listener| listener.name.as_str())
            .collect();
        let well_formed = request
            .listeners
            .iter()
            .all(|listener| Listener::from_message(listener).is_some());
        if !well_formed || names.len() != request.listeners.len() || request.http_port > u32::from(u16::MAX) {
            return refuse("a listener or the HTTP port is malformed, or two listeners share a name");
        }
        let mut report = Report {
            broker: NodeId(request.broker),
            incarnation: Incarnation(uuid("incarnation", &request.incarnation).map_err(malformed)?),
            last_run: request.last_run(),
            directory_order: Vec::new(),
            directories: BTreeMap::new(),
            damaged: BTreeSet::new(),
            logs: BTreeMap::new(),
        };
        for directory in &request.directories {
            let id = DirectoryId(uuid("directory_id", &directory.directory_id).map_err(malformed)?);
            let stored = BrokerEpoch(directory.stored_broker_epoch);
            let doubled = report.directories.insert(id, stored).is_some();
            if doubled || id == DirectoryId::ZERO || stored.0 > BROKER_EPOCH_MAX {
                return refuse("a data directory is named twice, has no id or stores an impossible broker epoch");
            }
            report.directory_order.push(id);
        }
        if report.directories.is_empty() {
            return refuse("the broker has no data directory");
        }
        for damaged in &request.damaged {
            report.damaged.insert(place(&damaged.topic_id, damaged.partition)?);
        }
        for log in &request.replica_logs {
            if log.highest_leader_epoch > LEADER_EPOCH_MAX || log.last_epoch > log.highest_leader_epoch {
                return refuse("a log reports an impossible leader epoch");
            }
            let reported = ReportedLog {
                highest_leader_epoch: LeaderEpoch(log.highest_leader_epoch),
                end: LogEnd {
                    last_epoch: LeaderEpoch(log.last_epoch),
                    end_offset: LogEndOffset(log.log_end_offset),
                },
                unflushed: log.unflushed,
            };
            report.logs.insert(place(&log.topic_id, log.partition)?, reported);
        }
        Ok(report)
    }

    fn last_run_text(&self) -> &'static str {
        match self.last_run {
            LastRun::Clean => "the last run ended clean",
            LastRun::DiedSameBoot => "the last run died; the machine ran on",
            LastRun::DiedOtherBoot => "the last run died with its machine",
            LastRun::Unknown => "how the last run ended is not known",
        }
    }

    fn lost_its_page_cache(&self) -> bool {
        let machine_died = matches!(self.last_run, LastRun::DiedOtherBoot | LastRun::Unknown);
        machine_died && !is_planted(Bug::TrustLostPageCache)
    }
}

fn place(topic_id: &[u8], partition: i32) -> Result<Place, Refusal> {
    Ok(Place {
        topic: TopicId(uuid("topic_id", topic_id).map_err(malformed)?),
        partition: PartitionId(partition),
    })
}

fn settle_partitions(overlay: &mut Overlay, report: &Report, (basis, last_unfenced_epoch): (Basis, BrokerEpoch)) {
    let broker = report.broker;
    let mut durability: Option<(TopicId, Durability)> = None;
    for place in overlay.places(|_, state| state.replicas.contains(&broker)) {
        let Some(topic) = overlay.image().topic(place.topic) else {
            continue;
        };
        let level = match durability {
            Some((topic, level)) if topic == place.topic => level,
            _ => overlay.image().durability(&topic.name),
        };
        durability = Some((place.topic, level));
        let Some(state) = topic.partition(place.partition) else {
            continue;
        };
        let (draft, why) = match basis {
            Basis::Members => settle_partition(report, place, state, (level, last_unfenced_epoch)),
            Basis::Logs => settle_by_log(report, place, state),
        };
        overlay.write_draft(place, &draft, why);
    }
}

/// Why the replica may lack what it acknowledged, if its machine went down and records counted before they were flushed.
fn lost_with_the_machine(report: &Report, log: Option<&ReportedLog>, durability: Durability) -> Option<&'static str> {
    if !report.lost_its_page_cache() {
        return None;
    }
    if durability == Durability::Replicated {
        return Some("the machine went down and the topic's durability is replicated");
    }
    log.is_some_and(|log| log.unflushed)
        .then_some("the machine went down before the log was flushed under its new durability")
}

fn settle_partition(
    report: &Report,
    place: Place,
    state: &PartitionState,
    (durability, last_unfenced_epoch): (Durability, BrokerEpoch),
) -> (Draft, Why<'static>) {
    let broker = report.broker;
    let mut draft = Draft::new(state).leave_isr(broker);
    draft.depose = state.leader == Some(broker);
    let log = report.logs.get(&place);
    let mut why = Why::new(Cause::Registration, report.last_run_text()).about(broker);
    if let Some(log) = log.filter(|log| log.highest_leader_epoch > state.leader_epoch) {
        draft.epoch_floor = log.highest_leader_epoch;
        why.cause = Cause::EpochFloor;
        why.evidence = "the broker's log holds a higher leader epoch";
    }
    let directory = state.directory_of(broker).unwrap_or(DirectoryId::ZERO);
    let stored = report.directories.get(&directory).copied().unwrap_or(BrokerEpoch::NONE);
    // Both may be -1: a directory without an epoch proves nothing, whatever the broker was.
    let directory_counts = stored > BrokerEpoch::NONE && stored >= last_unfenced_epoch;
    let claim = log.map(|log| log.end);
    if !directory_counts && !is_planted(Bug::TrustEmptyDirectory) {
        draft.disqualified.insert(broker, None);
        why.cause = Cause::Directory;
        why.evidence = "the replica's directory is new, gone or older than the broker's last epoch";
    } else if report.damaged.contains(&place) {
        draft.disqualified.insert(broker, None);
        why.cause = Cause::Damage;
        why.evidence = "the replica was found damaged at start";
    } else if let Some(evidence) = lost_with_the_machine(report, log, durability) {
        draft.disqualified.insert(broker, claim);
        why.cause = Cause::UncleanStop;
        why.evidence = evidence;
    } else if state
        .last_known_elr
        .iter()
        .any(|known| known.broker == broker && known.log_end.is_some())
    {
        // It had a claim already; this is where its log ends now.
        draft.disqualified.insert(broker, claim);
    }
    draft.directories = directories_of(report, state);
    (draft, why)
}

/// The metadata come from a backup: the directories that it names may have been replaced since, and whoever was in the
/// ISR then need not have been at the end. The replica counts as far as its log reaches; one that is not there is empty.
fn settle_by_log(report: &Report, place: Place, state: &PartitionState) -> (Draft, Why<'static>) {
    let broker = report.broker;
    let mut draft = Draft::new(state).leave_isr(broker);
    let log = report.logs.get(&place);
    if let Some(log) = log.filter(|log| log.highest_leader_epoch > state.leader_epoch) {
        draft.epoch_floor = log.highest_leader_epoch;
    }
    let empty = LogEnd {
        last_epoch: LeaderEpoch::NONE,
        end_offset: LogEndOffset(0),
    };
    let claim = match report.damaged.contains(&place) {
        true => None,
        false => Some(log.map_or(empty, |log| log.end)),
    };
    draft.disqualified.insert(broker, claim);
    draft.directories = directories_of(report, state);
    let why = Why::new(Cause::QuorumRecovered, "the replica counts as far as its log reaches").about(broker);
    (draft, why)
}

/// Where the partition's replicas lie. One whose directory the broker has no more lies in the first that it has.
fn directories_of(report: &Report, state: &PartitionState) -> Vec<DirectoryId> {
    let mut directories = state.directories.clone();
    let first = report.directory_order.first();
    for (replica, slot) in state.replicas.iter().zip(&mut directories) {
        if let Some(&first) = first.filter(|_| *replica == report.broker && !report.directories.contains_key(slot)) {
            *slot = first;
        }
    }
    directories
}
