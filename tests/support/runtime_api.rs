//! A stand-in for Lambda's runtime API: its four endpoints, and nothing that Lambda would not take.
//!
//! Source: "Using the Lambda runtime API for custom runtimes" (Lambda Developer Guide).
#![cfg(feature = "aws")]
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// How an invocation was answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The result, or what the function says that failed.
    pub(crate) result: Result<Value, Value>,
    /// From the hand-over to the answer.
    pub(crate) took: Duration,
}

struct Work {
    id: String,
    payload: String,
    deadline: u128,
    answer: oneshot::Sender<Answer>,
}

struct Outstanding {
    id: String,
    since: Instant,
    answer: oneshot::Sender<Answer>,
}

struct State {
    work: AsyncMutex<mpsc::UnboundedReceiver<Work>>,
    outstanding: Mutex<Option<Outstanding>>,
    /// Told of the first request for work since the last start, and of a start that failed.
    asked: watch::Sender<Option<Instant>>,
    failed_start: watch::Sender<Option<Value>>,
    violations: Mutex<Vec<String>>,
}

/// Ends with its drop.
pub(crate) struct RuntimeApi {
    address: String,
    state: Arc<State>,
    work: mpsc::UnboundedSender<Work>,
    task: JoinHandle<()>,
}

impl RuntimeApi {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (work, receiver) = mpsc::unbounded_channel();
        let state = Arc::new(State {
            work: AsyncMutex::new(receiver),
            outstanding: Mutex::new(None),
            asked: watch::Sender::new(None),
            failed_start: watch::Sender::new(None),
            violations: Mutex::default(),
        });
        let task = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { address, state, work, task }
    }

    /// Starts the program as Lambda does, under the name `bootstrap`.
    pub(crate) fn function(&self, environment: &BTreeMap<String, String>) -> Function {
        self.state.asked.send_replace(None);
        *self.state.outstanding.lock().unwrap() = None;
        let folder = tempfile::tempdir().unwrap();
        let bootstrap = folder.path().join("bootstrap");
        symlink(env!("CARGO_BIN_EXE_packhorse"), &bootstrap).unwrap();
        let started = Instant::now();
        let child = Command::new(&bootstrap)
            .env_clear()
            .envs(environment)
            .env("AWS_LAMBDA_RUNTIME_API", &self.address)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Function { child, started, _folder: folder }
    }

    /// Waits until the program asks for work, and tells how long it took to get so far.
    pub(crate) async fn ready(&self, function: &Function) -> Duration {
        let mut asked = self.state.asked.subscribe();
        let at = asked.wait_for(Option::is_some).await.unwrap().unwrap();
        at.duration_since(function.started)
    }

    /// Waits until the program says that it cannot start.
    pub(crate) async fn failed_start(&self) -> Value {
        self.state.failed_start.subscribe().wait_for(Option::is_some).await.unwrap().clone().unwrap()
    }

    /// Hands in work that may take this long; the answer comes by the receiver.
    pub(crate) fn send(&self, payload: impl Into<String>, time: Duration) -> oneshot::Receiver<Answer> {
        let (answer, receiver) = oneshot::channel();
        let now = std::time::UNIX_EPOCH.elapsed().unwrap();
        let id = format!("{:032x}", fastrand::u128(..));
        self.work.send(Work { id, payload: payload.into(), deadline: (now + time).as_millis(), answer }).unwrap();
        receiver
    }

    /// The same, and waits for the answer.
    pub(crate) async fn invoke(&self, payload: impl Into<String>, time: Duration) -> Answer {
        self.send(payload, time).await.expect("the function ended without an answer")
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.task.abort();
        let violations = self.state.violations.lock().unwrap();
        assert!(violations.is_empty() || std::thread::panicking(), "Lambda would not take: {violations:?}");
    }
}

/// The program, started as a function.
pub(crate) struct Function {
    child: Child,
    started: Instant,
    _folder: tempfile::TempDir,
}

impl Function {
    /// Takes the machine away from it.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// The most memory that it had so far, in KiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse().unwrap()
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    while let Ok((connection, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        let answer = service_fn(move |request| {
            let state = Arc::clone(&state);
            async move { Ok::<_, Infallible>(handle(request, &state).await) }
        });
        tokio::spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), answer).await;
        });
    }
}

async fn handle(request: Request<Incoming>, state: &State) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let path = head.uri.path().to_owned();
    let refuse = |why: &str| {
        state.violations.lock().unwrap().push(format!("{} {path}: {why}", head.method));
        let error = serde_json::json!({ "errorMessage": why, "errorType": "InvalidRequest" });
        respond(400, error.to_string())
    };
    let Some(rest) = path.strip_prefix("/2018-06-01/runtime") else { return refuse("no such path") };
    let steps: Vec<&str> = rest.trim_start_matches('/').split('/').collect();
    let kind = head.headers.get("lambda-runtime-function-error-type").is_some();
    let json: Option<Value> = serde_json::from_slice(&body).ok();
    let is_error = kind
        && json.as_ref().is_some_and(|body| {
            body["errorMessage"].is_string() && body["errorType"].is_string() && body["stackTrace"].is_array()
        });
    match (&head.method, &steps[..]) {
        (&Method::GET, ["invocation", "next"]) => {
            if state.outstanding.lock().unwrap().is_some() {
                return refuse("the invocation before was not answered");
            }
            state.asked.send_if_modified(|asked| asked.is_none() && asked.replace(Instant::now()).is_none());
            let Some(work) = state.work.lock().await.recv().await else { return respond(500, String::new()) };
            let Work { id, payload, deadline, answer } = work;
            *state.outstanding.lock().unwrap() = Some(Outstanding { id: id.clone(), since: Instant::now(), answer });
            Response::builder()
                .header("Lambda-Runtime-Aws-Request-Id", id)
                .header("Lambda-Runtime-Deadline-Ms", deadline.to_string())
                .header(
                    "Lambda-Runtime-Invoked-Function-Arn",
                    "arn:aws:lambda:us-east-1:111122223333:function:packhorse",
                )
                .header("Lambda-Runtime-Trace-Id", "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1")
                .body(Full::new(payload.into()))
                .unwrap()
        }
        (&Method::POST, ["invocation", id, what @ ("response" | "error")]) => {
            let Some(json) = json else { return refuse("the body is not JSON") };
            if *what == "error" && !is_error {
                return refuse("an error has a type, a message and a stack trace");
            }
            let outstanding = state.outstanding.lock().unwrap().take();
            let Some(outstanding) = outstanding.filter(|outstanding| outstanding.id == *id) else {
                return refuse("this invocation is not under way");
            };
            let result = if *what == "response" { Ok(json) } else { Err(json) };
            let _ = outstanding.answer.send(Answer { result, took: outstanding.since.elapsed() });
            respond(202, String::new())
        }
        (&Method::POST, ["init", "error"]) if state.asked.borrow().is_some() => refuse("it has started already"),
        (&Method::POST, ["init", "error"]) if !is_error => refuse("an error has a type, a message and a stack trace"),
        (&Method::POST, ["init", "error"]) => {
            state.failed_start.send_replace(json);
            respond(202, String::new())
        }
        _ => refuse("no such endpoint"),
    }
}

fn respond(status: u16, body: String) -> Response<Full<Bytes>> {
    Response::builder().status(status).header("content-type", "application/json").body(Full::new(body.into())).unwrap()
}
