//! Plain requests to a web process, one or very many.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::up::DEADLINE;

/// Sends one request and returns the whole response.
pub(crate) fn ask(address: &str, method: &str, path: &str, form: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    )
    .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

/// Sends one request on a connection that stays and returns the response.
pub(crate) fn ask_again(stream: &mut TcpStream, address: &str) -> String {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nhost: {address}\r\n\r\n").unwrap();
    let mut response = Vec::new();
    let mut byte = [0];
    let wanted = |response: &[u8]| {
        let text = String::from_utf8_lossy(response).to_lowercase();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length: usize = head.split("content-length: ").nth(1)?.lines().next()?.trim().parse().ok()?;
        Some(body.len() >= length)
    };
    while wanted(&response) != Some(true) {
        stream.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error} after {response:?}"));
        response.push(byte[0]);
    }
    String::from_utf8(response).unwrap()
}

/// Whether a response has the status 200.
pub(crate) fn answers(response: &str) -> bool {
    response.starts_with("HTTP/1.1 200 ")
}

/// Clients that ask for the page, one request after the other, until told to stop: some on a connection that stays, some on
/// a new one each time.
pub(crate) struct Requests {
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) clients: Vec<JoinHandle<Vec<String>>>,
}

impl Requests {
    pub(crate) fn start(address: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |stays: bool| {
            let (stop, address) = (Arc::clone(&stop), address.to_owned());
            thread::spawn(move || {
                let mut responses = Vec::new();
                let mut connection = stays.then(|| TcpStream::connect(&address).unwrap());
                while !stop.load(Ordering::Relaxed) {
                    responses.push(match &mut connection {
                        Some(connection) => ask_again(connection, &address),
                        None => ask(&address, "GET", "/", ""),
                    });
                }
                responses
            })
        };
        let clients = (0..6).map(|number| client(number % 2 == 0)).collect();
        Self { stop, clients }
    }

    /// Every response to each client.
    pub(crate) fn end(self) -> Vec<Vec<String>> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().map(|client| client.join().unwrap()).collect()
    }
}
