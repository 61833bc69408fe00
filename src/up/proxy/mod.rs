//! The reverse proxy that holds an app's port while its releases come and go.

mod headers;
mod pages;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::header::HeaderMap;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::headers::Arrival;
use self::pages::Trouble;
use crate::domain::lane::LaneKey;
use crate::ports::routes::Routes;

/// How long requests under way may keep the release that they began with.
const DRAIN: Duration = Duration::from_secs(30);
/// Attempts to reach the web process; another release may take over in between.
const ATTEMPTS: u32 = 5;

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

/// A proxy in front of one app.
#[derive(Clone)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    closed: CancellationToken,
}

struct State {
    web: Mutex<Webs>,
    /// What is being done while no release runs.
    doing: Mutex<String>,
    /// Requests under way by the address they went to.
    under_way: watch::Sender<BTreeMap<SocketAddr, usize>>,
}

/// The web processes of the moment, which take requests in turn.
#[derive(Default)]
struct Webs {
    addresses: Vec<SocketAddr>,
    turn: usize,
}

impl State {
    /// Counts a request as under way to a web process of the moment; one step, so that whoever switches sees it.
    fn admit(self: &Arc<Self>) -> Option<(SocketAddr, Ticket)> {
        let mut web = self.web.lock().unwrap_or_else(PoisonError::into_inner);
        web.turn = web.turn.wrapping_add(1);
        let address = *web.addresses.get(web.turn.checked_rem(web.addresses.len())?)?;
        self.under_way.send_modify(|under_way| *under_way.entry(address).or_default() += 1);
        Some((address, Ticket(Arc::clone(self), address)))
    }
}

impl Proxy {
    /// Listens on a port of the loopback address; port 0 takes a free one.
    ///
    /// # Errors
    /// Fails when the port is taken.
    pub async fn listen(port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let proxy = Self {
            address: listener.local_addr()?,
            state: Arc::new(State {
                web: Mutex::default(),
                doing: Mutex::new(String::new()),
                under_way: watch::Sender::new(BTreeMap::new()),
            }),
            closed: CancellationToken::new(),
        };
        tokio::spawn(proxy.clone().serve(listener));
        Ok(proxy)
    }

    /// Returns where the app answers.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Tells clients what is being done while no release runs.
    pub fn say(&self, doing: impl Into<String>) {
        *self.state.doing.lock().unwrap_or_else(PoisonError::into_inner) = doing.into();
    }

    /// Stops listening.
    pub fn close(&self) {
        self.closed.cancel();
    }

    async fn serve(self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.closed.cancelled() => return,
            };
            // A connection that failed before it was accepted concerns nobody else.
            let Ok((stream, peer)) = accepted else { continue };
            // A small piece of a stream, such as one event, must not wait for the next one.
            let _ = stream.set_nodelay(true);
            let arrival = Arrival { peer: peer.ip(), local: stream.local_addr().unwrap_or(self.address) };
            let proxy = self.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let proxy = proxy.clone();
                    async move { Ok::<_, Infallible>(proxy.forward(request, arrival).await) }
                });
                // A client that goes away in the middle is no error of ours.
                let _ = server::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
            });
        }
    }

    async fn forward(&self, mut request: Request<Incoming>, arrival: Arrival) -> Answer {
        let accepted = request.headers().clone();
        if request.method() == Method::CONNECT {
            return page(&Trouble::NotHere, &accepted);
        }
        let (stream, ticket) = match self.connect().await {
            Ok(connected) => connected,
            Err(trouble) => return page(&trouble, &accepted),
        };
        let upgrade = headers::of_request(&mut request, arrival);
        let from_client = upgrade.then(|| hyper::upgrade::on(&mut request));
        match exchange(stream, request).await {
            Ok(mut response) => {
                let from_web = hyper::upgrade::on(&mut response);
                headers::of_response(&mut response);
                if let (Some(from_client), StatusCode::SWITCHING_PROTOCOLS) = (from_client, response.status()) {
                    tokio::spawn(async move {
                        let _until_the_end = ticket;
                        if let (Ok(client), Ok(web)) = tokio::join!(from_client, from_web) {
                            let (mut client, mut web) = (TokioIo::new(client), TokioIo::new(web));
                            let _ = tokio::io::copy_bidirectional(&mut client, &mut web).await;
                        }
                    });
                    return response.map(BodyExt::boxed);
                }
                response.map(|body| WithTicket { body, _ticket: ticket }.boxed())
            }
            Err(error) => page(&Trouble::CutOff(reason(&error)), &accepted),
        }
    }

    /// Connects to a web process of the moment; one that just went away has a successor, or others beside it.
    async fn connect(&self) -> Result<(TcpStream, Ticket), Trouble> {
        let mut cause = String::new();
        for attempt in 1..=ATTEMPTS {
            let Some((web, ticket)) = self.state.admit() else {
                let doing = self.state.doing.lock().unwrap_or_else(PoisonError::into_inner).clone();
                return Err(Trouble::NotYet(doing));
            };
            match TcpStream::connect(web).await {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    return Ok((stream, ticket));
                }
                Err(error) => cause = error.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(20 * u64::from(attempt))).await;
        }
        Err(Trouble::NotReached(cause))
    }
}

