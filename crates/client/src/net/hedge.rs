//! Asking several brokers what all of them know, so that one that is silent holds nobody up.
//!
//! A refusal moves on at once; silence for a short while starts the next without giving up the first. The first good
//! answer wins.

use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::HostPort;
use crate::error::RequestError;

/// How long one broker may be silent before the next is asked as well.
const PATIENCE: Duration = Duration::from_millis(150);

/// Asks the candidates in order; if none answers, the last failure. `None` if there are no candidates.
pub(crate) async fn ask_in_turn<T, F>(
    candidates: Vec<HostPort>,
    ask: impl Fn(HostPort) -> F,
) -> Option<Result<T, RequestError>>
where
    F: Future<Output = Result<T, RequestError>>,
{
    let mut waiting = candidates.into_iter();
    let mut running = FuturesUnordered::new();
    running.push(ask(waiting.next()?));
    loop {
        tokio::select! {
            Some(result) = running.next() => match result {
                Ok(answer) => return Some(Ok(answer)),
                Err(failure) => match waiting.next() {
                    Some(next) => running.push(ask(next)),
                    None if running.is_empty() => return Some(Err(failure)),
                    None => {}
                },
            },
            () = tokio::time::sleep(PATIENCE), if waiting.len() > 0 => {
                if let Some(next) = waiting.next() {
                    running.push(ask(next));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brokers(count: u16) -> Vec<HostPort> {
        let at = |port| HostPort {
            host: "h".to_owned(),
            port,
        };
        (1..=count).map(at).collect()
    }

    fn refused() -> RequestError {
        RequestError::UnknownBroker { node: 1 }
    }

    #[tokio::test]
    async fn one_that_is_silent_does_not_hold_up_what_another_knows() {
        let ask = |broker: HostPort| async move {
            match broker.port {
                1 => std::future::pending().await,
                2 => Err(refused()),
                port => Ok(port),
            }
        };
        let answer = ask_in_turn(brokers(4), ask).await.unwrap();
        assert_eq!(answer.unwrap(), 3);
    }

    #[tokio::test]
    async fn if_all_refuse_the_last_one_is_told() {
        let ask = |broker: HostPort| async move {
            Err::<(), _>(RequestError::UnknownBroker {
                node: broker.port.into(),
            })
        };
        let answer = ask_in_turn(brokers(2), ask).await.unwrap();
        assert!(
            matches!(answer, Err(RequestError::UnknownBroker { node: 2 })),
            "{answer:?}"
        );
        assert!(ask_in_turn(brokers(0), ask).await.is_none());
    }
}
