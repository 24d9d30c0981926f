//! Fetch sessions (KIP-227) are declined, which is a legal answer to every way of asking for one: the client then
//! names all its partitions in each request, and each answer holds all of them.

use klamm_types::ErrorCode;

/// What to do about the session that a request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    /// Answer all partitions, with session id 0.
    Declined,
    /// Answer the error alone; the client goes on with a full request.
    Refused(ErrorCode),
}

/// | id, epoch | means | answer |
/// | --- | --- | --- |
/// | 0, 0 | wants a session | declined |
/// | 0, -1 | wants none | all partitions |
/// | n, -1 | ends session n | all partitions: there is nothing to end |
/// | n, 0 | ends n, wants another | declined |
/// | n, other | goes on with session n | no such session: none was ever granted |
pub(crate) fn judge(session_id: i32, session_epoch: i32) -> Session {
    match (session_id, session_epoch) {
        (_, 0 | -1) => Session::Declined,
        _ => Session::Refused(ErrorCode::FetchSessionIdNotFound),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table() {
        let unknown = Session::Refused(ErrorCode::FetchSessionIdNotFound);
        for (id, epoch, expected) in [
            (0, 0, Session::Declined),
            (0, -1, Session::Declined),
            (7, -1, Session::Declined),
            (7, 0, Session::Declined),
            (7, 1, unknown),
            (0, 1, unknown),
            (7, i32::MAX, unknown),
            (7, -2, unknown),
        ] {
            assert_eq!(judge(id, epoch), expected, "{id} {epoch}");
        }
    }
}
