//! The reverse proxy that holds an app's port while its releases come and go.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::header::{CONNECTION, HeaderName, HeaderValue, UPGRADE};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

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
    web: Mutex<Option<SocketAddr>>,
    /// Requests under way by the address they went to.
    under_way: watch::Sender<BTreeMap<SocketAddr, usize>>,
}

impl State {
    /// Counts a request as under way to the web process of the moment; one step, so that whoever switches sees it.
    fn admit(self: &Arc<Self>) -> Option<(SocketAddr, Ticket)> {
        let web = self.web.lock().unwrap_or_else(PoisonError::into_inner);
        let address = (*web)?;
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
            state: Arc::new(State { web: Mutex::new(None), under_way: watch::Sender::new(BTreeMap::new()) }),
            closed: CancellationToken::new(),
        };
        tokio::spawn(proxy.clone().serve(listener));
        Ok(proxy)
    }

    /// Returns where the app answers.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
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
            let proxy = self.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let proxy = proxy.clone();
                    async move { Ok::<_, Infallible>(proxy.forward(request, peer).await) }
                });
                // A client that goes away in the middle is no error of ours.
                let _ = server::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
            });
        }
    }

    async fn forward(&self, mut request: Request<Incoming>, peer: SocketAddr) -> Answer {
        let Some((stream, ticket)) = self.connect().await else {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "No release of this app is running yet.\n");
        };
        let upgrade = prepare(&mut request, peer);
        let from_client = upgrade.then(|| hyper::upgrade::on(&mut request));
        match exchange(stream, request).await {
            Ok(mut response) => {
                if let (Some(from_client), StatusCode::SWITCHING_PROTOCOLS) = (from_client, response.status()) {
                    let from_web = hyper::upgrade::on(&mut response);
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
            Err(error) => plain(StatusCode::BAD_GATEWAY, &format!("The web process did not answer: {error}\n")),
        }
    }

    /// Connects to the web process of the moment; one that just went away has a successor.
    async fn connect(&self) -> Option<(TcpStream, Ticket)> {
        for attempt in 1..=ATTEMPTS {
            let (web, ticket) = self.state.admit()?;
            if let Ok(stream) = TcpStream::connect(web).await {
                return Some((stream, ticket));
            }
            tokio::time::sleep(Duration::from_millis(20 * u64::from(attempt))).await;
        }
        None
    }
}

#[async_trait]
impl Routes for Proxy {
    async fn point_to(&self, _: &LaneKey, web: SocketAddr) {
        *self.state.web.lock().unwrap_or_else(PoisonError::into_inner) = Some(web);
        let mut under_way = self.state.under_way.subscribe();
        let drained = under_way.wait_for(|under_way| under_way.keys().all(|address| *address == web));
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

/// Removes what belongs to the client's connection, says where the request came from, and tells whether it asks for
/// another protocol, such as a web socket (RFC 9110, 7.6.1 and 7.8).
fn prepare(request: &mut Request<Incoming>, peer: SocketAddr) -> bool {
    const HOP_BY_HOP: [&str; 6] =
        ["keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"];
    let headers = request.headers_mut();
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let upgrade = named.contains(&UPGRADE) && headers.contains_key(UPGRADE);
    for name in named.into_iter().filter(|name| *name != UPGRADE) {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    headers.remove(CONNECTION);
    if upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    } else {
        headers.remove(UPGRADE);
    }
    if let Ok(address) = HeaderValue::from_str(&peer.ip().to_string()) {
        headers.append("x-forwarded-for", address);
    }
    headers.insert("x-forwarded-proto", HeaderValue::from_static("http"));
    upgrade
}

async fn exchange(stream: TcpStream, request: Request<Incoming>) -> Result<Response<Incoming>, hyper::Error> {
    let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await
}

fn plain(status: StatusCode, text: &str) -> Answer {
    let body = Full::new(Bytes::copy_from_slice(text.as_bytes())).map_err(|never| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
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

    #[tokio::test]
    async fn without_a_release_it_says_so() {
        let proxy = Proxy::listen(0).await.unwrap();
        assert!(get(&proxy).await.starts_with("HTTP/1.1 503 "));
    }

    #[tokio::test]
    async fn requests_under_way_end_where_they_began_before_the_new_release_has_taken_over() {
        let (go, seen) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let old = web("old", Some(go.clone()), Some(seen.clone())).await;
        let new = web("new", None, None).await;
        let proxy = Proxy::listen(0).await.unwrap();
        proxy.point_to(&lane(), old).await;

        let slow = tokio::spawn({
            let proxy = proxy.clone();
            async move { get(&proxy).await }
        });
        seen.notified().await;
        let switched = tokio::spawn({
            let proxy = proxy.clone();
            async move { proxy.point_to(&lane(), new).await }
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
