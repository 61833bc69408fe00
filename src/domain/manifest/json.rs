//! Strict JSON into a tree with places.

use jsonc_parser::ast;
use jsonc_parser::common::Ranged;
use jsonc_parser::errors::{ParseError, ParseErrorKind};
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::node::{Entry, Located, Node, Table, Value};
use super::problem::{Problem, SourceFile};
use super::suggest::shown;

/// Standard JSON: none of the extensions of JSONC or JSON5.
const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// Parses the file; the root is an object. A repeated key is a warning, its last value counts.
pub(super) fn parse(file: &SourceFile, problems: &mut Vec<Problem>) -> Result<Table, Problem> {
    let text = file.text();
    let parsed = parse_to_ast(text, &CollectOptions::default(), &STRICT).map_err(|error| syntax(text, &error))?;
    let Some(root) = parsed.value else {
        return Err(Problem::error("", "the file is empty", 0..0).help("write `{}` or remove the file"));
    };
    second_opinion(text)?;
    let node = convert(&root, problems);
    match node.value {
        Value::Table(table) => Ok(table),
        _ => Err(Problem::error("", "the file must hold one object", node.span).help("write `{ … }` around it")),
    }
}

/// Reports what the parser lets pass though the standard does not: control characters in strings, leading zeros.
fn second_opinion(text: &str) -> Result<(), Problem> {
    let Err(error) = serde_json::from_str::<serde_json::Value>(text) else { return Ok(()) };
    let line_start: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let at = (line_start + error.column().saturating_sub(1)).min(text.len());
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or("the file is not JSON");
    Err(Problem::error("", message, at..at + 1))
}

fn syntax(text: &str, error: &ParseError) -> Problem {
    let message = error.kind().to_string();
    let mut letters = message.chars();
    let message: String = letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect();
    let range = error.range();
    // What was never closed reaches to the end of the file: the line it begins on is enough.
    let rest = text.get(range.start..range.end).unwrap_or_default();
    let length = rest.find(['\r', '\n']).unwrap_or(rest.len()).max(1);
    let problem = Problem::error("", message, range.start..range.start + length);
    let digit_follows = text.get(range.start..).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if matches!(error.kind(), ParseErrorKind::ExpectedComma) && digit_follows {
        return Problem { message: "a number must not begin with zero".to_owned(), ..problem };
    }
    if matches!(error.kind(), ParseErrorKind::ExpectedComma) && rest.trim().is_empty() {
        let before = text.floor_char_boundary(range.start.saturating_sub(1));
        return Problem { span: before..range.start, ..problem }.label("a comma is missing after this");
    }
    match error.kind() {
        ParseErrorKind::CommentsNotAllowed => problem.help("JSON has no comments: remove it"),
        ParseErrorKind::TrailingCommasNotAllowed => problem.help("remove the comma before the closing bracket"),
        ParseErrorKind::ExpectedComma => problem.help("put a comma between two entries"),
        ParseErrorKind::SingleQuotedStringsNotAllowed => problem.help("use double quotes"),
        ParseErrorKind::ExpectedStringObjectProperty | ParseErrorKind::UnexpectedWord => {
            problem.help("put keys and strings in double quotes")
        }
        ParseErrorKind::UnterminatedObject => problem.help("this `{` has no closing `}`"),
        ParseErrorKind::UnterminatedArray => problem.help("this `[` has no closing `]`"),
        _ => problem,
    }
}

fn convert(value: &ast::Value<'_>, problems: &mut Vec<Problem>) -> Node {
    let range = value.range();
    let converted = match value {
        ast::Value::StringLit(text) => Value::Text(text.value.to_string()),
        ast::Value::NumberLit(number) => Value::Number(number.value.to_owned()),
        ast::Value::BooleanLit(boolean) => Value::Bool(boolean.value),
        ast::Value::NullKeyword(_) => Value::Null,
        ast::Value::Array(array) => {
            Value::Array(array.elements.iter().map(|element| convert(element, problems)).collect())
        }
        ast::Value::Object(object) => Value::Table(table(object, problems)),
    };
    Located::new(converted, range.start..range.end)
}

fn table(object: &ast::Object<'_>, problems: &mut Vec<Problem>) -> Table {
    let mut entries: Vec<Entry> = Vec::with_capacity(object.properties.len());
    let mut seen = std::collections::BTreeSet::new();
    for property in &object.properties {
        let key = property.name.as_str().to_owned();
        let range = property.name.range();
        if !seen.insert(key.clone()) {
            let message = format!("the key `{}` stands here twice", shown(&key));
            let problem = Problem::warning(key.clone(), message, range.start..range.end);
            problems.push(problem.label("this one counts").help("remove one of the two"));
        }
        entries.push(Entry { key, key_span: range.start..range.end, node: convert(&property.value, problems) });
    }
    Table { entries }
}
