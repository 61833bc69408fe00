//! What CodeBuild, or whoever stands in for it, tells a build about itself.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use secrecy::SecretString;

use super::lane::LaneKey;
use super::manifest::{AddonKind, time_limit};
use super::names::{AppName, BuildArn, BuildNumber, PullRequest};
use crate::env_vars;

/// The number by which a build's artifacts and image are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildLabel {
    /// A build of a CodeBuild project.
    Numbered(BuildNumber),
    /// A build outside CodeBuild, `external-{n}`. No orchestrator follows it by this name.
    External(String),
}

impl BuildLabel {
    /// Returns the number of a build that an orchestrator follows.
    pub fn number(&self) -> Option<BuildNumber> {
        match self {
            Self::Numbered(number) => Some(*number),
            Self::External(_) => None,
        }
    }
}

impl fmt::Display for BuildLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Numbered(number) => number.fmt(f),
            Self::External(label) => f.write_str(label),
        }
    }
}

/// Who pulls from Docker Hub.
#[derive(Debug, Clone)]
pub struct DockerHubLogin {
    /// The account.
    pub username: String,
    /// Its access token.
    pub token: SecretString,
}

/// All that the environment says about a build, read once.
#[derive(Debug, Clone)]
pub struct CodeBuildEnvironment {
    /// The app or pipeline.
    pub app: AppName,
    /// Whether the project builds a pipeline's review apps.
    pub pipeline: bool,
    /// Whether this is the first build of a review app (`REVIEW_APP_STATUS=created`).
    pub review_app_created: bool,
    /// The repository that images are pushed to; without one they stay with the Docker daemon.
    pub repository: Option<String>,
    /// Who pulls from Docker Hub, where that is set.
    pub docker_hub: Option<DockerHubLogin>,
    /// `{project}:{uuid}`, or `external-{id}`.
    pub build_id: String,
    /// The build's number.
    pub label: BuildLabel,
    /// The build's ARN, where there is one.
    pub arn: Option<BuildArn>,
    /// What was asked for: a commit, a branch, or `pr/{number}`; may be empty.
    pub source_version: String,
    /// The commit that is built, where CodeBuild resolved it.
    pub resolved_source_version: Option<String>,
    /// Where the source comes from.
    pub repository_url: Option<String>,
    /// When the build was submitted, in milliseconds since 1970, as given.
    pub start_time: Option<String>,
    /// The webhook event that started the build; empty for a manual one.
    pub webhook_event: String,
    /// The branch of the webhook, `refs/heads/{branch}`.
    pub webhook_head_ref: Option<String>,
    /// The branch that a pull request is to be merged into, `refs/heads/{branch}`.
    pub webhook_base_ref: Option<String>,
    /// The branch, where a caller sets it.
    pub branch: Option<String>,
    /// Where the build's log can be followed, `cloudwatch://{group}#{stream}`, or empty.
    pub logs: String,
    /// Path of the config file relative to the source, where it is not the default.
    pub config_file: Option<String>,
    /// Whether to log all there is.
    pub debug: bool,
    /// `ALLOW_EOL_SHIMMED_BUILDER`, handed on even if empty.
    pub allow_eol_shimmed_builder: Option<String>,
    /// The time limit for tests that set none themselves.
    pub test_limit: Option<Duration>,
    /// Images of add-ons for tests to use instead of the usual ones, where the app names none.
    pub addon_images: BTreeMap<AddonKind, String>,
    /// Whether no CodeBuild phase has failed yet, where CodeBuild says so.
    pub succeeding: Option<bool>,
}

/// What is wrong with the environment: everything at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.join("\n"))]
pub struct InvalidEnvironment {
    problems: Vec<String>,
}

/// Tells whether a build id belongs to a build in CodeBuild, whose later commands run and report its failure.
pub fn is_in_codebuild(build_id: &str) -> bool {
    !build_id.is_empty() && !build_id.starts_with(EXTERNAL)
}

const EXTERNAL: &str = "external-";

