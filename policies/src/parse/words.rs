//! Lists of words for people, and what a misspelt one was meant to be.

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
