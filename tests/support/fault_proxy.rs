//! A proxy in front of a real part that misbehaves as a test tells it to, and counts.
#![allow(dead_code, reason = "each build of the tests uses its own part")]

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What happens to a request.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The service asks for patience, as the JSON services do (400).
    Throttled,
    /// The service asks for patience, as S3 does (503).
    SlowDown,
    /// The session of the caller has expired.
    ExpiredToken,
    /// The caller's role does not allow it.
    AccessDenied,
    /// The service has an error of its own (500).
    InternalError,
    /// Nothing is forwarded and the connection is dropped.
    Dropped,
    /// The service does what it is asked, and its answer is lost.
    AnswerLost,
    /// The answer is announced whole, and half of its body comes.
    Truncated,
    /// The service answers with one byte of the body changed.
    Altered,
    /// The service answers, and says that the content has another digest than it has.
    Misnamed,
    /// The request goes to this address instead.
    Redirected {
        /// The address.
        to: String,
    },
    /// Another answer.
    Answer {
        /// The HTTP status.
        status: u16,
        /// The body.
        body: String,
    },
}

/// Which requests are meant: those that have all of these.
#[derive(Debug, Clone, Default)]
pub(crate) struct When {
    method: Option<&'static str>,
    path: Option<String>,
    target: Option<&'static str>,
    body: Option<String>,
    agent: Option<&'static str>,
}

impl When {
    /// Requests whose `X-Amz-Target` has this part, such as `PutItem`.
    pub(crate) fn target(part: &'static str) -> Self {
        Self { target: Some(part), ..Self::default() }
    }

    /// Requests of this method whose path has this part.
    pub(crate) fn path(method: &'static str, part: impl Into<String>) -> Self {
        Self { method: Some(method), path: Some(part.into()), ..Self::default() }
    }

    /// Requests whose body has this part, such as `Action=DescribeStacks`.
    pub(crate) fn body(part: impl Into<String>) -> Self {
        Self { body: Some(part.into()), ..Self::default() }
    }

    /// Of these, only requests of a program whose `User-Agent` has this part.
    pub(crate) fn by(mut self, agent: &'static str) -> Self {
        self.agent = Some(agent);
        self
    }

    fn fits(&self, request: &Seen) -> bool {
        self.method.is_none_or(|method| request.method == method)
            && self.path.as_ref().is_none_or(|part| request.path.contains(part.as_str()))
            && self.target.is_none_or(|part| request.target.contains(part))
            && self.agent.is_none_or(|part| request.agent.contains(part))
            && self.body.as_ref().is_none_or(|part| String::from_utf8_lossy(&request.body).contains(part.as_str()))
    }
}

/// A request that came by.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    /// The `X-Amz-Target`, or empty.
    pub(crate) target: String,
    /// The `User-Agent`, or empty.
    pub(crate) agent: String,
    /// The token of the session in a role, or empty.
    pub(crate) session: String,
    /// The service that it was signed for, or empty.
    service: String,
    pub(crate) body: Bytes,
}

impl Seen {
    /// The action that a policy has to allow, such as `s3:GetObject`.
    pub(crate) fn action(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        let operation = match self.service.as_str() {
            _ if !self.target.is_empty() => self.target.rsplit('.').next().unwrap().to_owned(),
            "s3" => match (self.method.as_str(), self.path.trim_matches('/').contains('/')) {
                ("GET" | "HEAD", true) => "GetObject",
                ("GET" | "HEAD", false) => "ListBucket",
                ("PUT", true) => "PutObject",
                ("DELETE", true) => "DeleteObject",
                other => panic!("{other:?} {}", self.path),
            }
            .to_owned(),
            "scheduler" => match (self.method.as_str(), self.path.trim_start_matches('/').contains('/')) {
                ("GET", false) => "ListSchedules",
                ("GET", true) => "GetSchedule",
                ("POST", true) => "CreateSchedule",
                ("PUT", true) => "UpdateSchedule",
                ("DELETE", true) => "DeleteSchedule",
                other => panic!("{other:?} {}", self.path),
            }
            .to_owned(),
            _ => body.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap_or_default().to_owned(),
        };
        format!("{}:{operation}", self.service)
    }
}

/// The service in the scope of a signature.
fn signed_for(authorization: &str) -> String {
    let scope = authorization.split("Credential=").nth(1).unwrap_or_default();
    scope.split(',').next().unwrap_or_default().split('/').nth(3).unwrap_or_default().to_owned()
}

#[derive(Default)]
struct State {
    rules: Vec<(When, usize, Fault)>,
    seen: Vec<Seen>,
}

type Shared = Arc<Mutex<State>>;
type Body = BoxBody<Bytes, io::Error>;
type Upstream = Client<HttpConnector, Full<Bytes>>;

/// Ends with its drop.
pub(crate) struct FaultProxy {
    address: std::net::SocketAddr,
    state: Shared,
    task: JoinHandle<()>,
}

impl FaultProxy {
    /// Stands before a part, `http://HOST:PORT` or `HOST:PORT`, and forwards everything until it is told otherwise.
    pub(crate) async fn before(part: &str) -> Self {
        let host = part.strip_prefix("http://").unwrap_or(part).trim_end_matches('/').to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Shared::default();
        let task = tokio::spawn(serve(listener, host, Arc::clone(&state)));
        Self { address, state, task }
    }