impl CodeBuildEnvironment {
    /// Reads the variables of `data-contract` 4.2. Empty and unset are alike, but for `ALLOW_EOL_SHIMMED_BUILDER`.
    ///
    /// # Errors
    /// Names every variable that is missing or has a value that cannot be meant.
    pub fn read(variables: &BTreeMap<String, String>) -> Result<Self, InvalidEnvironment> {
        let text = |name: &str| variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
        let owned = |name: &str| text(name).map(str::to_owned);
        let mut problems = Vec::new();
        let mut required = |name: &str| {
            let value = owned(name);
            if value.is_none() {
                problems.push(format!("the environment variable `{name}` is not set"));
            }
            value.unwrap_or_default()
        };

        let app_name = required(env_vars::APPNAME);
        let build_id = required(env_vars::CODEBUILD_BUILD_ID);
        let number = required(env_vars::CODEBUILD_BUILD_NUMBER);
        let app = parsed(env_vars::APPNAME, &app_name, &mut problems);
        let label = if number.starts_with(EXTERNAL) {
            Some(BuildLabel::External(number))
        } else {
            parsed(env_vars::CODEBUILD_BUILD_NUMBER, &number, &mut problems).map(BuildLabel::Numbered)
        };
        let arn = owned(env_vars::CODEBUILD_BUILD_ARN)
            .filter(|arn| arn.starts_with("arn:"))
            .and_then(|arn| parsed(env_vars::CODEBUILD_BUILD_ARN, &arn, &mut problems));
        let test_limit = text(env_vars::PACKHORSE_TEST_TIMEOUT).and_then(|given| {
            let limit = time_limit(given);
            if limit.is_none() {
                let name = env_vars::PACKHORSE_TEST_TIMEOUT;
                problems.push(format!("`{name}` must be a time such as `90s` or `15m`, of at most a day"));
            }
            limit
        });
        let addon_images = [
            (AddonKind::Postgres, env_vars::PACKHORSE_POSTGRES_IMAGE),
            (AddonKind::Redis, env_vars::PACKHORSE_REDIS_IMAGE),
        ];
        let addon_images = addon_images.into_iter().filter_map(|(kind, name)| Some((kind, owned(name)?))).collect();
        let source_version = owned(env_vars::CODEBUILD_SOURCE_VERSION).unwrap_or_default();
        let pipeline = text(env_vars::PIPELINE) == Some("1");
        if pipeline && let Err(error) = PullRequest::from_source_version(&source_version) {
            problems.push(format!("`{}` of a pipeline: {error}", env_vars::CODEBUILD_SOURCE_VERSION));
        }
        // Parameter Store cannot hold an empty text, so `~` stands for "none".
        let credential = |name: &str| text(name).filter(|value| *value != "~");
        let docker_hub = match (credential(env_vars::DOCKERHUB_USERNAME), credential(env_vars::DOCKERHUB_ACCESS_TOKEN))
        {
            (Some(username), Some(token)) => {
                Some(DockerHubLogin { username: username.to_owned(), token: token.to_owned().into() })
            }
            _ => None,
        };
        match (app, label) {
            (Some(app), Some(label)) if problems.is_empty() => Ok(Self {
                logs: log_location(text(env_vars::CODEBUILD_LOG_PATH), &build_id),
                app,
                pipeline,
                review_app_created: text(env_vars::REVIEW_APP_STATUS) == Some("created"),
                repository: owned(env_vars::DOCKER_REPO),
                docker_hub,
                build_id,
                label,
                arn,
                source_version,
                resolved_source_version: owned(env_vars::CODEBUILD_RESOLVED_SOURCE_VERSION),
                repository_url: owned(env_vars::CODEBUILD_SOURCE_REPO_URL),
                start_time: owned(env_vars::CODEBUILD_START_TIME),
                webhook_event: owned(env_vars::CODEBUILD_WEBHOOK_EVENT).unwrap_or_default(),
                webhook_head_ref: owned(env_vars::CODEBUILD_WEBHOOK_HEAD_REF),
                webhook_base_ref: owned(env_vars::CODEBUILD_WEBHOOK_BASE_REF),
                branch: owned(env_vars::BRANCH),
                config_file: owned(env_vars::APPPACK_TOML),
                debug: variables.contains_key(env_vars::APPPACK_DEBUG),
                allow_eol_shimmed_builder: variables.get(env_vars::ALLOW_EOL_SHIMMED_BUILDER).cloned(),
                test_limit,
                addon_images,
                succeeding: text(env_vars::CODEBUILD_BUILD_SUCCEEDING).map(|value| value != "0"),
            }),
            _ => Err(InvalidEnvironment { problems }),
        }
    }

