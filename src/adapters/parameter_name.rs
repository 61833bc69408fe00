//! Which names and values parameters may have, by the rules of Parameter Store.

use crate::ports::failure::Failure;

/// Checks a full name, such as `/apppack/apps/shop/config/KEY`.
pub(super) fn check(name: &str) -> Result<(), Failure> {
    let plain = |segment: &str| {
        !segment.is_empty() && segment.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
    };
    let levels = name.strip_prefix('/').unwrap_or_default().split('/');
    if levels.clone().count() <= 15 && levels.clone().all(plain) {
        return Ok(());
    }
    Err(refused(name, "use up to 15 levels of letters, digits, `_`, `.` or `-`, each after a slash"))
}

/// Checks a value. Parameter Store keeps no empty text.
pub(super) fn check_value(name: &str, value: &str) -> Result<(), Failure> {
    if value.is_empty() { Err(refused(name, "a parameter cannot be empty")) } else { Ok(()) }
}

/// Checks a path to look below: it ends with a slash.
pub(super) fn check_path(path: &str) -> Result<(), Failure> {
    match path.strip_suffix('/') {
        Some(name) => check(name),
        None => Err(refused(path, "the path must end with a slash")),
    }
}

/// Returns the last segment of a name that lies directly below `path`.
pub(super) fn direct_child<'a>(path: &str, name: &'a str) -> Option<&'a str> {
    name.strip_prefix(path).filter(|rest| !rest.is_empty() && !rest.contains('/'))
}

fn refused(name: &str, rule: &'static str) -> Failure {
    Failure::refused(format!("use the parameter `{name}`"), rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_parameter_store() {
        assert!(check("/apppack/pipelines/shop/review-apps/pr/12").is_ok());
        for name in ["", "shop", "/", "/a//b", "/a b", "/a/", &"/a".repeat(16)] {
            assert!(check(name).is_err(), "{name}");
        }
        assert!(check_path("/a/config/").is_ok() && check_path("/a/config").is_err());
    }

    #[test]
    fn only_whole_levels_count_and_only_direct_children() {
        assert_eq!(direct_child("/a/config/", "/a/config/KEY"), Some("KEY"));
        for name in ["/a/config2/KEY", "/a/config/deeper/KEY", "/a/config", "/a/config/"] {
            assert_eq!(direct_child("/a/config/", name), None, "{name}");
        }
    }
}
