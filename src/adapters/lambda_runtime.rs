//! The Lambda runtime API: plain HTTP on this machine.
//!
//! Source: "Using the Lambda runtime API for custom runtimes" (Lambda Developer Guide).

use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, Response, body::Incoming, header::HeaderMap};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tokio::time::Instant;

use crate::ports::failure::{BoxError, Failure};
use crate::ports::invocations::{Invocation, Invocations};

/// Speaks to the service that Lambda runs beside the program.
#[derive(Debug, Clone)]
pub struct LambdaRuntime {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
}

const REQUEST_ID: &str = "lambda-runtime-aws-request-id";
const DEADLINE: &str = "lambda-runtime-deadline-ms";
/// The time that a function has where the service does not say, which it always does.
const USUAL: Duration = Duration::from_secs(3);

impl LambdaRuntime {
    /// Speaks to the service at this host and port, as Lambda names it.
    pub fn new(address: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, base: format!("http://{address}/2018-06-01/runtime") }
    }

    async fn ask(
        &self,
        doing: &str,
        method: Method,
        path: &str,
        kind: Option<&str>,
        body: String,
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("content-type", "application/json");
        if let Some(kind) = kind {
            request = request.header("lambda-runtime-function-error-type", kind);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| Failure::refused(doing, error))?;
        let answer = self.client.request(request).await.map_err(|error| Failure::unavailable(doing, error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let text = text(answer).await.unwrap_or_default();
        let cause = format!("the runtime API answered {status}: {}", text.trim());
        Err(if status.is_server_error() { Failure::unavailable(doing, cause) } else { Failure::refused(doing, cause) })
    }
}

#[async_trait]
impl Invocations for LambdaRuntime {
    async fn next(&self) -> Result<Invocation, Failure> {
        let doing = "wait for the next invocation";
        // No time limit: the program may be frozen for hours within this request.
        let answer = self.ask(doing, Method::GET, "/invocation/next", None, String::new()).await?;
        let id = header(answer.headers(), REQUEST_ID).ok_or_else(|| Failure::refused(doing, "it has no request id"))?;
        let deadline =
            Instant::now() + header(answer.headers(), DEADLINE).and_then(|text| left(&text)).unwrap_or(USUAL);
        let payload = text(answer).await.map_err(|error| Failure::unavailable(doing, error))?;
        Ok(Invocation { id, payload, deadline })
    }

    async fn respond(&self, id: &str, answer: &str) -> Result<(), Failure> {
        let path = format!("/invocation/{id}/response");
        self.ask("answer an invocation", Method::POST, &path, None, answer.to_owned()).await.map(drop)
    }

    async fn fail(&self, id: &str, kind: &str, message: &str) -> Result<(), Failure> {
        let path = format!("/invocation/{id}/error");
        self.ask("report a failed invocation", Method::POST, &path, Some(kind), error_body(kind, message))
            .await
            .map(drop)
    }

    async fn fail_to_start(&self, kind: &str, message: &str) -> Result<(), Failure> {
        let body = error_body(kind, message);
        self.ask("report a failed start", Method::POST, "/init/error", Some(kind), body).await.map(drop)
    }
}

fn error_body(kind: &str, message: &str) -> String {
    json!({ "errorMessage": message, "errorType": kind, "stackTrace": [] }).to_string()
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty()).map(str::to_owned)
}

/// How long it is until a point in time, given in milliseconds since 1970.
fn left(deadline: &str) -> Option<Duration> {
    #[expect(clippy::disallowed_methods, reason = "the deadline is given by the clock of this machine")]
    let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(Duration::from_millis(deadline.parse().ok()?).saturating_sub(now))
}

async fn text(answer: Response<Incoming>) -> Result<String, BoxError> {
    let bytes = answer.into_body().collect().await?.to_bytes();
    // What is not UTF-8 is no JSON either; the reader of the payload says so.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
