//! What a pull request's build does: build or skip, and what becomes of the stored status (`data-contract` 4.5).

use serde_json::{Map, Value};

use super::names::PullRequest;

/// Why a pipeline's build was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// The review app was just created (`REVIEW_APP_STATUS=created`).
    ReviewAppCreated,
    /// The pull request was opened or opened again.
    Opened,
    /// The pull request was closed without a merge.
    Closed,
    /// The pull request was merged.
    Merged,
    /// It was updated, or somebody started the build by hand.
    Other,
}

impl Trigger {
    /// Reads the webhook event; the first build of a review app wins over it.
    pub fn new(webhook_event: &str, review_app_created: bool) -> Self {
        match webhook_event {
            _ if review_app_created => Self::ReviewAppCreated,
            "PULL_REQUEST_CREATED" | "PULL_REQUEST_REOPENED" => Self::Opened,
            "PULL_REQUEST_CLOSED" => Self::Closed,
            "PULL_REQUEST_MERGED" => Self::Merged,
            _ => Self::Other,
        }
    }
}

/// What the status parameter holds. That it could not be read is not among this: it is an error, never "missing".
#[derive(Debug, Clone, PartialEq)]
pub enum Stored {
    /// There is no such parameter.
    Missing,
    /// A status.
    Status(ReviewAppStatus),
    /// Something that is not a JSON object.
    Damaged,
}

impl Stored {
    /// Reads the value of the parameter.
    pub fn read(value: Option<&str>) -> Self {
        match value.map(serde_json::from_str::<Value>) {
            None => Self::Missing,
            Some(Ok(Value::Object(keys))) => Self::Status(ReviewAppStatus(keys)),
            Some(_) => Self::Damaged,
        }
    }

    fn status(&self) -> Option<&str> {
        match self {
            Self::Status(ReviewAppStatus(keys)) => keys.get("status").and_then(Value::as_str),
            Self::Missing | Self::Damaged => None,
        }
    }

    /// Makes the value with another status; keys that are not ours (`branch`, `title`, `url` and any other) stay.
    fn with(&self, pr: PullRequest, status: &str) -> String {
        let mut keys = match self {
            Self::Status(ReviewAppStatus(keys)) => keys.clone(),
            Self::Missing | Self::Damaged => Map::new(),
        };
        keys.insert("pull_request".to_owned(), pr.source_version().into());
        keys.insert("status".to_owned(), status.into());
        Value::Object(keys).to_string()
    }
}

/// The stored JSON object of a review app.
#[derive(Debug, Clone, PartialEq)]
pub struct ReviewAppStatus(Map<String, Value>);

/// What the build does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Nothing to build, for this reason; else build.
    pub skip: Option<&'static str>,
    /// The parameter's new value, where it changes.
    pub write: Option<String>,
    /// Whether the review app goes away.
    pub remove: bool,
}

/// The stored status is not a JSON object and the build itself does not say what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored status of pull request {pr} is not a JSON object, so it cannot tell whether there is a review app")]
pub struct DamagedStatus {
    /// The pull request.
    pub pr: PullRequest,
}

/// Decides what a pipeline's build does. Total over every trigger and status; only `created` builds.
///
/// Closing stores `closed` or `merged`, so that no list of review apps shows one that is gone.
///
/// # Errors
/// Fails when everything hangs on a stored value that is damaged.
pub fn decide(trigger: Trigger, pr: PullRequest, stored: &Stored) -> Result<Verdict, DamagedStatus> {
    const NO_REVIEW_APP: &str = "the pull request has no review app";
    let change = |target: &str| (stored.status() != Some(target)).then(|| stored.with(pr, target));
    Ok(match trigger {
        Trigger::ReviewAppCreated => Verdict { skip: None, write: change("created"), remove: false },
        Trigger::Opened => Verdict { skip: Some(NO_REVIEW_APP), write: change("open"), remove: false },
        Trigger::Closed | Trigger::Merged => {
            let (target, reason) = match trigger {
                Trigger::Merged => ("merged", "the pull request was merged"),
                _ => ("closed", "the pull request was closed"),
            };
            // One that was never known needs no entry that says it is gone.
            let write = change(target).filter(|_| *stored != Stored::Missing);
            Verdict { skip: Some(reason), write, remove: true }
        }
        Trigger::Other => match stored {
            Stored::Missing => Verdict { skip: Some(NO_REVIEW_APP), write: change("open"), remove: false },
            Stored::Damaged => return Err(DamagedStatus { pr }),
            Stored::Status(_) if stored.status() == Some("created") => {
                Verdict { skip: None, write: None, remove: false }
            }
            Stored::Status(_) => Verdict { skip: Some(NO_REVIEW_APP), write: None, remove: false },
        },
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn pr() -> PullRequest {
        "123".parse().unwrap()
    }

    fn stored(status: Option<&str>) -> Stored {
        let json = status.map(|status| {
            format!(
                r#"{{"pull_request":"pr/123","status":"{status}","branch":"feature/x","title":"Add x","url":"u","more":1}}"#
            )
        });
        Stored::read(json.as_deref())
    }

    /// Every trigger beside every stored status: whether it builds, the status that is stored after, and removal.
    #[test]
    fn every_event_meets_every_status() {
        const EVENTS: [(&str, bool); 8] = [
            ("", true),
            ("PULL_REQUEST_CREATED", false),
            ("PULL_REQUEST_REOPENED", false),
            ("PULL_REQUEST_CLOSED", false),
            ("PULL_REQUEST_MERGED", false),
            ("PULL_REQUEST_UPDATED", false),
            ("PUSH", false),
            ("", false),
        ];
        let mut table = String::new();
        for (event, created) in EVENTS {
            for status in [None, Some("open"), Some("created"), Some("closed"), Some("merged"), Some("strange")] {
                let before = stored(status);
                let verdict = decide(Trigger::new(event, created), pr(), &before).unwrap();
                let after = verdict.write.as_deref().map(|text| Stored::read(Some(text)));
                let after = after.as_ref().map_or("-", |after| after.status().unwrap());
                writeln!(
                    table,
                    "{:22} {:8} {:5} write {after:8} remove {}",
                    if created { "REVIEW_APP_STATUS" } else { event },
                    status.unwrap_or("-"),
                    if verdict.skip.is_some() { "skip" } else { "build" },
                    verdict.remove
                )
                .unwrap();
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn the_first_build_of_a_review_app_wins_over_the_event() {
        assert_eq!(Trigger::new("PULL_REQUEST_CLOSED", true), Trigger::ReviewAppCreated);
    }

    #[test]
    fn a_write_keeps_the_keys_of_others() {
        let verdict = decide(Trigger::Merged, pr(), &stored(Some("created"))).unwrap();
        let value: Value = serde_json::from_str(&verdict.write.unwrap()).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "pull_request": "pr/123", "status": "merged", "branch": "feature/x", "title": "Add x", "url": "u", "more": 1
            })
        );
    }

    #[test]
    fn a_damaged_status_is_replaced_where_the_build_knows_better_and_else_an_error() {
        for text in ["", "not JSON", "[]", "\"created\""] {
            let damaged = Stored::read(Some(text));
            assert_eq!(damaged, Stored::Damaged, "{text}");
            assert!(decide(Trigger::Other, pr(), &damaged).is_err());
            let created = decide(Trigger::ReviewAppCreated, pr(), &damaged).unwrap();
            assert_eq!(created.write.as_deref(), Some(r#"{"pull_request":"pr/123","status":"created"}"#));
        }
    }
}
