//! A client that sends and receives frames, and the server that it talks to.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use klamm_kafka::{Bound, ListenerSettings, Server, Settings};
use klamm_wire::{Decode, Reader, Request, encode_request, read_response_header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fake::{Fake, FakeBackend};
use crate::world::LISTENER;

/// A front end over a fake broker.
pub struct Front {
    pub fake: Arc<Fake>,
    pub server: Server,
    pub address: SocketAddr,
}

pub fn settings() -> Settings {
    let listener = ListenerSettings {
        name: LISTENER.to_owned(),
        bind_host: "127.0.0.1".to_owned(),
        bind_port: 0,
        advertised_host: Some("h1".to_owned()),
        advertised_port: Some(9092),
    };
    Settings {
        listeners: vec![listener],
        ..Settings::default()
    }
}

impl Front {
    pub async fn start(fake: Arc<Fake>) -> Front {
        Self::start_with(fake, settings()).await
    }

    pub async fn start_with(fake: Arc<Fake>, settings: Settings) -> Front {
        let bound = Bound::bind(settings).await.unwrap();
        let address = bound.listeners()[0].address;
        let server = bound.serve(Arc::new(FakeBackend(fake.clone())));
        Front { fake, server, address }
    }

    pub async fn client(&self) -> Client {
        Client {
            stream: TcpStream::connect(self.address).await.unwrap(),
            next: 0,
        }
    }

    /// One request over a connection of its own.
    pub async fn call<R: Request>(&self, request: &R, version: i16) -> Reply {
        self.client().await.call(request, version).await
    }
}

pub struct Client {
    pub stream: TcpStream,
    next: i32,
}

/// A response as it came, without its length.
pub struct Reply {
    pub bytes: Bytes,
    version: i16,
}

impl Reply {
    pub fn read<R: Request>(&self) -> R::Response<'_> {
        let mut reader = Reader::new(&self.bytes);
        read_response_header(&mut reader, R::KEY, self.version).unwrap();
        let response = <R::Response<'_> as Decode<'_>>::decode(&mut reader, self.version).unwrap();
        assert_eq!(reader.remaining(), 0, "bytes are left over");
        response
    }

    pub fn correlation_id(&self) -> i32 {
        i32::from_be_bytes(*self.bytes.first_chunk().unwrap())
    }
}

impl Client {
    pub async fn send<R: Request>(&mut self, request: &R, version: i16) -> i32 {
        self.next += 1;
        let frame = encode_request(request, version, self.next, Some("tests"))
            .unwrap()
            .into_bytes();
        self.send_bytes(&frame).await;
        self.next
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next frame; `None` if the server closed the connection.
    pub async fn receive(&mut self, version: i16) -> Option<Reply> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).await.ok()?;
        let mut bytes = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        self.stream.read_exact(&mut bytes).await.ok()?;
        Some(Reply {
            bytes: bytes.into(),
            version,
        })
    }

    pub async fn call<R: Request>(&mut self, request: &R, version: i16) -> Reply {
        let sent = self.send(request, version).await;
        let reply = self.receive(version).await.expect("an answer");
        assert_eq!(reply.correlation_id(), sent);
        reply
    }

    /// Whether the server has closed the connection, nothing more having come.
    pub async fn is_closed(&mut self) -> bool {
        let mut byte = [0; 1];
        !matches!(self.stream.read(&mut byte).await, Ok(1..))
    }
}