    /// Where clients reach it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its host and port.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Lets the next `times` requests that fit meet this fault; rules are tried in the order in which they were given.
    pub(crate) fn fail(&self, when: When, times: usize, fault: Fault) {
        self.lock().rules.push((when, times, fault));
    }

    /// Forwards everything again.
    pub(crate) fn behave(&self) {
        self.lock().rules.clear();
    }

    /// Forgets what came by.
    pub(crate) fn forget(&self) {
        self.lock().seen.clear();
    }

    /// Returns the requests that fit, failed ones too.
    pub(crate) fn seen(&self, when: &When) -> Vec<Seen> {
        self.lock().seen.iter().filter(|request| when.fits(request)).cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, host: String, state: Shared) {
    let upstream: Upstream = Client::builder(TokioExecutor::new()).build_http();
    while let Ok((connection, _)) = listener.accept().await {
        let (host, state, upstream) = (host.clone(), Arc::clone(&state), upstream.clone());
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let (host, state, upstream) = (host.clone(), Arc::clone(&state), upstream.clone());
                async move { handle(request, &host, &state, &upstream).await }
            });
            // An error here is a dropped connection, which is what the test asked for.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), answer).await;
        });
    }
}

async fn handle(
    request: Request<Incoming>,
    host: &str,
    state: &Shared,
    upstream: &Upstream,
) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let header =
        |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let seen = Seen {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        target: header("x-amz-target"),
        agent: header("user-agent"),
        session: header("x-amz-security-token"),
        service: signed_for(&header("authorization")),
        body: body.clone(),
    };
    let fault = take_fault(state, &seen);
    let forward = async || {
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri: Uri = format!("http://{host}{path}").parse().map_err(io::Error::other)?;
        let mut onward = Request::new(Full::new(body.clone()));
        *onward.method_mut() = head.method.clone();
        *onward.headers_mut() = head.headers.clone();
        *onward.uri_mut() = uri;
        // The body is known as a whole now.
        onward.headers_mut().remove(hyper::header::TRANSFER_ENCODING);
        let answer = upstream.request(onward).await.map_err(io::Error::other)?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        Ok::<_, io::Error>((head, body))
    };
    match fault {
        None => {
            let (head, body) = forward().await?;
            Ok(Response::from_parts(head, whole(body)))
        }
        Some(Fault::Truncated) => {
            let (mut head, body) = forward().await?;
            head.headers.remove(hyper::header::TRANSFER_ENCODING);
            head.headers.insert(hyper::header::CONTENT_LENGTH, body.len().into());
            Ok(Response::from_parts(head, half(&body)))
        }
        Some(Fault::Altered) => {
            let (head, body) = forward().await?;
            let mut bytes = body.to_vec();
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
            Ok(Response::from_parts(head, whole(bytes.into())))
        }
        Some(Fault::Misnamed) => {
            let (mut head, body) = forward().await?;
            let other = format!("sha256:{}", "0".repeat(64));
            head.headers.insert("docker-content-digest", other.parse().map_err(io::Error::other)?);
            Ok(Response::from_parts(head, whole(body)))
        }
        Some(Fault::AnswerLost) => {
            forward().await?;
            Err(io::ErrorKind::ConnectionAborted.into())
        }
        Some(Fault::Dropped) => Err(io::ErrorKind::ConnectionAborted.into()),
        Some(fault) => Ok(made_up(&fault)),
    }
}

fn take_fault(state: &Shared, seen: &Seen) -> Option<Fault> {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    state.seen.push(seen.clone());
    let rule = state.rules.iter_mut().find(|(when, times, _)| *times > 0 && when.fits(seen))?;
    rule.1 -= 1;
    Some(rule.2.clone())
}

/// Answers in JSON; services that speak XML look at the status only, but for S3's own.
fn made_up(fault: &Fault) -> Response<Body> {
    let json = |kind: &str, message: &str| format!(r#"{{"__type":"com.amazonaws#{kind}","message":"{message}"}}"#);
    let mut answer = Response::builder().header("x-amzn-requestid", "made-up");
    let (status, body) = match fault {
        Fault::Throttled => (400, json("ThrottlingException", "Rate exceeded")),
        Fault::ExpiredToken => {
            (400, json("ExpiredTokenException", "The security token included in the request is expired"))
        }
        Fault::AccessDenied => (400, json("AccessDeniedException", "User is not authorized to perform this action")),
        Fault::InternalError => (500, json("InternalServerError", "We encountered an internal error")),
        Fault::SlowDown => {
            (503, "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>".to_owned())
        }
        Fault::Answer { status, body } => (*status, body.clone()),
        Fault::Redirected { to } => {
            answer = answer.header("location", to);
            (307, String::new())
        }
        Fault::Dropped | Fault::AnswerLost | Fault::Truncated | Fault::Altered | Fault::Misnamed => {
            (502, String::new())
        }
    };
    answer.status(status).body(whole(body.into())).unwrap()
}

fn whole(body: Bytes) -> Body {
    Full::new(body).map_err(|never: Infallible| match never {}).boxed()
}

fn half(body: &Bytes) -> Body {
    let first = stream::iter([Ok(Frame::data(body.slice(..body.len() / 2)))]);
    // A pause between the two, or the head of the answer would be thrown away with the rest.
    let broken = stream::once(async {
        tokio::task::yield_now().await;
        Err(io::ErrorKind::ConnectionAborted.into())
    });
    http_body_util::BodyExt::boxed(StreamBody::new(first.chain(broken)))
}