#[async_trait]
impl Routes for Proxy {
    async fn point_to(&self, _: &LaneKey, web: &[SocketAddr]) {
        if web.is_empty() {
            self.say("No web process is to run; `packhorse ps` shows the scale.");
        }
        self.state.web.lock().unwrap_or_else(PoisonError::into_inner).addresses = web.to_vec();
        let mut under_way = self.state.under_way.subscribe();
        let drained = under_way.wait_for(|under_way| under_way.keys().all(|address| web.contains(address)));
        let _ = tokio::time::timeout(DRAIN, drained).await;
    }
}

/// Counts a request as under way for as long as it lives.
struct Ticket(Arc<State>, SocketAddr);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.under_way.send_modify(|under_way| match under_way.get_mut(&self.1) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                under_way.remove(&self.1);
            }
        });
    }
}

/// A response that counts as under way until its last byte.
struct WithTicket {
    body: Incoming,
    _ticket: Ticket,
}

impl hyper::body::Body for WithTicket {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, hyper::Error>>> {
        std::pin::Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

async fn exchange(stream: TcpStream, request: Request<Incoming>) -> Result<Response<Incoming>, hyper::Error> {
    let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await
}

fn page(trouble: &Trouble, request: &HeaderMap) -> Answer {
    trouble.page(request).map(|text| Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed())
}

/// Says why an exchange ended: the innermost cause names the system's own error.
fn reason(error: &hyper::Error) -> String {
    let mut innermost = error.source();
    while let Some(next) = innermost.and_then(std::error::Error::source) {
        innermost = Some(next);
    }
    match innermost {
        Some(cause) => cause.to_string(),
        None if error.is_incomplete_message() => "it closed the connection before its response was complete".to_owned(),
        None if error.is_parse() => format!("what it sent is no HTTP ({error})"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;

    use super::*;

    fn lane() -> LaneKey {
        LaneKey::app("shop".parse().unwrap())
    }

    /// A web process that answers each request with `name`, once `go` was told if there is one.
    async fn web(name: &'static str, go: Option<Arc<Notify>>, seen: Option<Arc<Notify>>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (go, seen) = (go.clone(), seen.clone());
                tokio::spawn(async move {
                    let mut request = [0; 1024];
                    let _ = stream.read(&mut request).await.unwrap();
                    if let Some(seen) = seen {
                        seen.notify_one();
                    }
                    if let Some(go) = go {
                        go.notified().await;
                    }
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                });
            }
        });
        address
    }

    async fn get(proxy: &Proxy) -> String {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// A web process that reads one request up to the end of its head, and is then in the test's hands.
    struct Web {
        listener: TcpListener,
    }

    impl Web {
        async fn behind(proxy: &Proxy) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            proxy.point_to(&lane(), &[listener.local_addr().unwrap()]).await;
            Self { listener }
        }

        async fn request(&self) -> (TcpStream, String) {
            let (mut stream, _) = self.listener.accept().await.unwrap();
            let head = until(&mut stream, "\r\n\r\n").await;
            (stream, head)
        }
    }

    /// Reads until a text was read.
    async fn until(stream: &mut TcpStream, end: &str) -> String {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) {
            let byte = stream.read_u8().await;
            text.push(byte.unwrap_or_else(|error| panic!("{error} after {}", String::from_utf8_lossy(&text))));
        }
        String::from_utf8(text).unwrap()
    }

