//! Clusters of other shapes than three combined nodes, as real processes: roles apart, racks, five nodes, a quorum that
//! changes its members, a quorum that is lost and built anew.

use std::time::{Duration, Instant};

use klamm_faults::{Fleet, Member, Roles};
use serde_json::Value;

use crate::support::{Done, fleet, klamm_with};

/// How long a cluster may take to get where it must.
const PATIENCE: Duration = Duration::from_secs(40);

/// Commands against one cluster.
struct Cli {
    bootstrap: String,
}

impl Cli {
    fn of(nodes: &Fleet) -> Cli {
        Cli {
            bootstrap: nodes.bootstrap(),
        }
    }

    fn with(&self, input: &str, arguments: &[&str]) -> Done {
        let common = ["--bootstrap", &self.bootstrap, "--timeout", "30", "--output", "json"];
        klamm_with(input, &[&common[..], arguments].concat())
    }

    fn run(&self, arguments: &[&str]) -> Done {
        self.with("", arguments)
    }

    fn produce(&self, topic: &str, lines: &[String]) {
        self.with(&(lines.join("\n") + "\n"), &["produce", topic]).good();
    }

    /// The values of a topic, sorted: its partitions are read side by side.
    fn read(&self, topic: &str) -> Vec<String> {
        let records = self
            .run(&["consume", topic, "--from", "beginning", "--stop-at-end"])
            .good();
        let value = |line: &str| {
            serde_json::from_str::<Value>(line).unwrap()["value"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        let mut values: Vec<_> = records.lines().map(value).collect();
        values.sort();
        values
    }

    fn partitions(&self, topic: &str) -> Vec<Value> {
        self.run(&["topic", "describe", topic]).json()[0]["partitions"]
            .as_array()
            .unwrap()
            .clone()
    }

    fn quorum(&self) -> Quorum {
        let described = self.run(&["quorum", "describe"]).json();
        let nodes = |key: &str| {
            let replicas = described[key].as_array().unwrap();
            let mut nodes: Vec<_> = replicas.iter().map(|one| one["node"].as_i64().unwrap()).collect();
            nodes.sort_unstable();
            nodes
        };
        Quorum {
            leader: described["leader"].as_i64(),
            voters: nodes("voters"),
            observers: nodes("observers"),
        }
    }

    /// Asks until it is as it must be. Each look is a process of its own, so that no pause is needed between them.
    fn until<T: std::fmt::Debug>(&self, look: impl Fn(&Cli) -> T, good: impl Fn(&T) -> bool) -> T {
        let begin = Instant::now();
        loop {
            let seen = look(self);
            if good(&seen) {
                return seen;
            }
            assert!(begin.elapsed() < PATIENCE, "after {PATIENCE:?} it is still {seen:?}");
        }
    }

    fn until_in_sync(&self, topic: &str, replicas: usize) {
        let whole = |one: &Value| one["isr"].as_array().unwrap().len() == replicas && !one["leader"].is_null();
        self.until(|cli| cli.partitions(topic), |all| all.iter().all(whole));
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Quorum {
    leader: Option<i64>,
    voters: Vec<i64>,
    observers: Vec<i64>,
}

/// Lines that are already in the order in which they are compared.
fn lines(what: &str) -> Vec<String> {
    (0..200).map(|number| format!("{what} {number:03}")).collect()
}

#[tokio::test]
async fn brokers_in_racks_apart_from_controllers_that_all_change() {
    let controllers = (1..=3).map(|id| Member::new(id, Roles::Controller));
    let racks = [(11, "north"), (12, "north"), (13, "south")];
    let brokers = racks.map(|(id, rack)| Member::new(id, Roles::Broker).set("rack", rack));
    let (mut nodes, _folder) = fleet(controllers.chain(brokers).collect());
    nodes.start_all().await.unwrap();
    let cli = Cli::of(&nodes);
    let described = cli.run(&["cluster", "describe"]).json();
    let ids: Vec<_> = described["brokers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["id"])
        .collect();
    assert_eq!(ids, [11, 12, 13]);
    assert_eq!(cli.quorum().voters, [1, 2, 3]);

    // Two replicas in two racks: one of them is always on the only broker of its rack.
    cli.run(&[
        "topic",
        "create",
        "orders",
        "--partitions",
        "6",
        "--replication-factor",
        "2",
    ])
    .good();
    for partition in cli.partitions("orders") {
        let mut racks: Vec<_> = partition["racks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rack| rack.as_str().unwrap())
            .collect();
        racks.sort_unstable();
        assert_eq!(racks, ["north", "south"], "{partition}");
    }
    cli.produce("orders", &lines("first"));

    // A new controller comes, and all of the old ones go, whoever of them leads. The brokers were never told of the new one.
    nodes.join(vec![Member::new(4, Roles::Controller)]).unwrap();
    nodes.start(&[4]).await.unwrap();
    cli.until(Cli::quorum, |quorum| quorum.observers == [4]);
    cli.run(&["quorum", "add", "4", &nodes.grpc(4).unwrap()]).good();
    assert_eq!(cli.quorum().voters, [1, 2, 3, 4]);
    for gone in 1..=3 {
        cli.run(&["quorum", "remove", &gone.to_string()]).good();
        cli.until(Cli::quorum, |quorum| {
            quorum.leader.is_some() && !quorum.voters.contains(&i64::from(gone))
        });
    }
    cli.until(Cli::quorum, |quorum| quorum.leader == Some(4) && quorum.voters == [4]);
    nodes.kill(&[1, 2, 3]).await.unwrap();
    cli.run(&["topic", "create", "later"]).good();
    cli.produce("later", &lines("later"));
    assert_eq!(cli.read("later"), lines("later"));
    assert_eq!(cli.read("orders"), lines("first"));
}

#[tokio::test]
async fn five_combined_nodes_go_on_without_two() {
    let (mut nodes, _folder) = fleet((1..=5).map(|id| Member::new(id, Roles::Both)).collect());
    nodes.start_all().await.unwrap();
    let cli = Cli::of(&nodes);
    cli.run(&[
        "topic",
        "create",
        "orders",
        "--partitions",
        "5",
        "--replication-factor",
        "5",
    ])
    .good();
    cli.produce("orders", &lines("before"));
    let leader = i32::try_from(cli.quorum().leader.unwrap()).unwrap();
    let other = leader % 5 + 1;
    nodes.kill(&[leader, other]).await.unwrap();
    cli.produce("orders", &lines("without"));
    nodes.start(&[leader, other]).await.unwrap();
    cli.until_in_sync("orders", 5);
    assert_eq!(cli.read("orders"), [lines("before"), lines("without")].concat());
}

#[tokio::test]
async fn a_broker_alone_can_bring_the_quorum_back() {
    let brokers = [11, 12].map(|id| Member::new(id, Roles::Broker));
    let members = [Member::new(1, Roles::Controller)].into_iter().chain(brokers);
    let (mut nodes, _folder) = fleet(members.collect());
    nodes.start_all().await.unwrap();
    let cli = Cli::of(&nodes);
    cli.run(&["topic", "create", "orders", "--replication-factor", "2"])
        .good();
    cli.produce("orders", &lines("before"));
    nodes.stop(&[11]).await.unwrap();
    nodes.stop(&[12]).await.unwrap();
    nodes.kill(&[1]).await.unwrap();
    // The only controller is gone with its disk. The broker that stopped last knows the most.
    std::fs::remove_dir_all(nodes.data(1)).unwrap();
    let (data, address) = (nodes.data(12), nodes.grpc(12).unwrap());
    let recover = ["quorum", "recover", "--node", "12", "--address", &address, "--data-dir"];
    cli.run(&[&recover[..], &[data.to_str().unwrap()]].concat()).good();
    for (id, roles) in [(11, Roles::Broker), (12, Roles::Both)] {
        let member = Member::new(id, roles).set("controllers", format!("12@{address}"));
        nodes.change(member).unwrap();
    }
    nodes.start(&[11, 12]).await.unwrap();
    cli.until_in_sync("orders", 2);
    cli.produce("orders", &lines("without"));
    assert_eq!(cli.read("orders"), [lines("before"), lines("without")].concat());
}

#[tokio::test]
async fn a_lost_quorum_is_built_anew_and_nothing_acknowledged_is_lost() {
    let (mut nodes, _folder) = fleet((1..=3).map(|id| Member::new(id, Roles::Both)).collect());
    nodes.start_all().await.unwrap();
    let cli = Cli::of(&nodes);
    cli.run(&[
        "topic",
        "create",
        "orders",
        "--partitions",
        "3",
        "--replication-factor",
        "3",
    ])
    .good();
    cli.produce("orders", &lines("before"));
    cli.until_in_sync("orders", 3);
    let (data, address) = (nodes.data(1), nodes.grpc(1).unwrap());
    let data = data.to_str().unwrap();
    let recover = [
        "quorum",
        "recover",
        "--node",
        "1",
        "--data-dir",
        data,
        "--address",
        &address,
    ];
    let refused = cli.run(&recover);
    assert!(
        refused.code == 1 && refused.stderr.contains("in use by another process"),
        "{refused:?}"
    );
    nodes.kill(&[1, 2, 3]).await.unwrap();
    // The controllers' stores of two nodes are gone for good; their logs are not.
    for lost in [2, 3] {
        std::fs::remove_dir_all(nodes.data(lost).join("quorum")).unwrap();
    }
    let plan = cli.run(&[&recover[..], &["--dry-run"]].concat()).good();
    assert!(plan.contains("3 brokers, 1 topics"), "{plan}");
    assert_eq!(cli.run(&recover).good(), plan);

    nodes.start(&[1, 2, 3]).await.unwrap();
    let joined = Quorum {
        leader: Some(1),
        voters: vec![1],
        observers: vec![2, 3],
    };
    cli.until(Cli::quorum, |quorum| *quorum == joined);
    for node in [2, 3] {
        cli.run(&["quorum", "add", &node.to_string(), &nodes.grpc(node).unwrap()])
            .good();
    }
    assert_eq!(cli.quorum().voters, [1, 2, 3]);
    cli.until_in_sync("orders", 3);
    // The new quorum does what a quorum is for: it outlives the node that it was built on.
    nodes.kill(&[1]).await.unwrap();
    cli.produce("orders", &lines("without"));
    assert_eq!(cli.read("orders"), [lines("before"), lines("without")].concat());
}
