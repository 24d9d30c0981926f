//! What a topic may be called.

/// Why a topic name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    #[error("the topic name is empty")]
    Empty,
    #[error("the topic name is longer than 249 characters")]
    TooLong,
    #[error("the topic name must not be \".\" or \"..\"")]
    Dots,
    #[error("the topic name may hold only ASCII letters, digits, '.', '_' and '-'")]
    BadCharacter,
}

const LENGTH_MAX: usize = 249;

/// Kafka's rule: 1 to 249 characters of `[a-zA-Z0-9._-]`, neither `.` nor `..`.
pub fn validate_topic_name(name: &str) -> Result<(), TopicNameError> {
    if name.is_empty() {
        return Err(TopicNameError::Empty);
    }
    if name.len() > LENGTH_MAX {
        return Err(TopicNameError::TooLong);
    }
    if name == "." || name == ".." {
        return Err(TopicNameError::Dots);
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !name.bytes().all(allowed) {
        return Err(TopicNameError::BadCharacter);
    }
    Ok(())
}

/// Whether two names would be the same metric name, where `.` and `_` are one character.
pub fn names_collide(one: &str, other: &str) -> bool {
    let fold = |byte: u8| if byte == b'.' { b'_' } else { byte };
    one.len() == other.len() && one.bytes().map(fold).eq(other.bytes().map(fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "A.b_c-9", "__consumer_offsets", "..."] {
            assert_eq!(validate_topic_name(good), Ok(()), "{good}");
        }
        assert_eq!(validate_topic_name(""), Err(TopicNameError::Empty));
        assert_eq!(validate_topic_name(&"a".repeat(250)), Err(TopicNameError::TooLong));
        assert_eq!(validate_topic_name(".."), Err(TopicNameError::Dots));
        assert_eq!(validate_topic_name("a b"), Err(TopicNameError::BadCharacter));
        assert_eq!(validate_topic_name("ü"), Err(TopicNameError::BadCharacter));
        assert!(names_collide("a.b", "a_b") && !names_collide("a.b", "a-b"));
    }
}
