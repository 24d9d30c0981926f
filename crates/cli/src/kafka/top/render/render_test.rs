//! Whole screens, at the sizes that terminals have.

use super::super::model::{Broker, Cluster, Group, Partition, Topic};
use super::super::state::Key;
use super::*;

const PACE: Duration = Duration::from_secs(2);

fn model() -> Model {
    let broker = |id, state| Broker {
        id,
        address: format!("127.0.0.1:{}", 9091 + id),
        state,
        leads: 4,
        replicas: 12,
        bytes_in: Some(12_345_678.0),
        records_in: Some(12_345.0),
        bytes_out: Some(0.0),
        errors: Some(0.0),
        flush_p99_ms: Some(1.94),
        disk_bytes: Some(100 << 30),
        disk_free_bytes: Some(55 << 30),
    };
    let gone = Broker {
        id: 3,
        state: "down",
        replicas: 12,
        ..Broker::default()
    };
    let topic = |name: &str, rate| Topic {
        topic: name.to_owned(),
        partitions: 12,
        under_replicated: 12,
        records_in: Some(rate),
        bytes_in: Some(rate * 100.0),
        size_bytes: Some(5 << 20),
        ..Topic::default()
    };
    let partition = Partition {
        topic: "orders".to_owned(),
        partition: 7,
        leader: Some(1),
        replicas: vec![1, 2, 3],
        isr: vec![1],
        under_min_isr: true,
        records_in: Some(3.0),
        end: Some(1000),
        ..Partition::default()
    };
    let group = Group {
        group: "bil\u{1b}ling".to_owned(),
        state: "Stable".to_owned(),
        members: Some(2),
        lag: Some(1234),
        lag_change: Some(-12.0),
        records_out: Some(100.0),
    };
    Model {
        cluster: Cluster {
            cluster_id: "J7s2".to_owned(),
            active_controller: Some(2),
            brokers: 3,
            brokers_up: 2,
            topics: 2,
            partitions: 24,
            under_replicated: 24,
            under_min_isr: 1,
            records_in: Some(24_690.0),
            groups: 1,
            ..Cluster::default()
        },
        brokers: vec![broker(1, "up"), broker(2, "up"), gone],
        topics: vec![topic("audit", 10.0), topic("orders", 24_680.0)],
        partitions: vec![partition],
        groups: vec![group],
        troubles: vec!["broker 3: connecting".to_owned()],
    }
}

fn texts(state: &State, width: usize, height: usize) -> Vec<String> {
    let lines = screen(&model(), state, Size { width, height }, PACE);
    assert_eq!(lines.len(), height);
    assert!(lines.iter().all(|line| line.text.chars().count() <= width), "{lines:?}");
    lines.into_iter().map(|line| line.text).collect()
}

#[test]
fn the_overview_fits_a_small_terminal() {
    let expected = [
        "cluster J7s2  controller 2  brokers 2 of 3 up",
        "partitions 24: 24 under-replicated, 0 offline, 1 under min ISR",
        "topics 2  groups 1  24690 rec/s in",
        "[1 overview] 2 brokers  3 topics  4 partitions  5 groups   every 2 s",
        "",
        "ID*  STATE  LEADS  HOLDS  IN MB/s  IN rec/s  OUT MB/s  ERR/s  FLUSH p99  DISK",
        "  1  up         4     12       12     12345         0      0     1.9 ms   45%",
        "  2  up         4     12       12     12345         0      0     1.9 ms   45%",
        "  3  down       0     12        -         -         -      -          -     -",
        "",
        "TOPIC   IN rec/s*  IN MB/s  OUT rec/s  PARTITIONS  UNDER     SIZE",
        "orders      24680     2.47          -          12     12  5.0 MiB",
        "audit          10     0.00          -          12     12  5.0 MiB",
        "",
        "GROUP     LAG*  LAG/s  OUT rec/s  MEMBERS  STATE",
        "bil·ling  1234    -12        100        2  Stable",
        "",
        "",
        "",
        "",
        "",
        "",
        "broker 3: connecting",
        KEYS,
    ];
    assert_eq!(texts(&State::default(), 80, 24), expected);
}

#[test]
fn wide_terminals_show_more_and_tiny_ones_something() {
    let wide = texts(&State::default(), 120, 24);
    assert!(wide[5].ends_with("DISK    FREE  ADDRESS"), "{}", wide[5]);
    for (width, height) in [(1, 1), (10, 3), (20, 5), (40, 12), (500, 200)] {
        for view in View::ALL {
            let mut state = State::default();
            state.press(Key::View(view), 0);
            texts(&state, width, height);
            state.press(Key::Help, 0);
            texts(&state, width, height);
        }
    }
}

#[test]
fn each_view_is_a_table() {
    let mut state = State::default();
    state.press(Key::View(View::Partitions), 1);
    state.press(Key::Pause, 1);
    let shown = texts(&state, 80, 10);
    assert_eq!(
        shown[3],
        " 1 overview  2 brokers  3 topics [4 partitions] 5 groups   paused"
    );
    assert_eq!(
        shown[5..7],
        [
            "PARTITION  IN rec/s*  IN MB/s  OUT rec/s  LEADER  ISR    SIZE   END",
            "orders/7         3.0        -          -       1  1 -2!     -  1000",
        ]
    );
    state.press(Key::Help, 1);
    assert!(texts(&state, 80, 24).iter().any(|line| line.starts_with("q, Ctrl-C")));
}

#[test]
fn rooms_are_shared_out() {
    assert_eq!(shares(12, [3, 100, 100]), [3, 5, 4]);
    assert_eq!(shares(12, [3, 1, 2]), [3, 1, 2]);
    assert_eq!(shares(0, [3, 1, 2]), [0, 0, 0]);
    assert_eq!(shares(4, [0, 0, 9]), [0, 0, 4]);
}

#[test]
fn a_report_tells_what_it_leaves_out() {
    let report = report(&model(), 1);
    assert!(report.contains("(1 more topics are not shown)"), "{report}");
    assert!(report.contains("\nwarning: broker 3: connecting"), "{report}");
    assert!(report.contains("  3  down "), "{report}");
    assert!(!report.contains('\u{1b}'));
}
