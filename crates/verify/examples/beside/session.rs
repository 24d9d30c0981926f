//! What a case may do with a cluster: make topics, send requests or bytes, and leave what was answered for comparison.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use bytes::{BufMut, Bytes};
use klamm_wire::{ApiKey, MetadataRequest, Reader, Request, Tree, encode_request, read_response};

use crate::cluster::{CLIENT, Cluster, Topic};
use crate::connection::{Connection, Reply};

/// What a cluster did with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Message(Tree),
    /// Bytes that are no response of the API and version, and why.
    Unreadable(String),
    Closed,
    Silence,
}

/// A request's name within its case, and its answer.
#[derive(Debug)]
pub struct Exchange {
    pub what: String,
    pub key: ApiKey,
    pub answer: Answer,
}

pub struct Session<'c> {
    pub cluster: &'c mut Cluster,
    /// Begins the names of all topics of this case.
    prefix: String,
    /// Begins the names of topics that the cases of one API share.
    shared: String,
    broker: i64,
    /// Requests that were sent on connections of their own and are not answered yet.
    pending: BTreeMap<&'static str, Pending>,
    /// What texts that the cluster has drawn are called: the same in both clusters.
    pub called: BTreeMap<String, String>,
    pub exchanges: Vec<Exchange>,
}

struct Pending {
    connection: Connection,
    key: ApiKey,
    version: i16,
}

