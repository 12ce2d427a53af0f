//! Lists of words for people, and what a misspelt one was meant to be.

use crate::fault::{FaultCode, Sink};
use crate::name::ServiceName;

use super::reader::Located;

/// The services of Exchange that rules speak of.
const SERVICES: [&str; 5] = [
    "MSExchangeIMC",
    "MSExchangeMTA",
    "MSExchangeIS",
    "MSExchangeDS",
    "MSExchangeSA",
];

/// A service's name where it is written as the rules write it. Service managers take it in any letters, so that a rule
/// would not know what it is about.
pub(super) fn spelled(found: Located<ServiceName>, sink: &Sink) -> Option<ServiceName> {
    let known = SERVICES
        .iter()
        .find(|name| name.eq_ignore_ascii_case(found.value.as_str()));
    match known {
        Some(name) if *name != found.value.as_str() => {
            let message = format!("`service` is `{}`, in other letters", found.value);
            sink.hinted(
                FaultCode::BadName,
                &found.span,
                message,
                format!("write `{name}`"),
            );
            None
        }
        _ => Some(found.value),
    }
}

/// `` did you mean `timeout`? `` where one of the known words is close.
pub(crate) fn did_you_mean<'k>(
    given: &str,
    known: impl Iterator<Item = &'k str>,
) -> Option<String> {
    // The distance is quadratic in the length: a name of a megabyte is close to nothing.
    if given.len() > 64 {
        return None;
    }
    let near = |word: &str| {
        let distance = strsim::damerau_levenshtein(&given.to_lowercase(), word);
        (distance <= (word.len() / 3).max(1)).then_some(distance)
    };
    known
        .filter_map(|word| Some((near(word)?, word)))
        .min()
        .map(|(_, word)| format!("did you mean `{word}`?"))
}

/// `` `a`, `b` and `c` ``.
pub(crate) fn listed(words: &[&str]) -> String {
    let mut unique: Vec<&str> = Vec::new();
    for word in words {
        if !unique.contains(word) {
            unique.push(word);
        }
    }
    match unique.as_slice() {
        [] => "none".to_owned(),
        [only] => format!("`{only}`"),
        [most @ .., last] => format!("`{}` and `{last}`", most.join("`, `")),
    }
}
