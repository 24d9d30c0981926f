//! Klamm held against Apache Kafka: the same requests, good and bad, to a cluster of each; every field of every answer
//! is compared. Ends with failure if an answer differs in a way that no page explains.
//!
//!     beside-kafka KAFKA KLAMM [--only TEXT] [--names PREFIX] [--edges] [--accepted]
//!
//! KAFKA and KLAMM are bootstrap addresses of clusters with the brokers 1, 2 and 3 that nobody else uses. `--only` runs
//! the cases whose name contains the text, `--names` begins the topics' names (for a second run on the same clusters),
//! `--edges` takes only the first and the last version of each case, `--accepted` prints the accepted differences too. `scripts/prove beside-kafka-answers` starts both and runs it.
//! What a cluster does while brokers die is not compared here.

mod accepted;
mod batches;
mod case;
mod cases;
mod cluster;
mod connection;
mod report;
mod rules;
mod session;
mod value;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use case::Case;
use cluster::Cluster;
use report::Report;
use session::{Answer, Exchange, Session};
use value::Names;

struct Arguments {
    kafka: String,
    klamm: String,
    only: String,
    names: String,
    edges: bool,
    show_accepted: bool,
}

fn arguments() -> Result<Arguments> {
    let mut plain = Vec::new();
    let (mut only, mut names) = (String::new(), String::from("b"));
    let (mut edges, mut show_accepted) = (false, false);
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--only" => only = given.next().context("--only needs a text")?,
            "--names" => names = given.next().context("--names needs a prefix")?,
            "--edges" => edges = true,
            "--accepted" => show_accepted = true,
            other if other.starts_with("--") => bail!("unknown option {other}"),
            _ => plain.push(argument),
        }
    }
    let [kafka, klamm] = <[String; 2]>::try_from(plain)
        .ok()
        .context("needs two addresses: KAFKA KLAMM")?;
    Ok(Arguments {
        kafka,
        klamm,
        only,
        names,
        edges,
        show_accepted,
    })
}

fn main() -> Result<ExitCode> {
    let arguments = arguments()?;
    let mut kafka = Cluster::open("Kafka", &arguments.kafka)?;
    let mut klamm = Cluster::open("Klamm", &arguments.klamm)?;
    let mut report = Report::default();
    for (number, case) in cases::all().iter().enumerate() {
        if !case.name.contains(&arguments.only) {
            continue;
        }
        let Some(mut versions) = versions(case, &kafka, &klamm) else {
            report.skip(case);
            continue;
        };
        if arguments.edges && versions.len() > 2 {
            versions = vec![versions[0], versions[versions.len() - 1]];
        }
        let prefix = format!("{}{number}", arguments.names);
        let shared = format!("{}-{}", arguments.names, case.api);
        for version in versions {
            let (theirs, their_names) = answers(case, &mut kafka, [&prefix, &shared], version);
            let (ours, our_names) = answers(case, &mut klamm, [&prefix, &shared], version);
            report.compare(case, version, (&theirs, &their_names), (&ours, &our_names));
        }
    }
    report.sent = kafka.sent.max(klamm.sent);
    report.print(arguments.show_accepted);
    let whole = arguments.only.is_empty() && !arguments.edges;
    Ok(if report.passed(whole) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The versions to run a case in; `None` if one of the clusters does not list its API.
fn versions(case: &Case, kafka: &Cluster, klamm: &Cluster) -> Option<Vec<i16>> {
    let (theirs, ours) = (kafka.versions.get(&case.api)?, klamm.versions.get(&case.api)?);
    let common =
        |version: &i16| theirs.contains(*version) && ours.contains(*version) && case.api.valid().contains(*version);
    let wanted = *case.versions.start()..=(*case.versions.end()).min(99);
    Some(wanted.filter(common).collect())
}

/// What a cluster answers to a case in one version. A case that cannot be carried out ends with the reason as an answer.
fn answers(case: &Case, cluster: &mut Cluster, names: [&str; 2], version: i16) -> (Vec<Exchange>, Names) {
    let mut session = Session::new(cluster, names[0].to_owned(), names[1].to_owned());
    if let Err(error) = (case.run)(&mut session, version) {
        let (what, answer) = ("not carried out".to_owned(), Answer::Unreadable(format!("{error:#}")));
        session.exchanges.push(Exchange {
            what,
            key: case.api,
            answer,
        });
    }
    let (exchanges, called) = (session.exchanges, session.called);
    (exchanges, Names::of(cluster, called))
}
