//! Writes TOML byte for byte as the encoder `BurntSushi/toml` does, with which the Go lifecycle writes its files.
//!
//! The bytes of `config/metadata.toml` are part of an image's layers, so a space more would be another layer. The rules: plain keys
//! of a table first, then tables and arrays of tables, each in the order given; two spaces per level of nesting; an empty line before every top-level table
//! and every `[[…]]` except at the very start.

use std::fmt::Write;

/// A value to be written.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text.
    String(String),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// True or false.
    Boolean(bool),
    /// A date or time as TOML writes it, or anything else that is written as it stands.
    Raw(String),
    /// A list. One of tables alone, directly in a table, becomes an array of tables.
    Array(Vec<Value>),
    /// A table.
    Table(Table),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<Table> for Value {
    fn from(table: Table) -> Self {
        Self::Table(table)
    }
}

impl<T: Into<Value>> FromIterator<T> for Value {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self::Array(items.into_iter().map(Into::into).collect())
    }
}

impl From<&toml::Value> for Value {
    fn from(value: &toml::Value) -> Self {
        match value {
            toml::Value::String(text) => Self::String(text.clone()),
            toml::Value::Integer(number) => Self::Integer(*number),
            toml::Value::Float(number) => Self::Float(*number),
            toml::Value::Boolean(value) => Self::Boolean(*value),
            toml::Value::Datetime(time) => Self::Raw(time.to_string()),
            toml::Value::Array(items) => items.iter().collect(),
            toml::Value::Table(table) => Self::Table(table.into()),
        }
    }
}

/// A table; its keys keep the order in which they were set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table(Vec<(String, Value)>);

impl Table {
    /// Returns the table with this key at its end.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.push((key.to_owned(), value.into()));
        self
    }

    /// Returns the table with this key at its end, where there is a value.
    #[must_use]
    pub fn with_some(self, key: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// Returns the document that has this table at its root.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        write_table(&mut out, &mut Vec::new(), self);
        out
    }
}

impl From<&toml::Table> for Table {
    /// Keys become sorted by their bytes, as Go writes a map.
    fn from(table: &toml::Table) -> Self {
        let mut keys: Vec<_> = table.iter().map(|(key, value)| (key.clone(), value.into())).collect();
        keys.sort_by(|(one, _), (other, _)| one.cmp(other));
        Self(keys)
    }
}

fn write_table(out: &mut String, path: &mut Vec<String>, table: &Table) {
    let plain = |value: &&(String, Value)| !matches!(&value.1, Value::Table(_)) && tables(&value.1).is_none();
    for (key, value) in table.0.iter().filter(plain) {
        indent(out, path.len());
        write_key(out, key);
        out.push_str(" = ");
        write_value(out, value);
        out.push('\n');
    }
    for (key, value) in table.0.iter().filter(|entry| !plain(entry)) {
        path.push(quoted_key(key));
        match (value, tables(value)) {
            (Value::Table(inner), _) => {
                if path.len() == 1 {
                    blank_line(out);
                }
                header(out, path, "[", "]");
                write_table(out, path, inner);
            }
            (_, Some(elements)) => {
                for element in elements {
                    blank_line(out);
                    header(out, path, "[[", "]]");
                    write_table(out, path, element);
                }
            }
            _ => {}
        }
        path.pop();
    }
}

/// Returns the tables of a list that has nothing else, and is not empty.
fn tables(value: &Value) -> Option<Vec<&Table>> {
    let Value::Array(items) = value else { return None };
    let tables: Vec<_> =
        items.iter().filter_map(|item| if let Value::Table(table) = item { Some(table) } else { None }).collect();
    (!tables.is_empty() && tables.len() == items.len()).then_some(tables)
}

fn header(out: &mut String, path: &[String], open: &str, close: &str) {
    indent(out, path.len() - 1);
    out.push_str(open);
    out.push_str(&path.join("."));
    out.push_str(close);
    out.push('\n');
}

fn blank_line(out: &mut String) {
    if !out.is_empty() {
        out.push('\n');
    }
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("  ", depth));
}

fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::String(text) => write_string(out, text),
        Value::Integer(number) => push(out, number),
        Value::Float(number) => out.push_str(&float(*number)),
        Value::Boolean(value) => push(out, value),
        Value::Raw(text) => out.push_str(text),
        Value::Array(items) => list(out, ("[", "]"), items, write_value),
        Value::Table(table) => list(out, ("{", "}"), &table.0, |out, (key, value)| {
            write_key(out, key);
            out.push_str(" = ");
            write_value(out, value);
        }),
    }
}

