//! One HTTP request to a stand-in, without a runtime, so that it also works in `Drop`.
#![allow(dead_code, reason = "each build of the tests uses its own part")]

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// The answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Sends a request to `http://HOST:PORT` and reads the whole answer.
///
/// It is signed like one for AWS, though with nonsense: stand-ins read account, region and service from there.
pub(crate) fn ask(
    endpoint: &str,
    service: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    ask_as("test", endpoint, service, method, path, headers, body)
}

/// The same with an access key of the caller's choice; DynamoDB Local has tables of its own for each.
pub(crate) fn ask_as(
    access_key: &str,
    endpoint: &str,
    service: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let host = endpoint.strip_prefix("http://").expect("a plain http address").trim_end_matches('/');
    let mut connection = TcpStream::connect(host).unwrap();
    let scope = format!("{access_key}/20260101/us-east-1/{service}/aws4_request");
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0\r\n",
        body.len()
    );
    for (name, value) in headers {
        let _ = write!(request, "{name}: {value}\r\n");
    }
    write!(connection, "{request}\r\n{body}").unwrap();
    let mut bytes = Vec::new();
    connection.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let body =
        if head.to_ascii_lowercase().contains("transfer-encoding: chunked") { unchunk(body) } else { body.to_owned() };
    Answer { status, body }
}

/// Calls an operation of a service that speaks JSON, such as `DynamoDB_20120810.GetItem`.
pub(crate) fn call(
    endpoint: &str,
    service: &str,
    target: &str,
    input: &serde_json::Value,
) -> Result<serde_json::Value, Answer> {
    call_as("test", endpoint, service, target, input)
}

/// The same with an access key of the caller's choice.
pub(crate) fn call_as(
    access_key: &str,
    endpoint: &str,
    service: &str,
    target: &str,
    input: &serde_json::Value,
) -> Result<serde_json::Value, Answer> {
    let version = if service == "sqs" || service == "dynamodb" {
        "application/x-amz-json-1.0"
    } else {
        "application/x-amz-json-1.1"
    };
    let headers = [("X-Amz-Target", target), ("Content-Type", version)];
    let answer = ask_as(access_key, endpoint, service, "POST", "/", &headers, &input.to_string());
    if answer.status == 200 { Ok(serde_json::from_str(&answer.body).unwrap_or_default()) } else { Err(answer) }
}

fn unchunk(body: &str) -> String {
    let mut whole = String::new();
    let mut rest = body;
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        whole.push_str(&after[..size]);
        rest = after[size..].trim_start_matches("\r\n");
    }
    whole
}
