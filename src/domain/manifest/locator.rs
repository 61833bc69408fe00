//! What a buildpack's `url` means: every legal spelling to the one that `pack` and the embedded engine take.

use super::suggest::{nearest, shown};
use crate::domain::catalogue::KnownBuilder;

/// A buildpack as engines take it, with a word of warning if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locator {
    /// An id on the builder (`urn:cnb:builder:…`), an id in the registry, an archive's URL, an image or a path.
    pub text: String,
    /// What to say about it, and what to do.
    pub warning: Option<Advice>,
}

/// A message with its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// Heroku's classic buildpacks with the Cloud Native Buildpack that does their work.
const SUCCESSORS: [(&str, &str); 15] = [
    ("apt", "heroku/deb-packages"),
    ("dotnet", "heroku/dotnet"),
    ("go", "heroku/go"),
    ("gradle", "heroku/gradle"),
    ("java", "heroku/java"),
    ("jvm-common", "heroku/jvm"),
    ("maven", "heroku/maven"),
    ("nodejs", "heroku/nodejs"),
    ("php", "heroku/php"),
    ("procfile", "heroku/procfile"),
    ("python", "heroku/python"),
    ("ruby", "heroku/ruby"),
    ("sbt", "heroku/sbt"),
    ("scala", "heroku/scala"),
    ("uv", "heroku/python"),
];

/// Names that exist only as classic buildpacks.
const CLASSIC_ONLY: [&str; 3] = ["heroku/clojure", "heroku/play", "heroku/static"];

/// Reads one spelling.
///
/// `builder` is the known builder of the app, if it is one: its ids are pinned to it by `urn:cnb:builder:`, as a bare
/// `heroku/python` could be the name of an image too. Classic buildpacks and git repositories are refused: neither can
/// run under the buildpack lifecycle.
pub fn locate(written: &str, builder: Option<&KnownBuilder>) -> Result<Locator, Advice> {
    let word = written.trim();
    if word.is_empty() {
        return Err(advice("the buildpack has no name", "write its id, such as `heroku/python`"));
    }
    if word.contains(|letter: char| letter.is_whitespace() || letter.is_control() || letter == ',') {
        let help = "give each buildpack an entry of its own";
        return Err(advice("a buildpack's name holds neither spaces nor commas", help));
    }
    if let Some(id) = word.strip_prefix("urn:cnb:builder:") {
        return on_builder(word, id, builder);
    }
    if word.starts_with("urn:cnb:registry:") || word.starts_with("from=builder") || word.starts_with("docker:/") {
        return Ok(plain(word));
    }
    if let Some(rest) = word.strip_prefix("urn:") {
        let help = "write `urn:cnb:builder:ID` or `urn:cnb:registry:ID`";
        return Err(advice(format!("`urn:{}` is no kind of buildpack", shown(rest)), help));
    }
    if word.starts_with("git@") || word.starts_with("git:") || word.starts_with("git+") || word.starts_with("ssh:") {
        return Err(git_repository(word, builder));
    }
    if let Some((scheme, rest)) = word.split_once("://") {
        return from_url(word, scheme, rest, builder);
    }
    if word.starts_with(['.', '/']) {
        return Ok(plain(word));
    }
    from_name(word, builder)
}

fn plain(word: &str) -> Locator {
    Locator { text: word.to_owned(), warning: None }
}

fn advice(message: impl Into<String>, help: impl Into<String>) -> Advice {
    Advice { message: message.into(), help: help.into() }
}

fn on_builder(word: &str, id: &str, builder: Option<&KnownBuilder>) -> Result<Locator, Advice> {
    let name = without_version(id);
    if name.is_empty() {
        return Err(advice("the buildpack has no id", "write `urn:cnb:builder:ID`"));
    }
    let warning = builder.filter(|builder| !builder.buildpacks.iter().any(|known| known == name)).map(|builder| {
        let help = nearest(name, builder.buildpacks.iter().map(String::as_str))
            .map_or_else(|| "check the id".to_owned(), |meant| format!("did you mean `{meant}`?"));
        advice(format!("the builder `{}` is not known to have `{}`", builder.builder, shown(name)), help)
    });
    Ok(Locator { text: word.to_owned(), warning })
}

