//! Primitive types, their limits, and what must be refused before memory is taken.

use super::*;

fn bytes(hex: &[u8]) -> Bytes {
    Bytes::copy_from_slice(hex)
}

#[test]
fn variable_numbers() {
    let cases: [(&[u8], Result<u32>); 7] = [
        (&[0x00], Ok(0)),
        (&[0x7f], Ok(127)),
        (&[0x80, 0x01], Ok(128)),
        (&[0xff, 0xff, 0xff, 0xff, 0x0f], Ok(u32::MAX)),
        (&[0xff, 0xff, 0xff, 0xff, 0x1f], Err(DecodeError::BadVarint)),
        (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x01], Err(DecodeError::BadVarint)),
        (&[0x80], Err(DecodeError::Truncated { needed: 1, left: 0 })),
    ];
    for (input, expected) in cases {
        assert_eq!(Reader::new(&bytes(input)).uvarint(), expected, "{input:x?}");
    }
}

#[test]
fn strings() {
    let null = bytes(&[0xff, 0xff]);
    assert_eq!(Reader::new(&null).nullable_string(false), Ok(None));
    assert_eq!(Reader::new(&null).string(false), Err(DecodeError::UnexpectedNull));
    let negative = bytes(&[0xff, 0xfe]);
    assert_eq!(Reader::new(&negative).string(false), Err(DecodeError::BadLength(-2)));
    let broken = bytes(&[0x00, 0x01, 0xff]);
    assert_eq!(Reader::new(&broken).string(false), Err(DecodeError::NotUtf8));
    let compact = bytes(&[0x03, b'o', b'k', 9]);
    let mut reader = Reader::new(&compact);
    assert_eq!((reader.string(true), reader.remaining()), (Ok("ok"), 1));
    // A compact string of 32768 bytes, which are all there.
    let mut long = vec![0x81, 0x80, 0x02];
    long.resize(3 + 32768, b'x');
    assert_eq!(
        Reader::new(&bytes(&long)).string(true),
        Err(DecodeError::BadLength(32768))
    );
}

#[test]
fn byte_fields_share_the_frame() {
    let frame = bytes(&[0, 0, 0, 2, 7, 8, 0xff, 0xff, 0xff, 0xff]);
    let mut reader = Reader::new(&frame);
    let taken = reader.bytes(false).unwrap();
    assert_eq!(taken, &[7, 8][..]);
    assert_eq!(taken.as_ptr(), frame[4..].as_ptr());
    assert_eq!(reader.nullable_bytes(false), Ok(None));
}

#[test]
fn huge_arrays_take_no_memory() {
    let read = |reader: &mut Reader<'_>, _| reader.i8();
    let announced_2_to_the_31 = bytes(&[0x7f, 0xff, 0xff, 0xff, 1, 2, 3]);
    assert_eq!(
        Reader::new(&announced_2_to_the_31).array(false, 0, read),
        Err(DecodeError::TooManyElements(0x7fff_ffff))
    );
    let negative = bytes(&[0x80, 0, 0, 0]);
    assert_eq!(
        Reader::new(&negative).array(false, 0, read),
        Err(DecodeError::BadLength(-0x8000_0000))
    );
    let compact = bytes(&[0xff, 0xff, 0xff, 0xff, 0x0f, 1]);
    assert_eq!(
        Reader::new(&compact).i32_array(true),
        Err(DecodeError::TooManyElements(0xffff_fffe))
    );
    assert_eq!(
        Reader::new(&compact).i8_array(true),
        Err(DecodeError::TooManyElements(0xffff_fffe))
    );
    assert_eq!(
        Reader::new(&bytes(&[5, 0xff, 2])).i8_array(true),
        Err(DecodeError::Truncated { needed: 4, left: 2 })
    );
    assert_eq!(
        Reader::new(&bytes(&[0])).i8_array(true),
        Err(DecodeError::UnexpectedNull)
    );
    assert_eq!(Reader::new(&bytes(&[3, 0xff, 2])).i8_array(true), Ok(vec![-1, 2]));
    // Allowed in number, but the bytes for it are missing.
    let missing = bytes(&[0, 0, 0, 3, 0, 0, 0, 1]);
    assert_eq!(
        Reader::new(&missing).i32_array(false),
        Err(DecodeError::Truncated { needed: 12, left: 4 })
    );
}

#[test]
fn nested_arrays_share_one_limit() {
    // Ten arrays of 200,000 elements each: together more than a message may have.
    let mut input = vec![0, 0, 0, 10];
    for _ in 0..10 {
        input.extend_from_slice(&200_000i32.to_be_bytes());
        input.resize(input.len() + 200_000, 0);
    }
    let input = Bytes::from(input);
    let inner = |reader: &mut Reader<'_>, version| reader.array(false, version, |reader, _| reader.i8());
    assert_eq!(
        Reader::new(&input).array(false, 0, inner),
        Err(DecodeError::TooManyElements(200_000))
    );
}

#[test]
fn tagged_fields_are_fenced() {
    // Two fields: an unknown one of two bytes, and one of one byte of which two are read.
    let input = bytes(&[2, 5, 2, 0xaa, 0xbb, 7, 1, 0x01, 0x02]);
    let mut reader = Reader::new(&input);
    assert_eq!(reader.tag_count(), Ok(2));
    let unknown = reader.begin_tag().unwrap();
    assert_eq!(unknown.tag, 5);
    reader.skip_tag(unknown);
    let known = reader.begin_tag().unwrap();
    assert_eq!(known.tag, 7);
    assert_eq!(reader.i16(), Err(DecodeError::Truncated { needed: 2, left: 1 }));
    assert_eq!(
        reader.end_tag(known),
        Err(DecodeError::TaggedFieldSize { tag: 7, size: 1 })
    );
    let endless = bytes(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert!(matches!(
        Reader::new(&endless).skip_tags(),
        Err(DecodeError::Truncated { .. })
    ));
}
