//! What a proxy changes in the headers of requests and responses (RFC 9110, 7.6), and what an app expects of the router
//! before it: the headers are those of Heroku's.

use std::net::{IpAddr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use hyper::http::uri::{PathAndQuery, Uri};
use hyper::{Request, Response, StatusCode, Version};

/// Headers that concern one connection only, whether or not `Connection` names them (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("proxy-authorization"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];
/// Headers that no `Connection` may take away: the message would mean something else.
const KEPT: [HeaderName; 2] = [HOST, CONTENT_LENGTH];
/// How a proxy names itself.
const NAME: HeaderValue = HeaderValue::from_static("1.1 packhorse");

/// Where a request came in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// Who sent it.
    pub(super) peer: IpAddr,
    /// The address that it was sent to.
    pub(super) local: SocketAddr,
}

/// Makes of a client's request the one that the web process gets; tells whether it asks for another protocol, such as
/// a web socket (RFC 9110, 7.8).
///
/// `Host` stays what the client asked for, and so does `X-Forwarded-Host`, which a proxy further out may have set.
pub(super) fn of_request<B>(request: &mut Request<B>, arrival: Arrival) -> bool {
    // The whole address is for proxies only; what it says of the host counts (RFC 9112, 3.2).
    if let Some(authority) = request.uri().authority().cloned() {
        let host = HeaderValue::from_str(authority.as_str());
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(path);
        if let Ok(host) = host {
            request.headers_mut().insert(HOST, host);
        }
    }
    *request.version_mut() = Version::HTTP_11;
    let chunked = request.headers().contains_key(TRANSFER_ENCODING);
    let headers = request.headers_mut();
    let protocol = take_connection(headers);
    if let Some(protocol) = &protocol {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol.clone());
    }
    if chunked {
        // Whoever sends a body of unknown length says so, whatever the method.
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if !headers.contains_key(HOST)
        && let Ok(host) = HeaderValue::from_str(&arrival.local.to_string())
    {
        headers.insert(HOST, host);
    }
    append(headers, &HeaderName::from_static("x-forwarded-for"), &arrival.peer.to_string());
    headers.insert("x-forwarded-proto", HeaderValue::from_static("http"));
    headers.insert("x-forwarded-port", HeaderValue::from(arrival.local.port()));
    headers.insert("x-request-start", HeaderValue::from(epoch_milliseconds()));
    let id = headers.get("x-request-id").filter(|id| is_request_id(id)).cloned();
    if let Some(id) = id.or_else(|| HeaderValue::from_str(&new_request_id()).ok()) {
        headers.insert("x-request-id", id);
    }
    headers.append(VIA, NAME);
    protocol.is_some()
}

/// Makes of the web process's response the one that the client gets. Only a change of protocol is a matter between
/// those two.
pub(super) fn of_response<B>(response: &mut Response<B>) {
    *response.version_mut() = Version::HTTP_11;
    let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    let protocol = take_connection(headers);
    if let (true, Some(protocol)) = (switching, protocol) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    headers.append(VIA, NAME);
}

/// Removes what belongs to one connection, and returns the protocol that it is to change to.
fn take_connection(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let protocol = headers.get(UPGRADE).filter(|_| named.contains(&UPGRADE)).cloned();
    for name in named.into_iter().chain(HOP_BY_HOP).filter(|name| !KEPT.contains(name)) {
        headers.remove(name);
    }
    headers.remove(CONNECTION);
    protocol
}

/// Adds to a list in one line: many frameworks read the first line only.
fn append(headers: &mut HeaderMap, name: &HeaderName, item: &str) {
    let before: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    let whole: Vec<&str> = before.into_iter().chain([item]).collect();
    if let Ok(value) = HeaderValue::from_str(&whole.join(", ")) {
        headers.insert(name, value);
    }
}

/// Tells whether an id that a client gave is kept: 20 to 200 letters, digits, `+`, `/`, `=` and `-`, as Heroku does.
fn is_request_id(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    (20..=200).contains(&bytes.len())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-'))
}

