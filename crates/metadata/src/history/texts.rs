//! Texts that many entries share: what was seen of one broker is the evidence of all the partitions that it led.
//!
//! A text has a number while entries refer to it. Which number depends on nothing but the texts that are there, so
//! every node gives the same.

use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Texts {
    by_number: BTreeMap<u32, Used>,
    numbers: BTreeMap<Arc<str>, u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Used {
    text: Arc<str>,
    /// Entries that refer to it.
    uses: u32,
}

impl Texts {
    /// The text's number, used once more; 0 for the empty one.
    pub fn hold(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        if let Some(&number) = self.numbers.get(text) {
            self.hold_again(number);
            return number;
        }
        let last = self.by_number.last_key_value().map_or(0, |(&number, _)| number);
        let number = if last < u32::MAX { last + 1 } else { self.first_gap() };
        self.insert(number, text);
        self.hold_again(number);
        number
    }

    fn first_gap(&self) -> u32 {
        let mut next = 1;
        for &number in self.by_number.keys() {
            if number != next {
                break;
            }
            next += 1;
        }
        next
    }

    /// A text that nobody uses yet; its entries follow.
    pub fn insert(&mut self, number: u32, text: &str) {
        let text: Arc<str> = Arc::from(text);
        self.numbers.insert(Arc::clone(&text), number);
        self.by_number.insert(number, Used { text, uses: 0 });
    }

    /// Says whether there is such a text; 0 needs none.
    pub fn hold_again(&mut self, number: u32) -> bool {
        match self.by_number.get_mut(&number) {
            Some(used) => {
                used.uses += 1;
                true
            }
            None => number == 0,
        }
    }

    /// An entry that referred to it is gone.
    pub fn release(&mut self, number: u32) {
        let Some(used) = self.by_number.get_mut(&number) else {
            return;
        };
        used.uses -= 1;
        if used.uses == 0 {
            self.numbers.remove(&used.text);
            self.by_number.remove(&number);
        }
    }

    pub fn get(&self, number: u32) -> &str {
        self.by_number.get(&number).map_or("", |used| &used.text)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.by_number.iter().map(|(&number, used)| (number, &*used.text))
    }

    /// Whether exactly these are used, so often each.
    pub fn are_used(&self, uses: &BTreeMap<u32, u32>) -> bool {
        let mine = self.by_number.iter().map(|(&number, used)| (number, used.uses));
        mine.eq(uses.iter().map(|(&number, &uses)| (number, uses)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_lives_as_long_as_it_is_used() {
        let mut texts = Texts::default();
        assert_eq!((texts.hold("a"), texts.hold(""), texts.hold("b")), (1, 0, 2));
        assert_eq!(texts.hold("a"), 1);
        texts.release(1);
        assert_eq!(texts.get(1), "a");
        texts.release(1);
        assert_eq!(texts.get(1), "");
        texts.release(0);
        // The highest number that is there decides, not what has been.
        assert_eq!(texts.hold("c"), 3);
        texts.release(3);
        texts.release(2);
        assert_eq!(texts.hold("d"), 1);
        assert!(texts.are_used(&BTreeMap::from([(1, 1)])));
    }

    #[test]
    fn numbers_do_not_run_out() {
        let mut texts = Texts::default();
        texts.insert(u32::MAX, "last");
        texts.insert(1, "first");
        assert_eq!(texts.hold("another"), 2);
    }
}
