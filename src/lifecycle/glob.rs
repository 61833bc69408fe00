//! The patterns of slices, with the rules of Go's `filepath.Match`: `*` and `?` stop at `/`, there is no `**`, `[a-z]` and
//! `[^a-z]` are classes, `\` takes the next character as it is.

/// A pattern that breaks the rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a pattern: a `[` without its `]`, an empty class or range, or a `\\` at the end")]
pub struct BadPattern(pub String);

/// What only this file sees of a bad pattern.
#[derive(Debug)]
struct Bad;

/// Tells whether `pattern` matches all of `name`.
///
/// As in Go, a bad pattern is noticed where it is compared with a name, not before.
pub fn matches(pattern: &str, name: &[u8]) -> Result<bool, BadPattern> {
    match_all(pattern.as_bytes(), name).map_err(|Bad| BadPattern(pattern.to_owned()))
}

fn match_all(mut pattern: &[u8], mut name: &[u8]) -> Result<bool, Bad> {
    while !pattern.is_empty() {
        let (star, chunk, rest) = next_chunk(pattern);
        pattern = rest;
        if star && chunk.is_empty() {
            return Ok(!name.contains(&b'/'));
        }
        // The last chunk must use up the name; where a star comes before it, a later place may.
        let fits = |left: &[u8]| left.is_empty() || !rest.is_empty();
        if let Some(left) = match_chunk(chunk, name)?.filter(|left| fits(left)) {
            name = left;
            continue;
        }
        let mut found = None;
        if star {
            for skipped in 0..name.len() {
                if name[skipped] == b'/' {
                    break;
                }
                found = match_chunk(chunk, &name[skipped + 1..])?.filter(|left| fits(left));
                if found.is_some() {
                    break;
                }
            }
        }
        let Some(left) = found else {
            // What is left must still be a pattern.
            while !pattern.is_empty() {
                let (_, chunk, rest) = next_chunk(pattern);
                match_chunk(chunk, b"")?;
                pattern = rest;
            }
            return Ok(false);
        };
        name = left;
    }
    Ok(name.is_empty())
}

/// Returns whether stars come first, what follows them up to the next star, and the rest.
fn next_chunk(pattern: &[u8]) -> (bool, &[u8], &[u8]) {
    let stars = pattern.iter().take_while(|byte| **byte == b'*').count();
    let pattern = &pattern[stars..];
    let (mut place, mut in_class) = (0, false);
    while place < pattern.len() {
        match pattern[place] {
            b'\\' => place += 1,
            b'[' => in_class = true,
            b']' => in_class = false,
            b'*' if !in_class => break,
            _ => {}
        }
        place += 1;
    }
    let (chunk, rest) = pattern.split_at(place.min(pattern.len()));
    (stars > 0, chunk, rest)
}

/// Matches the beginning of `name` and returns what is left of it. Reads the chunk to its end in any case.
fn match_chunk<'a>(mut chunk: &[u8], name: &'a [u8]) -> Result<Option<&'a [u8]>, Bad> {
    let mut left = Some(name);
    while let [first, rest @ ..] = chunk {
        left = left.filter(|name| !name.is_empty());
        chunk = match first {
            b'[' => {
                let (character, after) = left.map_or((0, None), |name| {
                    let (character, length) = decode(name);
                    (character, Some(&name[length..]))
                });
                let (matched, rest) = match_class(rest, character)?;
                left = after.filter(|_| matched);
                rest
            }
            b'?' => {
                left = left.filter(|name| name[0] != b'/').map(|name| &name[decode(name).1..]);
                rest
            }
            b'\\' => {
                let (literal, rest) = rest.split_first().ok_or(Bad)?;
                left = left.and_then(|name| name.strip_prefix(&[*literal]));
                rest
            }
            literal => {
                left = left.and_then(|name| name.strip_prefix(&[*literal]));
                rest
            }
        };
    }
    Ok(left)
}

/// Reads a class behind its `[` and returns whether `character` is in it, and what follows its `]`.
fn match_class(class: &[u8], character: u32) -> Result<(bool, &[u8]), Bad> {
    let (negated, mut class) = match class {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, class),
    };
    let (mut matched, mut first) = (false, true);
    loop {
        if let ([b']', rest @ ..], false) = (class, first) {
            return Ok((matched != negated, rest));
        }
        let low;
        (low, class) = class_character(class)?;
        let mut high = low;
        if let [b'-', rest @ ..] = class {
            (high, class) = class_character(rest)?;
        }
        matched |= (low..=high).contains(&character);
        first = false;
    }
}

