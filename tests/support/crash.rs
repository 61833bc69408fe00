//! Kills a program at its n-th write to the outside: just before the write is passed on, or just after it took effect.

use std::convert::Infallible;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::UPGRADE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// When a program dies, as seen from one of its writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Nobody hears of the write.
    Before,
    /// The write took effect, and nobody hears that it did.
    After,
}

/// Where a program dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    /// At which of its writes, from 1.
    pub(crate) write: usize,
    pub(crate) moment: Moment,
}

impl Point {
    /// Every point of a program, one after the other: before its first write, then after each. What comes before the second
    /// is what comes after the first.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let first = Self { write: 1, moment: Moment::Before };
        std::iter::once(first).chain((1..).map(|write| Self { write, moment: Moment::After }))
    }
}

/// How a program ended that was to be killed.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Whether it came to the point.
    pub(crate) killed: bool,
    pub(crate) output: Output,
    /// Its writes, the last of which killed it.
    pub(crate) writes: Vec<String>,
}

#[derive(Default)]
struct State {
    /// Whether what a registry gets of an image before it has a name counts too.
    of_blobs: bool,
    point: Option<Point>,
    victim: Option<Pid>,
    killed: bool,
    writes: Vec<String>,
}

/// Stands between a program and everything that it writes to.
#[derive(Clone, Default)]
pub(crate) struct Crash(Arc<(Mutex<State>, Condvar)>);

/// What lies behind.
#[derive(Debug, Clone)]
enum Part {
    Tcp(String),
    Unix(PathBuf),
}

impl Crash {
    /// Stands before a part, `http://HOST:PORT` or `HOST:PORT`; returns the host and port to use instead.
    pub(crate) async fn before(&self, part: &str) -> String {
        let part = Part::Tcp(part.strip_prefix("http://").unwrap_or(part).to_owned());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let crash = self.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(crash.clone().serve(connection, part.clone()));
            }
        });
        address
    }

    /// Stands before a socket, `unix:///…`; returns the one to use instead, which lies at `path`.
    pub(crate) fn before_socket(&self, part: &str, path: &Path) -> String {
        let part = Part::Unix(part.strip_prefix("unix://").unwrap().into());
        let listener = UnixListener::bind(path).unwrap();
        let crash = self.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(crash.clone().serve(connection, part.clone()));
            }
        });
        format!("unix://{}", path.display())
    }

    /// Counts the blobs that a registry gets as well: what begins an upload, goes on with it and ends it, and mounts.
    pub(crate) fn of_blobs(self) -> Self {
        self.0.0.lock().unwrap().of_blobs = true;
        self
    }

    /// Runs a program until it ends or comes to the point, where it and all its processes are killed.
    pub(crate) fn run(&self, mut command: Command, point: Option<Point>) -> Ran {
        let mut state = self.0.0.lock().unwrap();
        *state = State { point, of_blobs: state.of_blobs, ..State::default() };
        drop(state);
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        self.0.0.lock().unwrap().victim = Some(Pid::from_child(&child));
        self.0.1.notify_all();
        let output = child.wait_with_output().unwrap();
        let mut state = self.0.0.lock().unwrap();
        let of_blobs = state.of_blobs;
        let state = std::mem::replace(&mut *state, State { of_blobs, ..State::default() });
        assert_eq!(state.killed, output.status.signal() == Some(9), "{output:?}");
        Ran { killed: state.killed, output, writes: state.writes }
    }

    async fn serve(self, connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, part: Part) {
        let service = service_fn(move |request| self.clone().pass(request, part.clone()));
        let server = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service);
        // A client that was killed drops its connections.
        let _ = server.with_upgrades().await;
    }

    async fn pass(
        self,
        request: Request<Incoming>,
        part: Part,
    ) -> Result<Response<BoxBody<Bytes, hyper::Error>>, Infallible> {
        let of_blobs = self.0.0.lock().unwrap().of_blobs;
        let at = write(&request, of_blobs).is_some_and(|name| self.comes_to_the_point(name));
        let moment = self.0.0.lock().unwrap().point.filter(|_| at).map(|point| point.moment);
        if moment == Some(Moment::Before) {
            self.kill();
            return Ok(nothing());
        }
        let answer = match part {
            Part::Tcp(address) => forward(request, TcpStream::connect(address).await.unwrap()).await,
            Part::Unix(path) => forward(request, UnixStream::connect(path).await.unwrap()).await,
        };
        if moment == Some(Moment::After) {
            self.kill();
            return Ok(nothing());
        }
        Ok(answer.unwrap_or_else(|_| nothing()))
    }

    fn comes_to_the_point(&self, name: String) -> bool {
        let mut state = self.0.0.lock().unwrap();
        state.writes.push(name);
        state.point.is_some_and(|point| point.write == state.writes.len())
    }

    fn kill(&self) {
        let (state, told) = &*self.0;
        let mut state = told.wait_while(state.lock().unwrap(), |state| state.victim.is_none()).unwrap();
        state.killed = kill_process_group(state.victim.unwrap(), Signal::KILL).is_ok();
    }
}

