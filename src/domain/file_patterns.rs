//! Patterns that name files of an app, in the syntax of `.gitignore` as `pack` reads it.
//!
//! Unlike git, a pattern with a slash in its middle fits at any depth unless it begins with one, and a file below a folder that is
//! left out can be taken in again. Both follow `pack`, so that the same files go into the image whichever engine makes it.

/// Patterns in their order: the last one that fits a path decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilePatterns(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    negated: bool,
    /// Whether it fits from the top only.
    anchored: bool,
    /// Whether it fits only what lies below, and not the folder itself: `build/`.
    only_below: bool,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// `?`: one byte of a name.
    One,
    /// `*`: any part of a name.
    Name,
    /// `[a-z]`: one byte of these ranges, or none of them.
    Class {
        negated: bool,
        ranges: Vec<(u8, u8)>,
    },
    /// `**/`: any folders, or none.
    Folders,
    /// `/**/`: a slash, or any folders between two.
    Between,
    /// `/**`: all that lies below.
    Below,
}

impl FilePatterns {
    /// Reads patterns; comments and empty ones are left out.
    pub fn new<'p>(lines: impl IntoIterator<Item = &'p str>) -> Self {
        Self(lines.into_iter().filter_map(Pattern::read).collect())
    }

    /// Tells whether the patterns name this path: relative, without a slash at either end.
    pub fn matches(&self, path: &[u8]) -> bool {
        let deciding = self.0.iter().rev().find(|pattern| pattern.matches(path));
        deciding.is_some_and(|pattern| !pattern.negated)
    }

    /// Tells whether what lies below a path that they name is named too, whatever it is.
    pub fn name_whole_folders(&self) -> bool {
        !self.0.iter().any(|pattern| pattern.negated)
    }
}

impl Pattern {
    fn read(line: &str) -> Option<Self> {
        let line = line.trim_end_matches('\r');
        if line.starts_with('#') {
            return None;
        }
        let line = line.trim_matches(' ');
        let (negated, line) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest));
        if line.is_empty() {
            return None;
        }
        let bytes = line.as_bytes();
        let anchored = (bytes[0] == b'/' && !line.starts_with("/**/")) || is_of_one_folder(bytes);
        let start = usize::from(bytes[0] == b'/');
        let tokens = tokens(&bytes[start..]);
        let only_below = tokens.last() == Some(&Token::Byte(b'/'));
        Some(Self { negated, anchored, only_below, tokens })
    }

    fn matches(&self, path: &[u8]) -> bool {
        // Which places of the path are reached after each token: no pattern takes more than one pass per token.
        let is_start = |at: usize| at == 0 || (!self.anchored && path[at - 1] == b'/');
        let mut reached: Vec<bool> = (0..=path.len()).map(is_start).collect();
        for token in &self.tokens {
            reached = token.step(path, &reached);
        }
        let is_end = |at: usize| self.only_below || at == path.len() || path[at] == b'/';
        reached.iter().enumerate().any(|(at, reached)| *reached && is_end(at))
    }
}

/// `docs/*.md` and its like, which fit in that very folder.
fn is_of_one_folder(pattern: &[u8]) -> bool {
    let folder = pattern.windows(2).position(|pair| pair[1] == b'/' && !b"/+".contains(&pair[0]));
    folder.is_some_and(|at| pattern[at + 2..].windows(2).any(|pair| pair == b"*."))
}

fn tokens(mut pattern: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::new();
    while let Some((&first, rest)) = pattern.split_first() {
        let (token, rest) = match first {
            b'/' if rest.starts_with(b"**/") => (Token::Between, &rest[3..]),
            b'*' if rest.starts_with(b"*/") => (Token::Folders, &rest[2..]),
            b'/' if rest.starts_with(b"**") => (Token::Below, &rest[2..]),
            b'*' => (Token::Name, rest),
            b'?' => (Token::One, rest),
            b'\\' if !rest.is_empty() => (Token::Byte(rest[0]), &rest[1..]),
            b'[' => class(rest).unwrap_or((Token::Byte(b'['), rest)),
            byte => (Token::Byte(byte), rest),
        };
        tokens.push(token);
        pattern = rest;
    }
    tokens
}

