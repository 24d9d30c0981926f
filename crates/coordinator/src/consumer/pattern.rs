//! Subscriptions by pattern: RE2's syntax, matched against whole topic names.
//!
//! Matching takes time linear in the name, whatever the pattern; a pattern is bounded in length and in what it compiles
//! to. Topic names are ASCII, and so are classes like `\w`, as in RE2.

use std::time::Duration;

use regex::bytes::{Regex, RegexBuilder};

use crate::topics::Topics;

/// Patterns are resolved again after this time though no topic has changed; Kafka's interval.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(600);

/// Longer patterns are refused.
const LENGTH_MAX: usize = 8192;
/// What a pattern may compile to, in bytes.
const COMPILED_BYTES_MAX: usize = 512 * 1024;
const NESTING_MAX: u32 = 100;

/// A pattern that can be matched.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// `None` if the syntax is wrong or the pattern too large.
    pub fn new(text: &str) -> Option<Pattern> {
        if text.len() > LENGTH_MAX {
            return None;
        }
        let text = unquote(text);
        // Alone first: what is wrong alone may be right between our brackets.
        compile(&text)?;
        Some(Pattern(compile(&format!("\\A(?:{text})\\z"))?))
    }

    pub fn matches(&self, topic: &str) -> bool {
        self.0.is_match(topic.as_bytes())
    }

    /// The topics that match, in order of their names.
    pub fn resolve(&self, topics: &Topics) -> Vec<String> {
        topics
            .iter()
            .map(|(name, _)| name)
            .filter(|name| self.matches(name))
            .map(str::to_owned)
            .collect()
    }
}

fn compile(text: &str) -> Option<Regex> {
    let build = |unicode| {
        RegexBuilder::new(text)
            .unicode(unicode)
            .octal(true)
            .size_limit(COMPILED_BYTES_MAX)
            .dfa_size_limit(COMPILED_BYTES_MAX)
            .nest_limit(NESTING_MAX)
            .build()
    };
    // Classes like `\p{Greek}` exist in Unicode only.
    build(false).or_else(|_| build(true)).ok()
}

/// RE2 takes `\Q…\E` as a literal, our engine does not.
fn unquote(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(escape) = rest.find('\\') {
        let (before, escaped) = rest.split_at(escape);
        plain.push_str(before);
        if let Some(quoted) = escaped.strip_prefix("\\Q") {
            let (literal, after) = quoted.split_once("\\E").unwrap_or((quoted, ""));
            plain.push_str(&regex::escape(literal));
            rest = after;
        } else {
            let length = escaped.chars().take(2).map(char::len_utf8).sum();
            let (pair, after) = escaped.split_at(length);
            plain.push_str(pair);
            rest = after;
        }
    }
    plain.push_str(rest);
    plain
}
