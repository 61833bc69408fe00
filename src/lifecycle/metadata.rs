//! What a build made: `config/metadata.toml`, which the launcher reads, and the label `io.buildpacks.build.metadata`.

use serde::{Deserialize, Serialize};

use super::go_json;
use super::order::BuildpackId;
use super::toml_writer::{Table, Value};

/// A buildpack that takes part in a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub id: BuildpackId,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// The version of the Buildpack API, as its description has it.
    #[serde(default, skip_serializing)]
    pub api: String,
    /// Where to read about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub homepage: String,
}

impl std::fmt::Display for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.id, self.version)
    }
}

/// A label that a buildpack puts on the app image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Label {
    /// Its name.
    #[serde(default)]
    pub key: String,
    /// Its value.
    #[serde(default)]
    pub value: String,
}

/// A process that an app image can run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its type, by which it is started.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The program, with arguments that always come first.
    pub command: Command,
    /// Arguments that a caller may replace; none is something else than an empty list, but only in how it is written.
    #[serde(default)]
    pub args: Option<Vec<String>>,
    /// Whether it runs without a shell.
    #[serde(default)]
    pub direct: bool,
    /// The buildpack that defined it.
    #[serde(rename(serialize = "buildpackID", deserialize = "buildpack-id"), default)]
    pub buildpack: String,
    /// The folder in which it starts; empty means the app's.
    #[serde(rename = "working-dir", default, skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// The execution environments that it is meant for; empty means all.
    #[serde(rename = "exec-env", default, skip_serializing_if = "Vec::is_empty")]
    pub exec_env: Vec<String>,
}

/// A command; older files have a text where newer ones have a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "RawCommand", into = "Vec<String>")]
pub struct Command(pub Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum RawCommand {
    Text(String),
    List(Vec<String>),
}

impl From<RawCommand> for Command {
    fn from(raw: RawCommand) -> Self {
        match raw {
            RawCommand::Text(text) => Self(vec![text]),
            RawCommand::List(list) => Self(list),
        }
    }
}

impl From<Command> for Vec<String> {
    fn from(command: Command) -> Self {
        command.0
    }
}

/// Patterns of files of the app that get a layer of their own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Slice {
    /// The patterns, as Go's `filepath.Match` reads them.
    pub paths: Option<Vec<String>>,
}

/// What a build made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct BuildMetadata {
    /// The buildpacks that took part.
    #[serde(default)]
    pub buildpacks: Vec<Member>,
    /// Labels for the app image.
    #[serde(default)]
    pub labels: Vec<Label>,
    /// The processes, by type.
    #[serde(default)]
    pub processes: Vec<Process>,
    /// Layers to be cut from the app.
    #[serde(default)]
    pub slices: Vec<Slice>,
    /// The process to start where none is asked for; empty means none.
    #[serde(default, rename = "buildpack-default-process-type")]
    pub default_process: String,
}

impl BuildMetadata {
    /// Writes `config/metadata.toml`. The bytes are part of the image's config layer.
    pub fn to_toml(&self) -> String {
        let Self { buildpacks, labels, processes, slices, default_process } = self;
        let mut table = Table::default().with("buildpacks", buildpacks.iter().map(member).collect::<Value>());
        if !labels.is_empty() {
            let label =
                |Label { key, value }: &Label| Table::default().with("key", key.as_str()).with("value", value.as_str());
            table = table.with("labels", labels.iter().map(label).collect::<Value>());
        }
        table = table.with("processes", processes.iter().map(process).collect::<Value>());
        if !slices.is_empty() {
            let slice = |Slice { paths }: &Slice| Table::default().with_some("paths", paths.as_deref().map(texts));
            table = table.with("slices", slices.iter().map(slice).collect::<Value>());
        }
        table.with_some("buildpack-default-process-type", non_empty(default_process)).to_toml()
    }

    /// Writes the label `io.buildpacks.build.metadata`.
    pub fn to_label(&self, launcher: &LauncherMetadata) -> String {
        #[derive(Serialize)]
        struct Label<'a> {
            buildpacks: &'a [Member],
            launcher: &'a LauncherMetadata,
            processes: &'a [Process],
            #[serde(rename = "buildpack-default-process-type", skip_serializing_if = "str::is_empty")]
            default_process: &'a str,
        }
        let Self { buildpacks, processes, default_process, .. } = self;
        go_json::to_string(&Label { buildpacks, launcher, processes, default_process })
    }

    /// Returns the process of this type.
    pub fn process(&self, kind: &str) -> Option<&Process> {
        self.processes.iter().find(|process| process.kind == kind)
    }
}

fn member(Member { id, version, api, homepage }: &Member) -> Table {
    let table = Table::default().with("id", id.as_str()).with("version", version.as_str());
    table.with_some("api", non_empty(api)).with_some("homepage", non_empty(homepage))
}

