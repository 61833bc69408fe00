//! Finds the word somebody most likely meant, and shows words from a file safely.

/// Words longer than this are no slip of the pen; comparing them would only cost time.
const LONGEST: usize = 64;

/// Returns the candidate nearest to `word`, if one is near enough to be meant by it.
///
/// Case, `-` and `_` do not count. About one slip in three letters is allowed.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > LONGEST {
        return None;
    }
    let wanted = plain(word);
    let allowed = (wanted.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn plain(word: &str) -> String {
    word.chars().map(|letter| if letter == '-' { '_' } else { letter.to_ascii_lowercase() }).collect()
}

/// Returns a word of a file fit for a message: controls escaped, cut when very long.
#[must_use]
pub fn shown(word: &str) -> String {
    let mut out: String = word.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if word.chars().nth(LONGEST).is_some() {
        out.push('…');
    }
    out.replace("\\\"", "\"").replace("\\'", "'")
}

/// Returns words as a list in backticks: `` `a`, `b` ``.
#[must_use]
pub fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word() {
        let keys = ["command", "env", "timeout"];
        for (word, found) in [
            ("comand", Some("command")),
            ("Command", Some("command")),
            ("time-out", Some("timeout")),
            ("envs", Some("env")),
            ("shell", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, keys), found, "{word}");
        }
    }

    #[test]
    fn controls_are_shown_escaped_and_long_words_cut() {
        assert_eq!(shown("a\u{1b}[31m\"b\""), "a\\u{1b}[31m\"b\"");
        assert!(shown(&"x".repeat(1000)).chars().count() <= LONGEST + 1);
    }
}