impl<'c> Session<'c> {
    pub fn new(cluster: &'c mut Cluster, prefix: String, shared: String) -> Session<'c> {
        Session {
            cluster,
            prefix,
            shared,
            broker: 1,
            pending: BTreeMap::new(),
            called: BTreeMap::new(),
            exchanges: Vec::new(),
        }
    }

    /// The name of a topic of this case, which need not exist.
    pub fn name(&self, what: impl std::fmt::Display) -> String {
        format!("{}-{what}", self.prefix)
    }

    /// The case's topic, which exists: partition n is led by broker 1 + n mod 3.
    pub fn topic(&mut self, partitions: i32) -> Result<Topic> {
        let name = self.name("topic");
        self.cluster.topic(&name, partitions, &[])
    }

    /// A topic that all cases of the API share, and whether this is its first use. Who changes it does so in every case.
    pub fn shared(&mut self, what: &str, partitions: i32) -> Result<(Topic, bool)> {
        let name = format!("{}-{what}-{partitions}", self.shared);
        let fresh = !self.cluster.topics.contains_key(&name);
        Ok((self.cluster.topic(&name, partitions, &[])?, fresh))
    }

    /// A further topic with one partition.
    pub fn topic_with(&mut self, what: impl std::fmt::Display, configs: &[(&str, &str)]) -> Result<Topic> {
        let name = self.name(what);
        self.cluster.topic(&name, 1, configs)
    }

    /// Further requests go to this broker.
    pub fn to(&mut self, broker: i64) -> &mut Self {
        self.broker = broker;
        self
    }

    /// The broker that requests go to.
    pub fn broker(&self) -> i64 {
        self.broker
    }

    /// Sends a request and keeps the answer for comparison.
    pub fn ask<R: Request>(&mut self, version: i16, request: &R) -> Result<&mut Self> {
        self.ask_as("", version, request)
    }

    /// The same with a name, for cases of several requests.
    pub fn ask_as<R: Request>(&mut self, what: &str, version: i16, request: &R) -> Result<&mut Self> {
        let frame = frame(request, version)?;
        self.send(what, R::KEY, version, &frame)
    }

    /// Sends a request, repeats it until the answer satisfies, and keeps that one.
    pub fn ask_until<R: Request>(
        &mut self,
        version: i16,
        request: &R,
        done: impl Fn(&Tree) -> bool,
    ) -> Result<&mut Self> {
        self.ask_until_as("", version, request, done)
    }

    /// The same with a name.
    pub fn ask_until_as<R: Request>(
        &mut self,
        what: &str,
        version: i16,
        request: &R,
        done: impl Fn(&Tree) -> bool,
    ) -> Result<&mut Self> {
        let tree = self.cluster.until(self.broker, version, request, done)?;
        self.cluster.sent += 1;
        self.exchanges.push(Exchange {
            what: what.to_owned(),
            key: R::KEY,
            answer: Answer::Message(tree),
        });
        Ok(self)
    }

    /// Repeats a request that is compared with nothing until the answer satisfies.
    pub fn wait<R: Request>(&mut self, version: i16, request: &R, done: impl Fn(&Tree) -> bool) -> Result<Tree> {
        self.cluster.until(self.broker, version, request, done)
    }

    /// Sends a request on a connection of its own and does not wait: its answer is to come with what follows.
    pub fn begin<R: Request>(&mut self, lane: &'static str, version: i16, request: &R) -> Result<()> {
        let mut connection = self.cluster.another_connection(self.broker)?;
        connection.send(&frame(request, version)?);
        let key = R::KEY;
        self.pending.insert(
            lane,
            Pending {
                connection,
                key,
                version,
            },
        );
        self.cluster.sent += 1;
        Ok(())
    }

    /// Waits for the answer to what was begun, and keeps it for comparison.
    pub fn end(&mut self, lane: &'static str) -> Result<&mut Self> {
        let mut pending = self
            .pending
            .remove(lane)
            .with_context(|| format!("nothing was begun as {lane}"))?;
        let answer = match pending.connection.receive() {
            Reply::Closed => Answer::Closed,
            Reply::Silence => Answer::Silence,
            Reply::Frame(bytes) => read(pending.key, pending.version, None, &bytes),
        };
        self.exchanges.push(Exchange {
            what: lane.to_owned(),
            key: pending.key,
            answer,
        });
        Ok(self)
    }

    /// Keeps of a list in the last answer only some items.
    pub fn keep_items(&mut self, name: &str, keep: impl Fn(&Tree) -> bool) {
        let Some(Answer::Message(Tree::Fields(fields))) = self.exchanges.last_mut().map(|last| &mut last.answer) else {
            return;
        };
        for (_, tree) in fields.iter_mut().filter(|(field, _)| *field == name) {
            if let Tree::List(items) = tree {
                items.retain(&keep);
            }
        }
    }

    /// The answer that was kept last.
    pub fn answer(&self) -> Result<&Tree> {
        match self.exchanges.last().map(|exchange| &exchange.answer) {
            Some(Answer::Message(tree)) => Ok(tree),
            other => anyhow::bail!("goes on only after an answer, not {other:?}"),
        }
    }

    /// Sends a request that is compared with nothing.
    pub fn set_up<R: Request>(&mut self, version: i16, request: &R) -> Result<Tree> {
        self.cluster.call(self.broker, version, request)
    }

    /// Sends a whole frame with its length. The answer is read as one of this API and version.
    pub fn send(&mut self, what: &str, key: ApiKey, version: i16, frame: &[u8]) -> Result<&mut Self> {
        self.cluster.sent += 1;
        let connection = self.cluster.connection(self.broker)?;
        connection.send(frame);
        let reply = connection.receive();
        let correlation_id = frame.get(8..12).map(|bytes| bytes.to_vec());
        let answer = match reply {
            Reply::Closed => Answer::Closed,
            Reply::Silence => Answer::Silence,
            Reply::Frame(bytes) => read(key, version, correlation_id.as_deref(), &bytes),
        };
        if !matches!(answer, Answer::Message(_)) {
            self.cluster.drop_connection(self.broker);
        }
        self.exchanges.push(Exchange {
            what: what.to_owned(),
            key,
            answer,
        });
        Ok(self)
    }

    /// Sends a frame that gets no answer, and a Metadata request behind it: its answer comes, or the connection ends.
    pub fn send_unanswered(&mut self, what: &str, frame: &[u8]) -> Result<&mut Self> {
        let none = MetadataRequest {
            topics: Some(Vec::new()),
            ..Default::default()
        };
        let mut both = frame.to_vec();
        both.extend_from_slice(&self::frame(&none, 1)?);
        self.cluster.connection(self.broker)?.send(&both[..frame.len()]);
        self.send(what, ApiKey::Metadata, 1, &both[frame.len()..])
    }
}

/// A request with its length and header.
pub fn frame<R: Request>(request: &R, version: i16) -> Result<Bytes> {
    let encoded = encode_request(request, version, 7, Some(CLIENT));
    Ok(encoded
        .with_context(|| format!("{} {version} cannot be written", R::KEY))?
        .into_bytes())
}

/// Gives a frame the length that it has.
pub fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(body.len() + 4);
    frame.put_i32(body.len() as i32);
    frame.put_slice(body);
    frame
}

fn read(key: ApiKey, version: i16, correlation_id: Option<&[u8]>, frame: &Bytes) -> Answer {
    let mut reader = Reader::new(frame);
    let header = klamm_wire::read_response_header(&mut reader, key, version);
    if header.is_err() || (correlation_id.is_some() && frame.get(..4) != correlation_id) {
        return Answer::Unreadable("another correlation id".into());
    }
    match read_response(key, version, &mut reader) {
        Ok(_) if reader.remaining() > 0 => Answer::Unreadable(format!("{} surplus bytes", reader.remaining())),
        Ok(tree) => Answer::Message(tree),
        Err(error) => Answer::Unreadable(error.to_string()),
    }
}