    /// Returns the pull request of a pipeline's build.
    pub fn pull_request(&self) -> Option<PullRequest> {
        if self.pipeline { PullRequest::from_source_version(&self.source_version).ok() } else { None }
    }

    /// Returns the lane that the build belongs to.
    pub fn lane_key(&self) -> LaneKey {
        LaneKey { app: self.app.clone(), pull_request: self.pull_request() }
    }

    /// Tells whether CodeBuild runs this build, and with it the commands that follow.
    pub fn in_codebuild(&self) -> bool {
        is_in_codebuild(&self.build_id)
    }

    /// Returns when the build was submitted, in seconds.
    pub fn started_seconds(&self) -> Option<u64> {
        self.start_time.as_ref()?.parse::<u64>().ok().map(|milliseconds| milliseconds / 1000)
    }

    /// Returns the branch that is built, without `refs/heads/`; nothing when only a commit is known.
    pub fn branch_name(&self) -> Option<&str> {
        let named = self.branch.as_deref().or(self.webhook_head_ref.as_deref()).unwrap_or(&self.source_version);
        branch_of(named)
    }
}

/// Reads a branch from what a source version or webhook says; a commit is none.
pub fn branch_of(reference: &str) -> Option<&str> {
    // `refs/heads/x^{commit}` pins a branch to a commit.
    let reference = reference.split("^{").next().unwrap_or_default();
    let name = reference.strip_prefix("refs/heads/").or(reference.strip_prefix("branch/")).unwrap_or(reference);
    let is_commit = name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    (!name.is_empty() && !is_commit).then_some(name)
}

fn parsed<T>(name: &str, value: &str, problems: &mut Vec<String>) -> Option<T>
where
    T: std::str::FromStr,
    T::Err: fmt::Display,
{
    if value.is_empty() {
        return None;
    }
    value.parse().map_err(|error| problems.push(format!("the environment variable `{name}`: {error}"))).ok()
}