fn push(out: &mut String, value: impl std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = write!(out, "{value}");
}

fn list<T>(out: &mut String, (open, close): (&str, &str), items: &[T], write: impl Fn(&mut String, &T)) {
    out.push_str(open);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write(out, item);
    }
    out.push_str(close);
}

fn write_key(out: &mut String, key: &str) {
    out.push_str(&quoted_key(key));
}

fn quoted_key(key: &str) -> String {
    if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        return key.to_owned();
    }
    let mut quoted = String::new();
    write_string(&mut quoted, key);
    quoted
}

fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\0'..='\u{1f}' | '\u{7f}' => push(out, format_args!("\\u{:04x}", character as u32)),
            _ => out.push(character),
        }
    }
    out.push('"');
}

/// Never with an exponent, and always with a point.
fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+inf" } else { "-inf" }.to_owned();
    }
    let plain = format!("{number}");
    if plain.contains('.') { plain } else { format!("{plain}.0") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by `BurntSushi/toml` 1.5.0, the lifecycle's, from the same values.
    #[test]
    fn document_equals_the_go_encoders() {
        let expected = concat!(
            "\"\" = 2\n",
            r#"ctl = "a\u0000\u0001\u001f\u007f"#,
            "\u{85}\u{2028}",
            r#"<>&\"\\\b\t\n\f\ré""#,
            "\nempty = []\nf1 = 1.0\nf2 = 1000000.0\nf3 = 0.000015\nf4 = 123456789.0\nf5 = 1000000000000000000000.0\n",
            "f6 = 0.0001\nf9 = 0.0000001\ng0 = 0.0\nmixed = [1, \"a\", {x = 1}]\nnested = [[{x = 1}]]\n\"we ird\" = 1\n",
            "\n[\"a.b\"]\n  [\"a.b\".\"c d\"]\n    e = 1\n\n    [[\"a.b\".\"c d\".list]]\n      q = 1\n\n    [[\"a.b\".\"c d\".list]]\n",
            "\n[etable]\n\n[[tables]]\n  x = 1\n\n[[tables]]\n  [tables.y]\n    z = 1\n",
        );
        let document = r#"
            tables = [{x = 1}, {y = {z = 1}}]
            etable = {}
            "a.b" = {"c d" = {list = [{q = 1}, {}], e = 1}}
            "we ird" = 1
            nested = [[{x = 1}]]
            mixed = [1, "a", {x = 1}]
            g0 = 0.0
            f9 = 1e-7
            f6 = 0.0001
            f5 = 1e21
            f4 = 123456789.0
            f3 = 1.5e-5
            f2 = 1e6
            f1 = 1.0
            empty = []
            ctl = "a\u0000\u0001\u001f\u007f\u0085\u2028<>&\"\\\b\t\n\f\ré"
            "" = 2
        "#;
        let parsed: toml::Table = document.parse().unwrap();
        assert_eq!(Table::from(&parsed).to_toml(), expected);
    }

    #[test]
    fn fields_keep_their_order_and_plain_ones_come_first() {
        let list: Value = [Table::default().with("b", true), Table::default().with("b", false)].into_iter().collect();
        let table = Table::default()
            .with("metadata", Table::default().with("config", Table::default().with("sha", "")).with("list", list))
            .with("image", Table::default().with("reference", "previous"))
            .with("a", "x");
        let expected = "a = \"x\"\n\n[metadata]\n  [metadata.config]\n    sha = \"\"\n\n  [[metadata.list]]\n    b = true\n\n  \
                        [[metadata.list]]\n    b = false\n\n[image]\n  reference = \"previous\"\n";
        assert_eq!(table.to_toml(), expected);
    }

    #[test]
    fn what_is_written_reads_back_as_it_was() {
        let document = "a = inf\nb = -inf\nc = 1979-05-27T07:32:00Z\nd = 07:32:00\n[t]\n\"quo\\\"te\" = \"\\\\\"\n";
        let parsed: toml::Table = document.parse().unwrap();
        assert_eq!(Table::from(&parsed).to_toml().parse::<toml::Table>().unwrap(), parsed);
    }
}
