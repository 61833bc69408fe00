//! The effective `apppack.toml`: what was really built, tested and is to run, as archived with a build.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::addon::AddonKind;
use super::apppack_toml::{BuildSystem, DEFAULT_DOCKERFILE, Engine};
use super::metadata_toml::ImageProcesses;
use super::plan::AppPlan;
use crate::domain::names::ProcessType;

/// Begins every archived file, and tells it from one that a user wrote.
pub const HEADER: &str = "# Written by packhorse: the effective configuration of one build.";

/// The parts of the archived file. Clients and orchestrators read it; the user's own file is never written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effective {
    /// `build.system`.
    pub system: BuildSystem,
    /// `build.engine`, if the user asked for one.
    pub engine: Option<Engine>,
    /// `build.builder`; buildpacks only.
    pub builder: Option<String>,
    /// `build.buildpacks`.
    pub buildpacks: Vec<String>,
    /// `build.dockerfile`; Dockerfile builds only.
    pub dockerfile: Option<String>,
    /// `test.command`.
    pub test_command: Option<String>,
    /// `test.env`, without a `CI=true` that is set anyway.
    pub test_env: BTreeMap<String, String>,
    /// `test.timeout`, if the user set one.
    pub test_timeout: Option<Duration>,
    /// `test.addons`, if the user set some.
    pub addon_images: BTreeMap<AddonKind, String>,
    /// `deploy.release_command`.
    pub release_command: Option<String>,
    /// `review_app.initialize_command`.
    pub initialize_command: Option<String>,
    /// `review_app.pre_destroy_command`.
    pub pre_destroy_command: Option<String>,
    /// `services.{name}.command`.
    pub services: BTreeMap<ProcessType, String>,
}

impl Effective {
    /// Puts together what is archived.
    ///
    /// For a buildpack build the image's processes replace the services, and its `release` process, if it has one, the
    /// release command (contract 7.4). Without an image (a skipped or failed build) they are left as they are.
    #[must_use]
    pub fn of(plan: &AppPlan, image: Option<&ImageProcesses>) -> Self {
        let is_dockerfile = plan.system == BuildSystem::Dockerfile;
        let image = image.filter(|_| !is_dockerfile);
        let mut test_env = plan.test.as_ref().map(|test| test.env.clone()).unwrap_or_default();
        if test_env.get("CI").is_some_and(|value| value == "true") {
            test_env.remove("CI");
        }
        Self {
            system: plan.system,
            engine: plan.engine,
            builder: plan.builder.as_ref().map(|builder| builder.builder.clone()),
            buildpacks: plan.buildpacks.clone(),
            dockerfile: is_dockerfile.then(|| plan.dockerfile.clone()).filter(|path| path != DEFAULT_DOCKERFILE),
            test_command: plan.test.as_ref().map(|test| test.command.clone()),
            test_env,
            test_timeout: plan.test.as_ref().and_then(|test| test.timeout),
            addon_images: plan.addon_images.clone(),
            release_command: image.and_then(ImageProcesses::release_command).or_else(|| plan.release_command.clone()),
            initialize_command: plan.postdeploy_command.clone(),
            pre_destroy_command: plan.pre_destroy_command.clone(),
            services: image.map_or_else(|| plan.services.clone(), ImageProcesses::services),
        }
    }