fn from_url(word: &str, scheme: &str, rest: &str, builder: Option<&KnownBuilder>) -> Result<Locator, Advice> {
    match scheme {
        "http" | "https" => {}
        "file" => return Ok(plain(word)),
        _ => {
            let message = format!("buildpacks cannot be fetched by `{}:`", shown(scheme));
            return Err(advice(message, "give an `https://` URL of an archive (`.cnb` or `.tgz`)"));
        }
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.split(['?', '#']).next().unwrap_or(path).trim_end_matches('/');
    let host = host.trim_start_matches("www.");
    if host.is_empty() {
        return Err(advice("the URL names no host", "give an `https://` URL of an archive (`.cnb` or `.tgz`)"));
    }
    // The archives of Heroku's registry of classic buildpacks.
    if host.starts_with("buildpack-registry.s3") || host == "codon-buildpacks.s3.amazonaws.com" {
        let name = path.rsplit('/').next().unwrap_or(path);
        return Err(classic(name.split('.').next().unwrap_or(name), builder));
    }
    let is_repository = path.matches('/').count() == 1 && ["github.com", "gitlab.com", "bitbucket.org"].contains(&host);
    let has_git_suffix = std::path::Path::new(path).extension().is_some_and(|end| end.eq_ignore_ascii_case("git"));
    if is_repository || has_git_suffix {
        return Err(git_repository(word, builder));
    }
    let warning = (scheme == "http")
        .then(|| advice("the buildpack is fetched without encryption", "use `https://` if the host can do it"));
    Ok(Locator { text: word.to_owned(), warning })
}

/// Says why a git repository cannot be used, and what to use instead.
fn git_repository(word: &str, builder: Option<&KnownBuilder>) -> Advice {
    let path = word.split(['?', '#']).next().unwrap_or(word).trim_end_matches('/').trim_end_matches(".git");
    let name = path.rsplit(['/', ':']).next().unwrap_or(path);
    if let Some(name) = name.strip_prefix("heroku-buildpack-") {
        return classic(name, builder);
    }
    if let Some(language) = name.strip_prefix("buildpacks-")
        && path.contains("heroku/")
        && let Some(id) = successor(language, builder)
    {
        let message = "a buildpack cannot be taken from a git repository";
        return advice(message, format!("use `{id}`, which is built from it"));
    }
    advice(
        "a buildpack cannot be taken from a git repository",
        "use its id in the registry, an image (`docker://…`) or an archive of a release (`.cnb`, `.tgz`)",
    )
}

fn classic(name: &str, builder: Option<&KnownBuilder>) -> Advice {
    let message = format!("`{}` is a classic Heroku buildpack, which Cloud Native builders cannot run", shown(name));
    match successor(name, builder) {
        Some(id) => advice(message, format!("use `{id}` instead")),
        None => advice(message, "look for a Cloud Native one in the buildpack registry, or build with a Dockerfile"),
    }
}

/// Returns the buildpack that replaces a classic one; the app's own builder is asked first.
fn successor(name: &str, builder: Option<&KnownBuilder>) -> Option<String> {
    let on_builder = builder.and_then(|builder| {
        builder.buildpacks.iter().find(|id| id.rsplit('/').next() == Some(name)).map(ToOwned::to_owned)
    });
    on_builder.or_else(|| {
        SUCCESSORS.iter().find(|(classic, _)| *classic == name).map(|(_, successor)| (*successor).to_owned())
    })
}

fn from_name(word: &str, builder: Option<&KnownBuilder>) -> Result<Locator, Advice> {
    let name = without_version(word);
    if let Some(builder) = builder
        && builder.buildpacks.iter().any(|known| known == name)
    {
        return Ok(plain(&format!("urn:cnb:builder:{word}")));
    }
    if let Some(short) = name.rsplit('/').next().and_then(|last| last.strip_prefix("heroku-buildpack-")) {
        return Err(classic(short, builder));
    }
    if let Some(short) = name.strip_prefix("heroku-community/") {
        return Err(classic(short, builder));
    }
    if CLASSIC_ONLY.contains(&name) {
        return Err(classic(name.trim_start_matches("heroku/"), builder));
    }
    if !name.contains('/') {
        // The registry and the builders know no id without a namespace.
        let help = match successor(name, builder) {
            Some(id) => format!("did you mean `{id}`?"),
            None => "write `NAMESPACE/NAME`, or `./PATH` for a directory".to_owned(),
        };
        return Err(advice(format!("`{}` is not the id of a buildpack", shown(word)), help));
    }
    let warning = builder.and_then(|builder| {
        let meant = nearest(name, builder.buildpacks.iter().map(String::as_str))?;
        let message = format!("`{}` is not on the builder `{}`", shown(name), builder.builder);
        Some(advice(message, format!("did you mean `{meant}`?")))
    });
    Ok(Locator { text: word.to_owned(), warning })
}

fn without_version(id: &str) -> &str {
    id.split('@').next().unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalogue::{Catalogue, Lookup};

    fn on_heroku_24(word: &str) -> Result<Locator, Advice> {
        let catalogue = Catalogue::shipped().unwrap();
        let known = match catalogue.find("heroku-24") {
            Lookup::Known(builder) => Some(builder),
            _ => None,
        };
        locate(word, known)
    }

    #[test]
    fn every_legal_spelling_reaches_the_engine() {
        for (written, located) in [
            ("heroku/python", "urn:cnb:builder:heroku/python"),
            (" heroku/python@1.2.3 ", "urn:cnb:builder:heroku/python@1.2.3"),
            ("urn:cnb:builder:heroku/python", "urn:cnb:builder:heroku/python"),
            ("urn:cnb:builder:heroku/python@0.9", "urn:cnb:builder:heroku/python@0.9"),
            ("urn:cnb:registry:fagiani/apt@0.2", "urn:cnb:registry:fagiani/apt@0.2"),
            ("fagiani/apt", "fagiani/apt"),
            ("docker://docker.io/heroku/buildpack-python:1", "docker://docker.io/heroku/buildpack-python:1"),
            ("from=builder", "from=builder"),
            ("https://example.com/a/b/bp.tgz", "https://example.com/a/b/bp.tgz"),
            (
                "https://github.com/example/bp/releases/download/v1/bp.cnb",
                "https://github.com/example/bp/releases/download/v1/bp.cnb",
            ),
            ("https://cnb-shim.herokuapp.com/v1/heroku/x", "https://cnb-shim.herokuapp.com/v1/heroku/x"),
            ("file:///opt/bp.tgz", "file:///opt/bp.tgz"),
            ("./buildpacks/mine", "./buildpacks/mine"),
            ("/opt/buildpack", "/opt/buildpack"),
        ] {
            assert_eq!(on_heroku_24(written).map(|locator| locator.text), Ok(located.to_owned()), "{written}");
        }
    }

    #[test]
    fn what_cannot_run_is_refused_with_what_replaces_it() {
        for (written, help) in [
            ("https://github.com/heroku/heroku-buildpack-python", "`heroku/python`"),
            ("https://github.com/heroku/heroku-buildpack-python.git#v200", "`heroku/python`"),
            ("git@github.com:heroku/heroku-buildpack-apt.git", "`heroku/deb-packages`"),
            ("https://buildpack-registry.s3.amazonaws.com/buildpacks/heroku/ruby.tgz", "`heroku/ruby`"),
            ("https://github.com/heroku/buildpacks-go", "`heroku/go`"),
            ("heroku-buildpack-nodejs", "`heroku/nodejs`"),
            ("heroku/heroku-buildpack-nodejs", "`heroku/nodejs`"),
            ("heroku-community/apt", "`heroku/deb-packages`"),
            ("heroku-community/nginx", "registry"),
            ("heroku/clojure", "Dockerfile"),
            ("python", "`heroku/python`"),
            ("https://github.com/example/some-buildpack", "archive"),
            ("ftp://example.com/x.tgz", "https://"),
            ("urn:buildpack:x", "urn:cnb:builder:ID"),
            ("heroku/python,heroku/nodejs", "entry of its own"),
            ("https://", "archive"),
            ("", "heroku/python"),
        ] {
            let refused = on_heroku_24(written).unwrap_err();
            assert!(refused.help.contains(help), "{written}: {refused:?}");
        }
    }

    #[test]
    fn a_slip_in_an_id_is_only_a_warning() {
        let located = on_heroku_24("heroku/pyhton").unwrap();
        assert_eq!(located.text, "heroku/pyhton");
        assert_eq!(located.warning.unwrap().help, "did you mean `heroku/python`?");
        assert!(on_heroku_24("urn:cnb:builder:heroku/rubby").unwrap().warning.is_some());
    }

    #[test]
    fn without_a_known_builder_an_id_stays_as_it_is() {
        assert_eq!(locate("heroku/python", None).unwrap().text, "heroku/python");
    }
}
