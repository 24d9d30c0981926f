//! `klamm doctor`: what a client would meet, step by step, from where the user stands.
//!
//! The usual trouble with a cluster is an address that brokers tell their clients and that leads nowhere from there.

mod space;

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use klamm_client::admin::{Admin, ClusterBroker};
use klamm_client::{Client, ClientConfig};
use serde::Serialize;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::{client_config, connect};
use crate::Common;
use crate::container::is_container_network;
use crate::failure::Failure;
use crate::output;

#[derive(clap::Args)]
pub struct Args {
    /// How long one dial may take, in milliseconds.
    #[arg(long, default_value_t = 2000)]
    dial_timeout_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Good,
    Warning,
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    subject: String,
    text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    fn good(subject: &str, text: impl Into<String>) -> Self {
        Self {
            level: Level::Good,
            subject: subject.to_owned(),
            text: text.into(),
            advice: None,
        }
    }

    fn wrong(level: Level, subject: &str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            level,
            subject: subject.to_owned(),
            text: text.into(),
            advice: Some(advice.into()),
        }
    }
}

pub async fn run(common: &Common, args: Args) -> Result<ExitCode, Failure> {
    let dial = Duration::from_millis(args.dial_timeout_ms.max(1));
    let client = connect(common).await?;
    let admin = client.admin();
    let cluster = admin.describe_cluster().await.map_err(super::admin_failure)?;
    let mut findings = vec![Finding::good(
        "bootstrap",
        format!("{} answers for {}", common.bootstrap, cluster.cluster_id),
    )];
    for broker in &cluster.brokers {
        findings.extend(check_broker(common, broker, &cluster.cluster_id, dial).await);
        if !broker.fenced {
            findings.extend(space::check(&admin, broker.id).await);
        }
    }
    findings.push(check_controller(&admin).await);
    findings.push(check_partitions(&admin).await);
    let bad = findings.iter().any(|finding| finding.level == Level::Bad);
    output::print(common.output, &findings, |findings| {
        findings.iter().map(show).collect::<Vec<_>>().join("\n")
    })?;
    Ok(if bad {
        ExitCode::from(Failure::CHECK)
    } else {
        ExitCode::SUCCESS
    })
}

fn show(finding: &Finding) -> String {
    let mark = match finding.level {
        Level::Good => "ok  ",
        Level::Warning => "warn",
        Level::Bad => "BAD ",
    };
    let advice = finding
        .advice
        .as_ref()
        .map(|advice| format!("\n       {advice}"))
        .unwrap_or_default();
    format!("{mark}  {}: {}{advice}", finding.subject, finding.text)
}

async fn check_broker(common: &Common, broker: &ClusterBroker, cluster: &str, dial: Duration) -> Vec<Finding> {
    let subject = format!("broker {}", broker.id);
    let address = format!("{}:{}", broker.host, broker.port);
    if broker.fenced {
        let advice = "it is registered but not in the cluster just now: is its process running?";
        return vec![Finding::wrong(Level::Bad, &subject, "fenced", advice)];
    }
    let mut findings = Vec::new();
    if let Ok(ip) = broker.host.parse::<IpAddr>()
        && is_container_network(ip)
    {
        let advice = "outside that network nobody can reach it: set advertised_listeners to a name that clients know";
        findings.push(Finding::wrong(
            Level::Warning,
            &subject,
            format!("{address} looks like a container's"),
            advice,
        ));
    }
    findings.push(match dial_broker(&address, dial).await {
        Ok(()) => speak(common, &subject, &address, cluster, dial).await,
        Err(reason) => {
            let advice = format!("clients are told {address}: set advertised_listeners of node {} to an address that can be reached from here", broker.id);
            Finding::wrong(Level::Bad, &subject, format!("{address}: {reason}"), advice)
        }
    });
    findings
}

async fn dial_broker(address: &str, dial: Duration) -> Result<(), String> {
    let resolved = timeout(dial, lookup_host(address)).await;
    let found = resolved.map_err(|_| "the name is not resolved in time".to_owned())?;
    let addresses: Vec<_> = found
        .map_err(|error| format!("the name cannot be resolved ({error})"))?
        .collect();
    let mut last = "the name has no address".to_owned();
    for one in addresses {
        match timeout(dial, TcpStream::connect(one)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => last = format!("cannot connect ({error})"),
            Err(_) => last = format!("no answer within {dial:?}"),
        }
    }
    Err(last)
}

/// Whoever listens there must speak Kafka and belong to this cluster.
async fn speak(common: &Common, subject: &str, address: &str, cluster: &str, dial: Duration) -> Finding {
    let config = ClientConfig {
        bootstrap: address.to_owned(),
        api_timeout: dial,
        request_timeout: dial,
        connect_timeout: dial,
        ..client_config(common)
    };
    let Ok(client) = Client::connect(config).await else {
        let advice = "something else listens there, or the port is another protocol's (gRPC and HTTP have their own)";
        return Finding::wrong(Level::Bad, subject, format!("{address} does not speak Kafka"), advice);
    };
    match client.cluster().cluster_id.as_deref() {
        Some(other) if other != cluster => {
            let advice = "the advertised address leads to a broker of another cluster";
            Finding::wrong(
                Level::Bad,
                subject,
                format!("{address} belongs to cluster {other}"),
                advice,
            )
        }
        _ => Finding::good(subject, format!("{address} answers")),
    }
}

async fn check_controller(admin: &Admin) -> Finding {
    match admin.describe_quorum().await {
        Ok(quorum) => match quorum.leader {
            Some(leader) => Finding::good("quorum", format!("node {leader} leads {} voters", quorum.voters.len())),
            None => {
                let advice = "without a majority of controllers nothing can be changed; produce and consume go on";
                Finding::wrong(Level::Bad, "quorum", "no active controller", advice)
            }
        },
        Err(error) => Finding::wrong(
            Level::Warning,
            "quorum",
            format!("cannot be described: {error}"),
            "try again",
        ),
    }
}

async fn check_partitions(admin: &Admin) -> Finding {
    let topics = match admin.list_topics().await {
        Ok(topics) => topics,
        Err(error) => return Finding::wrong(Level::Bad, "topics", format!("cannot be listed: {error}"), "try again"),
    };
    let (mut partitions, mut leaderless, mut short) = (0, 0, 0);
    for topic in topics {
        let Ok(topic) = admin.describe_topic(&topic.name).await else {
            continue;
        };
        for partition in topic.partitions {
            partitions += 1;
            leaderless += usize::from(partition.leader.is_none());
            short += usize::from(partition.isr.len() < partition.replicas.len());
        }
    }
    let text = format!("{partitions} partitions, {leaderless} without leader, {short} under-replicated");
    match (leaderless, short) {
        (0, 0) => Finding::good("partitions", text),
        (0, _) => Finding::wrong(
            Level::Warning,
            "partitions",
            text,
            "a broker is down or behind; see `klamm cluster describe`",
        ),
        _ => Finding::wrong(
            Level::Bad,
            "partitions",
            text,
            "start the brokers that hold them; see `klamm topic describe`",
        ),
    }
}
