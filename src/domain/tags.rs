//! The names that images get in an app's repository.
//!
//! A tag has at most 128 characters of `A-Z a-z 0-9 _ . -` and begins with none of the last two (OCI distribution
//! specification, "Pulling manifests").

use sha2::{Digest as _, Sha256};

use super::build_environment::{BuildLabel, CodeBuildEnvironment, branch_of};

const LONGEST: usize = 128;

/// The tag that always names the image of the newest build that passed its tests.
pub const LATEST: &str = "latest";

/// The branch whose cache others may read, where a build does not say which branch it will be merged into.
const DEFAULT_BRANCH: &str = "main";

/// The name under which an image is tested: one per build and attempt, so that no attempt sees another's.
pub fn candidate(build_id: &str, attempt: u32) -> String {
    valid("candidate-", build_id, &format!("-{attempt}"))
}

/// The names of an image that passed its tests: `{commit}`, `build-{n}` and `latest`, in the order in which they are set.
pub fn released(commit: &str, label: &BuildLabel) -> [String; 3] {
    [valid("", commit, ""), valid("build-", &label.to_string(), ""), LATEST.to_owned()]
}

/// The tags of a build's cache image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheTags {
    /// Written, and read first.
    pub own: String,
    /// Read when the own one is not there yet.
    pub fallback: Option<String>,
}

/// Returns the cache of a build's branch. A pull request writes only its own and reads that of the branch it is for.
pub fn cache(environment: &CodeBuildEnvironment) -> CacheTags {
    let target = environment.webhook_base_ref.as_deref().and_then(branch_of).unwrap_or(DEFAULT_BRANCH);
    let pull_request = environment.source_version.strip_prefix("pr/");
    let own = match pull_request {
        Some(number) => valid("cache-pr-", number, ""),
        None => branch_cache(environment.branch_name().unwrap_or(DEFAULT_BRANCH)),
    };
    let fallback = branch_cache(target);
    CacheTags { fallback: (fallback != own).then_some(fallback), own }
}

fn branch_cache(branch: &str) -> String {
    // A branch called `pr-7` must not share the cache of pull request 7.
    if branch.starts_with("pr-") { with_hash("cache-", branch, "") } else { valid("cache-", branch, "") }
}

/// Makes a tag; a text that does not fit is cut to what does and told apart by a hash of the whole.
fn valid(prefix: &str, text: &str, suffix: &str) -> String {
    let fits = prefix.len() + text.len() + suffix.len() <= LONGEST
        && !text.is_empty()
        && text.chars().all(is_tag_character)
        && !(prefix.is_empty() && text.starts_with(['.', '-']));
    if fits { format!("{prefix}{text}{suffix}") } else { with_hash(prefix, text, suffix) }
}

fn with_hash(prefix: &str, text: &str, suffix: &str) -> String {
    let hash = hex::encode(&Sha256::digest(text.as_bytes())[..4]);
    let room = LONGEST.saturating_sub(prefix.len() + suffix.len() + 1 + hash.len());
    let plain = text.chars().map(|c| if is_tag_character(c) { c } else { '-' }).take(room);
    let plain: String = plain.collect();
    let plain = if prefix.is_empty() { plain.trim_start_matches(['.', '-']) } else { &plain };
    format!("{prefix}{plain}{}{hash}{suffix}", if prefix.is_empty() && plain.is_empty() { "" } else { "-" })
}

fn is_tag_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::names::BuildNumber;

    fn environment(changes: &[(&str, &str)]) -> CodeBuildEnvironment {
        let base = [("APPNAME", "shop"), ("CODEBUILD_BUILD_ID", "shop:1"), ("CODEBUILD_BUILD_NUMBER", "1")];
        let variables = base.iter().chain(changes).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        CodeBuildEnvironment::read(&variables.collect()).unwrap()
    }

    #[test]
    fn a_candidate_belongs_to_one_attempt_of_one_build() {
        assert!(candidate("shop:6b0e7c1a-77", 2).starts_with("candidate-shop-6b0e7c1a-77-"));
        assert!(candidate("shop:6b0e7c1a-77", 2).ends_with("-2"));
        assert_ne!(candidate("shop:1", 1), candidate("shop-1", 1));
        assert_eq!(candidate("external-9", 1), "candidate-external-9-1");
    }

    #[test]
    fn the_released_names_are_those_that_clients_look_for() {
        let names = released("9f8e7d6c5b4a39281706f5e4d3c2b1a098765432", &BuildLabel::Numbered(BuildNumber(42)));
        assert_eq!(names, ["9f8e7d6c5b4a39281706f5e4d3c2b1a098765432", "build-42", "latest"]);
        assert_eq!(released("9f8e", &BuildLabel::External("external-7".to_owned()))[1], "build-external-7");
    }

    #[test]
    fn a_branch_has_a_cache_and_a_pull_request_its_own() {
        let main = environment(&[("CODEBUILD_WEBHOOK_HEAD_REF", "refs/heads/main")]);
        assert_eq!(cache(&main), CacheTags { own: "cache-main".to_owned(), fallback: None });
        let by_hand = environment(&[("CODEBUILD_SOURCE_VERSION", "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432")]);
        assert_eq!(cache(&by_hand).own, "cache-main");
        let request = environment(&[
            ("CODEBUILD_SOURCE_VERSION", "pr/7"),
            ("CODEBUILD_WEBHOOK_HEAD_REF", "refs/heads/main"),
            ("CODEBUILD_WEBHOOK_BASE_REF", "refs/heads/develop"),
        ]);
        let tags = cache(&request);
        assert_eq!(tags, CacheTags { own: "cache-pr-7".to_owned(), fallback: Some("cache-develop".to_owned()) });
        let feature = cache(&environment(&[("BRANCH", "feature/x")]));
        assert_eq!(feature.fallback.as_deref(), Some("cache-main"));
        assert_ne!(feature.own, cache(&environment(&[("BRANCH", "feature-x")])).own);
        assert_ne!(cache(&environment(&[("BRANCH", "pr-7")])).own, tags.own);
    }

    proptest! {
        #[test]
        fn any_text_makes_a_valid_tag(text in "\\PC{0,200}", attempt in 1..100u32) {
            let tags = [candidate(&text, attempt), released(&text, &BuildLabel::External(text.clone()))[0].clone(),
                released(&text, &BuildLabel::External(text.clone()))[1].clone(), branch_cache(&text)];
            for tag in tags {
                prop_assert!((1..=LONGEST).contains(&tag.len()), "{tag}");
                prop_assert!(tag.chars().all(is_tag_character), "{tag}");
                prop_assert!(!tag.starts_with(['.', '-']), "{tag}");
            }
        }
    }
}