    /// Returns the file's text; equal values give equal bytes.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = format!("{HEADER}\n");
        let mut build = Section::new("build");
        build.text("system", Some(self.system.as_str()));
        build.text("engine", self.engine.map(Engine::as_str));
        build.text("builder", self.builder.as_deref());
        build.list("buildpacks", self.buildpacks.iter().map(String::as_str));
        build.text("dockerfile", self.dockerfile.as_deref());
        build.write_to(&mut out);
        let mut test = Section::new("test");
        test.text("command", self.test_command.as_deref());
        let env: Vec<String> = self.test_env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        test.list("env", env.iter().map(String::as_str));
        if let Some(timeout) = self.test_timeout {
            test.line("timeout", &timeout.as_secs().to_string());
        }
        test.write_to(&mut out);
        let mut addons = Section::new("test.addons");
        for (kind, image) in &self.addon_images {
            addons.text(kind.as_str(), Some(image));
        }
        addons.write_to(&mut out);
        let mut deploy = Section::new("deploy");
        deploy.text("release_command", self.release_command.as_deref());
        deploy.write_to(&mut out);
        let mut review = Section::new("review_app");
        review.text("initialize_command", self.initialize_command.as_deref());
        review.text("pre_destroy_command", self.pre_destroy_command.as_deref());
        review.write_to(&mut out);
        for (name, command) in &self.services {
            // A dot in a bare key would make two tables of it.
            let key = if name.as_str().contains('.') { quoted(name.as_str()) } else { name.to_string() };
            let mut service = Section::new(&format!("services.{key}"));
            service.text("command", Some(command));
            service.write_to(&mut out);
        }
        out
    }
}

/// One table of the file; an empty one is left out.
struct Section {
    name: String,
    lines: String,
}

impl Section {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), lines: String::new() }
    }

    fn line(&mut self, key: &str, value: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.lines, "{key} = {value}");
    }

    fn text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.line(key, &quoted(value));
        }
    }

    fn list<'a>(&mut self, key: &str, values: impl Iterator<Item = &'a str>) {
        let values: Vec<String> = values.map(quoted).collect();
        if !values.is_empty() {
            self.line(key, &format!("[{}]", values.join(", ")));
        }
    }

    fn write_to(&self, out: &mut String) {
        if !self.lines.is_empty() {
            let _ = write!(out, "\n[{}]\n{}", self.name, self.lines);
        }
    }
}

/// Writes a TOML basic string, which every TOML reader of the last ten years understands.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            control if control.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::super::apppack_toml::AppPackToml;
    use super::super::problem::SourceFile;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_full_file_is_written_in_a_fixed_order() {
        let effective = Effective {
            builder: Some("heroku/builder:24".to_owned()),
            buildpacks: vec!["urn:cnb:builder:heroku/python".to_owned()],
            test_command: Some("pytest -k \"a or b\"".to_owned()),
            test_env: [("MODE".to_owned(), "a=b".to_owned())].into(),
            test_timeout: Some(Duration::from_mins(10)),
            addon_images: [(AddonKind::Redis, "redis:7".to_owned())].into(),
            release_command: Some("./migrate".to_owned()),
            initialize_command: Some("./seed".to_owned()),
            services: [("worker.eu", "./work"), ("web", "gunicorn app\n")]
                .map(|(name, command)| (name.parse().unwrap(), command.to_owned()))
                .into(),
            ..Effective::default()
        };
        insta::assert_snapshot!(effective.render(), @r#"
        # Written by packhorse: the effective configuration of one build.

        [build]
        system = "buildpack"
        builder = "heroku/builder:24"
        buildpacks = ["urn:cnb:builder:heroku/python"]

        [test]
        command = "pytest -k \"a or b\""
        env = ["MODE=a=b"]
        timeout = 600

        [test.addons]
        redis = "redis:7"

        [deploy]
        release_command = "./migrate"

        [review_app]
        initialize_command = "./seed"

        [services.web]
        command = "gunicorn app\n"

        [services."worker.eu"]
        command = "./work"
        "#);
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read_again(
            command in "[^\\x00]{1,20}x", value in "[^\\x00]{0,20}", name in "[a-z.]{1,6}", script in "[^\\x00]{0,20}x",
        ) {
            let effective = Effective {
                test_command: Some(command.clone()),
                test_env: [("A".to_owned(), value.clone())].into(),
                release_command: Some(script.clone()),
                services: [(name.parse().unwrap(), script.clone())].into(),
                ..Effective::default()
            };
            let text = effective.render();
            let read = AppPackToml::read_effective(&SourceFile::new("apppack.toml", &text)).unwrap().value;
            prop_assert_eq!(read.test_command, Some(command));
            prop_assert_eq!(read.test_env.get("A"), Some(&value));
            prop_assert_eq!(read.release_command, Some(script));
            prop_assert_eq!(read.services, effective.services);
        }
    }
}
