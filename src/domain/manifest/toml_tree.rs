//! TOML into a tree with places.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::node::{Entry, Located, Node, Reader, Table, Value};
use super::problem::{Parsed, Problem, Problems, SourceFile, finish};

/// Parses the file as far as it can be parsed; the second value lists every syntax error.
///
/// The tree leaves nothing out silently, but near a syntax error it may hold guesses: see [`drop_echoes`].
pub(super) fn parse(file: &SourceFile) -> (Table, Vec<Problem>) {
    let (root, errors) = DeTable::parse_recoverable(file.text());
    let problems = errors
        .iter()
        .map(|error| {
            let span = error.span().unwrap_or(0..0);
            // The parser's words may span lines; an error message is one.
            Problem::error("", error.message().split_whitespace().collect::<Vec<_>>().join(" "), span)
        })
        .collect();
    (table(root.get_ref()), problems)
}

/// Reads a whole file with `read_root`, and gathers every problem of it.
pub(super) fn read<T>(
    file: &SourceFile,
    read_root: impl FnOnce(&Table, &mut Reader) -> T,
) -> Result<Parsed<T>, Problems> {
    let (root, syntax) = parse(file);
    let mut reader = Reader::default();
    let value = read_root(&root, &mut reader);
    drop_echoes(file, &syntax, &mut reader.problems);
    reader.problems.extend(syntax);
    finish(file, value, reader.problems)
}

/// Removes problems on lines that have a syntax error too, which are only its echo.
pub(super) fn drop_echoes(file: &SourceFile, syntax: &[Problem], problems: &mut Vec<Problem>) {
    let line = |problem: &Problem| file.position(problem.span.start).line;
    let broken: Vec<usize> = syntax.iter().map(line).collect();
    problems.retain(|problem| !broken.contains(&line(problem)));
}

fn table(source: &DeTable<'_>) -> Table {
    let mut entries: Vec<Entry> = source
        .iter()
        .map(|(key, value)| Entry { key: key.get_ref().to_string(), key_span: key.span(), node: node(value) })
        .collect();
    entries.sort_by_key(|entry| entry.key_span.start);
    Table { entries }
}

fn node(source: &Spanned<DeValue<'_>>) -> Node {
    let value = match source.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Number(number.to_string()),
        DeValue::Float(number) => Value::Number(number.to_string()),
        DeValue::Boolean(boolean) => Value::Bool(*boolean),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Array(items) => Value::Array(items.iter().map(node).collect()),
        DeValue::Table(entries) => Value::Table(table(entries)),
    };
    Located::new(value, source.span())
}
