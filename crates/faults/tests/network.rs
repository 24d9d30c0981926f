//! The network that can be broken, with real sockets: each kind of weather shows in what programs see.
//!
//! Stories run one after another, each in a network of its own; a word on the command line picks those whose name holds
//! it. `measure` runs only when it is named. Where namespaces or TUN devices may not be made, all are skipped and the
//! reason is printed; with `CI=true` that is a failure.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use klamm_faults::network::{CLIENT, Host, Link, Network, Rate, enter_own_namespace};

const PATIENCE: Duration = Duration::from_secs(60);
const PORT: u16 = 7000;

type Story = fn(&Network) -> anyhow::Result<()>;

const STORIES: &[(&str, Story)] = &[
    ("fine weather carries everything", fine_weather),
    ("a cut both ways holds back what comes after healing", cut_both_ways),
    ("a cut one way lets the other through", cut_one_way),
    ("two hosts are cut from each other and not from a third", cut_of_two),
    ("a delay is seen", delay),
    ("a reset is seen at both ends", reset),
    ("a narrow link takes its time", narrow),
    ("bad weather damages nothing", bad_weather),
];

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["echo", address] => return echo(address.parse()?),
        ["ask", address] => return ask(&mut connect(address.parse()?)?, b"question"),
        _ => {}
    }
    if let Err(error) = enter_own_namespace() {
        ensure!(
            std::env::var_os("CI").is_none(),
            "the network cannot be tested: {error:#}"
        );
        println!("skipped: {error:#}");
        return Ok(());
    }
    let measured: &[(&str, Story)] = &[("measure", measure)];
    let word = words.iter().find(|word| !word.starts_with('-'));
    let stories = if word.is_some_and(|word| word == "measure") {
        measured
    } else {
        STORIES
    };
    for (name, story) in stories {
        if word.is_some_and(|word| !name.contains(word.as_str())) {
            continue;
        }
        let seed = rand::random();
        let network = Network::new(seed)?;
        story(&network).with_context(|| format!("{name} (seed {seed}; {:?})", network.total()))?;
        println!("{name}: ok");
    }
    Ok(())
}

fn fine_weather(network: &Network) -> anyhow::Result<()> {
    let one = Echo::start(network, 1)?;
    let mut stream = one.connect()?;
    ask(&mut stream, &[7; 100_000])?;
    let sent = network.counters(CLIENT, 1);
    ensure!(sent.forwarded_bytes > 100_000 && sent.delayed == 0, "{sent:?}");
    ensure!(network.host(1).is_err(), "a host was made twice");
    ensure!(network.host(0).is_err() && network.host(255).is_err());
    Ok(())
}

fn cut_both_ways(network: &Network) -> anyhow::Result<()> {
    let one = Echo::start(network, 1)?;
    let mut stream = one.connect()?;
    ask(&mut stream, b"before")?;
    network.set_between(CLIENT, 1, Link::cut());
    stream.write_all(b"during")?;
    until("a packet is cut", || network.counters(CLIENT, 1).cut > 0)?;
    ensure!(is_silent(&stream)?, "an answer came through a cut");
    network.clear();
    let mut answer = [0; 6];
    stream.read_exact(&mut answer)?;
    ensure!(&answer == b"during");
    Ok(())
}

fn cut_one_way(network: &Network) -> anyhow::Result<()> {
    let one = Echo::start(network, 1)?;
    let mut stream = one.connect()?;
    ask(&mut stream, b"before")?;
    network.set(1, CLIENT, Link::cut());
    let before = network.counters(CLIENT, 1).forwarded;
    stream.write_all(b"during")?;
    until("the answer is cut", || network.counters(1, CLIENT).cut > 0)?;
    ensure!(
        network.counters(CLIENT, 1).forwarded > before,
        "the question did not arrive"
    );
    ensure!(is_silent(&stream)?, "an answer came through a cut");
    network.clear();
    stream.read_exact(&mut [0; 6])?;
    Ok(())
}

