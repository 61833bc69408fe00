//! Words of a command line as one POSIX shell text.

/// Quotes one word so that a shell reads it back unchanged.
///
/// Only words of `A–Z a–z 0–9 _ @ % + = : , . / -` stay bare. Archived commands are compared byte for byte, so the form
/// is fixed: single quotes, an inner one written as `'"'"'`.
#[must_use]
pub fn quote(word: &str) -> String {
    let bare = |letter: char| letter.is_ascii_alphanumeric() || "_@%+=:,./-".contains(letter);
    if word.is_empty() {
        "''".to_owned()
    } else if word.chars().all(bare) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\"'\"'"))
    }
}

/// Joins words to a command text: a single word is left as it is, several are quoted each.
///
/// A single word is a whole shell text already (`web: gunicorn app --bind :$PORT` arrives as one).
#[must_use]
pub fn command_text<S: AsRef<str>>(words: &[S]) -> String {
    match words {
        [text] => text.as_ref().to_owned(),
        words => words.iter().map(|word| quote(word.as_ref())).collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_written_the_way_the_archive_has_always_had_it() {
        for (words, text) in [
            (vec!["bash", "-c", "echo 'hi'"], r#"bash -c 'echo '"'"'hi'"'"''"#),
            (vec!["gunicorn app:app --bind :$PORT"], "gunicorn app:app --bind :$PORT"),
            (vec!["gunicorn", "--bind", ":$PORT"], "gunicorn --bind ':$PORT'"),
            (vec!["a", ""], "a ''"),
            (vec!["a_@%+=:,./-Z9"], "a_@%+=:,./-Z9"),
            (vec!["x", "a_@%+=:,./-Z9", "ü", "~"], "x a_@%+=:,./-Z9 'ü' '~'"),
            (vec![], ""),
        ] {
            assert_eq!(command_text(&words), text);
        }
    }
}