    async fn client(proxy: &Proxy, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    #[tokio::test]
    async fn without_a_release_it_says_so_and_what_is_being_done() {
        let proxy = Proxy::listen(0).await.unwrap();
        proxy.say("Build 1: test started");
        let answer = get(&proxy).await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Build 1: test started"), "{answer}");
    }

    #[tokio::test]
    async fn a_web_process_that_went_away_or_breaks_off_is_a_502_with_the_cause() {
        let proxy = Proxy::listen(0).await.unwrap();
        let web = Web::behind(&proxy).await;
        let asked = tokio::spawn({
            let proxy = proxy.clone();
            async move { get(&proxy).await }
        });
        drop(web.request().await);
        let answer = asked.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("closed the connection before"), "{answer}");
        drop(web);
        let answer = get(&proxy).await;
        assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("refused"), "{answer}");
    }

    #[tokio::test]
    async fn the_version_and_the_connection_of_the_web_process_are_its_own() {
        let proxy = Proxy::listen(0).await.unwrap();
        let web = Web::behind(&proxy).await;
        // Two requests on one connection, although the web process closes its own after each.
        let mut client = client(&proxy, "").await;
        for _ in 0..2 {
            client.write_all(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await.unwrap();
            let (mut stream, head) = web.request().await;
            assert!(head.starts_with("GET / HTTP/1.1\r\n"), "{head}");
            stream
                .write_all(b"HTTP/1.0 200 OK\r\nconnection: close, x-a\r\nx-a: 1\r\nkeep-alive: timeout=5\r\n\r\nhello")
                .await
                .unwrap();
            drop(stream);
            let answer = until(&mut client, "0\r\n\r\n").await.to_lowercase();
            assert!(answer.starts_with("http/1.1 200 ok") && answer.contains("hello"), "{answer}");
            for gone in ["x-a", "keep-alive", "connection"] {
                assert!(!answer.contains(gone), "{answer}");
            }
        }
    }

    #[tokio::test]
    async fn bodies_pass_piece_by_piece_in_both_directions() {
        let proxy = Proxy::listen(0).await.unwrap();
        let web = Web::behind(&proxy).await;
        let mut client =
            client(&proxy, "POST / HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n").await;
        let (mut stream, head) = web.request().await;
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        until(&mut stream, "one\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfour\r\n").await.unwrap();
        until(&mut client, "four\r\n").await;
        client.write_all(b"3\r\ntwo\r\n0\r\n\r\n").await.unwrap();
        until(&mut stream, "two\r\n0\r\n\r\n").await;
        stream.write_all(b"4\r\nfive\r\n0\r\n\r\n").await.unwrap();
        until(&mut client, "five\r\n0\r\n\r\n").await;
    }

    #[tokio::test]
    async fn a_web_socket_passes_and_keeps_its_release_until_it_ends() {
        let proxy = Proxy::listen(0).await.unwrap();
        let web = Web::behind(&proxy).await;
        let mut client =
            client(&proxy, "GET /live HTTP/1.1\r\nhost: shop\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n")
                .await;
        let (mut stream, head) = web.request().await;
        assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"), "{head}");
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nhi")
            .await
            .unwrap();
        let answer = until(&mut client, "\r\n\r\nhi").await.to_lowercase();
        assert!(answer.starts_with("http/1.1 101 ") && answer.contains("upgrade: websocket"), "{answer}");
        client.write_all(b"ping").await.unwrap();
        until(&mut stream, "ping").await;
        let address = web.listener.local_addr().unwrap();
        assert_eq!(proxy.state.under_way.borrow().get(&address), Some(&1));
        drop(client);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        drop(stream);
        proxy.state.under_way.subscribe().wait_for(BTreeMap::is_empty).await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_leaves_ends_its_request_at_the_web_process_too() {
        let proxy = Proxy::listen(0).await.unwrap();
        let web = Web::behind(&proxy).await;
        for begun in [false, true] {
            let mut client = client(&proxy, "GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await;
            let (mut stream, _) = web.request().await;
            if begun {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nsome").await.unwrap();
                until(&mut client, "some").await;
            }
            drop(client);
            // The end of the connection: closed, or reset where bytes were still on their way.
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            proxy.state.under_way.subscribe().wait_for(BTreeMap::is_empty).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_proxys_method_is_refused_and_the_next_request_is_served() {
        let proxy = Proxy::listen(0).await.unwrap();
        let mut refused = client(&proxy, "CONNECT example.test:443 HTTP/1.1\r\nhost: example.test\r\n\r\n").await;
        assert!(until(&mut refused, "\r\n\r\n").await.starts_with("HTTP/1.1 405 "));
    }

    #[tokio::test]
    async fn requests_under_way_end_where_they_began_before_the_new_release_has_taken_over() {
        let (go, seen) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let old = web("old", Some(go.clone()), Some(seen.clone())).await;
        let new = web("new", None, None).await;
        let proxy = Proxy::listen(0).await.unwrap();
        proxy.point_to(&lane(), &[old]).await;

        let slow = tokio::spawn({
            let proxy = proxy.clone();
            async move { get(&proxy).await }
        });
        seen.notified().await;
        let switched = tokio::spawn({
            let proxy = proxy.clone();
            async move { proxy.point_to(&lane(), &[new]).await }
        });
        // The switch is visible at once, and is over only when the slow request is.
        while !get(&proxy).await.ends_with("new") {
            go.notify_one();
        }
        go.notify_one();
        assert!(slow.await.unwrap().ends_with("old"));
        switched.await.unwrap();
    }
}