fn cut_of_two(network: &Network) -> anyhow::Result<()> {
    let one = Echo::start(network, 1)?;
    let two = network.host(2)?;
    ensure!(asks_from(&two, one.address)?.wait()?.success());
    network.set_between(1, 2, Link::cut());
    let mut waits = asks_from(&two, one.address)?;
    until("a packet is cut", || network.counters(2, 1).cut > 0)?;
    ask(&mut one.connect()?, b"from the third")?;
    ensure!(waits.try_wait()?.is_none(), "it came through a cut");
    network.clear();
    ensure!(waits.wait()?.success());
    Ok(())
}

fn delay(network: &Network) -> anyhow::Result<()> {
    let one = Echo::start(network, 1)?;
    let mut stream = one.connect()?;
    let link = Link {
        delay: Duration::from_millis(100),
        jitter: Duration::from_millis(20),
        ..Link::default()
    };
    network.set_between(CLIENT, 1, link);
    let start = Instant::now();
    ask(&mut stream, b"slowly")?;
    let took = start.elapsed();
    ensure!(took >= Duration::from_millis(200), "only {took:?}");
    ensure!(network.counters(CLIENT, 1).delayed > 0 && network.counters(1, CLIENT).delayed > 0);
    Ok(())
}

fn reset(network: &Network) -> anyhow::Result<()> {
    let mut one = Echo::start(network, 1)?;
    let mut old = one.connect()?;
    ask(&mut old, b"before")?;
    network.reset(1, CLIENT);
    old.write_all(b"after")?;
    let error = old.read(&mut [0; 5]).err().context("the connection goes on")?;
    ensure!(error.kind() == ErrorKind::ConnectionReset, "{error}");
    ensure!(one.says()? == "ended: connection reset");
    ensure!(network.total().reset == 1);
    ask(&mut one.connect()?, b"a new connection is spared")
}

fn narrow(network: &Network) -> anyhow::Result<()> {
    let one = Echo::start(network, 1)?;
    let mut stream = one.connect()?;
    let link = Link {
        rate: Some(Rate::bits(8_000_000)),
        ..Link::default()
    };
    network.set(CLIENT, 1, link);
    let start = Instant::now();
    ask(&mut stream, &[7; 1 << 20])?;
    let took = start.elapsed();
    // A mebibyte by a megabyte per second; above that bound lies only how busy the machine is.
    ensure!(took > Duration::from_millis(900), "only {took:?}");
    Ok(())
}

fn bad_weather(network: &Network) -> anyhow::Result<()> {
    let one = Echo::start(network, 1)?;
    let mut stream = one.connect()?;
    let link = Link {
        loss: 0.05,
        jitter: Duration::from_millis(2),
        duplicate: 0.1,
        reorder: 0.1,
        corrupt: 0.1,
        ..Link::default()
    };
    network.set_between(CLIENT, 1, link);
    let damaged_before = wrong_checksums()?;
    let content: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    ask(&mut stream, &content)?;
    let seen = network.counters(1, CLIENT);
    ensure!(seen.lost > 0 && seen.duplicated > 0 && seen.reordered > 0 && seen.corrupted > 0);
    ensure!(wrong_checksums()? > damaged_before, "the kernel saw no wrong checksum");
    Ok(())
}

/// Prints what the forwarder costs: throughput of one connection, processor time, latency beside loopback.
fn measure(network: &Network) -> anyhow::Result<()> {
    const BYTES: usize = 2 << 30;
    const ASKED: u32 = 5000;
    let one = Echo::start(network, 1)?;
    let mut stream = one.connect()?;
    let (start, used) = (Instant::now(), processor_time());
    pump(&mut stream, BYTES)?;
    let (took, used) = (start.elapsed(), processor_time() - used);
    let gigabytes = 2.0 * BYTES as f64 / 1e9;
    println!(
        "both ways: {:.2} GB/s, {:.2} s of processor per GB (this process, sender and receiver included); {:?}",
        gigabytes / took.as_secs_f64(),
        used.as_secs_f64() / gigabytes,
        network.total(),
    );
    let local = TcpListener::bind("127.0.0.1:0")?;
    let address = local.local_addr()?;
    std::thread::spawn(move || serve(&local));
    for (way, mut stream) in [("this network", stream), ("loopback", connect(address)?)] {
        let mut times = Vec::new();
        for _ in 0..ASKED {
            let start = Instant::now();
            ask(&mut stream, b"question")?;
            times.push(start.elapsed());
        }
        times.sort_unstable();
        let at = |share: usize| times[times.len() * share / 100];
        println!("round trip by {way}: median {:?}, 99 % {:?}", at(50), at(99));
    }
    Ok(())
}