fn process(process: &Process) -> Table {
    let Process { kind, command, args, direct, buildpack, working_dir, exec_env } = process;
    let exec_env = (!exec_env.is_empty()).then(|| texts(exec_env));
    Table::default()
        .with("type", kind.as_str())
        .with("command", raw_command(command))
        .with_some("args", args.as_deref().map(texts))
        .with("direct", *direct)
        .with("buildpack-id", buildpack.as_str())
        .with_some("working-dir", non_empty(working_dir))
        .with_some("exec-env", exec_env)
}

/// Go writes commands with its JSON encoder, which escapes more than TOML's.
fn raw_command(command: &Command) -> Value {
    let items: Vec<_> = command.0.iter().map(go_json::to_string).collect();
    Value::Raw(format!("[{}]", items.join(", ")))
}

fn texts(texts: &[String]) -> Value {
    texts.iter().map(String::as_str).collect()
}

fn non_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// The launcher's origin, as the label has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LauncherMetadata {
    /// Its version.
    pub version: String,
    /// Where its source lies.
    pub source: LauncherSource,
}

/// Where the launcher's source lies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LauncherSource {
    /// The repository and the commit.
    pub git: GitSource,
}

/// A commit of a Git repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitSource {
    /// The repository.
    pub repository: String,
    /// The commit.
    pub commit: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by the Go lifecycle; the digest of the layer that holds it is one of the golden vectors.
    const EXAMPLE: &str = "buildpack-default-process-type = \"web\"\n\n[[buildpacks]]\n  id = \"heroku/python\"\n  version = \"6.5.6\"\n  \
                           api = \"0.10\"\n\n[[processes]]\n  type = \"web\"\n  command = [\"python\", \"app.py\"]\n  direct = true\n  \
                           buildpack-id = \"heroku/python\"\n";

    fn process() -> Process {
        Process {
            kind: "web".into(),
            command: Command(vec!["python".into(), "app.py".into()]),
            args: None,
            direct: true,
            buildpack: "heroku/python".into(),
            working_dir: String::new(),
            exec_env: Vec::new(),
        }
    }

    fn example() -> BuildMetadata {
        let member = Member {
            id: "heroku/python".parse().unwrap(),
            version: "6.5.6".into(),
            api: "0.10".into(),
            homepage: String::new(),
        };
        BuildMetadata {
            buildpacks: vec![member],
            processes: vec![process()],
            default_process: "web".into(),
            ..BuildMetadata::default()
        }
    }

    #[test]
    fn metadata_equals_the_go_lifecycles_to_the_byte() {
        assert_eq!(EXAMPLE.len(), 225);
        assert_eq!(example().to_toml(), EXAMPLE);
        assert_eq!(toml::from_str::<BuildMetadata>(EXAMPLE).unwrap(), example());
    }

    #[test]
    fn build_without_processes_writes_an_empty_list() {
        let metadata = BuildMetadata { processes: vec![], default_process: String::new(), ..example() };
        assert!(metadata.to_toml().starts_with("processes = []\n\n[[buildpacks]]\n"), "{}", metadata.to_toml());
    }

    #[test]
    fn every_key_has_its_place() {
        let full = Process {
            command: Command(vec!["a&b<c>\"".into(), "\u{7f}".into()]),
            args: Some(vec![]),
            working_dir: "/w".into(),
            exec_env: vec!["test".into()],
            ..process()
        };
        let metadata = BuildMetadata {
            labels: vec![Label { key: "k".into(), value: "<&>".into() }],
            slices: vec![Slice { paths: Some(vec!["a/*".into()]) }, Slice { paths: None }],
            processes: vec![full],
            ..example()
        };
        let expected = "\n[[labels]]\n  key = \"k\"\n  value = \"<&>\"\n\n[[processes]]\n  type = \"web\"\n  command = \
                        [\"a\\u0026b\\u003cc\\u003e\\\"\", \"\u{7f}\"]\n  args = []\n  direct = true\n  buildpack-id = \"heroku/python\"\n  \
                        working-dir = \"/w\"\n  exec-env = [\"test\"]\n\n[[slices]]\n  paths = [\"a/*\"]\n\n[[slices]]\n";
        assert!(metadata.to_toml().ends_with(expected), "{}", metadata.to_toml());
        // DEL stands as it is in Go's JSON, which TOML forbids in a text: such a file can be written and not be read.
        assert!(toml::from_str::<BuildMetadata>(&metadata.to_toml()).is_err());
    }

    #[test]
    fn label_has_gos_order_and_null() {
        let label = example().to_label(&LauncherMetadata { version: "1".into(), ..LauncherMetadata::default() });
        let expected = r#"{"buildpacks":[{"id":"heroku/python","version":"6.5.6"}],"launcher":{"version":"1","source":{"git":{"repository":"","commit":""}}},"processes":[{"type":"web","command":["python","app.py"],"args":null,"direct":true,"buildpackID":"heroku/python"}],"buildpack-default-process-type":"web"}"#;
        assert_eq!(label, expected);
    }
}
