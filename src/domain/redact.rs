//! Hides known values in text that people read.

use std::borrow::Cow;

/// What stands in the place of a hidden value.
pub const HIDDEN: &str = "***";

/// Shorter values stand in too many ordinary words to be hidden.
const SHORTEST: usize = 4;

/// Values that guard nothing; hiding them would make a log unreadable and hide no secret.
const PLAIN: [&str; 14] = [
    "true",
    "false",
    "none",
    "null",
    "info",
    "debug",
    "warn",
    "error",
    "test",
    "local",
    "staging",
    "production",
    "development",
    "localhost",
];

/// Hides known values line by line.
///
/// A value of several lines is hidden line by line, since output arrives that way. Numbers of up to five digits (ports,
/// sizes) and everyday words are left alone.
#[derive(Clone, Default)]
pub struct Redactor {
    /// The longest first, so that a value within another does not leave the rest of it visible.
    values: Vec<String>,
}

impl Redactor {
    /// Hides these values.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let lines = values.into_iter().flat_map(str::lines).map(str::trim).filter(|value| is_worth_hiding(value));
        let mut values: Vec<String> = lines.map(str::to_owned).collect();
        values.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        values.dedup();
        Self { values }
    }

    /// Returns the line with every known value hidden.
    pub fn redact<'a>(&self, line: &'a str) -> Cow<'a, str> {
        let mut line = Cow::Borrowed(line);
        for value in &self.values {
            if line.contains(value.as_str()) {
                line = Cow::Owned(line.replace(value.as_str(), HIDDEN));
            }
        }
        line
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} values)", self.values.len())
    }
}

fn is_worth_hiding(value: &str) -> bool {
    let small_number = value.len() <= 5 && value.bytes().all(|byte| byte.is_ascii_digit());
    value.len() >= SHORTEST && !small_number && !PLAIN.contains(&value.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_value_is_hidden_first() {
        let redactor = Redactor::new(["s3cret", "s3cret-and-more"]);
        assert_eq!(redactor.redact("x s3cret-and-more y s3cret"), "x *** y ***");
        assert!(matches!(redactor.redact("nothing here"), Cow::Borrowed(_)));
    }

    #[test]
    fn each_line_of_a_value_is_hidden() {
        let redactor = Redactor::new(["-----BEGIN KEY-----\r\nMIIEvQ\n\nab\n"]);
        assert_eq!(redactor.redact("key: MIIEvQ"), "key: ***");
        assert_eq!(redactor.redact("lab"), "lab");
    }

    #[test]
    fn everyday_values_stay_readable() {
        let redactor = Redactor::new(["production", "True", "8000", "abc", "123456"]);
        assert_eq!(redactor.redact("production is True on 8000, abc"), "production is True on 8000, abc");
        assert_eq!(redactor.redact("pin 123456"), "pin ***");
    }

    #[test]
    fn debug_shows_no_value() {
        assert_eq!(format!("{:?}", Redactor::new(["s3cret"])), "Redactor(1 values)");
    }
}