/// Sends a request on, on a connection of its own, and joins the two where they are upgraded.
async fn forward(
    mut request: Request<Incoming>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> hyper::Result<Response<BoxBody<Bytes, hyper::Error>>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    let upgrade = request.headers().contains_key(UPGRADE).then(|| hyper::upgrade::on(&mut request));
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    *request.uri_mut() = path.parse().unwrap();
    let mut answer = sender.send_request(request).await?;
    if let (Some(near), StatusCode::SWITCHING_PROTOCOLS) = (upgrade, answer.status()) {
        let far = hyper::upgrade::on(&mut answer);
        tokio::spawn(async move {
            let (near, far) = tokio::try_join!(near, far)?;
            let _ = copy_bidirectional(&mut TokioIo::new(near), &mut TokioIo::new(far)).await;
            hyper::Result::Ok(())
        });
    }
    Ok(answer.map(BodyExt::boxed))
}

fn nothing() -> Response<BoxBody<Bytes, hyper::Error>> {
    let body = Empty::new().map_err(|never: Infallible| match never {}).boxed();
    Response::builder().status(StatusCode::BAD_GATEWAY).body(body).unwrap()
}

/// What changes something for good, of the services whose requests name their operation.
const WRITES: [&str; 16] = [
    "PutItem",
    "UpdateItem",
    "DeleteItem",
    "PutParameter",
    "PutEvents",
    "RegisterTaskDefinition",
    "DeregisterTaskDefinition",
    "RunTask",
    "StopTask",
    "CreateService",
    "UpdateService",
    "DeleteService",
    "RegisterScalableTarget",
    "DeregisterScalableTarget",
    "PutScalingPolicy",
    "DeleteScalingPolicy",
];

/// Names a request that changes something for good: an item, a parameter, an event, an object, a tag, a container, a network.
fn write(request: &Request<Incoming>, of_blobs: bool) -> Option<String> {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    if let Some((_, operation)) = target.split_once('.') {
        return WRITES.contains(&operation).then(|| operation.to_owned());
    }
    let (method, path) = (request.method(), request.uri().path());
    let words: Vec<&str> = path.trim_matches('/').split('/').collect();
    let writes = match (method, &words[..]) {
        (method, ["v2", ..]) if of_blobs => ![Method::GET, Method::HEAD].contains(method),
        // The registry's data plane: only what gives an image a name.
        (&Method::PUT | &Method::DELETE, ["v2", .., kind, _]) => *kind == "manifests",
        (&Method::PUT | &Method::DELETE, ["v2", ..]) => false,
        // Docker, whose paths begin with the version of its API.
        (
            &Method::POST,
            [.., "containers" | "networks", "create"]
            | [.., "containers", _, "start" | "stop" | "kill"]
            // EventBridge Scheduler.
            | ["schedules", _],
        ) => true,
        // What Docker removes, objects of S3, and schedules.
        (method, _) => method == Method::PUT || method == Method::DELETE,
    };
    writes.then(|| format!("{method} {path}"))
}
