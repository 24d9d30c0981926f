//! Reading from inside a placeholder: the answer begins with one that begins at the offset asked for.
//!
//! Otherwise a follower whose log ends there would be offered offsets that it has already.

use klamm_record::Batch;
use klamm_record::{BatchHeader, split_first};
use klamm_types::Offset;

use crate::tail::BatchBytes;

/// Shortens a placeholder at the front of `batches` that begins before `offset`.
pub(crate) fn trim(mut batches: BatchBytes, offset: Offset) -> BatchBytes {
    let Some(first) = batches.chunks.first() else {
        return batches;
    };
    let begins_before = BatchHeader::parse(first).is_ok_and(|header| header.base_offset < offset && header.is_filler());
    if !begins_before {
        return batches;
    }
    let mut rest = first.clone();
    if let Ok(Some(filler)) = split_first(&mut rest)
        && let Some(shorter) = Batch::filler(offset, filler.last_offset(), filler.leader_epoch())
    {
        let mut chunks = vec![shorter.into_bytes()];
        if !rest.is_empty() {
            chunks.push(rest);
        }
        chunks.extend(batches.chunks.drain(1..));
        batches.size = chunks.iter().map(bytes::Bytes::len).sum();
        batches.chunks = chunks;
    }
    batches
}

#[cfg(test)]
mod tests {
    use klamm_types::LeaderEpoch;

    use super::*;
    use crate::tests::support::batch;

    #[test]
    fn only_a_placeholder_is_shortened() {
        let filler = |base| Batch::filler(Offset(base), Offset(9), LeaderEpoch(1)).unwrap();
        let after = batch(10, 1, 2, 30);
        let joined = |first: &Batch| {
            let bytes = [first.bytes().as_ref(), after.bytes()].concat();
            BatchBytes::one(bytes.into(), Offset(12))
        };
        let trimmed = trim(joined(&filler(0)), Offset(4));
        assert_eq!(trimmed.chunks, [filler(4).into_bytes(), after.bytes().clone()]);
        assert_eq!((trimmed.size, trimmed.next_offset), (61 + after.size(), Offset(12)));
        assert_eq!(trim(joined(&filler(4)), Offset(4)), joined(&filler(4)));
        let whole = batch(0, 1, 10, 30);
        assert_eq!(trim(joined(&whole), Offset(4)), joined(&whole));
        assert_eq!(
            trim(BatchBytes::empty(Offset(4)), Offset(4)),
            BatchBytes::empty(Offset(4))
        );
    }
}