/// Makes a random UUID (RFC 9562, version 4).
fn new_request_id() -> String {
    let bits = (fastrand::u128(..) & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let text = format!("{bits:032x}");
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

#[expect(clippy::disallowed_methods, reason = "the time of a request, in milliseconds, decides nothing here")]
fn epoch_milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival() -> Arrival {
        Arrival { peer: "192.0.2.7".parse().unwrap(), local: "127.0.0.1:5000".parse().unwrap() }
    }

    fn request(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().uri(uri).version(Version::HTTP_10);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    fn text<'r>(headers: &'r HeaderMap, name: &str) -> Option<&'r str> {
        headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn a_request_says_where_it_came_from_as_behind_herokus_router() {
        let mut given = request("/", &[("host", "shop.test"), ("x-forwarded-for", "203.0.113.9")]);
        assert!(!of_request(&mut given, arrival()));
        let headers = given.headers();
        assert_eq!(given.version(), Version::HTTP_11);
        assert_eq!(text(headers, "host"), Some("shop.test"));
        assert_eq!(text(headers, "x-forwarded-for"), Some("203.0.113.9, 192.0.2.7"));
        assert_eq!(headers.get_all("x-forwarded-for").iter().count(), 1);
        assert_eq!(text(headers, "x-forwarded-proto"), Some("http"));
        assert_eq!(text(headers, "x-forwarded-port"), Some("5000"));
        assert_eq!(text(headers, "via"), Some("1.1 packhorse"));
        // Milliseconds since 1970, after 2020 and before 2100.
        let start: u64 = text(headers, "x-request-start").unwrap().parse().unwrap();
        assert!((1_577_836_800_000..4_102_444_800_000).contains(&start), "{start}");
        let id = text(headers, "x-request-id").unwrap();
        assert_eq!((id.len(), id.as_bytes()[14]), (36, b'4'), "{id}");
    }

    #[test]
    fn a_clients_request_id_is_kept_when_it_is_one() {
        for (id, kept) in [("0123456789-abcdefghi", true), ("short", false), ("0123456789 abcdefghij", false)] {
            let mut given = request("/", &[("x-request-id", id)]);
            of_request(&mut given, arrival());
            assert_eq!(text(given.headers(), "x-request-id") == Some(id), kept, "{id}");
        }
    }

    #[test]
    fn what_belongs_to_one_connection_is_not_passed_on() {
        let hop = [
            ("connection", "keep-alive, X-Only-Here, content-length"),
            ("keep-alive", "timeout=5"),
            ("x-only-here", "1"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "Basic eDp5"),
            ("content-length", "0"),
            ("accept", "*/*"),
        ];
        let mut given = request("/", &hop);
        assert!(!of_request(&mut given, arrival()), "an upgrade that `Connection` does not name is none");
        for gone in ["connection", "keep-alive", "x-only-here", "te", "upgrade", "proxy-authorization"] {
            assert_eq!(text(given.headers(), gone), None, "{gone}");
        }
        for kept in ["accept", "content-length"] {
            assert!(given.headers().contains_key(kept), "{kept}");
        }

        let mut response = Response::builder().version(Version::HTTP_10);
        for (name, value) in hop.into_iter().chain([("transfer-encoding", "chunked"), ("set-cookie", "a=1")]) {
            response = response.header(name, value);
        }
        let mut response = response.body(()).unwrap();
        of_response(&mut response);
        assert_eq!(response.version(), Version::HTTP_11);
        for gone in ["connection", "keep-alive", "x-only-here", "te", "upgrade", "transfer-encoding"] {
            assert_eq!(text(response.headers(), gone), None, "{gone}");
        }
        assert_eq!(text(response.headers(), "set-cookie"), Some("a=1"));
    }

    #[test]
    fn a_change_of_protocol_passes_in_both_directions() {
        let socket = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
        let mut given = request("/live", &socket);
        assert!(of_request(&mut given, arrival()));
        assert_eq!(text(given.headers(), "upgrade"), Some("websocket"));
        assert_eq!(text(given.headers(), "connection"), Some("upgrade"));
        for (status, passed) in [(101, true), (426, false)] {
            let response =
                Response::builder().status(status).header("connection", "upgrade").header("upgrade", "websocket");
            let mut response = response.body(()).unwrap();
            of_response(&mut response);
            assert_eq!(text(response.headers(), "upgrade").is_some(), passed, "{status}");
        }
    }

    #[test]
    fn an_address_with_a_host_becomes_a_path_and_its_host_counts() {
        let mut given = request("http://shop.test:8000/a?b=c", &[("host", "other.test")]);
        of_request(&mut given, arrival());
        assert_eq!(given.uri().to_string(), "/a?b=c");
        assert_eq!(text(given.headers(), "host"), Some("shop.test:8000"));

        let mut bare = request("/", &[]);
        of_request(&mut bare, arrival());
        assert_eq!(text(bare.headers(), "host"), Some("127.0.0.1:5000"));
    }
}
