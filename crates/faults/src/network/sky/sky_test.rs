//! The weather as values: each kind does what it says, counts it, and does the same for the same seed.

use super::*;
use crate::network::link::Rate;
use crate::network::packet::ACK;

const FAR: Duration = Duration::from_secs(1 << 20);

/// A packet of 40 bytes and some more, with a number in its sequence.
fn numbered(sequence: u32, more: usize) -> Vec<u8> {
    let segment = Segment {
        source: (Ipv4Addr::new(10, 77, 0, 1), 40_000),
        destination: (Ipv4Addr::new(10, 77, 0, 2), 9092),
        sequence,
        acknowledged: 9,
        flags: ACK,
        length: 0,
    };
    let mut packet = segment.packet();
    packet.resize(packet.len() + more, 7);
    packet
}

fn with(link: Link) -> Sky {
    let mut sky = Sky::new(7);
    sky.set(1, 2, link);
    sky
}

/// Sends so many packets, one each millisecond, and returns what arrives in the order of its times.
fn send(sky: &mut Sky, count: u32) -> Vec<Delivery> {
    let mut all = Vec::new();
    for number in 0..count {
        let now = Duration::from_millis(number.into());
        all.extend(sky.judge(now, 1, 2, numbered(number, 0)));
    }
    all.sort_by_key(|delivery| delivery.at);
    all.retain(|delivery| sky.arrives(delivery));
    all
}

fn sequences(arrived: &[Delivery]) -> Vec<u32> {
    let sequence = |delivery: &Delivery| Segment::of(&delivery.packet).unwrap().sequence;
    arrived.iter().map(sequence).collect()
}

#[test]
fn fine_weather_lets_everything_through_at_once() {
    let mut sky = Sky::new(7);
    let arrived = send(&mut sky, 100);
    assert_eq!(sequences(&arrived), (0..100).collect::<Vec<_>>());
    assert!(
        arrived
            .iter()
            .zip(0..)
            .all(|(one, number)| one.at == Duration::from_millis(number))
    );
    let counters = Counters {
        forwarded: 100,
        forwarded_bytes: 4000,
        ..Counters::default()
    };
    assert_eq!((sky.counters(1, 2), sky.total()), (counters, counters));
    assert_eq!(sky.counters(2, 1), Counters::default());
}

#[test]
fn a_cut_is_one_way_and_takes_what_is_under_way() {
    let slow = Link {
        delay: Duration::from_millis(10),
        ..Link::default()
    };
    let mut sky = with(slow);
    let under_way = sky.judge(Duration::ZERO, 1, 2, numbered(0, 0)).remove(0);
    sky.set(1, 2, Link::cut());
    assert!(!sky.arrives(&under_way));
    assert_eq!(sky.judge(Duration::ZERO, 1, 2, numbered(1, 0)), []);
    assert_eq!(sky.judge(Duration::ZERO, 2, 1, numbered(1, 0)).len(), 1);
    assert_eq!(sky.counters(1, 2).cut, 2);
    sky.clear();
    assert_eq!(sky.judge(Duration::ZERO, 1, 2, numbered(2, 0)).len(), 1);
    assert_eq!(sky.counters(1, 2).cut, 2, "counters stay");
}

#[test]
fn shares_come_about_as_often_as_they_say() {
    let link = Link {
        loss: 0.3,
        duplicate: 0.2,
        corrupt: 0.1,
        ..Link::default()
    };
    let mut sky = with(link);
    let arrived = send(&mut sky, 10_000);
    let counters = sky.counters(1, 2);
    assert!((2700..3300).contains(&counters.lost), "{counters:?}");
    assert!((1200..1600).contains(&counters.duplicated), "{counters:?}");
    assert!((550..850).contains(&counters.corrupted), "{counters:?}");
    assert_eq!(counters.forwarded, 10_000 - counters.lost + counters.duplicated);
    assert_eq!(arrived.len() as u64, counters.forwarded);
}

#[test]
fn the_same_seed_does_the_same() {
    let link = Link {
        loss: 0.3,
        jitter: Duration::from_millis(30),
        duplicate: 0.1,
        reorder: 0.1,
        corrupt: 0.1,
        ..Link::default()
    };
    let once = send(&mut with(link), 1000);
    assert_eq!(send(&mut with(link), 1000), once);
    let mut other = Sky::new(8);
    other.set(1, 2, link);
    assert_ne!(send(&mut other, 1000), once);
}

