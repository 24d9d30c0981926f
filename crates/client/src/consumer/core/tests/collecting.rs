//! What the program gets when the core hears of something while a batch is being opened.

use super::*;
use crate::consumer::collect::{Room, collect};
use crate::consumer::reader::Reader;
use crate::consumer::task::Shared;

const NOW: Moment = Moment(1_000_000);

/// A core of which partition 0 has offsets 0 to 4 buffered and partition 1 offsets 0 to 2, all read under epoch 5.
fn filled(first: Bytes) -> Shared {
    let mut bench = Bench::new(config(), picture(&[Some((1, 5)), Some((1, 5))]));
    let start = |partition| (tp(partition), Start::Offset(Offset(0)));
    bench.core.assign(vec![start(0), start(1)]);
    let order = bench.fetch();
    bench.answer(order.id, vec![part(0, 5, first), part(1, 3, batch(0, 3, 5))]);
    Shared::new(bench.core)
}

/// Hands out up to `records_max`; `meanwhile` happens while a batch of partition 0 is being opened.
fn take(shared: &Shared, records_max: usize, meanwhile: impl Fn(&mut Core)) -> Result<Vec<(i32, i64)>, String> {
    let bytes_max = MIB;
    let mut reader = Reader::new(MIB);
    let collected = collect(NOW, shared, Room { records_max, bytes_max }, |lease, room, records| {
        if lease.partition == tp(0) {
            meanwhile(&mut shared.core());
        }
        reader.read(lease, room, records)
    });
    let taken = collected.map_err(|failure| failure.to_string())?.into_iter().flatten();
    Ok(taken.map(|record| (record.partition.0, record.offset.0)).collect())
}

fn move_leader(core: &mut Core) {
    core.handle(NOW, Event::Cluster(picture(&[Some((2, 6)), Some((1, 5))])));
}

/// The batch was taken back, so the position stayed; but its records went to the program, and once more when they had
/// been fetched again from the new leader.
#[test]
fn a_batch_that_is_taken_back_for_a_new_leader_is_handed_out_once() {
    let shared = filled(batch(0, 5, 5));
    assert_eq!(take(&shared, 4, |_| ()), Ok(offsets(0, 0..4)));
    assert_eq!(take(&shared, 4, move_leader), Ok(offsets(1, 0..3)));
    assert_eq!(shared.core().position(&tp(0)), Some(Offset(4)));
    let mut effects = Vec::new();
    shared.core().poll(NOW, &mut effects);
    let ids = effects.iter().find_map(|effect| match effect {
        Effect::Validate(order) => Some(order.id),
        _ => None,
    });
    let found = EpochPart {
        partition: tp(0),
        code: ErrorCode::None,
        epoch: LeaderEpoch(5),
        end: Offset(5),
    };
    let (id, outcome) = (ids.unwrap(), Ok(vec![found]));
    shared.core().handle(NOW, Event::Validated { id, outcome });
    effects.clear();
    shared.core().poll(NOW, &mut effects);
    let Some(Effect::Fetch(order)) = effects.first() else {
        panic!("{effects:?}")
    };
    let records = batch(0, 5, 5);
    let answer = FetchAnswer {
        code: ErrorCode::None,
        throttle: Duration::ZERO,
        bytes: records.len(),
        parts: vec![part(0, 5, records)],
    };
    let (id, outcome) = (order.id, Ok(answer));
    shared.core().handle(NOW, Event::Fetched { id, outcome });
    assert_eq!(take(&shared, 4, |_| ()), Ok(offsets(0, 4..5)));
}

fn replace_topic(core: &mut Core) {
    let other = TopicId(klamm_types::Uuid([8; 16]));
    let cluster = picture_of(other, &[Some((2, 0)), Some((2, 0))]);
    core.handle(NOW, Event::Cluster(cluster));
}

#[test]
fn nothing_of_a_topic_that_was_replaced_is_handed_out() {
    let shared = filled(batch(0, 5, 5));
    assert_eq!(take(&shared, 9, replace_topic), Ok(vec![]));
    let failure = take(&shared, 9, |_| ()).unwrap_err();
    assert_eq!(
        failure,
        "reading t-0: the topic was replaced by another of the same name"
    );
}

#[test]
fn damage_in_a_batch_that_was_taken_back_is_nobodys() {
    let mut broken = batch(0, 5, 5).to_vec();
    *broken.last_mut().unwrap() ^= 1;
    let shared = filled(broken.clone().into());
    assert_eq!(take(&shared, 9, replace_topic), Ok(vec![]));
    let shared = filled(broken.into());
    let failure = take(&shared, 9, |_| ()).unwrap_err();
    assert_eq!(failure, "reading t-0: the batch at offset 0 is damaged");
}
