//! Short stories with their exact effects. The long ones with random faults are in `simulation`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use klamm_record::{Batch, Compression, CompressionLevel};
use klamm_types::{
    ErrorCode, LeaderEpoch, Moment, NodeId, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, Timestamp,
    TopicId,
};

use super::*;
use crate::metadata::{Broker, Partition};

fn ms(milliseconds: u64) -> Moment {
    Moment(milliseconds * 1000)
}

fn topic(leader: i32, epoch: i32) -> Topic {
    let partition = Partition {
        id: PartitionId(0),
        leader: Some(NodeId(leader)),
        leader_epoch: LeaderEpoch(epoch),
        replicas: vec![],
        isr: vec![],
        offline_replicas: vec![],
        error: None,
    };
    let id = TopicId::from_u128(1);
    Topic {
        name: Arc::from("t"),
        id,
        internal: false,
        error: None,
        partitions: vec![partition],
    }
}

fn cluster(leader: i32, epoch: i32) -> Arc<Cluster> {
    let broker = |id| Broker {
        id: NodeId(id),
        host: "h".to_owned(),
        port: 1,
        rack: None,
    };
    let topic = topic(leader, epoch);
    Arc::new(Cluster {
        cluster_id: None,
        controller: None,
        brokers: (1..=2).map(|id| (NodeId(id), broker(id))).collect(),
        topics: BTreeMap::from([(topic.name.clone(), Arc::new(topic))]),
    })
}

struct Story {
    core: Core<u32>,
    tickets: u32,
}

impl Story {
    /// A producer that leads a quiet life with broker 1: connected, known, one batch written.
    fn new(guarantee: Guarantee) -> Story {
        let config = CoreConfig {
            acks: Acks::All,
            guarantee,
            compression: Compression::None,
            level: CompressionLevel::Default,
            // One record each.
            batch_size: 1,
            linger: Duration::ZERO,
            request_size_max: 1000,
            delivery_timeout: Duration::from_secs(10),
            retry_backoff: Duration::from_millis(20),
            in_flight_max: 5,
            slow_after: Duration::from_millis(250),
            abandon_after: Duration::from_millis(20),
            seed: 1,
        };
        let mut story = Story {
            core: Core::new(config, cluster(1, 1)),
            tickets: 0,
        };
        story.append(0);
        if guarantee == Guarantee::Idempotent {
            assert_eq!(story.poll(0), vec![Effect::AskIdentity]);
            let identity = Identity {
                producer_id: ProducerId(7),
                producer_epoch: ProducerEpoch(0),
            };
            story.event(0, Event::Identity(identity));
        }
        assert_eq!(story.poll(0), vec![Effect::Dial(NodeId(1))]);
        story.event(0, Event::Connected(NodeId(1)));
        assert_eq!(requests(&story.poll(0)).len(), 1);
        assert_eq!(story.answer(0, 0, ErrorCode::None, 100), vec![done(1, 100)]);
        story
    }

    fn append(&mut self, now: u64) {
        let record = NewRecord {
            partition: None,
            timestamp: Timestamp(5),
            key: None,
            value: Some(b"v"),
            headers: &[],
        };
        let tickets = &mut self.tickets;
        let ticket = || {
            *tickets += 1;
            *tickets
        };
        self.core.append(ms(now), &topic(1, 1), record, ticket).unwrap();
    }

    fn event(&mut self, now: u64, event: Event) -> Vec<Effect<u32>> {
        let mut effects = Vec::new();
        self.core.handle(ms(now), event, &mut effects);
        effects
    }

    fn answer(&mut self, now: u64, id: RequestId, code: ErrorCode, offset: i64) -> Vec<Effect<u32>> {
        let answer = PartitionAnswer {
            topic: Arc::from("t"),
            partition: PartitionId(0),
            code,
            base_offset: Offset(offset),
            append_time: Timestamp::NONE,
            message: None,
        };
        self.event(
            now,
            Event::Answered {
                id,
                answers: vec![answer],
                throttle: Duration::ZERO,
            },
        )
    }

    fn poll(&mut self, now: u64) -> Vec<Effect<u32>> {
        let mut effects = Vec::new();
        self.core.poll(ms(now), &mut effects);
        effects
    }
}

fn done(ticket: u32, offset: i64) -> Effect<u32> {
    let written = Written {
        base_offset: Offset(offset),
        append_time: Timestamp::NONE,
    };
    Effect::Complete(Completed {
        ticket,
        reserved: 25,
        outcome: Ok(written),
    })
}

fn failed(ticket: u32, error: ProduceError) -> Effect<u32> {
    Effect::Complete(Completed {
        ticket,
        reserved: 25,
        outcome: Err(error),
    })
}

