//! JSON as Go's `encoding/json` writes it: no spaces, and `<`, `>`, `&`, U+2028 and U+2029 escaped for the sake of HTML.
//!
//! Labels and configs that also the Go lifecycle writes are written so, that equal images have equal IDs.

use std::io;

use serde::Serialize;
use serde::ser::SerializeMap as _;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};

/// Writes `value`. The order of fields is that of the type; maps must be ordered by key.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut out, Go))?;
    Ok(out)
}

/// Writes `value` as text; see [`to_vec`].
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    String::from_utf8(to_vec(value)?).map_err(serde::ser::Error::custom)
}

struct Go;

impl Formatter for Go {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(place) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (plain, special) = rest.split_at(place);
            let mut chars = special.chars();
            let code = chars.next().map_or(0, u32::from);
            write!(out, "{plain}\\u{code:04x}")?;
            rest = chars.as_str();
        }
        out.write_all(rest.as_bytes())
    }
}

/// How Go orders the fields of an object: those named here first, the rest by name.
pub(super) struct FieldOrder {
    pub(super) fields: &'static [&'static str],
    /// Fields that stay although they are empty.
    pub(super) always: &'static [&'static str],
    /// Objects, or lists of them, with an order of their own; `*` is every field.
    pub(super) below: &'static [(&'static str, &'static FieldOrder)],
}

/// A value that is written in an order of fields.
pub(super) struct InOrder<'a> {
    pub(super) value: &'a Value,
    pub(super) order: &'static FieldOrder,
}

impl Serialize for InOrder<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { value, order } = *self;
        let fields = match value {
            Value::Array(items) => return serializer.collect_seq(items.iter().map(|value| InOrder { value, order })),
            Value::Object(fields) => fields,
            other => return other.serialize(serializer),
        };
        let known = order.fields.iter().filter_map(|name| fields.get_key_value(*name));
        let known = known.filter(|(name, value)| order.always.contains(&name.as_str()) || !is_empty(value));
        let unknown = fields.iter().filter(|(name, _)| !order.fields.contains(&name.as_str()));
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in known.chain(unknown) {
            match order.below.iter().find(|(below, _)| below == name || *below == "*") {
                Some((_, order)) => map.serialize_entry(name, &InOrder { value, order })?,
                None => map.serialize_entry(name, value)?,
            }
        }
        map.end()
    }
}

/// What Go's `omitempty` leaves out.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected text is what Go 1.22 and later write.
    #[test]
    fn strings_are_escaped_as_go_escapes_them() {
        let text = "a<b>&c\u{2028}\u{2029}\"\\/\u{1}\u{8}\u{c}\n\r\t\u{7f}é";
        let written = [r#""a\u003cb\u003e\u0026c\u2028\u2029\"\\/\u0001\b\f\n\r\t"#, "\u{7f}é\""].concat();
        assert_eq!(to_string(text).unwrap(), written);
    }
}
