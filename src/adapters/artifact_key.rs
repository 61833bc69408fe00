//! Which keys an artifact may have.

use crate::ports::failure::Failure;

/// Checks that a key is a relative path of plain segments, so that it names one file below its store and no other.
pub(super) fn check(key: &str) -> Result<(), Failure> {
    let plain = |segment: &str| {
        !segment.is_empty()
            && segment != "."
            && segment != ".."
            && segment.len() <= 255
            && !segment.contains(['\\', '\0'])
            && !segment.chars().any(char::is_control)
    };
    if key.len() <= 1024 && key.split('/').all(plain) {
        return Ok(());
    }
    let shown: String = key.chars().take(80).collect();
    Err(Failure::refused(format!("use the artifact key `{}`", shown.escape_debug()), "it must be a relative path"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_leave_its_store() {
        for key in ["42/build.log", "external-7/metadata.toml", "a", "42/..log"] {
            assert!(check(key).is_ok(), "{key}");
        }
        for key in ["", "/etc/passwd", "../x", "42/../../x", "42/./x", "42//x", "42/", "a\\b", "a\0b", "a\nb"] {
            assert!(check(key).is_err(), "{key:?}");
        }
    }
}
