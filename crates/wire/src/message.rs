//! What all messages have in common: from bytes, to bytes, and what belongs together.

use bytes::Bytes;

use crate::api_key::{ApiKey, VersionRange};
use crate::error::{DecodeError, EncodeError};
use crate::reader::Reader;
use crate::writer::Writer;

/// Can be written in each of its versions.
pub trait Encode {
    const NAME: &'static str;
    /// Every version that the codec knows.
    const VERSIONS: VersionRange;

    /// Writes the message. A field that is set though the version lacks it is an error, unless the protocol lets it
    /// be dropped. After an error the writer holds a part of the message and is of no further use.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError>;

    /// Alone, without a header.
    fn to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        let mut writer = Writer::new();
        self.encode(&mut writer, version)?;
        Ok(writer.finish().into_bytes())
    }
}

/// Can be read in each of its versions. Strings borrow from the frame, byte fields share it.
pub trait Decode<'a>: Encode + Sized {
    /// Reads the message and leaves the reader after it. Bytes left over are the caller's to ignore.
    fn decode(reader: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError>;

    /// From a frame without a header; surplus bytes are ignored.
    fn from_bytes(bytes: &'a Bytes, version: i16) -> Result<Self, DecodeError> {
        Self::decode(&mut Reader::new(bytes), version)
    }
}

/// Goes from client to broker.
pub trait Request: Encode {
    const KEY: ApiKey;
    type Response<'r>: Response + Decode<'r>;
}

/// Goes from broker to client.
pub trait Response: Encode {
    const KEY: ApiKey;

    /// Visits every error code in it, those of success too, in the order of the fields.
    fn each_error(&self, visit: &mut dyn FnMut(i16));
}

/// The key of a record in an internal topic; its type stands before it as int16.
pub trait RecordKey: Encode {
    const TYPE: i16;
}

/// The value of a record in an internal topic; its version stands before it as int16.
pub trait RecordValue: Encode {
    /// The type that the record's key has.
    const TYPE: i16;
}
