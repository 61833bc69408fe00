//! The wire names: table, paths, tags, stacks and log markers that existing clients rely on.

use super::lane::LaneKey;
use super::names::{AppName, BuildNumber, PullRequest};

/// Owns every name that is part of the wire contract; nothing else spells the word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace(String);

impl Default for Namespace {
    fn default() -> Self {
        Self("apppack".to_owned())
    }
}

/// The four lines by which clients find a section in the log of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// Before the first line of the image build.
    BuildStart,
    /// After the last line of the image build.
    BuildEnd,
    /// Before the first line of the tests.
    TestStart,
    /// After the last line of the tests.
    TestEnd,
}

impl Namespace {
    /// The DynamoDB table.
    pub fn table(&self) -> &str {
        &self.0
    }

    /// The client that an existing buildspec calls, by which the program may be started.
    pub fn builder_program(&self) -> String {
        format!("{}-builder", self.0)
    }

    /// The root of an app's, pipeline's or review app's parameters, without a trailing slash.
    pub fn parameters(&self, app: &AppName, kind: Parameters) -> String {
        let ns = &self.0;
        match kind {
            Parameters::App => format!("/{ns}/apps/{app}"),
            Parameters::Pipeline => format!("/{ns}/pipelines/{app}"),
            Parameters::ReviewApp(pr) => format!("/{ns}/pipelines/{app}/review-apps/{}", pr.source_version()),
        }
    }

    /// What follows the namespace's root in the name of a parameter, or nothing where it is another's.
    pub fn below<'p>(&self, parameter: &'p str) -> Option<&'p str> {
        parameter.strip_prefix('/')?.strip_prefix(self.0.as_str())?.strip_prefix('/')
    }

    /// The paths of config variables, lowest precedence first; each ends with a slash.
    pub fn config_paths(&self, key: &LaneKey) -> Vec<String> {
        Self::kinds(key).into_iter().map(|kind| format!("{}/config/", self.parameters(&key.app, kind))).collect()
    }

    /// The parameters with the scaling of a lane's processes, lowest precedence first.
    pub fn scaling_parameters(&self, key: &LaneKey) -> Vec<String> {
        Self::kinds(key).into_iter().map(|kind| format!("{}/scaling", self.parameters(&key.app, kind))).collect()
    }

    /// The parameter with what runs by the clock; a review app has none.
    pub fn scheduled_tasks_parameter(&self, key: &LaneKey) -> Option<String> {
        let app = key.pull_request.is_none();
        app.then(|| format!("{}/scheduled-tasks", self.parameters(&key.app, Parameters::App)))
    }

    /// The path below which a place that cannot be told to restart a process type finds a word for it: another word, another
    /// process. It ends with a slash, and only the local state of `up` has it.
    pub fn restarts_path(&self, key: &LaneKey) -> String {
        let kind = key.pull_request.map_or(Parameters::App, Parameters::ReviewApp);
        format!("{}/restarts/", self.parameters(&key.app, kind))
    }

    /// Whose parameters a lane has, lowest precedence first.
    fn kinds(key: &LaneKey) -> Vec<Parameters> {
        match key.pull_request {
            None => vec![Parameters::App],
            Some(pr) => vec![Parameters::Pipeline, Parameters::ReviewApp(pr)],
        }
    }

    /// The log group of what happened to an app and its review apps.
    pub fn activity_log_group(&self, app: &AppName) -> String {
        format!("/{}/activity/{app}", self.0)
    }

    /// The parameter that lists those who may use an app.
    pub fn users_parameter(&self, app: &AppName) -> String {
        format!("/{}/access/apps/{app}", self.0)
    }

    /// The parameter that lists those who administrate the account.
    pub fn administrators_parameter(&self) -> String {
        format!("/{}/account/administrators", self.0)
    }

    /// The tags that say which review app a stack or a task is: of the pipeline's name, and of the pull request.
    pub fn review_app_tags(&self) -> [String; 2] {
        [format!("{}:appName", self.0), format!("{}:reviewApp", self.0)]
    }

    /// The name of a review app's stack. Two review apps may share it: that of pull request 23 of `web1`, and of 123 of
    /// `web`; the stack's tags tell them apart.
    pub fn review_app_stack(&self, app: &AppName, pr: PullRequest) -> String {
        format!("{}-reviewapp-{app}{pr}", self.0)
    }

    /// A tag key, such as `apppack:appName`.
    pub fn tag(&self, name: &str) -> String {
        format!("{}:{name}", self.0)
    }

    /// A log marker, alone on its line on stdout.
    pub fn marker(&self, marker: Marker) -> String {
        let name = match marker {
            Marker::BuildStart => "build-start",
            Marker::BuildEnd => "build-end",
            Marker::TestStart => "test-start",
            Marker::TestEnd => "test-end",
        };
        format!("#*#*#*#*#*# {}-{name} #*#*#*#*#*#", self.0)
    }

    /// The file whose presence makes the later commands of this build do nothing.
    pub fn skip_marker_file(&self, build_id: &str) -> String {
        format!(".{}-skip-build-{build_id}", self.0)
    }

    /// The default config file of an app and the name of its archived copy.
    pub fn config_file(&self) -> String {
        format!("{}.toml", self.0)
    }
}

/// Whose parameters a path holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameters {
    /// A standard app.
    App,
    /// A pipeline: the base of all its review apps.
    Pipeline,
    /// One review app.
    ReviewApp(PullRequest),
}

/// The partition of a lane's items, `APP#{app}` or `APP#{pipeline}:{pr}`.
pub fn partition(key: &LaneKey) -> String {
    match key.pull_request {
        None => format!("APP#{}", key.app),
        Some(pr) => format!("APP#{}:{pr}", key.app),
    }
}

/// The sort key of a build's item, padded to ten digits because clients sort the raw text.
pub fn build_sort_key(number: BuildNumber) -> String {
    format!("BUILD#{:010}", number.0)
}

/// The sort key of the lane's item.
pub const LANE_SORT_KEY: &str = "LANE";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_what_clients_compare_byte_for_byte() {
        let namespace = Namespace::default();
        let lines =
            [Marker::BuildStart, Marker::BuildEnd, Marker::TestStart, Marker::TestEnd].map(|m| namespace.marker(m));
        assert_eq!(
            lines,
            [
                "#*#*#*#*#*# apppack-build-start #*#*#*#*#*#",
                "#*#*#*#*#*# apppack-build-end #*#*#*#*#*#",
                "#*#*#*#*#*# apppack-test-start #*#*#*#*#*#",
                "#*#*#*#*#*# apppack-test-end #*#*#*#*#*#",
            ]
        );
    }

    #[test]
    fn build_keys_sort_as_their_numbers() {
        assert_eq!(build_sort_key(BuildNumber(42)), "BUILD#0000000042");
        assert!(build_sort_key(BuildNumber(9)) < build_sort_key(BuildNumber(10)));
    }

    #[test]
    fn a_review_app_reads_its_pipelines_variables_first() {
        let key = LaneKey { app: "storefront".parse().unwrap(), pull_request: Some("123".parse().unwrap()) };
        assert_eq!(
            Namespace::default().config_paths(&key),
            ["/apppack/pipelines/storefront/config/", "/apppack/pipelines/storefront/review-apps/pr/123/config/"]
        );
        assert_eq!(partition(&key), "APP#storefront:123");
        assert_eq!(
            Namespace::default().scaling_parameters(&key),
            ["/apppack/pipelines/storefront/scaling", "/apppack/pipelines/storefront/review-apps/pr/123/scaling"]
        );
        assert_eq!(Namespace::default().scheduled_tasks_parameter(&key), None);
    }
}