/// Reads the ranges after a `[`; none where nothing closes them.
fn class(pattern: &[u8]) -> Option<(Token, &[u8])> {
    let negated = matches!(pattern.first(), Some(b'!' | b'^'));
    let mut at = usize::from(negated);
    let mut ranges = Vec::new();
    loop {
        let from = *pattern.get(at)?;
        if from == b']' && !ranges.is_empty() {
            return Some((Token::Class { negated, ranges }, &pattern[at + 1..]));
        }
        let to = match (pattern.get(at + 1), pattern.get(at + 2)) {
            (Some(b'-'), Some(to)) if *to != b']' => {
                at += 2;
                *to
            }
            _ => from,
        };
        ranges.push((from, to));
        at += 1;
    }
}

impl Token {
    fn step(&self, path: &[u8], reached: &[bool]) -> Vec<bool> {
        let mut next = vec![false; reached.len()];
        // Whether an earlier place was reached from which this one can be.
        let mut carried = false;
        for at in 0..reached.len() {
            let byte = path.get(at).copied();
            let before = at.checked_sub(1).map(|before| path[before]);
            match self {
                Self::Byte(_) | Self::One | Self::Class { .. } => {
                    if reached[at] && byte.is_some_and(|byte| self.takes(byte)) {
                        next[at + 1] = true;
                    }
                }
                Self::Name => {
                    carried = (carried && before != Some(b'/')) || reached[at];
                    next[at] = carried;
                }
                Self::Folders => {
                    next[at] = reached[at] || (carried && before == Some(b'/'));
                    carried |= reached[at];
                }
                Self::Below => {
                    next[at] = reached[at] || carried;
                    carried |= reached[at] && byte == Some(b'/');
                }
                Self::Between => {
                    // One slash, or two with something between them.
                    let one = at >= 1 && reached[at - 1] && before == Some(b'/');
                    let two = carried && before == Some(b'/');
                    next[at] = one || two;
                    carried |= at >= 2 && reached[at - 2] && path[at - 2] == b'/';
                }
            }
        }
        next
    }

    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Byte(wanted) => *wanted == byte,
            Self::One => byte != b'/',
            Self::Class { negated, ranges } => {
                byte != b'/' && *negated != ranges.iter().any(|(from, to)| (*from..=*to).contains(&byte))
            }
            Self::Name | Self::Folders | Self::Between | Self::Below => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(patterns: &[&str], path: &str) -> bool {
        FilePatterns::new(patterns.iter().copied()).matches(path.as_bytes())
    }

    #[test]
    fn each_form_of_a_pattern_names_what_it_should() {
        for (pattern, yes, no) in [
            (".git", &[".git", ".git/config", "sub/.git/config"][..], &["x.git", ".gitignore"][..]),
            ("/.git", &[".git", ".git/config"], &["sub/.git"]),
            ("*.log", &["a.log", "deep/er/b.log", "a.log/below"], &["a.logs", "log"]),
            ("docs/a", &["docs/a", "sub/docs/a", "docs/a/b"], &["docs/ab", "xdocs/a"]),
            ("docs/*.md", &["docs/a.md"], &["sub/docs/a.md", "docs/sub/a.md"]),
            ("build/", &["build/a", "sub/build/a/b"], &["build"]),
            ("a/**", &["a", "a/b", "a/b/c", "x/a/b"], &["ab"]),
            ("**/a", &["a", "x/a", "x/y/a", "a/b"], &["xa"]),
            ("/**/a", &["a", "x/a"], &["xa"]),
            ("a/**/b", &["a/b", "a/x/b", "a/x/y/b", "q/a/b"], &["ab", "a/xb"]),
            ("a?c", &["abc", "x/abc"], &["ac", "a/c"]),
            ("[a-c]x", &["ax", "cx"], &["dx", "x"]),
            ("[!a]x", &["bx"], &["ax", "x"]),
            (r"\*x", &["*x"], &["ax"]),
            ("[", &["["], &["x"]),
            (" *.pyc \r", &["x.pyc"], &["x.py"]),
        ] {
            for path in yes {
                assert!(named(&[pattern], path), "{pattern} names {path}");
            }
            for path in no {
                assert!(!named(&[pattern], path), "{pattern} does not name {path}");
            }
        }
    }

    #[test]
    fn the_last_pattern_that_fits_decides() {
        let patterns = ["logs", "!logs/keep", "# logs/keep", ""];
        assert!(named(&patterns, "logs/a") && !named(&patterns, "logs/keep") && !named(&patterns, "# logs/keep"));
        assert!(!FilePatterns::new(patterns).name_whole_folders() && FilePatterns::new(["logs"]).name_whole_folders());
        assert!(!named(&["!a"], "a") && !named(&[], "a"));
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_longer_than_another() {
        let path = "a".repeat(5000);
        assert!(!named(&[&format!("{}b", "*a".repeat(200))], &path));
    }
}
