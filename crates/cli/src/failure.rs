//! Why a command failed, and the exit code that tells: decided once, from the error itself, for all commands.
//!
//! A command that knows better names the code; everything else is classified by what the client says happened.

use std::fmt;

use klamm_broker::config::ConfigError;
use klamm_client::admin::AdminError;
use klamm_client::{
    AddressError, CommitError, ConnectError, ConsumeError, ErrorCode, GroupError, MetadataError, Obstacle,
    ProduceError, ProducerConfigError, RequestError, SendError,
};

/// The codes for people; `docs/operations.md` has the same table.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed: see the message
  2  the command line, or a setting, is wrong
  3  the cluster cannot be reached, or did not answer in time
  4  the cluster refused: no such topic, the topic exists, a setting is wrong, …
  5  a check found something wrong: doctor, demo, verify, bench";

/// Why a command failed; decides the exit code.
#[derive(Debug)]
pub struct Failure {
    pub code: u8,
    pub error: anyhow::Error,
}

impl Failure {
    pub const FAILED: u8 = 1;
    pub const USAGE: u8 = 2;
    pub const UNREACHABLE: u8 = 3;
    pub const REFUSED: u8 = 4;
    pub const CHECK: u8 = 5;

    pub fn new(code: u8, error: anyhow::Error) -> Self {
        Self { code, error }
    }