fn stamp(effect: &Effect<u32>) -> Option<(RequestId, i32, i16, Sequence)> {
    let Effect::Send(order) = effect else { return None };
    let header = *Batch::parse(order.parts[0].batch.clone()).unwrap().header();
    Some((order.id, order.node.0, header.producer_epoch.0, header.base_sequence))
}

/// Request, broker and base sequence of each request sent.
fn requests(effects: &[Effect<u32>]) -> Vec<(RequestId, i32, i32)> {
    effects
        .iter()
        .filter_map(stamp)
        .map(|(id, node, _, sequence)| (id, node, sequence.0))
        .collect()
}

#[test]
fn five_in_flight_and_in_order_after_the_leader_died() {
    let mut story = Story::new(Guarantee::Idempotent);
    for _ in 0..7 {
        story.append(10);
    }
    let sent = story.poll(10);
    assert_eq!(
        requests(&sent),
        vec![(1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 1, 4), (5, 1, 5)]
    );
    // The connection ends: everything is due again, the broker is dialled once more, and refuses.
    for id in 1..=5 {
        story.event(20, Event::Lost { id, sent: true });
    }
    assert_eq!(story.poll(20), vec![Effect::Dial(NodeId(1))]);
    assert_eq!(story.event(20, Event::DialFailed(NodeId(1))), vec![]);
    assert_eq!(story.poll(30), vec![]);
    assert_eq!(story.poll(40), vec![Effect::Dial(NodeId(1))], "20 ms later again");
    // Another broker leads.
    story.event(45, Event::Cluster(cluster(2, 2)));
    assert_eq!(story.poll(45), vec![Effect::Dial(NodeId(2))]);
    story.event(46, Event::Connected(NodeId(2)));
    let again = story.poll(46);
    assert_eq!(
        requests(&again),
        vec![(6, 2, 1), (7, 2, 2), (8, 2, 3), (9, 2, 4), (10, 2, 5)]
    );
    assert_eq!(story.answer(47, 6, ErrorCode::None, 101), vec![done(2, 101)]);
    assert_eq!(requests(&story.poll(47)), vec![(11, 2, 6)]);
}

/// A new leader may hear of it after the client: it is asked again soon, and ever less often.
#[test]
fn a_leader_that_was_just_chosen_is_asked_again_soon() {
    let mut story = Story::new(Guarantee::Idempotent);
    story.append(1000);
    let sent = requests(&story.poll(1000));
    // A hint of the new leader comes before the refusal: nothing to wait for.
    story.event(1000, Event::Cluster(cluster(2, 2)));
    story.answer(1000, sent[0].0, ErrorCode::NotLeaderOrFollower, -1);
    assert!(story.poll(1000).contains(&Effect::Dial(NodeId(2))));
    story.event(1001, Event::Connected(NodeId(2)));
    let mut asked = Vec::new();
    for now in 1001..1100 {
        for (id, leader, _) in requests(&story.poll(now)) {
            assert_eq!(leader, 2);
            asked.push(now - 1000);
            story.answer(now, id, ErrorCode::NotLeaderOrFollower, -1);
        }
    }
    assert_eq!(asked, [1, 3, 6, 12, 24, 44, 64, 84]);
}

#[test]
fn a_silent_leader_is_abandoned_for_the_new_one() {
    let mut story = Story::new(Guarantee::Idempotent);
    story.append(0);
    assert_eq!(requests(&story.poll(0)).len(), 1);
    assert_eq!(story.poll(249), vec![]);
    assert_eq!(
        story.poll(250),
        vec![Effect::Refresh],
        "a quarter of a second of silence raises doubt"
    );
    story.event(300, Event::Cluster(cluster(2, 2)));
    assert_eq!(story.poll(300), vec![], "it may still answer");
    assert_eq!(story.poll(320), vec![Effect::Disconnect(NodeId(1))]);
    story.event(320, Event::Lost { id: 1, sent: true });
    assert_eq!(story.poll(320), vec![Effect::Dial(NodeId(2))]);
    story.event(321, Event::Connected(NodeId(2)));
    assert_eq!(requests(&story.poll(321)), vec![(2, 2, 1)]);
}

