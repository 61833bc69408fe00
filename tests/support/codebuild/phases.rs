//! The phases of a build and what follows when one fails ("Build phase transitions", CodeBuild User Guide).

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;

use super::buildspec::{self, Buildspec, Phase};
use super::container::{Container, Ended};
use super::source::{self, GitLayout};
use super::{Build, PhaseResult, Project, REGION, StartBuild, Upload, uuid};

/// A build under way.
struct Running {
    container: Container,
    log: Vec<String>,
    phases: Vec<PhaseResult>,
    killed: bool,
}

/// How a phase went, with its context.
type Outcome = Result<(), String>;

pub(super) fn run(project: &Project, start: &StartBuild, upload: &mut Upload<'_>) -> Build {
    let started = Timestamp::now();
    let work = tempfile::Builder::new().prefix("codebuild-").tempdir().unwrap();
    let uuid = start.id.clone().unwrap_or_else(uuid);
    let id = format!("{}:{uuid}", project.name);
    let arn = format!("arn:aws:codebuild:{REGION}:{}:build/{id}", super::ACCOUNT);
    let folder = work.path().join(format!("output/src{}/src/github.com/example-org/{}", start.number, project.name));
    let home = work.path().join("root");
    std::fs::create_dir_all(&home).unwrap();

    let mut phases: Vec<PhaseResult> = Vec::new();
    for name in ["SUBMITTED", "QUEUED", "PROVISIONING"] {
        let context = if name == "PROVISIONING" { ": " } else { "" };
        phases.push(phase(name, Timestamp::now(), Some("SUCCEEDED"), context));
    }
    let begun = Timestamp::now();
    let commit = source::check_out(&start.source, &folder, work.path());
    phases.push(phase("DOWNLOAD_SOURCE", begun, Some("SUCCEEDED"), ": "));

    let parsed = buildspec::parse(&project.buildspec);
    let mut environment = environment(project, start, parsed.as_ref().ok(), &id, &arn, &commit, started);
    environment.insert("HOME".to_owned(), home.display().to_string());
    environment.insert("CODEBUILD_SRC_DIR".to_owned(), folder.display().to_string());
    if start.source.git == GitLayout::None {
        environment.remove("CODEBUILD_RESOLVED_SOURCE_VERSION");
    }
    let shell = parsed.as_ref().ok().and_then(|spec| spec.env.shell.clone()).unwrap_or_else(|| "/bin/sh".to_owned());
    let within = (work.path(), folder.as_path());
    let container = Container::new(&shell, environment, within, start.kill.clone(), project.container.as_ref());
    let mut running = Running { container, log: Vec::new(), phases, killed: false };

    let mut artifacts = Vec::new();
    let mut artifact_name = String::new();
    let succeeded = match &parsed {
        Ok(buildspec) => {
            running.execute(buildspec, &folder, &project.bucket, upload, &mut artifacts, &mut artifact_name)
        }
        Err(problem) => {
            running.phases.push(phase(
                "INSTALL",
                Timestamp::now(),
                Some("FAILED"),
                &format!("YAML_FILE_ERROR: {problem}"),
            ));
            false
        }
    };
    let status = match (running.killed, succeeded) {
        (true, _) => "STOPPED",
        (false, true) => "SUCCEEDED",
        (false, false) => "FAILED",
    };
    let now = Timestamp::now();
    if !running.killed {
        running.phases.push(phase("FINALIZING", now, Some("SUCCEEDED"), ": "));
    }
    running.phases.push(phase("COMPLETED", Timestamp::now(), None, ""));
    let Running { mut container, log, phases, .. } = running;
    container.kill_all();
    let mut variables = project.variables.clone();
    variables.retain(|variable| start.variables.iter().all(|other| other.name != variable.name));
    variables.extend(start.variables.iter().cloned());
    Build {
        project: project.clone(),
        number: start.number,
        id,
        arn,
        commit: commit.clone(),
        status,
        source_version: start.source_version.clone().or(Some(commit).filter(|commit| !commit.is_empty())),
        variables,
        started,
        phases,
        log,
        artifacts,
        artifact_name,
        folder,
        _work: work,
    }
}

impl Running {
    /// Runs the phases of the buildspec; tells whether all succeeded.
    fn execute(
        &mut self,
        buildspec: &Buildspec,
        folder: &Path,
        bucket: &str,
        upload: &mut Upload<'_>,
        artifacts: &mut Vec<String>,
        artifact_name: &mut String,
    ) -> bool {
        let mut succeeded = true;
        let names =
            [("INSTALL", "install"), ("PRE_BUILD", "pre_build"), ("BUILD", "build"), ("POST_BUILD", "post_build")];
        for (name, key) in names {
            let spec = buildspec.phases.get(key).cloned().unwrap_or_default();
            let ok = self.command_phase(name, &spec, succeeded);
            succeeded &= ok;
            if self.killed {
                return false;
            }
            let goes_on = spec.on_failure.as_deref() == Some("CONTINUE");
            if !ok && !goes_on && ["INSTALL", "PRE_BUILD"].contains(&name) {
                return false;
            }
        }
        let begun = Timestamp::now();
        self.say("Entering phase UPLOAD_ARTIFACTS");
        let outcome = match &buildspec.artifacts {
            Some(spec) => {
                *artifact_name = spec.name.as_deref().map(|name| self.container.expand(name)).unwrap_or_default();
                let base = folder.join(spec.base_directory.as_deref().unwrap_or("."));
                self.upload(&spec.files, &base, artifact_name, bucket, upload, artifacts)
            }
            None => Ok(()),
        };
        succeeded &= outcome.is_ok();
        self.end_phase("UPLOAD_ARTIFACTS", begun, outcome);
        succeeded
    }

