//! A second, deliberately slow and simple encoder and decoder of record batches, written from the format's
//! description alone. It shares no code with the crate, so that both must be wrong in the same way to agree wrongly.

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwinRecord {
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwinBatch {
    pub base_offset: i64,
    pub leader_epoch: i32,
    pub attributes: i16,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub records: Vec<TwinRecord>,
}

/// CRC-32C one bit at a time.
pub fn crc(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82F6_3B78
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

fn varint(value: i128) -> Vec<u8> {
    let mut number = if value >= 0 { value * 2 } else { -value * 2 - 1 };
    let mut out = Vec::new();
    loop {
        let digit = (number % 128) as u8;
        number /= 128;
        if number == 0 {
            out.push(digit);
            return out;
        }
        out.push(digit + 128);
    }
}

fn field(value: &Option<Vec<u8>>) -> Vec<u8> {
    match value {
        None => varint(-1),
        Some(bytes) => [varint(bytes.len() as i128), bytes.clone()].concat(),
    }
}

/// The records block, uncompressed.
pub fn encode_records(batch: &TwinBatch) -> Vec<u8> {
    let base = batch.records[0].timestamp;
    let mut block = Vec::new();
    for (index, record) in batch.records.iter().enumerate() {
        let mut body = vec![0u8];
        body.extend(varint(i128::from(record.timestamp) - i128::from(base)));
        body.extend(varint(index as i128));
        body.extend(field(&record.key));
        body.extend(field(&record.value));
        body.extend(varint(record.headers.len() as i128));
        for (key, value) in &record.headers {
            body.extend(field(&Some(key.clone())));
            body.extend(field(value));
        }
        block.extend(varint(body.len() as i128));
        block.extend(body);
    }
    block
}

/// The whole batch, its records block given (compressed or not).
pub fn encode(batch: &TwinBatch, block: &[u8]) -> Vec<u8> {
    let count = batch.records.len() as i32;
    let max = batch.records.iter().map(|record| record.timestamp).max().unwrap_or(-1);
    let mut tail = Vec::new();
    tail.extend(batch.attributes.to_be_bytes());
    tail.extend((count - 1).to_be_bytes());
    tail.extend(batch.records[0].timestamp.to_be_bytes());
    tail.extend(max.to_be_bytes());
    tail.extend(batch.producer_id.to_be_bytes());
    tail.extend(batch.producer_epoch.to_be_bytes());
    tail.extend(batch.base_sequence.to_be_bytes());
    tail.extend(count.to_be_bytes());
    tail.extend(block);
    let mut out = Vec::new();
    out.extend(batch.base_offset.to_be_bytes());
    out.extend((tail.len() as i32 + 9).to_be_bytes());
    out.extend(batch.leader_epoch.to_be_bytes());
    out.push(2);
    out.extend(crc(&tail).to_be_bytes());
    out.extend(tail);
    out
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken.to_vec()
    }

    fn big_endian(&mut self, count: usize) -> i64 {
        let bytes = self.take(count);
        let mut value = if bytes[0] >= 128 { -1i64 } else { 0 };
        for byte in bytes {
            value = value * 256 + i64::from(byte);
        }
        value
    }

    fn varint(&mut self) -> i64 {
        let (mut number, mut weight) = (0i128, 1i128);
        loop {
            let byte = self.take(1)[0];
            number += i128::from(byte % 128) * weight;
            weight *= 128;
            if byte < 128 {
                return (if number % 2 == 0 { number / 2 } else { -(number + 1) / 2 }) as i64;
            }
        }
    }

    fn field(&mut self) -> Option<Vec<u8>> {
        match self.varint() {
            -1 => None,
            length => Some(self.take(length as usize)),
        }
    }
}

/// Reads an uncompressed, well-formed batch; anything else panics, which is all a test needs.
pub fn decode(bytes: &[u8]) -> TwinBatch {
    let mut reader = Reader(bytes);
    let base_offset = reader.big_endian(8);
    assert_eq!(reader.big_endian(4) as usize, bytes.len() - 12);
    let leader_epoch = reader.big_endian(4) as i32;
    assert_eq!(reader.big_endian(1), 2);
    assert_eq!(reader.big_endian(4) as u32, crc(&bytes[21..]));
    let attributes = reader.big_endian(2) as i16;
    let last_offset_delta = reader.big_endian(4);
    let base_timestamp = reader.big_endian(8);
    let max_timestamp = reader.big_endian(8);
    let producer_id = reader.big_endian(8);
    let producer_epoch = reader.big_endian(2) as i16;
    let base_sequence = reader.big_endian(4) as i32;
    let count = reader.big_endian(4);
    assert_eq!(count, last_offset_delta + 1);
    let mut records = Vec::new();
    for index in 0..count {
        let length = reader.varint() as usize;
        let body = reader.take(length);
        let mut body = Reader(&body);
        assert_eq!(body.take(1), [0]);
        let timestamp = base_timestamp + body.varint();
        assert_eq!(body.varint(), index);
        let (key, value) = (body.field(), body.field());
        let headers_count = body.varint();
        let headers = (0..headers_count)
            .map(|_| (body.field().expect("header key"), body.field()))
            .collect();
        assert!(body.0.is_empty());
        records.push(TwinRecord {
            timestamp,
            key,
            value,
            headers,
        });
    }
    assert!(reader.0.is_empty());
    assert_eq!(Some(max_timestamp), records.iter().map(|record| record.timestamp).max());
    TwinBatch {
        base_offset,
        leader_epoch,
        attributes,
        producer_id,
        producer_epoch,
        base_sequence,
        records,
    }
}

/// Hexadecimal text to bytes; anything that is no digit is skipped.
pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] * 16 + pair[1]).collect()
}
