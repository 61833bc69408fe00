//! The buildspec of a CodeBuild project: rendered from a template, and compared by meaning.

use serde_yaml::Value;

use super::namespace::Namespace;

/// The template; lines that begin with `#@` are ours, `@word@` is filled in.
const TEMPLATE: &str = include_str!("../../buildspec/template.yml");

/// What varies between buildspecs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildspecOptions {
    /// The wire names.
    pub namespace: Namespace,
    /// The program to call, such as `packhorse` or `/opt/packhorse`.
    pub program: String,
    /// The version that the program must have; any when none.
    pub version: Option<String>,
    /// The engine to use; the program's own choice when none.
    pub engine: Option<String>,
    /// Whether the project is privileged: then the install phase starts Docker where none runs. Else there is no Docker, and the
    /// image of the project is a builder in which packhorse builds in place.
    pub privileged: bool,
    /// Mirrors of Docker Hub that dockerd asks first.
    pub registry_mirrors: Vec<String>,
}

impl Default for BuildspecOptions {
    fn default() -> Self {
        Self {
            namespace: Namespace::default(),
            program: "packhorse".to_owned(),
            version: None,
            engine: None,
            privileged: true,
            registry_mirrors: Vec::new(),
        }
    }
}

/// Why no buildspec is rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildspecError {
    /// The text would not stay one word in the shell.
    #[error("the {what} `{text}` has characters that a shell or YAML would take apart")]
    NotOneWord {
        /// What it is.
        what: &'static str,
        /// The text.
        text: String,
    },
}

/// Renders a buildspec.
///
/// # Errors
/// Refuses texts that a shell or YAML would take apart.
pub fn render(options: &BuildspecOptions) -> Result<String, BuildspecError> {
    let BuildspecOptions { namespace, program, version, engine, privileged, registry_mirrors } = options;
    one_word("program", program)?;
    version.iter().try_for_each(|version| one_word("version", version))?;
    engine.iter().try_for_each(|engine| one_word("engine", engine))?;
    registry_mirrors.iter().try_for_each(|mirror| one_word("registry mirror", mirror))?;
    let has = |block: &str| match block {
        "engine" => engine.is_some(),
        "version" => version.is_some(),
        "privileged" => *privileged,
        "unprivileged" => !*privileged,
        _ => true,
    };
    // Under the old builder's name the program takes the steps directly.
    let is_builder = program.rsplit('/').next() == Some(namespace.builder_program().as_str());
    let step = if is_builder { program.clone() } else { format!("{program} codebuild") };
    let mirrors = registry_mirrors.iter().flat_map(|mirror| [" --registry-mirror=", mirror]).collect::<String>();
    let mut text = String::new();
    let mut shown = true;
    for line in TEMPLATE.lines() {
        if let Some(block) = line.strip_prefix("#@if ") {
            shown = has(block);
        } else if line == "#@end" {
            shown = true;
        } else if shown {
            text.push_str(line);
            text.push('\n');
        }
    }
    let without_install = "  install:\n    commands:\n  pre_build:";
    let text = text.replace(without_install, "  pre_build:");
    Ok(text
        .replace("@step@", &step)
        .replace("@program@", program)
        .replace("@version@", version.as_deref().unwrap_or_default())
        .replace("@engine@", engine.as_deref().unwrap_or_default())
        .replace("@mirrors@", &mirrors)
        .replace("@config@", &namespace.config_file()))
}

fn one_word(what: &'static str, text: &str) -> Result<(), BuildspecError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "/._-:+".contains(c);
    if !text.is_empty() && text.chars().all(fits) && !text.starts_with('-') && !text.ends_with(':') {
        return Ok(());
    }
    Err(BuildspecError::NotOneWord { what, text: text.to_owned() })
}

/// One place in which two buildspecs differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// It should be there and is not.
    Missing {
        /// Where, such as `phases.build.commands[0]`.
        path: String,
        /// What should be there.
        wanted: String,
    },
    /// It is there and should not be.
    Unexpected {
        /// Where.
        path: String,
        /// What is there.
        found: String,
    },
    /// It should be something else.
    Different {
        /// Where.
        path: String,
        /// What should be there.
        wanted: String,
        /// What is there.
        found: String,
    },
}

/// Compares two buildspecs by meaning: comments, order of keys, quotes and blanks at line ends do not count.
///
/// # Errors
/// Fails when one is not YAML.
pub fn compare(wanted: &str, found: &str) -> Result<Vec<Difference>, serde_yaml::Error> {
    let mut differences = Vec::new();
    compare_values("", &serde_yaml::from_str(wanted)?, &serde_yaml::from_str(found)?, &mut differences);
    Ok(differences)
}

