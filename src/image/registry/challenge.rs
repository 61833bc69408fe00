//! `WWW-Authenticate`: what kind of login a registry wants.

/// What kind of login a registry wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User name and password with each request.
    Basic,
    /// A token, to be had at `realm`.
    Bearer { realm: String, service: Option<String> },
}

impl Challenge {
    /// Reads header values; `Bearer` is preferred, and schemes of other kinds are passed over.
    pub(super) fn read<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut basic = None;
        for (scheme, parameters) in values.into_iter().flat_map(split) {
            let parameter = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
            if scheme == "bearer" {
                if let Some(realm) = parameter("realm") {
                    return Some(Self::Bearer { realm, service: parameter("service") });
                }
            } else if scheme == "basic" {
                basic = Some(Self::Basic);
            }
        }
        basic
    }
}

type Parameters = Vec<(String, String)>;

/// Splits one header into schemes with their parameters; what does not fit the grammar is left out.
fn split(header: &str) -> Vec<(String, Parameters)> {
    let mut challenges: Vec<(String, Parameters)> = Vec::new();
    let mut rest = header.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let end = rest.find([' ', ',', '=', '\t']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let word = word.to_ascii_lowercase();
        if let Some(value) = after.trim_start().strip_prefix('=') {
            let (value, after) = take_value(value.trim_start());
            if let Some((_, parameters)) = challenges.last_mut() {
                parameters.push((word, value));
            }
            rest = after;
        } else {
            if !word.is_empty() {
                challenges.push((word, Vec::new()));
            }
            rest = after;
        }
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    challenges
}

fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', ',', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) }
    }

    #[test]
    fn challenges_of_known_registries_are_read() {
        for (header, challenge) in [
            (
                r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#,
                Some(bearer("https://auth.example/token", Some("registry.example"))),
            ),
            (r#"Basic realm="https://host.example/",service="ecr""#, Some(Challenge::Basic)),
            (r#"Basic realm="x", Bearer realm=https://t.example"#, Some(bearer("https://t.example", None))),
            (r#"bearer REALM = "a\"b""#, Some(bearer("a\"b", None))),
            ("Negotiate", None),
            ("Bearer", None),
            ("", None),
        ] {
            assert_eq!(Challenge::read([header]), challenge, "{header}");
        }
        assert_eq!(Challenge::read(["Basic", "Bearer realm=r"]), Some(bearer("r", None)));
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_panic(header in "[ -~é]{0,60}") {
            let _ = Challenge::read([header.as_str()]);
        }

        #[test]
        fn header_of_pieces_is_read_without_panic(header in "((Bearer|Basic|realm|,|=|\"| |\\\\|x)){0,12}") {
            let _ = Challenge::read([header.as_str()]);
        }
    }
}
