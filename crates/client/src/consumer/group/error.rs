//! Why a consumer cannot be a member of its group, and why offsets were not committed.

use std::sync::Arc;
use std::time::Duration;

use klamm_types::ErrorCode;

use crate::consumer::record::TopicPartition;
use crate::error::RequestError;

/// Why a consumer takes no part in its group. It stays so until the program subscribes anew.
///
/// ```
/// use klamm_client::{ErrorCode, GroupError};
///
/// let failure = GroupError::Refused { code: ErrorCode::GroupAuthorizationFailed, message: String::new() };
/// assert!(!failure.is_retriable() && !failure.may_have_had_effect());
/// ```
#[derive(Clone, Debug, thiserror::Error)]
pub enum GroupError {
    /// The consumer has no group: `ConsumerConfig::group` is not set.
    #[error("this consumer has no group")]
    NoGroup,
    /// The setting contradicts itself or another one.
    #[error("the group's settings: {reason}")]
    BadSetting { reason: &'static str },
    /// Another consumer has joined under the same `group_instance_id`.
    #[error("another consumer has taken over the group instance id \"{group_instance_id}\"")]
    FencedInstance { group_instance_id: String },
    /// The coordinator refuses the member, for a reason that waiting does not mend.
    #[error("the group's coordinator refuses this member: {message}")]
    Refused {
        #[source]
        code: ErrorCode,
        message: String,
    },
    /// The group uses an assignor that this member did not offer.
    #[error("the group is of type \"{protocol_type}\" and uses \"{protocol_name}\", which this member did not offer")]
    InconsistentProtocol {
        protocol_type: String,
        protocol_name: String,
    },
    /// What another member said through the coordinator cannot be read.
    #[error("member {member_id} of the group sends what cannot be read")]
    Malformed { member_id: String },
    /// The topic pattern is no regular expression.
    #[error("the topic pattern \"{pattern}\" is no regular expression")]
    BadPattern { pattern: String },
    /// The coordinator cannot be talked to in a way that waiting mends.
    #[error("talking to the group's coordinator")]
    Request(#[source] Arc<RequestError>),
}

impl GroupError {
    /// Never: what passes by itself is waited for.
    pub fn is_retriable(&self) -> bool {
        false
    }

    /// Never: no offset is committed by it.
    pub fn may_have_had_effect(&self) -> bool {
        false
    }
}

/// Why offsets were not committed, or could not be read.
///
/// ```
/// use klamm_client::CommitError;
///
/// let failure = CommitError::RebalanceInProgress;
/// assert!(failure.is_retriable() && !failure.may_have_had_effect());
/// ```
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// The group is sharing its partitions out anew. Poll, then commit what this member still has.
    #[error("committing offsets: the group is rebalancing")]
    RebalanceInProgress,
    /// The member is not in the group any more, as after a time without `poll` or heartbeats. Others have its
    /// partitions now, and will see the records since the last commit again.
    #[error("committing offsets: this consumer is not a member of its group any more")]
    NotMember,
    /// The coordinator refuses this partition's offset. Those of other partitions may have been stored.
    #[error("committing the offset of {partition}")]
    Refused {
        partition: TopicPartition,
        #[source]
        code: ErrorCode,
    },
    /// The coordinator could not be reached, or did not serve, for as long as the client's `api_timeout`. What it was
    /// sent last may have been stored.
    #[error("the group's coordinator was unavailable for {waited:?}")]
    Unavailable {
        waited: Duration,
        #[source]
        cause: Option<Arc<RequestError>>,
    },
    /// The group itself is refused, or there is none.
    #[error("committing offsets")]
    Group(#[source] GroupError),
    /// The consumer was closed meanwhile.
    #[error("the consumer was closed")]
    Closed,
}

impl CommitError {
    /// Whether committing again, after polling, may succeed.
    pub fn is_retriable(&self) -> bool {
        match self {
            CommitError::RebalanceInProgress | CommitError::Unavailable { .. } => true,
            CommitError::NotMember | CommitError::Refused { .. } | CommitError::Group(_) | CommitError::Closed => false,
        }
    }

    /// Whether nothing was lost but the offset of a topic that is gone.
    pub(crate) fn is_of_unknown_topic(&self) -> bool {
        matches!(
            self,
            CommitError::Refused {
                code: ErrorCode::UnknownTopicOrPartition,
                ..
            }
        )
    }

    /// Whether some or all of the offsets may have been stored all the same.
    pub fn may_have_had_effect(&self) -> bool {
        match self {
            CommitError::Refused { .. } | CommitError::Unavailable { .. } | CommitError::Closed => true,
            CommitError::RebalanceInProgress | CommitError::NotMember | CommitError::Group(_) => false,
        }
    }
}