    pub fn check(text: impl Into<String>) -> Self {
        Self::new(Self::CHECK, anyhow::anyhow!(text.into()))
    }

    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(Self::USAGE, anyhow::anyhow!(text.into()))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self {
            code: classify(&error),
            error,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

/// The code of the outermost cause that tells one.
fn classify(error: &anyhow::Error) -> u8 {
    error.chain().find_map(of_cause).unwrap_or(Failure::FAILED)
}

fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    let found = if let Some(error) = cause.downcast_ref() {
        of_admin(error)
    } else if let Some(error) = cause.downcast_ref() {
        of_metadata(error)
    } else if let Some(error) = cause.downcast_ref() {
        of_send(error)
    } else if let Some(error) = cause.downcast_ref() {
        of_produce(error)
    } else if let Some(error) = cause.downcast_ref() {
        of_consume(error)
    } else if let Some(error) = cause.downcast_ref() {
        of_commit(error)
    } else if let Some(error) = cause.downcast_ref() {
        of_group(error)
    } else if let Some(error) = cause.downcast_ref() {
        of_request(error)
    } else if cause.is::<ConnectError>() {
        Failure::UNREACHABLE
    } else if cause.is::<ConfigError>() || cause.is::<ProducerConfigError>() || cause.is::<AddressError>() {
        Failure::USAGE
    } else {
        return None;
    };
    Some(found)
}

fn of_code(code: ErrorCode) -> u8 {
    match code {
        // Nobody refused: the outcome is unknown.
        ErrorCode::RequestTimedOut => Failure::UNREACHABLE,
        _ => Failure::REFUSED,
    }
}

fn of_request(error: &RequestError) -> u8 {
    match error {
        RequestError::Connect(_)
        | RequestError::UnknownBroker { .. }
        | RequestError::NotSent { .. }
        | RequestError::Lost { .. }
        | RequestError::TimedOut { .. } => Failure::UNREACHABLE,
        RequestError::Unsupported { .. } => Failure::REFUSED,
        RequestError::Encode { .. } | RequestError::Decode { .. } => Failure::FAILED,
    }
}

fn of_metadata(error: &MetadataError) -> u8 {
    match error {
        MetadataError::NoBootstrap | MetadataError::BadBootstrap(_) => Failure::USAGE,
        MetadataError::NoBroker { .. } => Failure::UNREACHABLE,
        // The cluster was asked all the time, and does not have it.
        MetadataError::UnknownTopic { .. } => Failure::REFUSED,
        MetadataError::Refused { code, .. } => of_code(*code),
        MetadataError::Closed => Failure::FAILED,
    }
}

fn of_admin(error: &AdminError) -> u8 {
    match error {
        AdminError::Request { cause, .. } => of_request(cause),
        AdminError::Metadata(cause) => of_metadata(cause),
        AdminError::Refused { code, .. } => of_code(*code),
        AdminError::Decode { .. } | AdminError::Missing { .. } => Failure::FAILED,
    }
}

fn of_send(error: &SendError) -> u8 {
    match error {
        SendError::Topic(cause) => of_metadata(cause),
        SendError::UnknownPartition { .. } => Failure::REFUSED,
        SendError::BufferFull { .. } => Failure::UNREACHABLE,
        SendError::TooLarge { .. } | SendError::Build(_) | SendError::Closed => Failure::FAILED,
    }
}

fn of_produce(error: &ProduceError) -> u8 {
    match error {
        ProduceError::Refused { code, .. } => of_code(*code),
        ProduceError::TimedOut { .. } | ProduceError::ConnectionLost | ProduceError::EarlierBatchFailed => {
            Failure::UNREACHABLE
        }
        ProduceError::Request(cause) => of_request(cause),
        ProduceError::Build(_) | ProduceError::Closed { .. } => Failure::FAILED,
    }
}

fn of_consume(error: &ConsumeError) -> u8 {
    match error {
        ConsumeError::Refused { code, .. } => of_code(*code),
        ConsumeError::OffsetOutOfRange { .. } | ConsumeError::NoCommittedOffset { .. } => Failure::REFUSED,
        ConsumeError::Group(cause) => of_group(cause),
        ConsumeError::Request { cause, .. } => of_request(cause),
        ConsumeError::Unavailable { cause, .. } => match cause {
            Obstacle::UnknownPartition => Failure::REFUSED,
            _ => Failure::UNREACHABLE,
        },
        ConsumeError::Topic(cause) => of_metadata(cause),
        ConsumeError::Truncated { .. }
        | ConsumeError::TopicReplaced { .. }
        | ConsumeError::Damaged { .. }
        | ConsumeError::NotAssigned { .. } => Failure::FAILED,
    }
}

fn of_group(error: &GroupError) -> u8 {
    match error {
        GroupError::Refused { code, .. } => of_code(*code),
        GroupError::Request(cause) => of_request(cause),
        GroupError::FencedInstance { .. } | GroupError::InconsistentProtocol { .. } => Failure::REFUSED,
        GroupError::NoGroup | GroupError::BadSetting { .. } | GroupError::BadPattern { .. } => Failure::USAGE,
        GroupError::Malformed { .. } => Failure::FAILED,
    }
}

fn of_commit(error: &CommitError) -> u8 {
    match error {
        CommitError::Refused { code, .. } => of_code(*code),
        CommitError::Group(cause) => of_group(cause),
        CommitError::Unavailable { .. } => Failure::UNREACHABLE,
        CommitError::RebalanceInProgress | CommitError::NotMember | CommitError::Closed => Failure::FAILED,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use klamm_client::TopicPartition;

    use super::*;

    const WAITED: Duration = Duration::from_secs(1);

    fn unknown_topic() -> MetadataError {
        MetadataError::UnknownTopic {
            topic: "orders".to_owned(),
            waited: WAITED,
        }
    }

    fn code(error: impl std::error::Error + Send + Sync + 'static) -> u8 {
        // As commands hand it over: with what was being done before it.
        Failure::from(anyhow::Error::new(error).context("sending a line")).code
    }

    #[test]
    fn what_the_cluster_does_not_have_or_want_is_a_refusal() {
        let partition = TopicPartition::new("orders", 99);
        assert_eq!(code(unknown_topic()), 4);
        assert_eq!(code(SendError::Topic(unknown_topic())), 4);
        assert_eq!(code(ConsumeError::Topic(Arc::new(unknown_topic()))), 4);
        let refused = |code| AdminError::Refused {
            what: "creating".to_owned(),
            code,
            message: String::new(),
        };
        assert_eq!(code(refused(ErrorCode::TopicAlreadyExists)), 4);
        assert_eq!(code(refused(ErrorCode::RequestTimedOut)), 3);
        let unavailable = |cause| ConsumeError::Unavailable {
            partition: partition.clone(),
            waited: WAITED,
            cause,
        };
        assert_eq!(code(unavailable(Obstacle::UnknownPartition)), 4);
        assert_eq!(code(unavailable(Obstacle::NoLeader)), 3);
    }

    #[test]
    fn silence_is_no_refusal() {
        let nobody = || MetadataError::NoBroker {
            waited: WAITED,
            cause: None,
        };
        assert_eq!(code(nobody()), 3);
        assert_eq!(code(AdminError::Metadata(nobody())), 3);
        assert_eq!(code(SendError::BufferFull { waited: WAITED }), 3);
        let late = ProduceError::TimedOut {
            waited: WAITED,
            effect: klamm_client::Effect::Possible,
            last: None,
        };
        assert_eq!(code(late), 3);
    }

    #[test]
    fn wrong_words_and_everything_else() {
        assert_eq!(code(MetadataError::NoBootstrap), 2);
        assert_eq!(code(ProducerConfigError::InFlight), 2);
        assert_eq!(code(std::io::Error::other("the disk")), 1);
        assert_eq!(Failure::usage("nothing to change").code, 2);
        assert_eq!(Failure::check("a promise was broken").code, 5);
    }
}
