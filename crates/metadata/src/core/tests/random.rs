//! Any event in any order, with entries committed, lost, or left in the dark: the invariants hold after each step,
//! every request gets one reply, and at the end live brokers are unfenced.

use klamm_types::NodeId;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::harness::Shell;

const STEPS: usize = 300;
const SEEDS: u64 = 20;

#[test]
fn random_events_keep_the_invariants() {
    let first: u64 = rand::random();
    for seed in first..first.saturating_add(SEEDS) {
        println!("seed {seed}");
        run(seed);
    }
}

fn run(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut shell = Shell::new();
    shell.run("start 3");
    shell.run("request create t replicas=1,2,3/2,3,1/3,1,2");
    let mut asked = 4;
    let mut answered = 3;
    let count = |lines: &[String]| lines.iter().filter(|line| line.starts_with("reply")).count();
    answered += count(&shell.run("wait 2100 beating=1,2,3"));
    for _ in 0..STEPS {
        let command = command(&mut random, &shell);
        asked += usize::from(command.starts_with("request"));
        answered += count(&shell.run(&command));
    }
    shell.held = false;
    if shell.proposal.is_some() {
        answered += count(&shell.run("outcome rejected"));
    }
    answered += count(&shell.run("depose"));
    assert_eq!(answered, asked, "every request has one reply: seed {seed}");
    settle(&mut shell, seed);
}

/// Once the world is quiet, a controller brings every live broker back.
fn settle(shell: &mut Shell, seed: u64) {
    shell.run("lead");
    for broker in 1..=3 {
        if shell.controller.image().broker(NodeId(broker)).is_some() {
            shell.run(&format!("open {broker}"));
            shell.run(&format!("beat {broker}"));
        }
    }
    shell.run("wait 200 beating=1,2,3");
    let image = shell.controller.image();
    for (id, state) in image.brokers() {
        assert!(
            !state.fenced || state.in_controlled_shutdown,
            "broker {id} stays fenced: seed {seed}"
        );
    }
    for (topic, partition, state) in image.partitions() {
        let may_lead = |broker: &NodeId| image.may_lead(*broker);
        let candidate = state.isr.iter().chain(&state.elr).any(may_lead);
        assert!(
            state.leader.is_some() || !candidate,
            "{}-{partition} has no leader: seed {seed}",
            topic.name
        );
    }
}

fn command(random: &mut StdRng, shell: &Shell) -> String {
    let broker = random.random_range(1..=3);
    let has_session = shell.sessions.contains_key(&NodeId(broker));
    let probed = shell.probes.contains_key(&NodeId(broker));
    let partition = random.random_range(0..3);
    match random.random_range(0..24) {
        0..=3 => format!("open {broker}"),
        4..=8 if has_session => format!("beat {broker}"),
        9 if has_session => format!("eof {broker}"),
        10 if has_session => format!("error {broker}"),
        11 if has_session => format!("goodbye {broker}"),
        12 => format!("hint {broker}"),
        13 | 14 if probed => {
            let answer = ["refused", "same", "other", "none"][random.random_range(0..4)];
            format!("probe {broker} {answer}")
        }
        15 => format!("request register {broker} same-boot"),
        16 => format!("request shutdown {broker}"),
        17 => {
            let isr = ["1,2,3", "1,2", "2,3", "1,3", "1", "2"][random.random_range(0..6)];
            format!("request alter {broker} t-{partition} isr={isr}")
        }
        18 => "hold".into(),
        19 if shell.proposal.is_some() => {
            let outcome = ["rejected", "unknown", "unknown applied"][random.random_range(0..3)];
            format!("outcome {outcome}")
        }
        20 => "lead".into(),
        21 => format!("sleep {}", random.random_range(50..1_500)),
        22 if shell.held => "commit".into(),
        _ => format!("wait {}", random.random_range(1..20) * 50),
    }
}
