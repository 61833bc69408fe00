//! Files of variables: `KEY=VALUE` each, with quoted values that may span lines.
//!
//! The format is the one that `docker --env-file`, `dotenv` and shells have in common: empty lines and lines that begin
//! with `#` are skipped; `export ` before a name is skipped. A value in `'…'` is taken as it is; in `"…"`, `\n`, `\r`,
//! `\t`, `\"`, `\\` and `\$` are read. Without quotes the value goes to the end of the line, without the blanks around
//! it; a `#` after a blank begins a comment. Nothing is expanded. A name without `=` takes its value from elsewhere.

/// One entry of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The variable's name.
    pub name: String,
    /// Its value; none where the name stands alone and the caller's own environment is meant.
    pub value: Option<String>,
    /// The line of its name, from 1.
    pub line: usize,
}

/// What is wrong with a file; the value itself is never part of the message, as it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct EnvFileError {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// A kind of mistake in a file of variables.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The name has other characters than a name may have.
    #[error("a variable's name has letters, digits and `_`, and does not begin with a digit")]
    Name,
    /// A quote that never ends.
    #[error("the {0} that begins here has no end")]
    Open(&'static str),
    /// Text behind the closing quote.
    #[error("nothing but a comment may follow the closing quote")]
    AfterQuote,
    /// A NUL character, which no environment can hold.
    #[error("a value cannot hold a NUL character")]
    Nul,
}

/// Reads a file of variables, in its order; a name that stands there twice is given twice, and the later one counts.
///
/// # Errors
/// Fails at the first mistake, with its line.
pub fn parse(file: &str, text: &str) -> Result<Vec<Entry>, EnvFileError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { file, rest: text, line: 1 };
    let mut entries = Vec::new();
    while let Some(entry) = reader.entry()? {
        entries.push(entry);
    }
    Ok(entries)
}

/// Tells whether a text can be the name of a variable.
pub fn is_name(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

struct Reader<'a> {
    file: &'a str,
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    fn entry(&mut self) -> Result<Option<Entry>, EnvFileError> {
        loop {
            if self.rest.is_empty() {
                return Ok(None);
            }
            let line = self.peek_line().trim();
            if line.is_empty() || line.starts_with('#') {
                self.take_line();
            } else {
                break;
            }
        }
        let line = self.line;
        self.rest = self.rest.trim_start_matches([' ', '\t']);
        if let Some(rest) = self.rest.strip_prefix("export ") {
            self.rest = rest.trim_start_matches([' ', '\t']);
        }
        let head = self.peek_line();
        let Some((name, _)) = head.split_once('=') else {
            let name = self.take_line().trim().to_owned();
            return if is_name(&name) {
                Ok(Some(Entry { name, value: None, line }))
            } else {
                Err(self.wrong(line, Problem::Name))
            };
        };
        let trimmed = name.trim_end();
        if !is_name(trimmed) {
            return Err(self.wrong(line, Problem::Name));
        }
        let (name, length) = (trimmed.to_owned(), name.len() + 1);
        self.rest = self.rest[length..].trim_start_matches([' ', '\t']);
        let value = match self.rest.chars().next() {
            Some('\'') => self.single_quoted(line)?,
            Some('"') => self.double_quoted(line)?,
            _ => plain(self.take_line()),
        };
        if value.contains('\0') {
            return Err(self.wrong(line, Problem::Nul));
        }
        Ok(Some(Entry { name, value: Some(value), line }))
    }

    fn single_quoted(&mut self, line: usize) -> Result<String, EnvFileError> {
        let inner = &self.rest[1..];
        let end = inner.find('\'').ok_or_else(|| self.wrong(line, Problem::Open("single quote")))?;
        let value = inner[..end].to_owned();
        self.pass(1 + end + 1);
        self.nothing_follows()?;
        Ok(value)
    }

    fn double_quoted(&mut self, line: usize) -> Result<String, EnvFileError> {
        let mut value = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.pass(at + 1);
                    self.nothing_follows()?;
                    return Ok(value);
                }
                '\\' => match characters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, 'r')) => value.push('\r'),
                    Some((_, 't')) => value.push('\t'),
                    Some((_, same @ ('"' | '\\' | '$' | '`'))) => value.push(same),
                    // Anything else keeps its backslash, as in a shell.
                    Some((_, other)) => value.extend(['\\', other]),
                    None => break,
                },
                other => value.push(other),
            }
        }
        Err(self.wrong(line, Problem::Open("double quote")))
    }

    fn nothing_follows(&mut self) -> Result<(), EnvFileError> {
        let line = self.line;
        let rest = self.take_line().trim();
        if rest.is_empty() || rest.starts_with('#') { Ok(()) } else { Err(self.wrong(line, Problem::AfterQuote)) }
    }

    fn peek_line(&self) -> &'a str {
        self.rest.split('\n').next().unwrap_or_default()
    }

    fn take_line(&mut self) -> &'a str {
        let line = self.peek_line();
        self.pass((line.len() + 1).min(self.rest.len()));
        line
    }

    /// Goes on behind the next `length` bytes, counting lines.
    fn pass(&mut self, length: usize) {
        let (passed, rest) = self.rest.split_at(length);
        self.line += passed.matches('\n').count();
        self.rest = rest;
    }

    fn wrong(&self, line: usize, problem: Problem) -> EnvFileError {
        EnvFileError { file: self.file.to_owned(), line, problem }
    }
}

fn plain(line: &str) -> String {
    let end =
        line.char_indices().find(|&(at, character)| character == '#' && (at == 0 || line[..at].ends_with([' ', '\t'])));
    line[..end.map_or(line.len(), |(at, _)| at)].trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, Option<String>)> {
        parse("app.env", text).unwrap().into_iter().map(|entry| (entry.name, entry.value)).collect()
    }

    #[test]
    fn values_are_read_as_written() {
        let table = [
            ("A=1", "1"),
            ("A=", ""),
            ("A = b c ", "b c"),
            ("export A=1", "1"),
            ("A=b#c", "b#c"),
            ("A=b # comment", "b"),
            ("A=$HOME", "$HOME"),
            ("A='b # c'  # comment", "b # c"),
            (r#"A="b\nc \"d\" \$e \x""#, "b\nc \"d\" $e \\x"),
            ("A='-----BEGIN KEY-----\nMIIE\n-----END KEY-----'", "-----BEGIN KEY-----\nMIIE\n-----END KEY-----"),
            ("A=\"first\r\nsecond\"", "first\r\nsecond"),
            ("A=b\r", "b"),
            ("A=a=b", "a=b"),
        ];
        for (text, value) in table {
            assert_eq!(read(text), [("A".to_owned(), Some(value.to_owned()))], "{text}");
        }
    }

    #[test]
    fn comments_and_empty_lines_are_skipped_and_bare_names_have_no_value() {
        assert_eq!(
            read("\u{feff}# first\n\n  A=1\nB\n"),
            [("A".to_owned(), Some("1".to_owned())), ("B".to_owned(), None)]
        );
    }

    #[test]
    fn a_mistake_is_told_with_its_line_and_without_the_value() {
        let table = [
            ("A=1\n2B=hunter2", "app.env:2: a variable's name"),
            ("A='x\ny'\nB=\"hunter2\n", "app.env:3: the double quote that begins here has no end"),
            ("A='hunter2", "app.env:1: the single quote"),
            ("A='x\n' hunter2", "app.env:2: nothing but a comment"),
            ("=hunter2", "app.env:1: a variable's name"),
            ("A=b\0c", "app.env:1: a value cannot hold a NUL"),
        ];
        for (text, message) in table {
            let error = parse("app.env", text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
