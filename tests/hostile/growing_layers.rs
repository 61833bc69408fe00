//! Layers that are sent while they are made, to registries that break off, forget, and refuse.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use packhorse::image::credentials::Anonymous;
use packhorse::image::layer::{Compression, Layer, LayerEntry, LayerError, Packer};
use packhorse::image::registry::RetryPolicy;
use packhorse::image::sending::{SendError, send};
use packhorse::image::{Digest, RegistryClient, RegistryOptions, RegistryTarget, Repository, Stored};

use crate::support::lying_server::{LyingServer, Reply};

const MEBIBYTE: usize = 1024 * 1024;
/// More than is waited for before anything is sent.
const LARGE: usize = 40 * MEBIBYTE;
const UPLOADS: &str = "/v2/app/blobs/uploads/";

fn target(server: &LyingServer) -> RegistryTarget {
    let retry = RetryPolicy { first_pause: Duration::from_millis(1), ..RetryPolicy::default() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let options = RegistryOptions { retry, ..RegistryOptions::new(provider) };
    let client = RegistryClient::new(options, Arc::new(Anonymous)).unwrap();
    let repository: Repository = format!("{}/app", server.address).parse().unwrap();
    RegistryTarget::new(client, repository)
}

/// Bytes that cannot be compressed.
fn noise(length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    fastrand::fill(&mut bytes);
    bytes.into()
}

struct Bench {
    folder: tempfile::TempDir,
    packer: Arc<Packer>,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let packer = Arc::new(Packer::new(folder.path(), Compression::Gzip).unwrap());
        Self { folder, packer }
    }

    async fn send(&self, server: &LyingServer, content: Bytes) -> Result<(Layer, Stored), SendError> {
        let entry = move || std::iter::once(Ok(LayerEntry::file("/noise", 0o644, content)));
        send(&self.packer, &target(server), None, None, entry).await
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.folder.path()).unwrap().count()
    }
}

/// What a registry has of the upload that was begun last.
type Kept = Arc<Mutex<Vec<u8>>>;

/// A registry that keeps one upload at a time, each under its own number, and does what `adversity` says to the pieces by their
/// number.
async fn registry(adversity: fn(usize) -> Option<Reply>) -> (LyingServer, Kept) {
    let kept = Kept::default();
    let (shared, begun, pieces) = (Arc::clone(&kept), AtomicUsize::new(0), AtomicUsize::new(0));
    let server = LyingServer::start(move |asked| {
        let mut kept = shared.lock().unwrap();
        let state = |status: u16, kept: &Vec<u8>, number: usize| {
            Reply::new(status)
                .header("location", format!("{UPLOADS}{number}"))
                .header("range", format!("0-{}", kept.len().max(1) - 1))
        };
        let number = begun.load(Ordering::SeqCst);
        let is_current = asked.path.ends_with(&format!("/{number}"));
        match asked.method.as_str() {
            "POST" => {
                kept.clear();
                state(202, &kept, begun.fetch_add(1, Ordering::SeqCst) + 1)
            }
            "PATCH" => adversity(pieces.fetch_add(1, Ordering::SeqCst)).unwrap_or_else(|| {
                kept.extend_from_slice(&asked.body);
                state(202, &kept, number)
            }),
            "GET" if is_current && !kept.is_empty() => state(204, &kept, number),
            "GET" | "HEAD" => Reply::new(404),
            "PUT" => {
                kept.extend_from_slice(&asked.body);
                let announced = asked.query.replace("%3A", ":");
                let right = announced.contains(Digest::of(&kept).as_str());
                Reply::new(if right { 201 } else { 400 })
            }
            _ => Reply::new(204),
        }
    })
    .await;
    (server, kept)
}

