//! A tree of values with their places, the same for JSON and TOML, and the reader that takes typed values out of it.

use super::problem::{Problem, Span};
use super::suggest::{listed, nearest, shown};

/// A value with the place it was written at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its place, in bytes.
    pub span: Span,
}

impl<T> Located<T> {
    /// Puts a value and its place together.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// A value of a JSON or TOML file.
pub(super) type Node = Located<Value>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// The number as it was written, so that nothing is lost.
    Number(String),
    /// A TOML date or time, which no manifest uses.
    Date,
    Text(String),
    Array(Vec<Node>),
    Table(Table),
}

impl Value {
    fn found(&self, format: Format) -> &'static str {
        match self {
            Self::Null => "found null",
            Self::Bool(_) => "found a boolean",
            Self::Number(_) => "found a number",
            Self::Date => "found a date",
            Self::Text(_) => "found a string",
            Self::Array(_) => "found an array",
            Self::Table(_) if format == Format::Json => "found an object",
            Self::Table(_) => "found a table",
        }
    }
}

/// An object (JSON) or table (TOML), its entries in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Span,
    pub(super) node: Node,
}

impl Table {
    /// Returns the value of a key; of a repeated key the last, as JSON readers do.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entries.iter().rev().find(|entry| entry.key == key).map(|entry| &entry.node)
    }
}

/// The format of a file, for the words it uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    #[default]
    Toml,
}

/// Takes typed values out of a tree and collects what is wrong on the way.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) format: Format,
    pub(super) problems: Vec<Problem>,
}

impl Reader {
    pub(super) fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Says that `node` has the wrong type.
    pub(super) fn mismatch(&mut self, node: &Node, path: &str, wanted: &str, help: Option<String>) {
        let mut problem = Problem::error(path, format!("`{path}` must be {wanted}"), node.span.clone())
            .label(node.value.found(self.format));
        problem.help = help;
        self.push(problem);
    }

    /// Warns of keys that are neither `known` nor `tolerated` (other tools' keys, accepted in silence).
    pub(super) fn unknown_keys(&mut self, table: &Table, path: &str, known: &[&str], tolerated: &[&str]) {
        for entry in &table.entries {
            let key = entry.key.as_str();
            if known.contains(&key) || tolerated.contains(&key) {
                continue;
            }
            let full = join(path, key);
            let message = format!("unknown key `{full}`");
            let problem = Problem::warning(full, message, entry.key_span.clone()).label("it has no effect");
            let candidates = known.iter().chain(tolerated).copied();
            self.push(match nearest(key, candidates) {
                Some(meant) => problem.help(format!("did you mean `{meant}`?")),
                None if known.is_empty() => problem,
                None => problem.help(format!("keys known here: {}", listed(known.iter().copied()))),
            });
        }
    }

    /// Reads a table under `key`. Missing and null are the same.
    pub(super) fn table<'n>(&mut self, parent: &'n Table, path: &str, key: &str) -> Option<(&'n Table, String)> {
        let node = parent.get(key)?;
        let path = join(path, key);
        self.as_table(node, &path).map(|table| (table, path))
    }

    pub(super) fn as_table<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n Table> {
        match &node.value {
            Value::Table(table) => Some(table),
            Value::Null => None,
            _ => {
                let wanted = if self.format == Format::Json { "an object" } else { "a table" };
                self.mismatch(node, path, wanted, None);
                None
            }
        }
    }

    /// Reads a string under `key`; one that is empty or blank counts as missing.
    pub(super) fn filled(&mut self, parent: &Table, path: &str, key: &str) -> Option<Located<String>> {
        self.string(parent, path, key).filter(|text| !text.value.trim().is_empty())
    }

    /// Reads a string under `key`, empty ones too.
    pub(super) fn string(&mut self, parent: &Table, path: &str, key: &str) -> Option<Located<String>> {
        let node = parent.get(key)?;
        self.as_string(node, &join(path, key))
    }

    pub(super) fn as_string(&mut self, node: &Node, path: &str) -> Option<Located<String>> {
        match &node.value {
            Value::Text(text) => {
                if text.contains('\0') {
                    let message = format!("`{path}` holds a NUL character");
                    self.push(Problem::error(path, message, node.span.clone()));
                    return None;
                }
                Some(Located::new(text.clone(), node.span.clone()))
            }
            Value::Null => None,
            other => {
                let help = match other {
                    Value::Number(written) => Some(format!("put it in quotes: `\"{}\"`", shown(written))),
                    Value::Bool(value) => Some(format!("put it in quotes: `\"{value}\"`")),
                    _ => None,
                };
                self.mismatch(node, path, "a string", help);
                None
            }
        }
    }

    /// Reads an array under `key`.
    pub(super) fn array<'n>(&mut self, parent: &'n Table, path: &str, key: &str) -> Option<&'n [Node]> {
        let node = parent.get(key)?;
        match &node.value {
            Value::Array(items) => Some(items),
            Value::Null => None,
            other => {
                let help = match other {
                    Value::Text(text) => Some(format!("put it in brackets: `[\"{}\"]`", shown(text))),
                    _ => None,
                };
                self.mismatch(node, &join(path, key), "an array", help);
                None
            }
        }
    }

    /// Reads an array of strings under `key`.
    pub(super) fn strings(&mut self, parent: &Table, path: &str, key: &str) -> Option<Vec<Located<String>>> {
        let items = self.array(parent, path, key)?;
        let path = join(path, key);
        Some(items.iter().enumerate().filter_map(|(n, item)| self.as_string(item, &format!("{path}[{n}]"))).collect())
    }

    /// Reads `true` or `false` under `key`.
    pub(super) fn boolean(&mut self, parent: &Table, path: &str, key: &str) -> Option<bool> {
        let node = parent.get(key)?;
        match &node.value {
            Value::Bool(value) => Some(*value),
            Value::Null => None,
            _ => {
                self.mismatch(node, &join(path, key), "`true` or `false`", None);
                None
            }
        }
    }
}

/// Returns the path of a key inside `path`.
pub(super) fn join(path: &str, key: &str) -> String {
    let key = shown(key);
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
