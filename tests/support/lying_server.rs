//! An HTTP server in this process that answers as a test tells it to and records what it was asked.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What the server was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) authorization: Option<String>,
    /// The token of the session in a role.
    pub(crate) session: Option<String>,
    /// The `X-Amz-Target`.
    pub(crate) target: Option<String>,
    pub(crate) body: Bytes,
    /// How many requests of this method and path came before.
    pub(crate) earlier: usize,
}

impl Asked {
    pub(crate) fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path == path
    }
}

/// What the server answers.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
    end: End,
}

/// How an answer ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// As announced.
    Whole,
    /// After so many bytes the connection is dropped.
    Breaks(usize),
    /// After so many bytes nothing more comes, and the connection stays.
    Stalls(usize),
    /// Nothing comes at all, and the connection stays.
    Silent,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new(), end: End::Whole }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Announces the whole body, sends this much and drops the connection.
    pub(crate) fn breaks_after(mut self, bytes: usize) -> Self {
        self.end = End::Breaks(bytes);
        self
    }

    /// Announces the whole body, sends this much and then nothing, for ever.
    pub(crate) fn stalls_after(mut self, bytes: usize) -> Self {
        self.end = End::Stalls(bytes);
        self
    }

    /// Keeps the connection and never answers.
    pub(crate) fn silent() -> Self {
        Self { end: End::Silent, ..Self::new(200) }
    }
}

type Script = dyn Fn(&Asked) -> Reply + Send + Sync;

/// Ends with its drop.
pub(crate) struct LyingServer {
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl LyingServer {
    pub(crate) async fn start(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(serve(listener, Arc::new(script), Arc::clone(&asked)));
        Self { address, asked, task }
    }

    /// Everything asked so far, in order.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How often this was asked.
    pub(crate) fn count(&self, method: &str, path: &str) -> usize {
        self.asked().iter().filter(|asked| asked.is(method, path)).count()
    }
}

impl Drop for LyingServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, script: Arc<Script>, asked: Arc<Mutex<Vec<Asked>>>) {
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        let (script, asked) = (Arc::clone(&script), Arc::clone(&asked));
        let service = service_fn(move |request| answer(request, Arc::clone(&script), Arc::clone(&asked)));
        tokio::spawn(async move {
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            // An error here is a connection that the test meant to break.
            let _ = server.serve_connection(TokioIo::new(connection), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    script: Arc<Script>,
    record: Arc<Mutex<Vec<Asked>>>,
) -> Result<Response<UnsyncBoxBody<Bytes, std::io::Error>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let reply = {
        let mut record = record.lock().unwrap();
        let (method, path) = (head.method.to_string(), head.uri.path().to_owned());
        let earlier = record.iter().filter(|asked| asked.is(&method, &path)).count();
        let query = head.uri.query().unwrap_or_default().to_owned();
        let (authorization, target) = (header("authorization"), header("x-amz-target"));
        let session = header("x-amz-security-token");
        let asked = Asked { method, path, query, authorization, session, target, body, earlier };
        record.push(asked.clone());
        script(&asked)
    };
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    let length = reply.body.len();
    let begin = |bytes: usize| Ok(Frame::data(reply.body.slice(..bytes)));
    let frames: BoxStream<'static, std::io::Result<Frame<Bytes>>> = match reply.end {
        End::Whole => stream::iter([Ok(Frame::data(reply.body))]).boxed(),
        End::Breaks(bytes) => stream::iter([begin(bytes), Err(std::io::ErrorKind::ConnectionReset.into())]).boxed(),
        End::Stalls(bytes) => stream::iter([begin(bytes)]).chain(stream::pending()).boxed(),
        End::Silent => std::future::pending().await,
    };
    if length > 0 {
        response = response.header("content-length", length);
    }
    Ok(response.body(BodyExt::boxed_unsync(StreamBody::new(frames))).unwrap())
}