/// Makes the address of the log: `{group}:{stream}` as given, else the default group of the project and the uuid.
///
/// Clients split at `#`, so a location that holds one in its names cannot be followed and is left out.
fn log_location(path: Option<&str>, build_id: &str) -> String {
    let default = || {
        let (project, uuid) = build_id.split_once(':')?;
        Some((format!("/aws/codebuild/{project}"), uuid.to_owned()))
    };
    let given = || {
        let (group, stream) = path?.split_once(':')?;
        (!group.is_empty() && !stream.is_empty()).then(|| (group.to_owned(), stream.to_owned()))
    };
    match given().or_else(default) {
        Some((group, stream)) if !group.contains('#') && !stream.contains('#') => {
            format!("cloudwatch://{group}#{stream}")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(changes: &[(&str, &str)]) -> Result<CodeBuildEnvironment, InvalidEnvironment> {
        let mut variables: BTreeMap<String, String> = [
            ("APPNAME", "shop"),
            ("CODEBUILD_BUILD_ID", "shop:6b0e7c1a"),
            ("CODEBUILD_BUILD_NUMBER", "42"),
            ("CODEBUILD_BUILD_ARN", "arn:aws:codebuild:us-east-1:111122223333:build/shop:6b0e7c1a"),
            ("CODEBUILD_START_TIME", "1767225600123"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        variables.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        CodeBuildEnvironment::read(&variables)
    }

    #[test]
    fn a_standard_app_is_its_own_lane() {
        let environment = read(&[("CODEBUILD_SOURCE_VERSION", "pr/7"), ("PIPELINE", "0")]).unwrap();
        assert_eq!(environment.lane_key().to_string(), "shop");
        assert_eq!(environment.label.number(), Some(BuildNumber(42)));
        assert_eq!(environment.started_seconds(), Some(1_767_225_600));
        assert!(environment.in_codebuild());
    }

    #[test]
    fn a_pipeline_builds_pull_requests_only() {
        let environment = read(&[("PIPELINE", "1"), ("CODEBUILD_SOURCE_VERSION", "pr/7")]).unwrap();
        assert_eq!(environment.lane_key().to_string(), "shop:7");
        let error = read(&[("PIPELINE", "1"), ("CODEBUILD_SOURCE_VERSION", "main")]).unwrap_err();
        assert!(error.to_string().contains("must begin with `pr/`"), "{error}");
    }

    #[test]
    fn a_project_may_set_a_time_limit_and_images_for_tests() {
        let given = [("PACKHORSE_TEST_TIMEOUT", "15m"), ("PACKHORSE_REDIS_IMAGE", "registry.example.com/redis:7")];
        let environment = read(&given).unwrap();
        assert_eq!(environment.test_limit, Some(Duration::from_mins(15)));
        let images = [(AddonKind::Redis, "registry.example.com/redis:7".to_owned())];
        assert_eq!(environment.addon_images, images.into());
        for wrong in ["soon", "0", "2000h"] {
            let error = read(&[("PACKHORSE_TEST_TIMEOUT", wrong)]).unwrap_err();
            assert!(error.to_string().contains("`PACKHORSE_TEST_TIMEOUT` must be a time"), "{error}");
        }
    }

    #[test]
    fn the_log_is_where_codebuild_says_or_where_it_lies_by_default() {
        let default = read(&[]).unwrap();
        assert_eq!(default.logs, "cloudwatch:///aws/codebuild/shop#6b0e7c1a");
        let given = read(&[("CODEBUILD_LOG_PATH", "/builds/shop:main/6b0e7c1a")]).unwrap();
        assert_eq!(given.logs, "cloudwatch:///builds/shop#main/6b0e7c1a");
        let unusable = read(&[("CODEBUILD_LOG_PATH", "/builds/#1:6b0e7c1a")]).unwrap();
        assert_eq!(unusable.logs, "");
    }

    #[test]
    fn an_external_build_has_a_label_but_no_number() {
        let environment =
            read(&[("CODEBUILD_BUILD_ID", "external-9"), ("CODEBUILD_BUILD_NUMBER", "external-7")]).unwrap();
        assert_eq!(environment.label.to_string(), "external-7");
        assert_eq!(environment.label.number(), None);
        assert!(!environment.in_codebuild());
        assert_eq!(environment.logs, "");
    }

    #[test]
    fn docker_hub_needs_both_halves_of_a_credential() {
        let both = [("DOCKERHUB_USERNAME", "shop"), ("DOCKERHUB_ACCESS_TOKEN", "t")];
        assert!(read(&both).unwrap().docker_hub.is_some());
        for missing in ["", "~"] {
            for name in ["DOCKERHUB_USERNAME", "DOCKERHUB_ACCESS_TOKEN"] {
                let mut variables = both.to_vec();
                variables.push((name, missing));
                assert!(read(&variables).unwrap().docker_hub.is_none(), "{name}={missing}");
            }
        }
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let error = read(&[("APPNAME", ""), ("CODEBUILD_BUILD_NUMBER", "none"), ("CODEBUILD_BUILD_ID", " ")]);
        let text = error.unwrap_err().to_string();
        for name in ["APPNAME", "CODEBUILD_BUILD_NUMBER", "CODEBUILD_BUILD_ID"] {
            assert!(text.contains(name), "{text}");
        }
    }

    #[test]
    fn the_branch_is_found_whatever_way_it_is_written() {
        let branch = |variables: &[(&str, &str)]| read(variables).unwrap().branch_name().map(str::to_owned);
        assert_eq!(branch(&[("CODEBUILD_SOURCE_VERSION", "main")]).as_deref(), Some("main"));
        assert_eq!(branch(&[("CODEBUILD_SOURCE_VERSION", "refs/heads/a/b^{0123}")]).as_deref(), Some("a/b"));
        let commit = "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432";
        assert_eq!(branch(&[("CODEBUILD_SOURCE_VERSION", commit)]), None);
        let webhook = [("CODEBUILD_SOURCE_VERSION", commit), ("CODEBUILD_WEBHOOK_HEAD_REF", "refs/heads/main")];
        assert_eq!(branch(&webhook).as_deref(), Some("main"));
    }
}