    fn command_phase(&mut self, name: &'static str, spec: &Phase, succeeding: bool) -> bool {
        let begun = Timestamp::now();
        self.say(&format!("Entering phase {name}"));
        self.container.set("CODEBUILD_BUILD_SUCCEEDING", if succeeding { "1" } else { "0" });
        let mut outcome = self.commands(&spec.commands);
        if !self.killed {
            // A failing `finally` fails the phase; the first failure is the one that is told.
            let finally = self.commands(&spec.finally);
            outcome = outcome.and(finally);
        }
        if self.killed {
            let context = "CLIENT_ERROR: the container was taken away".to_owned();
            self.phases.push(phase(name, begun, Some("STOPPED"), &context));
            return false;
        }
        let ok = outcome.is_ok();
        self.end_phase(name, begun, outcome);
        ok
    }

    fn commands(&mut self, commands: &[String]) -> Outcome {
        for command in commands {
            self.say(&format!("Running command {command}"));
            let log = &mut self.log;
            match self.container.run(command, &mut |line| log.push(line)) {
                Ended::Status(0) => {}
                Ended::Status(status) => {
                    self.say(&format!("Command did not exit successfully {command} exit status {status}"));
                    return Err(format!(
                        "COMMAND_EXECUTION_ERROR: Error while executing command: {command}. Reason: exit status {status}"
                    ));
                }
                Ended::Killed => {
                    self.killed = true;
                    return Err(String::new());
                }
            }
        }
        Ok(())
    }

    fn upload(
        &mut self,
        files: &[String],
        base: &Path,
        name: &str,
        bucket: &str,
        upload: &mut Upload<'_>,
        artifacts: &mut Vec<String>,
    ) -> Outcome {
        for file in files {
            if file.contains(['*', '?', '[']) {
                return Err(format!("CLIENT_ERROR: the stand-in knows no patterns such as {file}"));
            }
            let Ok(content) = std::fs::read(base.join(file)) else {
                self.say(&format!("no matching file paths for {file}"));
                continue;
            };
            let key = if name.is_empty() { file.clone() } else { format!("{name}/{file}") };
            upload(&key, content)
                .map_err(|error| format!("CLIENT_ERROR: {key} could not be written to {bucket}: {error}"))?;
            artifacts.push(key);
        }
        if artifacts.is_empty() { Err("CLIENT_ERROR: no matching artifact paths found".to_owned()) } else { Ok(()) }
    }

    fn end_phase(&mut self, name: &'static str, begun: Timestamp, outcome: Outcome) {
        let (status, context) = match outcome {
            Ok(()) => ("SUCCEEDED", ": ".to_owned()),
            Err(context) => ("FAILED", context),
        };
        self.say(&format!("Phase complete: {name} State: {status}"));
        let (code, message) = context.split_once(": ").unwrap_or_default();
        self.say(&format!("Phase context status code: {code} Message: {message}"));
        self.phases.push(phase(name, begun, Some(status), &context));
    }

    /// CodeBuild's own lines; a command of several lines is told in as many.
    fn say(&mut self, text: &str) {
        let stamp = Timestamp::now().strftime("%Y/%m/%d %H:%M:%S%.6f").to_string();
        self.log.extend(format!("[Container] {stamp} {text}").lines().map(str::to_owned));
    }
}

fn phase(name: &'static str, start: Timestamp, status: Option<&'static str>, context: &str) -> PhaseResult {
    PhaseResult { name, status, context: context.to_owned(), start, end: Timestamp::now() }
}

/// What a build finds in its environment; `StartBuild` wins over the project, the project over the buildspec.
fn environment(
    project: &Project,
    start: &StartBuild,
    buildspec: Option<&Buildspec>,
    id: &str,
    arn: &str,
    commit: &str,
    started: Timestamp,
) -> BTreeMap<String, String> {
    let mut environment = project.image.clone();
    environment.extend(buildspec.iter().flat_map(|spec| spec.env.variables.clone()));
    for variable in project.variables.iter().chain(&start.variables) {
        environment.insert(variable.name.clone(), variable.value.clone());
    }
    let uuid = id.split(':').nth(1).unwrap_or_default();
    let version = start.source_version.as_deref().unwrap_or(commit);
    let reserved = [
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_DEFAULT_REGION", REGION.to_owned()),
        ("CODEBUILD_BUILD_ARN", arn.to_owned()),
        ("CODEBUILD_BUILD_ID", id.to_owned()),
        ("CODEBUILD_BUILD_NUMBER", start.number.to_string()),
        ("CODEBUILD_BUILD_IMAGE", "packhorse/codebuild:1".to_owned()),
        ("CODEBUILD_BUILD_SUCCEEDING", "1".to_owned()),
        ("CODEBUILD_INITIATOR", "GitHub-Hookshot/5f1a2c7".to_owned()),
        ("CODEBUILD_LOG_PATH", uuid.to_owned()),
        ("CODEBUILD_PROJECT_ARN", format!("arn:aws:codebuild:{REGION}:{}:project/{}", super::ACCOUNT, project.name)),
        ("CODEBUILD_SOURCE_REPO_URL", format!("https://github.com/example-org/{}.git", project.name)),
        ("CODEBUILD_SOURCE_VERSION", version.to_owned()),
        ("CODEBUILD_RESOLVED_SOURCE_VERSION", commit.to_owned()),
        ("CODEBUILD_START_TIME", started.as_millisecond().to_string()),
    ];
    environment.extend(reserved.into_iter().map(|(name, value)| (name.to_owned(), value)));
    environment.extend(start.webhook.iter().map(|(name, value)| (format!("CODEBUILD_WEBHOOK_{name}"), value.clone())));
    environment
}
