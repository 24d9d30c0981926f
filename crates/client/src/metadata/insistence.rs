//! How long to rest between two questions for metadata, and whether to ask again although nobody has asked to. Pure.

use std::time::Duration;

/// So many answers in a row without the news that was hoped for are each followed by another question.
const REPEATS: u32 = 4;
/// The rest after the first of them; it doubles with each.
const REST_FIRST: Duration = Duration::from_millis(2);
/// Nobody has wanted to know for so long: the next who does is not one who still waits.
const CALM: Duration = Duration::from_secs(1);

/// Counts answers without news. A broker may hear of a new leader a moment after somebody who looks for it has asked: the
/// next one is asked soon, but not again and again.
#[derive(Debug)]
pub(super) struct Insistence {
    /// The longest rest, and the one after good answers.
    interval: Duration,
    fruitless: u32,
}

/// What follows an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub rest: Duration,
    pub asks_again: bool,
}

impl Insistence {
    pub fn new(interval: Duration) -> Insistence {
        Insistence { interval, fruitless: 0 }
    }

    /// `idle`: for how long nobody had wanted to know before the question. `satisfied`: there was news, or nobody hoped for
    /// any.
    pub fn answered(&mut self, idle: Duration, satisfied: bool) -> Next {
        if idle >= CALM || satisfied {
            self.fruitless = 0;
        }
        if satisfied {
            return Next {
                rest: self.interval,
                asks_again: false,
            };
        }
        let doublings = self.fruitless.min(REPEATS);
        self.fruitless = self.fruitless.saturating_add(1);
        Next {
            rest: self.interval.min(REST_FIRST * (1 << doublings)),
            asks_again: self.fruitless <= REPEATS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;

    fn answers(insistence: &mut Insistence, idle: Duration, count: usize) -> Vec<(u128, bool)> {
        let answer = |number| insistence.answered(if number == 0 { idle } else { AT_ONCE }, false);
        let told = (0..count).map(answer);
        told.map(|next| (next.rest.as_millis(), next.asks_again)).collect()
    }

    #[test]
    fn the_first_answers_without_news_are_followed_by_questions_of_our_own() {
        let mut insistence = Insistence::new(Duration::from_millis(20));
        let all = [(2, true), (4, true), (8, true), (16, true), (20, false), (20, false)];
        assert_eq!(answers(&mut insistence, AT_ONCE, 6), all);
        let still_waiting = Duration::from_millis(100);
        assert_eq!(answers(&mut insistence, still_waiting, 1), [(20, false)]);
        assert_eq!(answers(&mut insistence, CALM, 2), all[..2], "somebody else");
        let news = insistence.answered(AT_ONCE, true);
        assert_eq!((news.rest.as_millis(), news.asks_again), (20, false));
        assert_eq!(answers(&mut insistence, AT_ONCE, 6), all);
    }

    #[test]
    fn no_rest_is_longer_than_the_one_that_is_set() {
        let mut insistence = Insistence::new(Duration::from_millis(1));
        let rests = answers(&mut insistence, AT_ONCE, 100);
        assert!(rests.iter().all(|(rest, _)| *rest == 1));
    }
}