#[test]
fn those_behind_a_refused_batch_go_out_under_the_next_epoch() {
    let mut story = Story::new(Guarantee::Idempotent);
    (0..3).for_each(|_| story.append(0));
    assert_eq!(requests(&story.poll(0)), vec![(1, 1, 1), (2, 1, 2), (3, 1, 3)]);
    let refused = ProduceError::Refused {
        code: ErrorCode::MessageTooLarge,
        message: None,
        effect: error_none(),
    };
    assert_eq!(
        story.answer(1, 1, ErrorCode::MessageTooLarge, -1),
        vec![failed(2, refused)]
    );
    assert_eq!(story.answer(1, 2, ErrorCode::OutOfOrderSequenceNumber, -1), vec![]);
    story.append(1);
    assert_eq!(story.poll(1), vec![], "nothing new while one is unresolved");
    assert_eq!(story.answer(2, 3, ErrorCode::OutOfOrderSequenceNumber, -1), vec![]);
    // One at a time until the broker has seen the new epoch.
    assert_eq!(
        story.poll(2).iter().filter_map(stamp).collect::<Vec<_>>(),
        vec![(4, 1, 1, Sequence(0))]
    );
    assert_eq!(story.answer(3, 4, ErrorCode::None, 101), vec![done(3, 101)]);
    let rest: Vec<_> = story.poll(3).iter().filter_map(stamp).collect();
    assert_eq!(rest, vec![(5, 1, 1, Sequence(1)), (6, 1, 1, Sequence(2))]);
}

#[test]
fn too_old_and_perhaps_written() {
    let mut story = Story::new(Guarantee::Idempotent);
    story.append(0);
    assert_eq!(requests(&story.poll(0)).len(), 1);
    let effects = story.poll(10_000);
    let waited = Duration::from_secs(10);
    let failure = ProduceError::TimedOut {
        waited,
        effect: crate::producer::Effect::Possible,
        last: None,
    };
    assert_eq!(effects[0], failed(2, failure));
    // The answer that comes after all changes nothing.
    assert_eq!(story.answer(10_001, 1, ErrorCode::None, 101), vec![]);
    story.append(10_002);
    assert_eq!(
        story.poll(10_002).iter().filter_map(stamp).collect::<Vec<_>>(),
        vec![(2, 1, 1, Sequence(0))]
    );
}

#[test]
fn never_sent_is_never_written() {
    let mut story = Story::new(Guarantee::Idempotent);
    story.event(0, Event::Lost { id: 99, sent: true });
    let nobody = Cluster {
        brokers: BTreeMap::new(),
        ..(*cluster(1, 1)).clone()
    };
    story.event(0, Event::Cluster(Arc::new(nobody)));
    story.append(0);
    assert_eq!(story.poll(0), vec![Effect::Refresh], "there is no leader to send to");
    let waited = Duration::from_secs(10);
    let failure = ProduceError::TimedOut {
        waited,
        effect: error_none(),
        last: None,
    };
    assert_eq!(story.poll(10_000), vec![failed(2, failure)]);
}

#[test]
fn at_most_once_fails_what_is_in_doubt_and_sends_one_at_a_time() {
    let mut story = Story::new(Guarantee::AtMostOnce);
    (0..2).for_each(|_| story.append(0));
    assert_eq!(requests(&story.poll(0)), vec![(1, 1, -1)]);
    let effects = story.event(1, Event::Lost { id: 1, sent: true });
    assert_eq!(effects[0], failed(2, ProduceError::ConnectionLost));
    assert_eq!(story.poll(1), vec![Effect::Dial(NodeId(1))]);
    story.event(2, Event::Connected(NodeId(1)));
    assert_eq!(requests(&story.poll(2)), vec![(2, 1, -1)]);
    // Refused before it was appended: no doubt, so it is sent again.
    assert_eq!(story.answer(3, 2, ErrorCode::NotEnoughReplicas, -1), vec![]);
    assert_eq!(requests(&story.poll(23)), vec![(3, 1, -1)]);
}

#[test]
fn a_batch_waits_for_company_unless_somebody_waits_for_it() {
    let mut story = Story::new(Guarantee::Idempotent);
    story.core.config.linger = Duration::from_millis(5);
    story.core.config.batch_size = 1000;
    story.append(0);
    story.append(3);
    let mut effects = Vec::new();
    assert_eq!(story.core.poll(ms(3), &mut effects), Some(ms(5)));
    assert_eq!(
        (requests(&effects), requests(&story.poll(5))),
        (vec![], vec![(1, 1, 1)])
    );
    story.append(6);
    assert_eq!(requests(&story.poll(6)), vec![]);
    assert_eq!(story.core.flush(), vec![2, 3]);
    assert_eq!(requests(&story.poll(6)), vec![(2, 1, 3)]);
}

#[test]
fn closing_tells_what_may_have_been_written() {
    let mut story = Story::new(Guarantee::Idempotent);
    story.append(0);
    story.poll(0);
    story.core.config.in_flight_max = 1;
    story.append(1);
    let mut effects = Vec::new();
    story.core.abort(&mut effects);
    let closed = |effect| ProduceError::Closed { effect };
    let expected = vec![
        failed(2, closed(crate::producer::Effect::Possible)),
        failed(3, closed(error_none())),
    ];
    assert_eq!(effects, expected);
}

fn error_none() -> crate::producer::Effect {
    crate::producer::Effect::None
}