fn compare_values(path: &str, wanted: &Value, found: &Value, differences: &mut Vec<Difference>) {
    match (wanted, found) {
        (Value::Mapping(wanted), Value::Mapping(found)) => {
            let below = |key: &Value| if path.is_empty() { text(key) } else { format!("{path}.{}", text(key)) };
            for (key, value) in wanted {
                match found.get(key) {
                    Some(other) => compare_values(&below(key), value, other, differences),
                    None => differences.push(Difference::Missing { path: below(key), wanted: text(value) }),
                }
            }
            for (key, value) in found.iter().filter(|(key, _)| !wanted.contains_key(*key)) {
                differences.push(Difference::Unexpected { path: below(key), found: text(value) });
            }
        }
        (Value::Sequence(wanted), Value::Sequence(found)) => {
            for index in 0..wanted.len().max(found.len()) {
                let path = format!("{path}[{index}]");
                match (wanted.get(index), found.get(index)) {
                    (Some(wanted), Some(found)) => compare_values(&path, wanted, found, differences),
                    (Some(wanted), None) => differences.push(Difference::Missing { path, wanted: text(wanted) }),
                    (None, Some(found)) => differences.push(Difference::Unexpected { path, found: text(found) }),
                    (None, None) => {}
                }
            }
        }
        _ if text(wanted) == text(found) => {}
        _ => {
            differences.push(Difference::Different { path: path.to_owned(), wanted: text(wanted), found: text(found) });
        }
    }
}

/// Writes a value for people; blanks at line ends do not count.
fn text(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => serde_yaml::to_string(other).unwrap_or_default(),
    };
    text.trim().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_what_existing_projects_expect() {
        let value: Value = serde_yaml::from_str(&render(&BuildspecOptions::default()).unwrap()).unwrap();
        let commands = |phase: &str| value["phases"][phase]["commands"].as_sequence().unwrap().clone();
        assert_eq!(commands("pre_build"), ["packhorse codebuild prebuild"]);
        assert_eq!(commands("build"), ["packhorse codebuild build"]);
        assert_eq!(commands("post_build"), ["packhorse codebuild postbuild"]);
        assert_eq!(commands("install").len(), 1);
        let files: Vec<&str> =
            value["artifacts"]["files"].as_sequence().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(files, ["build.log", "test.log", "apppack.toml", "commit.txt"]);
        assert_eq!(value["artifacts"]["name"], "$CODEBUILD_BUILD_NUMBER");
    }

    #[test]
    fn under_the_old_name_the_steps_are_called_directly() {
        let options = BuildspecOptions { program: "/usr/local/bin/apppack-builder".to_owned(), ..Default::default() };
        let text = render(&options).unwrap();
        assert!(text.contains("- /usr/local/bin/apppack-builder postbuild\n"), "{text}");
    }

    #[test]
    fn an_unprivileged_project_has_no_install_phase() {
        let options =
            BuildspecOptions { privileged: false, engine: Some("embedded".to_owned()), ..BuildspecOptions::default() };
        let value: Value = serde_yaml::from_str(&render(&options).unwrap()).unwrap();
        assert!(value["phases"].get("install").is_none());
        assert_eq!(value["env"]["variables"]["PACKHORSE_ENGINE"], "embedded");
    }

    #[test]
    fn what_a_shell_would_take_apart_is_refused() {
        for program in ["", "pack horse", "packhorse;reboot", "$(reboot)", "-x", "a: b", "x\ny"] {
            let options = BuildspecOptions { program: program.to_owned(), ..BuildspecOptions::default() };
            assert!(render(&options).is_err(), "{program}");
        }
    }

    #[test]
    fn spelling_does_not_count_and_meaning_does() {
        let wanted = "version: 0.2\nphases:\n  build:\n    commands:\n      - packhorse codebuild build\n";
        let same = "# ours\nphases: {build: {commands: ['packhorse codebuild build ']}}\nversion: 0.2\n";
        assert_eq!(compare(wanted, same).unwrap(), []);
        let other = "version: 0.2\nphases:\n  build:\n    commands:\n      - make\n      - make push\ncache: {}\n";
        let differences = compare(wanted, other).unwrap();
        assert_eq!(
            differences,
            [
                Difference::Different {
                    path: "phases.build.commands[0]".to_owned(),
                    wanted: "packhorse codebuild build".to_owned(),
                    found: "make".to_owned(),
                },
                Difference::Unexpected { path: "phases.build.commands[1]".to_owned(), found: "make push".to_owned() },
                Difference::Unexpected { path: "cache".to_owned(), found: "{}".to_owned() },
            ]
        );
        assert!(compare(wanted, "phases: [").is_err());
    }
}