#[test]
fn jitter_delays_within_its_bounds_and_keeps_the_order() {
    let link = Link {
        delay: Duration::from_millis(200),
        jitter: Duration::from_millis(50),
        ..Link::default()
    };
    let arrived = send(&mut with(link), 1000);
    assert_eq!(sequences(&arrived), (0..1000).collect::<Vec<_>>());
    for (delivery, number) in arrived.iter().zip(0..) {
        let late = delivery.at - Duration::from_millis(number);
        assert!((200..=250).contains(&late.as_millis()), "{late:?}");
    }
}

#[test]
fn the_reordered_are_overtaken() {
    let link = Link {
        reorder: 0.1,
        ..Link::default()
    };
    let mut sky = with(link);
    let arrived = sequences(&send(&mut sky, 1000));
    let reordered = sky.counters(1, 2).reordered;
    assert!((60..140).contains(&reordered), "{reordered}");
    let overtaken = arrived.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!(overtaken > 50, "{overtaken}");
    let mut all = arrived;
    all.sort_unstable();
    assert_eq!(all, (0..1000).collect::<Vec<_>>());
}

#[test]
fn corruption_turns_one_bit_behind_the_ip_header() {
    let link = Link {
        corrupt: 1.0,
        ..Link::default()
    };
    let mut sky = with(link);
    for number in 0..100 {
        let sent = numbered(number, 60);
        let arrived = sky.judge(Duration::ZERO, 1, 2, sent.clone()).remove(0).packet;
        assert_eq!(arrived[..20], sent[..20]);
        let turned = |(one, other): (&u8, &u8)| (one ^ other).count_ones();
        assert_eq!(arrived.iter().zip(&sent).map(turned).sum::<u32>(), 1);
    }
}

#[test]
fn a_narrow_link_lets_packets_leave_one_after_another_and_drops_what_has_no_room() {
    let link = Link {
        rate: Some(Rate {
            bytes_per_second: 1000,
            queue_bytes: 500,
        }),
        ..Link::default()
    };
    let mut sky = with(link);
    let arrived: Vec<_> = (0..10)
        .flat_map(|number| sky.judge(Duration::ZERO, 1, 2, numbered(number, 60)))
        .collect();
    let times: Vec<_> = arrived.iter().map(|one| one.at.as_millis()).collect();
    assert_eq!(times, [100, 200, 300, 400, 500]);
    assert_eq!(sky.counters(1, 2).overflowed, 5);
    // Whoever finds nobody waiting passes, however large.
    let alone = sky.judge(FAR, 1, 2, numbered(0, 960));
    assert_eq!(alone[0].at, FAR + Duration::from_secs(1));
}

#[test]
fn a_reset_breaks_each_old_connection_once_and_spares_new_ones() {
    let mut sky = Sky::new(7);
    sky.reset(2, 1);
    let sent = numbered(5, 0);
    let segment = Segment::of(&sent).unwrap();
    let ends = sky.judge(Duration::ZERO, 1, 2, sent.clone());
    assert_eq!(
        ends.iter()
            .map(|end| (end.from, end.to, Segment::of(&end.packet).unwrap()))
            .collect::<Vec<_>>(),
        [(1, 2, segment.reset()), (2, 1, segment.reset_back())]
    );
    let packets = |all: Vec<Delivery>| all.into_iter().map(|one| one.packet).collect::<Vec<_>>();
    assert_eq!(
        packets(sky.judge(Duration::ZERO, 1, 2, sent.clone())),
        std::slice::from_ref(&sent)
    );

    let begins = Segment {
        flags: SYN,
        source: (segment.source.0, 40_001),
        ..segment
    };
    let goes_on = Segment { flags: ACK, ..begins };
    for packet in [begins.packet(), goes_on.packet()] {
        assert_eq!(packets(sky.judge(Duration::ZERO, 1, 2, packet.clone())), [packet]);
    }
    // Another pair of hosts has nothing to do with it.
    assert_eq!(packets(sky.judge(Duration::ZERO, 1, 3, sent.clone())), [sent]);
    assert_eq!(sky.total().reset, 1);
}
