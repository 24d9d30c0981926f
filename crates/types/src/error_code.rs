//! Kafka's error codes, in one table: name, code, whether a retry makes sense, and a sentence.

macro_rules! table {
    ($($variant:ident $code:literal $name:literal $retry:ident $text:literal;)*) => {
        /// A Kafka error code. `NONE` is the absence of an error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ErrorCode {
            $(#[doc = $text] $variant = $code,)*
        }

        impl ErrorCode {
            /// Every code of the table, in order.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// From the wire; `None` for a code that the table lacks.
            pub fn from_code(code: i16) -> Option<ErrorCode> {
                match code {
                    $($code => Some(ErrorCode::$variant),)*
                    _ => None,
                }
            }

            /// Kafka's name, `NOT_LEADER_OR_FOLLOWER`.
            pub fn name(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $name,)*
                }
            }

            /// One sentence for people, without a full stop.
            pub fn sentence(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $text,)*
                }
            }

            /// Whether clients repeat the request by themselves.
            pub fn is_retriable(self) -> bool {
                match self {
                    $(ErrorCode::$variant => table!(@retry $retry),)*
                }
            }
        }
    };
    (@retry r) => { true };
    (@retry n) => { false };
}

table! {
    UnknownServerError -1 "UNKNOWN_SERVER_ERROR" n "the server met an error that it has no code for";
    None 0 "NONE" n "no error";
    OffsetOutOfRange 1 "OFFSET_OUT_OF_RANGE" n "the offset lies outside the partition's log";
    CorruptMessage 2 "CORRUPT_MESSAGE" r "the batch fails its checksum or is malformed";
    UnknownTopicOrPartition 3 "UNKNOWN_TOPIC_OR_PARTITION" r "this server knows no such topic or partition";
    InvalidFetchSize 4 "INVALID_FETCH_SIZE" n "the fetch size is invalid";
    LeaderNotAvailable 5 "LEADER_NOT_AVAILABLE" r "the partition has no leader just now";
    NotLeaderOrFollower 6 "NOT_LEADER_OR_FOLLOWER" r "this broker does not lead the partition, or holds no replica of it";
    RequestTimedOut 7 "REQUEST_TIMED_OUT" r "the request ran out of time";
    BrokerNotAvailable 8 "BROKER_NOT_AVAILABLE" n "the broker is not available";
    ReplicaNotAvailable 9 "REPLICA_NOT_AVAILABLE" r "the replica is not available";
    MessageTooLarge 10 "MESSAGE_TOO_LARGE" n "the batch is larger than the topic allows";
    StaleControllerEpoch 11 "STALE_CONTROLLER_EPOCH" n "the controller has moved on";
    OffsetMetadataTooLarge 12 "OFFSET_METADATA_TOO_LARGE" n "the metadata of the offset is too large";
    NetworkException 13 "NETWORK_EXCEPTION" r "the connection ended before the answer came";
    CoordinatorLoadInProgress 14 "COORDINATOR_LOAD_IN_PROGRESS" r "the coordinator is still loading";
    CoordinatorNotAvailable 15 "COORDINATOR_NOT_AVAILABLE" r "the coordinator is not available";
    NotCoordinator 16 "NOT_COORDINATOR" r "this broker is not the coordinator";
    InvalidTopicException 17 "INVALID_TOPIC_EXCEPTION" n "the topic name is invalid";
    RecordListTooLarge 18 "RECORD_LIST_TOO_LARGE" n "the batch is larger than a segment";
    NotEnoughReplicas 19 "NOT_ENOUGH_REPLICAS" r "fewer replicas are in sync than min.insync.replicas asks for";
    NotEnoughReplicasAfterAppend 20 "NOT_ENOUGH_REPLICAS_AFTER_APPEND" r "written, but fewer replicas are in sync than min.insync.replicas asks for";
    InvalidRequiredAcks 21 "INVALID_REQUIRED_ACKS" n "acks must be -1, 0 or 1";
    IllegalGeneration 22 "ILLEGAL_GENERATION" n "the generation is not the group's";
    InconsistentGroupProtocol 23 "INCONSISTENT_GROUP_PROTOCOL" n "the member's protocols do not fit the group";
    InvalidGroupId 24 "INVALID_GROUP_ID" n "the group id is invalid";
    UnknownMemberId 25 "UNKNOWN_MEMBER_ID" n "the group has no such member";
    InvalidSessionTimeout 26 "INVALID_SESSION_TIMEOUT" n "the session timeout is outside the allowed range";
    RebalanceInProgress 27 "REBALANCE_IN_PROGRESS" n "the group is rebalancing";
    InvalidCommitOffsetSize 28 "INVALID_COMMIT_OFFSET_SIZE" n "the offset commit is too large";
    TopicAuthorizationFailed 29 "TOPIC_AUTHORIZATION_FAILED" n "not authorized for this topic";
    GroupAuthorizationFailed 30 "GROUP_AUTHORIZATION_FAILED" n "not authorized for this group";
    ClusterAuthorizationFailed 31 "CLUSTER_AUTHORIZATION_FAILED" n "not authorized for this cluster";
    InvalidTimestamp 32 "INVALID_TIMESTAMP" n "the record's timestamp is outside the allowed range";
    UnsupportedSaslMechanism 33 "UNSUPPORTED_SASL_MECHANISM" n "the SASL mechanism is not supported";
    IllegalSaslState 34 "ILLEGAL_SASL_STATE" n "the request does not fit the state of the SASL handshake";
    UnsupportedVersion 35 "UNSUPPORTED_VERSION" n "the version is not supported";
    TopicAlreadyExists 36 "TOPIC_ALREADY_EXISTS" n "a topic of this name exists";
    InvalidPartitions 37 "INVALID_PARTITIONS" n "the number of partitions is invalid";
    InvalidReplicationFactor 38 "INVALID_REPLICATION_FACTOR" n "the replication factor is invalid";
    InvalidReplicaAssignment 39 "INVALID_REPLICA_ASSIGNMENT" n "the replica assignment is invalid";
    InvalidConfig 40 "INVALID_CONFIG" n "the setting is invalid";
    NotController 41 "NOT_CONTROLLER" r "this node is not the active controller";
    InvalidRequest 42 "INVALID_REQUEST" n "the request is invalid";
    UnsupportedForMessageFormat 43 "UNSUPPORTED_FOR_MESSAGE_FORMAT" n "the message format does not support this";
    PolicyViolation 44 "POLICY_VIOLATION" n "the request breaks a policy";
    OutOfOrderSequenceNumber 45 "OUT_OF_ORDER_SEQUENCE_NUMBER" n "the producer's sequence has a gap";
    DuplicateSequenceNumber 46 "DUPLICATE_SEQUENCE_NUMBER" n "the producer's sequence was seen before";
    InvalidProducerEpoch 47 "INVALID_PRODUCER_EPOCH" n "the producer's epoch is older than the last one seen";
    InvalidTxnState 48 "INVALID_TXN_STATE" n "the transaction's state does not allow this";
    InvalidProducerIdMapping 49 "INVALID_PRODUCER_ID_MAPPING" n "the producer id does not belong to this transactional id";
    InvalidTransactionTimeout 50 "INVALID_TRANSACTION_TIMEOUT" n "the transaction timeout is outside the allowed range";
    ConcurrentTransactions 51 "CONCURRENT_TRANSACTIONS" r "another transaction of this producer is still ending";
    TransactionCoordinatorFenced 52 "TRANSACTION_COORDINATOR_FENCED" n "the transaction coordinator has been fenced";
    TransactionalIdAuthorizationFailed 53 "TRANSACTIONAL_ID_AUTHORIZATION_FAILED" n "not authorized for this transactional id";
    SecurityDisabled 54 "SECURITY_DISABLED" n "security is disabled";
    OperationNotAttempted 55 "OPERATION_NOT_ATTEMPTED" n "not attempted because another part of the request failed";
    KafkaStorageError 56 "KAFKA_STORAGE_ERROR" r "the disk under this replica failed";
    LogDirNotFound 57 "LOG_DIR_NOT_FOUND" n "there is no such data directory";
    SaslAuthenticationFailed 58 "SASL_AUTHENTICATION_FAILED" n "authentication failed";
    UnknownProducerId 59 "UNKNOWN_PRODUCER_ID" n "the producer id is not known here";
    ReassignmentInProgress 60 "REASSIGNMENT_IN_PROGRESS" n "the partition is being reassigned";
    DelegationTokenAuthDisabled 61 "DELEGATION_TOKEN_AUTH_DISABLED" n "delegation tokens are disabled";
    DelegationTokenNotFound 62 "DELEGATION_TOKEN_NOT_FOUND" n "there is no such delegation token";
    DelegationTokenOwnerMismatch 63 "DELEGATION_TOKEN_OWNER_MISMATCH" n "the delegation token belongs to another";
    DelegationTokenRequestNotAllowed 64 "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED" n "delegation tokens are not allowed over this connection";
    DelegationTokenAuthorizationFailed 65 "DELEGATION_TOKEN_AUTHORIZATION_FAILED" n "not authorized for this delegation token";
    DelegationTokenExpired 66 "DELEGATION_TOKEN_EXPIRED" n "the delegation token has expired";
    InvalidPrincipalType 67 "INVALID_PRINCIPAL_TYPE" n "the principal type is not supported";
    NonEmptyGroup 68 "NON_EMPTY_GROUP" n "the group has members";
    GroupIdNotFound 69 "GROUP_ID_NOT_FOUND" n "there is no such group";
    FetchSessionIdNotFound 70 "FETCH_SESSION_ID_NOT_FOUND" r "there is no such fetch session";
    InvalidFetchSessionEpoch 71 "INVALID_FETCH_SESSION_EPOCH" r "the fetch session's epoch is wrong";
    ListenerNotFound 72 "LISTENER_NOT_FOUND" r "the leader has no listener of this name";
    TopicDeletionDisabled 73 "TOPIC_DELETION_DISABLED" n "deleting topics is disabled";
    FencedLeaderEpoch 74 "FENCED_LEADER_EPOCH" r "the leader epoch is older than the broker's";
    UnknownLeaderEpoch 75 "UNKNOWN_LEADER_EPOCH" r "the leader epoch is newer than the broker's";
    UnsupportedCompressionType 76 "UNSUPPORTED_COMPRESSION_TYPE" n "the compression type is not supported";
    StaleBrokerEpoch 77 "STALE_BROKER_EPOCH" n "the broker epoch is stale";
    OffsetNotAvailable 78 "OFFSET_NOT_AVAILABLE" r "the leader cannot tell the offset yet";
    MemberIdRequired 79 "MEMBER_ID_REQUIRED" n "join again with the member id in this answer";
    PreferredLeaderNotAvailable 80 "PREFERRED_LEADER_NOT_AVAILABLE" r "the preferred leader is not available";
    GroupMaxSizeReached 81 "GROUP_MAX_SIZE_REACHED" n "the group is full";
    FencedInstanceId 82 "FENCED_INSTANCE_ID" n "another member has taken this instance id";
    EligibleLeadersNotAvailable 83 "ELIGIBLE_LEADERS_NOT_AVAILABLE" r "no eligible leader is available";
    ElectionNotNeeded 84 "ELECTION_NOT_NEEDED" r "the partition needs no election";
    NoReassignmentInProgress 85 "NO_REASSIGNMENT_IN_PROGRESS" n "the partition is not being reassigned";
    GroupSubscribedToTopic 86 "GROUP_SUBSCRIBED_TO_TOPIC" n "the group is subscribed to the topic";
    InvalidRecord 87 "INVALID_RECORD" n "the record was refused by the broker's checks";
    UnstableOffsetCommit 88 "UNSTABLE_OFFSET_COMMIT" r "the offset waits for a transaction to end";
    ThrottlingQuotaExceeded 89 "THROTTLING_QUOTA_EXCEEDED" r "the quota is exceeded";
    ProducerFenced 90 "PRODUCER_FENCED" n "a newer producer with this transactional id has fenced this one";
    ResourceNotFound 91 "RESOURCE_NOT_FOUND" n "there is no such resource";
    DuplicateResource 92 "DUPLICATE_RESOURCE" n "the resource exists";
    UnacceptableCredential 93 "UNACCEPTABLE_CREDENTIAL" n "the credential is not acceptable";
    InconsistentVoterSet 94 "INCONSISTENT_VOTER_SET" n "the voter sets differ";
    InvalidUpdateVersion 95 "INVALID_UPDATE_VERSION" n "the update's version is invalid";
    FeatureUpdateFailed 96 "FEATURE_UPDATE_FAILED" n "the features could not be updated";
    PrincipalDeserializationFailure 97 "PRINCIPAL_DESERIALIZATION_FAILURE" n "the principal could not be read";
    SnapshotNotFound 98 "SNAPSHOT_NOT_FOUND" n "there is no such snapshot";
    PositionOutOfRange 99 "POSITION_OUT_OF_RANGE" n "the position lies outside the snapshot";
    UnknownTopicId 100 "UNKNOWN_TOPIC_ID" r "this server knows no such topic id";
    DuplicateBrokerRegistration 101 "DUPLICATE_BROKER_REGISTRATION" n "this broker id is registered by a live broker";
    BrokerIdNotRegistered 102 "BROKER_ID_NOT_REGISTERED" n "this broker id is not registered";
    InconsistentTopicId 103 "INCONSISTENT_TOPIC_ID" r "the topic id does not fit the name";
    InconsistentClusterId 104 "INCONSISTENT_CLUSTER_ID" n "the cluster id is another cluster's";
    TransactionalIdNotFound 105 "TRANSACTIONAL_ID_NOT_FOUND" n "there is no such transactional id";
    FetchSessionTopicIdError 106 "FETCH_SESSION_TOPIC_ID_ERROR" r "the fetch session mixes topic names and ids";
    IneligibleReplica 107 "INELIGIBLE_REPLICA" n "the new ISR holds a replica that may not join";
    NewLeaderElected 108 "NEW_LEADER_ELECTED" n "the ISR change elected another leader";
    OffsetMovedToTieredStorage 109 "OFFSET_MOVED_TO_TIERED_STORAGE" n "the offset has moved to tiered storage";
    FencedMemberEpoch 110 "FENCED_MEMBER_EPOCH" n "the member's epoch is fenced";
    UnreleasedInstanceId 111 "UNRELEASED_INSTANCE_ID" n "the instance id is still in use";
    UnsupportedAssignor 112 "UNSUPPORTED_ASSIGNOR" n "the assignor is not supported";
    StaleMemberEpoch 113 "STALE_MEMBER_EPOCH" n "the member's epoch is stale";
    MismatchedEndpointType 114 "MISMATCHED_ENDPOINT_TYPE" n "the request went to the wrong kind of endpoint";
    UnsupportedEndpointType 115 "UNSUPPORTED_ENDPOINT_TYPE" n "the endpoint type is not supported";
    UnknownControllerId 116 "UNKNOWN_CONTROLLER_ID" n "there is no such controller";
    UnknownSubscriptionId 117 "UNKNOWN_SUBSCRIPTION_ID" n "the client's metrics subscription is unknown";
    TelemetryTooLarge 118 "TELEMETRY_TOO_LARGE" n "the telemetry is too large";
    InvalidRegistration 119 "INVALID_REGISTRATION" n "the registration is invalid";
    TransactionAbortable 120 "TRANSACTION_ABORTABLE" n "the transaction must be aborted";
    InvalidRecordState 121 "INVALID_RECORD_STATE" n "the record's state does not allow this";
    ShareSessionNotFound 122 "SHARE_SESSION_NOT_FOUND" r "there is no such share session";
    InvalidShareSessionEpoch 123 "INVALID_SHARE_SESSION_EPOCH" r "the share session's epoch is wrong";
    FencedStateEpoch 124 "FENCED_STATE_EPOCH" n "the state's epoch is fenced";
    InvalidVoterKey 125 "INVALID_VOTER_KEY" n "the voter's key is not the receiver's";
    DuplicateVoter 126 "DUPLICATE_VOTER" n "the voter is in the set already";
    VoterNotFound 127 "VOTER_NOT_FOUND" n "there is no such voter";
    InvalidRegularExpression 128 "INVALID_REGULAR_EXPRESSION" n "the regular expression is invalid";
    RebootstrapRequired 129 "REBOOTSTRAP_REQUIRED" n "start again from the bootstrap addresses";
    StreamsInvalidTopology 130 "STREAMS_INVALID_TOPOLOGY" n "the topology is invalid";
    StreamsInvalidTopologyEpoch 131 "STREAMS_INVALID_TOPOLOGY_EPOCH" n "the topology's epoch is invalid";
    StreamsTopologyFenced 132 "STREAMS_TOPOLOGY_FENCED" n "the topology's epoch is outdated";
    ShareSessionLimitReached 133 "SHARE_SESSION_LIMIT_REACHED" r "there are too many share sessions";
}

impl ErrorCode {
    pub fn code(self) -> i16 {
        self as i16
    }

    pub fn is_error(self) -> bool {
        self != ErrorCode::None
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}", self.name(), self.code(), self.sentence())
    }
}

impl std::error::Error for ErrorCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_agree() {
        for &error in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(error.code()), Some(error));
        }
        assert_eq!(ErrorCode::ALL.len(), 135);
        assert_eq!(ErrorCode::from_code(134), None);
        assert_eq!(ErrorCode::NotLeaderOrFollower.name(), "NOT_LEADER_OR_FOLLOWER");
        assert!(ErrorCode::NotLeaderOrFollower.is_retriable() && !ErrorCode::InvalidConfig.is_retriable());
    }
}
