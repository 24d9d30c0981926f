//! ListGroups and DescribeGroups through a whole shard.

use bytes::Bytes;
use klamm_types::ErrorCode;

use super::testing::*;
use crate::call::{Call, ListGroups};
use crate::record::Record;
use crate::reply::{DescribedGroup, DescribedMember, Reply};

fn described(records: &[Record]) -> DescribedGroup {
    match Served::orders(records).call(Call::DescribeGroup { group: "g".into() }) {
        Reply::DescribeGroup(group) => *group,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_group_is_described_as_it_is() {
    let empty = DescribedGroup {
        error: ErrorCode::None,
        message: None,
        group: "g".into(),
        state: "Empty".into(),
        protocol_type: String::new(),
        protocol: String::new(),
        members: Vec::new(),
    };
    assert_eq!(described(&[offset("g", "orders", 0, Some(noted(10)))]), empty);
    let emptied = DescribedGroup {
        protocol_type: "consumer".into(),
        ..empty.clone()
    };
    assert_eq!(described(&[classic("consumer", &[])]), emptied);
    let stable = DescribedGroup {
        state: "Stable".into(),
        protocol: "range".into(),
        members: vec![DescribedMember {
            member: "m".into(),
            instance: Some("i-m".into()),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            metadata: Bytes::from_static(SUBSCRIPTION),
            assignment: Bytes::from_static(b"assigned"),
        }],
        ..emptied
    };
    assert_eq!(described(&[classic("consumer", &["m"])]), stable);
    let dead = DescribedGroup {
        error: ErrorCode::GroupIdNotFound,
        message: Some("Group g not found.".into()),
        state: "Dead".into(),
        ..empty
    };
    assert_eq!(described(&[]), dead);
}

#[test]
fn the_list_passes_filters_in_any_case() {
    let mut served = Served::orders(&[classic("consumer", &["m"]), offset("a", "orders", 0, Some(noted(1)))]);
    let mut names = |states: &[&str], types: &[&str]| {
        let filter = ListGroups {
            states: states.iter().map(|&state| state.into()).collect(),
            types: types.iter().map(|&kind| kind.into()).collect(),
        };
        match served.call(Call::ListGroups(filter)) {
            Reply::ListGroups(groups) => groups.into_iter().map(|group| group.group).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(names(&[], &[]), ["a", "g"]);
    assert_eq!(names(&["sTABLE"], &[]), ["g"]);
    assert_eq!(names(&["Empty", "nonsense"], &["CLASSIC"]), ["a"]);
    assert_eq!(names(&[], &["consumer"]), Vec::<String>::new());
    assert_eq!(names(&[], &["nonsense"]), Vec::<String>::new());
}