fn sent(server: &LyingServer) -> usize {
    server.asked().iter().filter(|asked| asked.method != "HEAD").map(|asked| asked.body.len()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn large_layer_is_sent_while_it_is_made_and_once() {
    let (server, kept) = registry(|_| None).await;
    let bench = Bench::new();
    let (layer, stored) = bench.send(&server, noise(LARGE)).await.unwrap();
    assert_eq!(stored, Stored::Sent);
    assert_eq!(Digest::of(&kept.lock().unwrap()), layer.descriptor.digest);
    assert_eq!(sent(&server) as u64, layer.descriptor.size);
    assert_eq!(server.count("HEAD", &format!("/v2/app/blobs/{}", layer.descriptor.digest)), 0);
    assert!(server.asked().iter().filter(|asked| asked.method == "PATCH").count() > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn small_layer_is_looked_for_before_it_is_sent() {
    let server = LyingServer::start(|asked| Reply::new(if asked.method == "HEAD" { 200 } else { 500 })).await;
    let (_, stored) = Bench::new().send(&server, noise(MEBIBYTE)).await.unwrap();
    assert_eq!(stored, Stored::AlreadyThere);
    assert_eq!(sent(&server), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_that_breaks_off_goes_on_where_it_was() {
    for adversity in [
        |piece| (piece == 1).then(|| Reply::new(502)),
        |piece| (piece == 1 || piece == 2).then(|| Reply::new(429)),
        |piece| (piece == 2).then(|| Reply::new(416)),
    ] {
        let (server, kept) = registry(adversity).await;
        let (layer, _) = Bench::new().send(&server, noise(LARGE)).await.unwrap();
        assert_eq!(Digest::of(&kept.lock().unwrap()), layer.descriptor.digest);
        assert_eq!(server.count("POST", UPLOADS), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_that_the_registry_forgets_begins_anew_when_the_layer_is_whole() {
    // The first piece is lost, and the registry then has nothing of the upload.
    let (server, kept) = registry(|piece| (piece == 0).then(|| Reply::new(502))).await;
    let (layer, stored) = Bench::new().send(&server, noise(LARGE)).await.unwrap();
    assert_eq!(stored, Stored::Sent);
    assert_eq!(Digest::of(&kept.lock().unwrap()), layer.descriptor.digest);
    assert_eq!(server.count("POST", UPLOADS), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_without_pieces_gets_the_layer_whole() {
    let (server, kept) = registry(|_| Some(Reply::new(405))).await;
    let content = noise(LARGE);
    let (layer, _) = Bench::new().send(&server, content).await.unwrap();
    assert_eq!(Digest::of(&kept.lock().unwrap()), layer.descriptor.digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn layer_that_cannot_be_made_is_taken_back() {
    let (server, _) = registry(|_| None).await;
    let bench = Bench::new();
    let content = noise(LARGE);
    let entries = move || {
        let broken = LayerError::Changed { path: "/log".into(), size: 1, grew: true };
        [Ok(LayerEntry::file("/noise", 0o644, content)), Err(broken)].into_iter()
    };
    let failed = send(&bench.packer, &target(&server), None, None, entries).await;
    assert!(matches!(failed, Err(SendError::Layer(LayerError::Changed { .. }))), "{failed:?}");
    let asked = server.asked();
    assert!(asked.iter().all(|asked| asked.method != "PUT"), "nothing was ended");
    let begun = asked.iter().filter(|asked| asked.method == "POST").count();
    assert_eq!(asked.iter().filter(|asked| asked.method == "DELETE").count(), begun, "what was begun is taken back");
    assert_eq!(bench.files(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_that_refuses_ends_the_making_too() {
    let server = LyingServer::start(|asked| Reply::new(if asked.method == "HEAD" { 404 } else { 403 })).await;
    let bench = Bench::new();
    let failed = bench.send(&server, noise(LARGE)).await;
    assert!(matches!(failed, Err(SendError::Image(_))), "{failed:?}");
    assert_eq!(bench.files(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_that_claims_more_than_was_sent_lies() {
    let server = LyingServer::start(|asked| match asked.method.as_str() {
        "HEAD" => Reply::new(404),
        _ => Reply::new(202).header("location", format!("{UPLOADS}1")).header("range", "0-999999999999"),
    })
    .await;
    let failed = Bench::new().send(&server, noise(LARGE)).await;
    let Err(SendError::Image(error)) = failed else { panic!("{failed:?}") };
    assert!(error.to_string().contains("bytes"), "{error}");
}
