//! What is copied, what is referred to, and what cannot be written.

use super::*;
use crate::reader::Reader;

#[test]
fn variable_numbers() {
    for value in [0, 1, 127, 128, 300, 16_383, 16_384, u32::MAX - 1, u32::MAX] {
        let mut writer = Writer::new();
        writer.uvarint(value);
        let bytes = writer.finish().into_bytes();
        assert_eq!(Reader::new(&bytes).uvarint(), Ok(value));
    }
}

#[test]
fn large_fields_are_not_copied() {
    let large = Bytes::from(vec![1; COPY_MAX + 1]);
    let small = Bytes::from(vec![2; COPY_MAX]);
    let mut writer = Writer::new();
    writer.bytes(&large, false).unwrap();
    writer.bytes(&large, true).unwrap();
    writer.bytes(&small, false).unwrap();
    let length = writer.len();
    let frame = writer.finish();
    let segments = frame.segments();
    assert_eq!(
        segments.iter().map(Bytes::len).collect::<Vec<_>>(),
        [4, 4097, 2, 4097, 4100]
    );
    assert_eq!(segments[1].as_ptr(), large.as_ptr());
    assert_eq!(segments[3].as_ptr(), large.as_ptr());
    assert_eq!((frame.len(), frame.into_bytes().len()), (length, length));
}

#[test]
fn nothing_large_is_referred_to_in_a_tagged_field() {
    let large = Bytes::from(vec![1; 5000]);
    let mut writer = Writer::new();
    let start = writer.begin_tag(3);
    writer.bytes(&large, true).unwrap();
    writer.end_tag(start).unwrap();
    writer.i8(9);
    let bytes = writer.finish().into_bytes();
    // Tag, size (5002), length + 1 (5001), content.
    assert_eq!(bytes[..5], [3, 0x8a, 0x27, 0x89, 0x27]);
    assert_eq!((bytes.len(), bytes[5], bytes[5005]), (5006, 1, 9));
}

#[test]
fn long_strings_are_refused() {
    let long = "x".repeat(32_768);
    let mut writer = Writer::new();
    assert_eq!(writer.string(&long, true), Err(EncodeError::StringTooLong(32_768)));
    assert_eq!(writer.string(&long[1..], false), Ok(()));
}
