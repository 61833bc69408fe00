//! Which variables an image build and its tests see, and which value wins (`data-contract` 4.6).

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::build_environment::CodeBuildEnvironment;
use crate::env_vars;

/// The variables by which downloaders find certificate authorities.
pub const CERTIFICATE_VARIABLES: [&str; 6] =
    ["SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO"];

/// Tells whether this can be the name of a variable that buildpacks get, and so of a file.
pub fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
}

/// Variables by name.
pub type Variables = BTreeMap<String, SecretString>;

/// Returns the variables of the image build; a later source wins: CI, the app's config variables, add-ons.
///
/// `config` holds what each path of [`Namespace::config_paths`](super::namespace::Namespace::config_paths) gave, in
/// that order, so a review app's values win over its pipeline's. The user's config may thus override `CI` and `CI_*`.
/// A Dockerfile that declares `CI_COMMIT_SHA` as an argument loses its cache at every commit; that is Docker's rule.
pub fn build_variables(
    environment: &CodeBuildEnvironment,
    config: impl IntoIterator<Item = Variables>,
    addons: &BTreeMap<String, String>,
) -> Variables {
    let mut variables = Variables::new();
    let mut set = |name: &str, value: &str| {
        variables.insert(name.to_owned(), value.to_owned().into());
    };
    set("CI", "true");
    if let Some(value) = &environment.allow_eol_shimmed_builder {
        set(env_vars::ALLOW_EOL_SHIMMED_BUILDER, value);
    }
    for (name, value) in ci_variables(environment) {
        set(name, &value);
    }
    variables.extend(config.into_iter().flatten());
    variables.extend(secret(addons));
    variables
}

/// Returns the `CI_*` variables that have a value.
fn ci_variables(environment: &CodeBuildEnvironment) -> impl Iterator<Item = (&'static str, String)> {
    let reference = environment.webhook_head_ref.clone().unwrap_or_else(|| environment.source_version.clone());
    [
        ("CI_COMMIT_REF", Some(reference)),
        ("CI_COMMIT_SHA", environment.resolved_source_version.clone()),
        ("CI_BUILD_STARTED_AT", environment.start_time.clone()),
        ("CI_REPOSITORY_URL", environment.repository_url.clone()),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value.filter(|value| !value.is_empty())?)))
}

/// Returns the variables of the tests: those of the app's test plan, `CI` among them, and add-ons over them.
///
/// Config variables are not among them.
pub fn test_variables(test_env: &BTreeMap<String, String>, addons: &BTreeMap<String, String>) -> Variables {
    secret(test_env).chain(secret(addons)).collect()
}

fn secret(plain: &BTreeMap<String, String>) -> impl Iterator<Item = (String, SecretString)> {
    plain.iter().map(|(name, value)| (name.clone(), value.clone().into()))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn environment(changes: &[(&str, &str)]) -> CodeBuildEnvironment {
        let base = [("APPNAME", "shop"), ("CODEBUILD_BUILD_ID", "shop:1"), ("CODEBUILD_BUILD_NUMBER", "1")];
        let variables = base.iter().chain(changes).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        CodeBuildEnvironment::read(&variables.collect()).unwrap()
    }

    fn plain(values: &[(&str, &str)]) -> BTreeMap<String, String> {
        values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn shown(variables: &Variables) -> Vec<String> {
        variables.iter().map(|(name, value)| format!("{name}={}", value.expose_secret())).collect()
    }

    #[test]
    fn add_ons_win_over_review_app_over_pipeline_over_ci() {
        let config = [
            plain(&[("CI", "pipeline"), ("A", "pipeline"), ("DATABASE_URL", "pipeline")]),
            plain(&[("A", "review app"), ("DATABASE_URL", "review app")]),
        ];
        let config = config.map(|values| secret(&values).collect::<Variables>());
        let variables = build_variables(&environment(&[]), config, &plain(&[("DATABASE_URL", "add-on")]));
        assert_eq!(shown(&variables), ["A=review app", "CI=pipeline", "DATABASE_URL=add-on"]);
    }

    #[test]
    fn ci_variables_without_a_value_are_left_out() {
        assert_eq!(shown(&build_variables(&environment(&[]), [], &BTreeMap::new())), ["CI=true"]);
        let all = environment(&[
            ("CODEBUILD_SOURCE_VERSION", "pr/7"),
            ("CODEBUILD_RESOLVED_SOURCE_VERSION", "9f8e"),
            ("CODEBUILD_START_TIME", "1767225600123"),
            ("CODEBUILD_SOURCE_REPO_URL", "https://example.com/shop.git"),
            ("ALLOW_EOL_SHIMMED_BUILDER", ""),
        ]);
        assert_eq!(
            shown(&build_variables(&all, [], &BTreeMap::new())),
            [
                "ALLOW_EOL_SHIMMED_BUILDER=",
                "CI=true",
                "CI_BUILD_STARTED_AT=1767225600123",
                "CI_COMMIT_REF=pr/7",
                "CI_COMMIT_SHA=9f8e",
                "CI_REPOSITORY_URL=https://example.com/shop.git"
            ]
        );
        let webhook =
            environment(&[("CODEBUILD_SOURCE_VERSION", "9f8e"), ("CODEBUILD_WEBHOOK_HEAD_REF", "refs/heads/main")]);
        assert!(
            shown(&build_variables(&webhook, [], &BTreeMap::new()))
                .contains(&"CI_COMMIT_REF=refs/heads/main".to_owned())
        );
    }

    #[test]
    fn add_ons_win_over_the_test_environment() {
        let env = plain(&[("CI", "false"), ("REDIS_URL", "redis://localhost")]);
        let addons = plain(&[("REDIS_URL", "redis://redis:6379")]);
        assert_eq!(shown(&test_variables(&env, &addons)), ["CI=false", "REDIS_URL=redis://redis:6379"]);
    }
}
