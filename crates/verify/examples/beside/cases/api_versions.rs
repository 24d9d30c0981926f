//! ApiVersions (18): the table, names of clients, versions that do not exist.

use bytes::{BufMut, BytesMut};
use klamm_wire::{ApiKey, ApiVersionsRequest};

use crate::case::{ALL, Case, Cases, from};
use crate::session::framed;

const KEY: ApiKey = ApiKey::ApiVersions;

pub fn cases() -> Vec<Case> {
    let mut cases = Cases::of(KEY);
    cases.add("the table", ALL, |session, version| {
        let request = ApiVersionsRequest {
            client_software_name: "beside",
            client_software_version: "1.0-a",
        };
        session.ask(version, &request)?;
        Ok(())
    });
    let bad = [
        ("", "1"),
        ("beside", ""),
        ("-beside", "1"),
        ("beside-", "1"),
        ("be side", "1"),
        ("beside", "1/2"),
    ];
    for (client_software_name, client_software_version) in bad {
        let name = format!("a client that calls itself {client_software_name:?} {client_software_version:?}");
        cases.add(name, from(3), move |session, version| {
            session.ask(
                version,
                &ApiVersionsRequest {
                    client_software_name,
                    client_software_version,
                },
            )?;
            Ok(())
        });
    }
    for version in [5_i16, 99, -1, i16::MAX, i16::MIN] {
        cases.add(
            format!("version {version}, which does not exist"),
            0..=0,
            move |session, _| {
                let mut body = BytesMut::new();
                body.put_i16(KEY.code());
                body.put_i16(version);
                body.put_i32(7);
                body.put_i16(-1);
                body.put_u8(0);
                session.send("", KEY, 0, &framed(&body))?;
                Ok(())
            },
        );
    }
    cases.list
}