/// A program that sends back what it gets, in a host of its own.
struct Echo {
    child: Child,
    said: BufReader<ChildStdout>,
    address: SocketAddr,
    _host: Host,
}

impl Echo {
    fn start(network: &Network, id: i32) -> anyhow::Result<Echo> {
        let host = network.host(id)?;
        let address = SocketAddr::from((host.address(), PORT));
        let mut command = host.command(std::env::current_exe()?);
        command.args(["echo", &address.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut said = BufReader::new(child.stdout.take().context("it has no output")?);
        let first = line(&mut said)?;
        ensure!(first == "ready", "echo said {first:?}");
        Ok(Echo {
            child,
            said,
            address,
            _host: host,
        })
    }

    fn connect(&self) -> anyhow::Result<TcpStream> {
        connect(self.address)
    }

    fn says(&mut self) -> anyhow::Result<String> {
        line(&mut self.said)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line(from: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

fn asks_from(host: &Host, address: SocketAddr) -> anyhow::Result<Child> {
    let mut command = host.command(std::env::current_exe()?);
    Ok(command.args(["ask", &address.to_string()]).spawn()?)
}

fn echo(address: SocketAddr) -> anyhow::Result<()> {
    // Its input ends when the test does, however that ends.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let listener = TcpListener::bind(address)?;
    println!("ready");
    serve(&listener)
}

fn serve(listener: &TcpListener) -> anyhow::Result<()> {
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || {
            let _ = stream.set_nodelay(true);
            if let Err(error) = std::io::copy(&mut &stream, &mut &stream) {
                println!("ended: {}", error.kind());
            }
        });
    }
    Ok(())
}

fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends and gets the same back.
fn ask(stream: &mut TcpStream, content: &[u8]) -> anyhow::Result<()> {
    let mut answer = vec![0; content.len()];
    std::thread::scope(|scope| {
        let mut other = stream.try_clone()?;
        let sends = (content.len() > 1 << 10).then(|| scope.spawn(move || other.write_all(content)));
        match sends {
            Some(sends) => {
                stream.read_exact(&mut answer)?;
                sends.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
            }
            None => {
                stream.write_all(content)?;
                stream.read_exact(&mut answer)?;
            }
        }
        ensure!(answer == content, "the answer differs");
        Ok(())
    })
}

/// Sends so many bytes and reads as many back, without looking at them.
fn pump(stream: &mut TcpStream, bytes: usize) -> anyhow::Result<()> {
    let mut other = stream.try_clone()?;
    let sender = std::thread::spawn(move || -> std::io::Result<()> {
        let chunk = vec![7; 1 << 20];
        (0..bytes / chunk.len()).try_for_each(|_| other.write_all(&chunk))
    });
    let mut chunk = vec![0; 1 << 20];
    for _ in 0..bytes / chunk.len() {
        stream.read_exact(&mut chunk)?;
    }
    sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    Ok(())
}

fn is_silent(stream: &TcpStream) -> anyhow::Result<bool> {
    stream.set_nonblocking(true)?;
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    Ok(peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock))
}

fn until(what: &str, is_so: impl Fn() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        if Instant::now() > deadline {
            bail!("waited in vain until {what}");
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// How many TCP segments this namespace's kernel dropped for their checksum.
fn wrong_checksums() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/net/snmp")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next().context("no TCP")?, lines.next().context("no TCP")?);
    let at = names
        .split(' ')
        .position(|name| name == "InCsumErrors")
        .context("no name")?;
    Ok(values.split(' ').nth(at).context("no value")?.parse()?)
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("it is positive")
}
