//! Sorts what the SDK reports by what a caller can do about it.

use std::error::Error;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::ports::failure::{BoxError, Failure, chain};

/// An answer of AWS that refuses. Holds what AWS says about it, never what was sent.
#[derive(Debug, thiserror::Error)]
#[error("{message} ({code}{request}){advice}")]
struct Answer {
    code: String,
    message: String,
    /// `, request ID`, or empty.
    request: String,
    advice: &'static str,
}

const LOG_IN: &str = "; log in again, for example with `aws sso login`, or renew the credentials";

/// Sorts a failed call.
pub(super) fn sort<E>(doing: impl Into<String>, error: SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let doing = doing.into();
    let SdkError::ServiceError(refusal) = error else {
        return unanswered(doing, &error);
    };
    let status = refusal.raw().status().as_u16();
    let error = refusal.err();
    let code = error.code().unwrap_or_default();
    let request = request_id(refusal.raw()).map(|id| format!(", request {id}")).unwrap_or_default();
    let kind = kind(code, status);
    let answer = Answer {
        code: if code.is_empty() { format!("status {status}") } else { code.to_owned() },
        message: error.message().unwrap_or("no reason given").to_owned(),
        request,
        advice: if is_expiry(code) { LOG_IN } else { "" },
    };
    match kind {
        Kind::Missing => Failure::NotFound {
            what: format!("something that is needed to {doing} ({})", answer.message.trim_end_matches('.')),
        },
        Kind::Conflict => Failure::Conflict { what: answer.message },
        Kind::Denied => Failure::Denied { doing, source: answer.into() },
        Kind::Passing => Failure::Unavailable { doing, source: answer.into() },
        Kind::Refused => Failure::Refused { doing, source: answer.into() },
    }
}

/// Sorts a call that got no answer: no credentials to sign it with, nobody there, or a broken connection.
fn unanswered<E>(doing: String, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: Error + Send + Sync + 'static,
{
    let text = chain(error);
    // The type is private to the SDK's parts; its name is in its debug output.
    let without_credentials = format!("{error:?}").contains("CredentialsNotLoaded");
    let expired =
        text.contains("token has expired") || text.contains("ExpiredToken") || text.contains("session has expired");
    if without_credentials || expired {
        let cause = if expired {
            format!("the credentials have expired{LOG_IN}")
        } else {
            "no AWS credentials were found; log in, for example with `aws sso login`, or set AWS_PROFILE".to_owned()
        };
        return Failure::Denied { doing, source: cause.into() };
    }
    match error {
        SdkError::ConstructionFailure(_) => Failure::Refused { doing, source: BoxError::from(text) },
        _ => Failure::Unavailable { doing, source: BoxError::from(text) },
    }
}

fn request_id(response: &HttpResponse) -> Option<&str> {
    ["x-amzn-requestid", "x-amz-request-id"].into_iter().find_map(|name| response.headers().get(name))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Missing,
    Conflict,
    Denied,
    Passing,
    Refused,
}

fn is_expiry(code: &str) -> bool {
    code.starts_with("ExpiredToken") || code == "RequestExpired"
}

fn kind(code: &str, status: u16) -> Kind {
    let known =
        |codes: &[&str]| codes.iter().any(|known| code == *known || code.strip_suffix("Exception") == Some(*known));
    if is_expiry(code)
        || known(&[
            "AccessDenied",
            "AuthFailure",
            "IncompleteSignature",
            "InvalidAccessKeyId",
            "InvalidClientTokenId",
            "InvalidSignature",
            "InvalidToken",
            "MissingAuthenticationToken",
            "NotAuthorized",
            "SignatureDoesNotMatch",
            "UnauthorizedOperation",
            "UnrecognizedClient",
        ])
    {
        Kind::Denied
    } else if known(&["ConditionalCheckFailed"]) {
        Kind::Conflict
    } else if known(&[
        "NoSuchBucket",
        "NoSuchKey",
        "NotFound",
        "ParameterNotFound",
        "RepositoryNotFound",
        "ResourceNotFound",
        "TableNotFound",
    ]) {
        Kind::Missing
    } else if status >= 500
        || status == 429
        || code.starts_with("Throttl")
        || known(&[
            "BandwidthLimitExceeded",
            "InternalFailure",
            "InternalServerError",
            "LimitExceeded",
            "PriorRequestNotComplete",
            "ProvisionedThroughputExceeded",
            "RequestLimitExceeded",
            "RequestThrottled",
            "RequestTimeout",
            "RequestTimeTooSkewed",
            "ServiceUnavailable",
            "SlowDown",
            "TooManyRequests",
            "TooManyUpdates",
            "TransactionConflict",
            "TransactionInProgress",
        ])
    {
        Kind::Passing
    } else {
        Kind::Refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_by_what_a_caller_can_do() {
        for (code, status, expected) in [
            ("ConditionalCheckFailedException", 400, Kind::Conflict),
            ("AccessDenied", 403, Kind::Denied),
            ("AccessDeniedException", 400, Kind::Denied),
            ("ExpiredToken", 403, Kind::Denied),
            ("ExpiredTokenException", 400, Kind::Denied),
            ("UnrecognizedClientException", 400, Kind::Denied),
            ("ThrottlingException", 400, Kind::Passing),
            ("Throttling", 400, Kind::Passing),
            ("SlowDown", 503, Kind::Passing),
            ("ProvisionedThroughputExceededException", 400, Kind::Passing),
            ("TooManyUpdates", 400, Kind::Passing),
            ("", 502, Kind::Passing),
            ("NoSuchKey", 404, Kind::Missing),
            ("ParameterNotFound", 400, Kind::Missing),
            ("ResourceNotFoundException", 400, Kind::Missing),
            ("ValidationException", 400, Kind::Refused),
            ("ValidationError", 400, Kind::Refused),
            ("", 400, Kind::Refused),
        ] {
            assert_eq!(kind(code, status), expected, "{code} {status}");
        }
    }
}
