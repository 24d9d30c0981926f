//! The headers before requests and responses.
//!
//! Their version follows from API key and version, with one exception: a response to `ApiVersions` has header
//! version 0 for ever, since the client does not yet know what the broker speaks.

use crate::api_key::ApiKey;
use crate::error::{DecodeError, EncodeError};
use crate::reader::Reader;
use crate::writer::Writer;

/// What stands before every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    pub api_key: ApiKey,
    pub api_version: i16,
    pub correlation_id: i32,
    pub client_id: Option<&'a str>,
}

/// 2 with tagged fields, 1 without.
pub fn request_header_version(key: ApiKey, version: i16) -> i16 {
    if key.is_flexible(version) { 2 } else { 1 }
}

/// 1 with tagged fields, 0 without.
pub fn response_header_version(key: ApiKey, version: i16) -> i16 {
    if key != ApiKey::ApiVersions && key.is_flexible(version) {
        1
    } else {
        0
    }
}

impl<'a> RequestHeader<'a> {
    /// Reads a header and leaves the reader before the request.
    ///
    /// The version may be one that is not served: `ApiVersions` must be answered all the same
    /// (`ApiKey::serves` tells). An API key that is not known is an error, since nothing is known of its header.
    pub fn decode(reader: &mut Reader<'a>) -> Result<RequestHeader<'a>, DecodeError> {
        let code = reader.i16()?;
        let api_version = reader.i16()?;
        let correlation_id = reader.i32()?;
        let api_key = ApiKey::from_code(code).ok_or(DecodeError::UnknownApiKey(code))?;
        // The client id keeps its old encoding in every version.
        let client_id = reader.nullable_string(false)?;
        if request_header_version(api_key, api_version) >= 2 {
            reader.skip_tags()?;
        }
        Ok(RequestHeader {
            api_key,
            api_version,
            correlation_id,
            client_id,
        })
    }

    pub fn encode(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        writer.i16(self.api_key.code());
        writer.i16(self.api_version);
        writer.i32(self.correlation_id);
        writer.nullable_string(self.client_id, false)?;
        if request_header_version(self.api_key, self.api_version) >= 2 {
            writer.uvarint(0);
        }
        Ok(())
    }
}

/// Reads the header of a response to a request of this key and version; gives the correlation id.
pub fn read_response_header(reader: &mut Reader<'_>, key: ApiKey, version: i16) -> Result<i32, DecodeError> {
    let correlation_id = reader.i32()?;
    if response_header_version(key, version) >= 1 {
        reader.skip_tags()?;
    }
    Ok(correlation_id)
}

/// Writes the header of a response to a request of this key and version.
pub fn write_response_header(writer: &mut Writer, key: ApiKey, version: i16, correlation_id: i32) {
    writer.i32(correlation_id);
    if response_header_version(key, version) >= 1 {
        writer.uvarint(0);
    }
}
