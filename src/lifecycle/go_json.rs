//! JSON as Go's encoder writes it, for labels that equal the Go lifecycle's to the byte.

use serde::Serialize;

/// Writes without spaces, and escapes the characters that HTML or JavaScript would stumble over.
///
/// Struct fields keep their order. A value that cannot be JSON, such as a map with keys that are no texts, becomes `null`; the types of this
/// module have none.
pub fn to_string(value: &(impl Serialize + ?Sized)) -> String {
    crate::image::go_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

/// Turns TOML into JSON as Go does: dates become texts, and a whole number written as a float loses its point.
pub fn from_toml(value: &toml::Value) -> serde_json::Value {
    match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => float(*number),
        toml::Value::Boolean(value) => (*value).into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items.iter().map(from_toml).collect(),
        toml::Value::Table(table) => table.iter().map(|(key, value)| (key.clone(), from_toml(value))).collect(),
    }
}

fn float(number: f64) -> serde_json::Value {
    // Up to 2^53 every whole number is exact.
    #[expect(clippy::cast_possible_truncation, reason = "whole, and far below the limit")]
    if number.fract() == 0.0 && number.abs() < 9e15 { (number as i64).into() } else { number.into() }
}

/// Turns JSON of a label back into TOML; `null` has no counterpart and disappears.
pub fn to_toml(value: &serde_json::Value) -> Option<toml::Value> {
    Some(match value {
        serde_json::Value::Null => return None,
        serde_json::Value::Bool(value) => (*value).into(),
        // Numbers stay whole, which Go's own reading of labels loses; buildpacks in Rust would refuse `1.0` for `1`.
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(whole) => whole.into(),
            None => number.as_f64()?.into(),
        },
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(items) => toml::Value::Array(items.iter().filter_map(to_toml).collect()),
        serde_json::Value::Object(fields) => {
            toml::Value::Table(fields.iter().filter_map(|(key, value)| Some((key.clone(), to_toml(value)?))).collect())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_pass_from_toml_to_json_and_back() {
        let table: toml::Table =
            "b = 1\na = 2.0\nc = [1.5, \"x\"]\nd = 2020-01-02T03:04:05Z\n[e]\nf = true\n".parse().unwrap();
        let json = from_toml(&table.into());
        assert_eq!(to_string(&json), r#"{"a":2,"b":1,"c":[1.5,"x"],"d":"2020-01-02T03:04:05Z","e":{"f":true}}"#);
        let back = to_toml(&json).unwrap();
        assert_eq!(back["b"].as_integer(), Some(1));
        assert_eq!(to_toml(&serde_json::json!({"a": null})).unwrap(), toml::Value::Table(toml::Table::new()));
    }
}
