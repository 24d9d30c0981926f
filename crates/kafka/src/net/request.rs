//! What stands before every request: which API, which version, who asks. And what a request may come to.

use bytes::Bytes;
use klamm_wire::{ApiKey, Decode, DecodeError, EncodeError, Reader, RequestHeader, Response};

use crate::advertised;
use crate::metrics::Errors;

use super::memory::Hold;

/// One request, its body not yet read.
#[derive(Debug)]
pub(crate) struct Request {
    pub key: ApiKey,
    pub version: i16,
    pub correlation_id: i32,
    bytes: Bytes,
    body_at: usize,
    client_id: Option<std::ops::Range<usize>>,
    /// Memory of the budget, held until the request is answered.
    _hold: Hold,
}

/// Why a connection is closed instead of answered. Kafka has no general error answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("reading a request's header")]
    Header(#[source] DecodeError),
    #[error("{0} is not served")]
    NotServed(ApiKey),
    #[error("version {version} of {key} is not served")]
    Version { key: ApiKey, version: i16 },
    #[error("reading a {key} request of version {version}")]
    Body {
        key: ApiKey,
        version: i16,
        #[source]
        source: DecodeError,
    },
    #[error("writing the answer to a {key} request")]
    Answer {
        key: ApiKey,
        #[source]
        source: EncodeError,
    },
    /// Without acknowledgements there is no answer that could tell.
    #[error("a produce request without acknowledgements failed")]
    UnacknowledgedProduce,
}

/// What a request comes to.
pub(crate) type Answer = Result<Reply, RequestError>;

/// What is sent back.
#[derive(Debug)]
pub(crate) enum Reply {
    /// One frame, in pieces, and the errors that it tells.
    Frame(Vec<Bytes>, Errors),
    /// A produce request without acknowledgements is not answered.
    Nothing,
}

/// Which requests can be told apart before their bodies are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    Yes,
    /// ApiVersions of a version that is not known: answered all the same, its body unread.
    UnknownApiVersions,
}

impl Request {
    /// Reads the header. Kafka's rule for what is not served is to close the connection, ApiVersions excepted.
    pub fn parse(bytes: Bytes, hold: Hold) -> Result<(Request, Served), RequestError> {
        let mut reader = Reader::new(&bytes);
        if let Some(request) = unknown_api_versions(&bytes)? {
            let (version, correlation_id) = request;
            let key = ApiKey::ApiVersions;
            let body_at = bytes.len();
            let request = Request {
                key,
                version,
                correlation_id,
                bytes,
                body_at,
                client_id: None,
                _hold: hold,
            };
            return Ok((request, Served::UnknownApiVersions));
        }
        let header = RequestHeader::decode(&mut reader).map_err(RequestError::Header)?;
        let RequestHeader {
            api_key: key,
            api_version: version,
            correlation_id,
            client_id,
        } = header;
        if !advertised::is_advertised(key) {
            return Err(RequestError::NotServed(key));
        }
        if !key.serves(version) {
            return Err(RequestError::Version { key, version });
        }
        let body_at = bytes.len() - reader.remaining();
        // The client id stands after key, version, correlation id and its own length.
        let client_id = client_id.map(|text| 10..10 + text.len());
        Ok((
            Request {
                key,
                version,
                correlation_id,
                bytes,
                body_at,
                client_id,
                _hold: hold,
            },
            Served::Yes,
        ))
    }

    /// The request itself, to be decoded with [`Request::decode`]; surplus bytes included.
    pub fn body(&self) -> Bytes {
        self.bytes.slice(self.body_at..)
    }

    pub fn client_id(&self) -> Option<&str> {
        let range = self.client_id.clone()?;
        std::str::from_utf8(self.bytes.get(range)?).ok()
    }

    /// Reads the body. Surplus bytes behind it are ignored: librdkafka sends three.
    pub fn decode<'a, M: Decode<'a>>(&self, body: &'a Bytes) -> Result<M, RequestError> {
        M::from_bytes(body, self.version).map_err(|source| RequestError::Body {
            key: self.key,
            version: self.version,
            source,
        })
    }

    /// The answer in the request's own version.
    pub fn answer<R: Response>(&self, response: &R) -> Answer {
        self.answer_in(response, self.version)
    }

    /// The answer in another version, for ApiVersions.
    pub fn answer_in<R: Response>(&self, response: &R, version: i16) -> Answer {
        match klamm_wire::encode_response(response, version, self.correlation_id) {
            Ok(frame) => Ok(Reply::Frame(frame.into_segments(), Errors::of(response))),
            Err(source) => Err(RequestError::Answer { key: self.key, source }),
        }
    }
}

/// Version and correlation id, if this is ApiVersions in a version that is not served. Nothing behind them is read:
/// what a later version puts there is not known.
fn unknown_api_versions(bytes: &Bytes) -> Result<Option<(i16, i32)>, RequestError> {
    let mut reader = Reader::new(bytes);
    let key = reader.i16().map_err(RequestError::Header)?;
    let version = reader.i16().map_err(RequestError::Header)?;
    let correlation_id = reader.i32().map_err(RequestError::Header)?;
    let unknown = key == ApiKey::ApiVersions.code() && !ApiKey::ApiVersions.serves(version);
    Ok(unknown.then_some((version, correlation_id)))
}