/// Reads one character of a class; something must follow it.
fn class_character(class: &[u8]) -> Result<(u32, &[u8]), Bad> {
    let class = match class {
        [] | [b'-' | b']', ..] => return Err(Bad),
        [b'\\', rest @ ..] => rest,
        _ => class,
    };
    let (character, length) = decode(class);
    let rest = class.get(length..).filter(|rest| !rest.is_empty()).ok_or(Bad)?;
    if (character, length) == (REPLACEMENT, 1) {
        return Err(Bad);
    }
    Ok((character, rest))
}

/// What stands for a byte that is not text.
const REPLACEMENT: u32 = 0xfffd;

/// Reads one character; a byte that is not UTF-8 is one of its own.
fn decode(bytes: &[u8]) -> (u32, usize) {
    for length in 1..=bytes.len().min(4) {
        if let Ok(text) = std::str::from_utf8(&bytes[..length]) {
            return (text.chars().next().map_or(REPLACEMENT, u32::from), length);
        }
    }
    (REPLACEMENT, 1)
}

/// Shortens a path as Go's `path.Clean` does: no doubled or last slash, no `.`, and `..` takes the part before it away.
#[must_use]
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(".."),
            },
            _ => parts.push(part),
        }
    }
    let path = parts.join("/");
    match (rooted, path.is_empty()) {
        (true, _) => format!("/{path}"),
        (false, true) => ".".to_owned(),
        (false, false) => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Go's `filepath.Match` answered on Linux.
    #[test]
    fn patterns_match_as_in_go() {
        for (pattern, name, answer) in [
            ("abc", "abc", Some(true)),
            ("*", "abc", Some(true)),
            ("*c", "abc", Some(true)),
            ("a*", "a", Some(true)),
            ("a*", "ab/c", Some(false)),
            ("a*/b", "abc/b", Some(true)),
            ("a*/b", "a/c/b", Some(false)),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", Some(true)),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", Some(false)),
            ("a*b?c*x", "abxbbxdbxebxczzx", Some(true)),
            ("a*b?c*x", "abxbbxdbxebxczzy", Some(false)),
            ("ab[c]", "abc", Some(true)),
            ("ab[b-d]", "abc", Some(true)),
            ("ab[e-g]", "abc", Some(false)),
            ("ab[^c]", "abc", Some(false)),
            ("ab[^e-g]", "abc", Some(true)),
            ("a\\*b", "a*b", Some(true)),
            ("a\\*b", "ab", Some(false)),
            ("a?b", "a☺b", Some(true)),
            ("a[^a]b", "a☺b", Some(true)),
            ("a???b", "a☺b", Some(false)),
            ("[a-ζ]*", "α", Some(true)),
            ("*[a-ζ]", "A", Some(false)),
            ("a?b", "a/b", Some(false)),
            ("a*b", "a/b", Some(false)),
            ("[\\]a]", "]", Some(true)),
            ("[\\-]", "-", Some(true)),
            ("[x\\-]", "z", Some(false)),
            ("[]a]", "]", None),
            ("[-]", "-", None),
            ("[x-]", "x", None),
            ("[-x]", "x", None),
            ("\\", "a", None),
            ("[a-b-c]", "a", None),
            ("[", "a", None),
            ("[^bc", "a", None),
            ("a[", "a", None),
            ("a[", "ab", None),
            ("a[", "x", None),
            ("a/b[", "x", None),
            ("*x", "xxx", Some(true)),
            ("static", "static/css", Some(false)),
        ] {
            assert_eq!(matches(pattern, name.as_bytes()).ok(), answer, "{pattern} {name}");
        }
    }

    #[test]
    fn paths_are_shortened_as_in_go() {
        for (path, shortened) in [
            ("", "."),
            ("./a//b/", "a/b"),
            ("a/../b", "b"),
            ("../a", "../a"),
            ("a/../../b", "../b"),
            ("/../a", "/a"),
            ("/", "/"),
        ] {
            assert_eq!(clean(path), shortened, "{path}");
        }
    }
}
