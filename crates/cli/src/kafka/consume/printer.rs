//! Records as they are printed: by a template for people, as JSON for programs.

use std::io::Write;

use anyhow::Context;
use klamm_client::ConsumerRecord;
use serde_json::json;

use crate::output::Format;

pub(super) struct Printer<'a> {
    pub format: Format,
    pub template: &'a str,
}

/// Whether somebody still reads what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Printed {
    All,
    /// The reader has gone away, and with it some of the records, perhaps.
    NobodyReads,
}

impl Printer<'_> {
    pub fn print(&self, records: &[&ConsumerRecord]) -> anyhow::Result<Printed> {
        let mut text = Vec::new();
        for record in records {
            match self.format {
                Format::Table => render(self.template, record, &mut text),
                Format::Json => {
                    text.extend_from_slice(to_json(record).to_string().as_bytes());
                    text.push(b'\n');
                }
            }
        }
        let mut out = std::io::stdout().lock();
        match out.write_all(&text).and_then(|()| out.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Printed::NobodyReads),
            other => other.context("printing").map(|()| Printed::All),
        }
    }
}

/// Bytes that are no UTF-8 are printed as they are: what was produced from a file comes back the same.
fn render(template: &str, record: &ConsumerRecord, out: &mut Vec<u8>) {
    let mut letters = template.chars();
    while let Some(letter) = letters.next() {
        match (letter, letters.clone().next()) {
            ('%', Some(kind)) if "kvtpoTh%".contains(kind) => {
                letters.next();
                field(kind, record, out);
            }
            ('\\', Some(kind)) if "nt\\".contains(kind) => {
                letters.next();
                out.push(match kind {
                    'n' => b'\n',
                    't' => b'\t',
                    _ => b'\\',
                });
            }
            (other, _) => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

fn field(kind: char, record: &ConsumerRecord, out: &mut Vec<u8>) {
    match kind {
        'k' => out.extend_from_slice(record.key.as_deref().unwrap_or_default()),
        'v' => out.extend_from_slice(record.value.as_deref().unwrap_or_default()),
        't' => out.extend_from_slice(record.topic.as_bytes()),
        'p' => out.extend_from_slice(record.partition.to_string().as_bytes()),
        'o' => out.extend_from_slice(record.offset.to_string().as_bytes()),
        'T' => out.extend_from_slice(record.timestamp.to_string().as_bytes()),
        'h' => {
            for (index, header) in record.headers.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                let value = header.value.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
                let name = String::from_utf8_lossy(&header.key);
                out.extend_from_slice(format!("{comma}{name}={value}").as_bytes());
            }
        }
        _ => out.push(b'%'),
    }
}

fn to_json(record: &ConsumerRecord) -> serde_json::Value {
    let text = |bytes: &Option<bytes::Bytes>| {
        bytes
            .as_deref()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    let headers = record
        .headers
        .iter()
        .map(|header| json!({"name": String::from_utf8_lossy(&header.key), "value": text(&header.value)}));
    json!({
        "topic": &*record.topic,
        "partition": record.partition.0,
        "offset": record.offset.0,
        "timestamp": record.timestamp.0,
        "key": text(&record.key),
        "value": text(&record.value),
        "headers": headers.collect::<Vec<_>>(),
        "leader_epoch": record.leader_epoch.0,
    })
}
