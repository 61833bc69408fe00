//! Sorts what Docker answers.

use bollard::errors::Error;

use crate::ports::failure::Failure;

/// Sorts an error by what the caller can do about it; `what` is named where it does not exist or is taken.
pub(super) fn sort(doing: String, what: &str, error: Error) -> Failure {
    match error {
        Error::DockerResponseServerError { status_code: 404, message } if names(&message, what) => {
            Failure::NotFound { what: what.to_owned() }
        }
        Error::DockerResponseServerError { status_code: 409, .. } => Failure::Conflict { what: what.to_owned() },
        Error::DockerResponseServerError { status_code: 401 | 403, message } => {
            Failure::Denied { doing, source: message.into() }
        }
        Error::DockerResponseServerError { message, .. } | Error::DockerStreamError { error: message } => {
            let lower = message.to_lowercase();
            if lower.contains("denied") || lower.contains("unauthorized") || lower.contains("authentication required") {
                Failure::Denied { doing, source: message.into() }
            } else {
                Failure::Refused { doing, source: message.into() }
            }
        }
        Error::SocketNotFoundError(path) => Failure::unavailable(doing, format!("there is no Docker socket at {path}")),
        other => Failure::unavailable(doing, other),
    }
}

/// Docker answers 404 for whatever is missing, also for the image of a container that is to be made.
fn names(message: &str, what: &str) -> bool {
    let name = what.rsplit('`').nth(1).unwrap_or(what);
    message.contains(name) || message.contains("page not found") || message.is_empty()
}
