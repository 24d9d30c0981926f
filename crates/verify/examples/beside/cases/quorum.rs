//! DescribeQuorum (55), AddRaftVoter (80) and RemoveRaftVoter (81); of the last two only what is refused.

use klamm_types::Uuid;
use klamm_wire::describe_quorum_request::{PartitionData, TopicData};
use klamm_wire::{AddRaftVoterRequest, ApiKey, DescribeQuorumRequest, RemoveRaftVoterRequest};

use crate::case::{ALL, Case, Cases};

pub fn cases() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::DescribeQuorum);
    for (topic_name, partition_index) in [
        ("__cluster_metadata", 0),
        ("__cluster_metadata", 1),
        ("other", 0),
        ("", 0),
    ] {
        cases.add(
            format!("partition {partition_index} of {topic_name:?}"),
            ALL,
            move |session, version| {
                let partitions = vec![PartitionData { partition_index }];
                let topics = vec![TopicData { topic_name, partitions }];
                for broker in 1..=3 {
                    session
                        .to(broker)
                        .ask(version, &DescribeQuorumRequest { topics: topics.clone() })?;
                }
                Ok(())
            },
        );
    }
    cases.add("no topics", ALL, |session, version| {
        session.ask(version, &DescribeQuorumRequest::default())?;
        Ok(())
    });
    let mut list = cases.list;
    list.extend(voters());
    list
}

fn voters() -> Vec<Case> {
    let mut add = Cases::of(ApiKey::AddRaftVoter);
    add.add("of another cluster", ALL, |session, version| {
        let request = AddRaftVoterRequest {
            cluster_id: Some("another"),
            timeout_ms: 2000,
            voter_id: 9,
            ..Default::default()
        };
        session.ask(version, &request)?;
        Ok(())
    });
    let mut remove = Cases::of(ApiKey::RemoveRaftVoter);
    remove.add("of another cluster", ALL, |session, version| {
        let voter_directory_id = Uuid::from_u128(9);
        session.ask(
            version,
            &RemoveRaftVoterRequest {
                cluster_id: Some("another"),
                voter_id: 9,
                voter_directory_id,
            },
        )?;
        Ok(())
    });
    add.list.extend(remove.list);
    add.list
}
