//! Cuts a connection's bytes into frames: a length of four bytes, then so many bytes.
//!
//! Nothing is allocated on the word of a length. The buffer comes with the first byte that arrives, grows with what
//! arrived, and is dropped when nothing is left in it, so an idle connection holds none.

use bytes::{Buf, Bytes, BytesMut};
use tokio::net::TcpStream;

use super::memory::{Budget, Exhausted, Hold};

const LENGTH_BYTES: usize = 4;
/// What a connection may buffer without asking the budget.
const FREE_BYTES: usize = 4096;
/// Room for less than this is not worth a system call.
const ROOM_BYTES_MIN: usize = 1024;
/// How much more than what has arrived may be allocated for the rest of a frame. Copies on growth stay below a third
/// of the frame.
const GROWTH: usize = 4;
/// A connection that has sent large frames starts the next with a buffer of up to this size.
const START_BYTES_MAX: usize = 2 << 20;

/// One request's bytes and the memory held for them until it is answered.
#[derive(Debug)]
pub(crate) struct Frame {
    pub bytes: Bytes,
    pub hold: Hold,
}

/// Why a connection's bytes cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("a frame announces {0} bytes")]
    FrameLength(i32),
    #[error("reading from the connection")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Memory(#[from] Exhausted),
}

/// Whether the peer may still send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    More,
    End,
}

pub(crate) struct FrameReader {
    buffer: BytesMut,
    /// Covers the buffer's allocation above the free part.
    hold: Hold,
    budget: Budget,
    frame_bytes_max: usize,
    /// The size of the last frame: a connection that earned a large buffer starts the next frame with one.
    last_frame_bytes: usize,
}

impl FrameReader {
    pub fn new(budget: Budget, frame_bytes_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            hold: budget.hold(),
            budget,
            frame_bytes_max,
            last_frame_bytes: 0,
        }
    }

    /// The next whole frame, if it has arrived.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, ReadError> {
        let Some(length) = self.announced()? else {
            return Ok(None);
        };
        if self.buffer.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        let bytes = self.buffer.split_to(length).freeze();
        self.last_frame_bytes = length;
        let hold = if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
            std::mem::replace(&mut self.hold, self.budget.hold())
        } else {
            self.hold.split(if length > FREE_BYTES { length } else { 0 })
        };
        Ok(Some(Frame { bytes, hold }))
    }

    /// Waits for bytes and takes what there is. Cancel safe: a byte is either in the buffer or still in the socket.
    pub async fn fill(&mut self, stream: &TcpStream) -> Result<Filled, ReadError> {
        loop {
            stream.readable().await?;
            self.make_room().await?;
            match stream.try_read_buf(&mut self.buffer) {
                Ok(0) => return Ok(Filled::End),
                Ok(_) => return Ok(Filled::More),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => self.drop_empty(),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Bytes that have arrived and belong to no frame taken yet.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Whether a part of a frame has arrived for which memory of the budget is held.
    pub fn holds_memory(&self) -> bool {
        !self.buffer.is_empty() && !self.hold.is_empty()
    }

    /// The length of the frame that begins the buffer.
    fn announced(&self) -> Result<Option<usize>, ReadError> {
        let Some(head) = self.buffer.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = i32::from_be_bytes(*head);
        match usize::try_from(length) {
            Ok(bytes) if bytes <= self.frame_bytes_max => Ok(Some(bytes)),
            Ok(_) | Err(_) => Err(ReadError::FrameLength(length)),
        }
    }

    async fn make_room(&mut self) -> Result<(), ReadError> {
        let have = self.buffer.len();
        let wanted = match self.announced()? {
            // A little more than last time: a producer's frames differ in their last bytes.
            None => (self.last_frame_bytes + self.last_frame_bytes / 8).clamp(FREE_BYTES, START_BYTES_MAX),
            Some(length) => {
                let missing = (LENGTH_BYTES + length).saturating_sub(have).max(1);
                missing.min(FREE_BYTES.max(have * GROWTH))
            }
        };
        if self.buffer.capacity() - have >= wanted.min(ROOM_BYTES_MIN) {
            return Ok(());
        }
        self.hold.grow_to((have + wanted).saturating_sub(FREE_BYTES)).await?;
        self.buffer.reserve(wanted);
        Ok(())
    }

    fn drop_empty(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
            self.hold = self.budget.hold();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    fn reader(budget: &Budget) -> FrameReader {
        FrameReader::new(budget.clone(), 1 << 20)
    }

    fn framed(body: &[u8]) -> Vec<u8> {
        let mut bytes = i32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(body);
        bytes
    }

    #[tokio::test]
    async fn frames_are_cut_whatever_the_pieces() {
        let budget = Budget::new(4 << 20, Duration::from_secs(1));
        let (mut client, server) = pair().await;
        let bodies: Vec<Vec<u8>> = [0, 1, 5000, 3, 700_000, 2].iter().map(|&n| vec![n as u8; n]).collect();
        let sent: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
        let writer = tokio::spawn(async move {
            for piece in sent.chunks(3777) {
                client.write_all(piece).await.unwrap();
            }
            client
        });
        let mut reader = reader(&budget);
        let mut frames = Vec::new();
        while frames.len() < bodies.len() {
            match reader.next_frame().unwrap() {
                Some(frame) => frames.push(frame),
                None => assert_eq!(reader.fill(&server).await.unwrap(), Filled::More),
            }
        }
        assert_eq!(
            frames.iter().map(|frame| frame.bytes.to_vec()).collect::<Vec<_>>(),
            bodies
        );
        assert!(budget.free_bytes() < 4 << 20, "the large frame holds memory");
        drop(frames);
        assert_eq!(
            (budget.free_bytes(), reader.buffered(), reader.buffer.capacity()),
            (4 << 20, 0, 0)
        );
        drop(writer.await.unwrap());
        assert_eq!(reader.fill(&server).await.unwrap(), Filled::End);
    }

    #[tokio::test]
    async fn an_announced_length_allocates_nothing() {
        let budget = Budget::new(64 << 20, Duration::from_secs(1));
        let (mut client, server) = pair().await;
        client.write_all(&(1i32 << 20).to_be_bytes()).await.unwrap();
        client.write_all(b"half").await.unwrap();
        let mut reader = reader(&budget);
        while reader.buffered() < 8 {
            reader.fill(&server).await.unwrap();
            assert!(reader.next_frame().unwrap().is_none());
        }
        assert!(
            reader.buffer.capacity() <= 2 * FREE_BYTES,
            "{}",
            reader.buffer.capacity()
        );
        for length in [-1, i32::MIN, i32::MAX, (1 << 20) + 1] {
            let (mut client, server) = pair().await;
            client.write_all(&length.to_be_bytes()).await.unwrap();
            let mut reader = FrameReader::new(budget.clone(), 1 << 20);
            while reader.buffered() < 4 {
                reader.fill(&server).await.unwrap();
            }
            assert!(matches!(reader.next_frame(), Err(ReadError::FrameLength(bad)) if bad == length));
        }
    }
}
