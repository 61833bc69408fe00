//! Registries that lie, stall, refuse or want too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use packhorse::image::credentials::{Anonymous, CredentialError};
use packhorse::image::registry::{BlobSource, Deleted, RetryPolicy, Tagged};
use packhorse::image::{
    Credential, CredentialSource, Descriptor, Digest, ImageReference, Platform, Registry, RegistryClient,
    RegistryError, RegistryOptions, Tag, media_type,
};

use crate::support::lying_server::{Asked, LyingServer, Reply};

const MANIFEST: &str = "/v2/app/manifests/1";

fn options() -> RegistryOptions {
    let mut options = RegistryOptions::new(Arc::new(rustls::crypto::ring::default_provider()));
    options.retry = RetryPolicy {
        retries: 4,
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(2),
        budget: Duration::from_secs(5),
    };
    options
}

fn anonymous() -> RegistryClient {
    RegistryClient::new(options(), Arc::new(Anonymous)).unwrap()
}

/// Gives `user` and a password, and counts how often it was told that the login was refused.
#[derive(Default)]
struct Login {
    forgotten: AtomicUsize,
}

#[async_trait]
impl CredentialSource for Login {
    async fn credential(&self, _: &Registry) -> Result<Option<Credential>, CredentialError> {
        let password = format!("password-{}", self.forgotten.load(Ordering::SeqCst));
        Ok(Some(Credential::Password { username: "user".to_owned(), password: password.into() }))
    }

    fn forget(&self, _: &Registry) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
    }
}

fn logged_in() -> (RegistryClient, Arc<Login>) {
    let login = Arc::new(Login::default());
    (RegistryClient::new(options(), login.clone()).unwrap(), login)
}

fn image(server: &LyingServer) -> ImageReference {
    format!("{}/app:1", server.address).parse().unwrap()
}

fn manifest() -> Bytes {
    let config = Descriptor::of(media_type::OCI_CONFIG, b"{}");
    let text = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": [],
    });
    text.to_string().into()
}

fn manifest_reply() -> Reply {
    let body = manifest();
    Reply::new(200)
        .header("content-type", media_type::OCI_MANIFEST)
        .header("docker-content-digest", Digest::of(&body).to_string())
        .body(body)
}

fn text(error: &RegistryError) -> String {
    packhorse::ports::failure::chain(error)
}

#[tokio::test]
async fn manifest_with_another_digest_than_announced_is_a_lie() {
    let server = LyingServer::start(|_| {
        Reply::new(200)
            .header("content-type", media_type::OCI_MANIFEST)
            .header("docker-content-digest", Digest::of(b"another").to_string())
            .body(manifest())
    })
    .await;
    let error = anonymous().manifest(&image(&server)).await.unwrap_err();
    assert!(matches!(error, RegistryError::Lied { .. }), "{error}");
    assert!(text(&error).contains(&server.address) && text(&error).contains("/app:1"), "{error}");
}

#[tokio::test]
async fn manifest_by_digest_is_checked_without_any_announcement() {
    let server = LyingServer::start(|_| Reply::new(200).body(manifest())).await;
    let right = image(&server).repository().at(Digest::of(&manifest()));
    let raw = anonymous().manifest(&right).await.unwrap();
    assert_eq!(raw.media_type, media_type::OCI_MANIFEST);
    let wrong = image(&server).repository().at(Digest::of(b"wanted"));
    assert!(matches!(anonymous().manifest(&wrong).await, Err(RegistryError::Lied { .. })));
    assert!(matches!(anonymous().resolve(&wrong).await, Err(RegistryError::Lied { .. })));
}

#[tokio::test]
async fn missing_digest_header_is_made_up_for_by_reading() {
    let server = LyingServer::start(|asked| match asked.method.as_str() {
        "HEAD" => Reply::new(200),
        _ => Reply::new(200).body(manifest()),
    })
    .await;
    assert_eq!(anonymous().resolve(&image(&server)).await.unwrap(), Digest::of(&manifest()));
}

#[tokio::test]
async fn half_a_body_is_asked_for_again() {
    let server = LyingServer::start(|asked| match asked.earlier {
        0 => manifest_reply().breaks_after(10),
        _ => manifest_reply(),
    })
    .await;
    let raw = anonymous().manifest(&image(&server)).await.unwrap();
    assert_eq!(raw.bytes, manifest());
    assert_eq!(server.count("GET", MANIFEST), 2);
}

#[tokio::test]
async fn half_a_body_each_time_ends_as_unavailable() {
    let server = LyingServer::start(|_| manifest_reply().breaks_after(10)).await;
    let error = anonymous().manifest(&image(&server)).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable { .. }), "{error}");
    assert_eq!(server.count("GET", MANIFEST), 5);
}

/// A client that waits a moment only.
fn impatient() -> RegistryClient {
    let options = RegistryOptions { read_timeout: Duration::from_millis(50), ..options() };
    RegistryClient::new(options, Arc::new(Anonymous)).unwrap()
}

#[tokio::test]
async fn registry_that_stalls_for_a_while_is_asked_again() {
    let server = LyingServer::start(|asked| match asked.earlier {
        0 => Reply::silent(),
        1 => manifest_reply().stalls_after(10),
        _ => manifest_reply(),
    })
    .await;
    assert_eq!(impatient().manifest(&image(&server)).await.unwrap().bytes, manifest());
    assert_eq!(server.count("GET", MANIFEST), 3);
}

#[tokio::test]
async fn registry_that_stalls_for_ever_ends_as_unavailable() {
    for reply in [Reply::silent, || manifest_reply().stalls_after(10)] {
        let server = LyingServer::start(move |_| reply()).await;
        let error = impatient().manifest(&image(&server)).await.unwrap_err();
        assert!(matches!(error, RegistryError::Unavailable { .. }), "{error}");
        assert!(text(&error).contains("timed out"), "{}", text(&error));
        assert_eq!(server.count("GET", MANIFEST), 5);
    }
}

#[tokio::test]
async fn blob_that_stalls_ends_as_unavailable() {
    let server = LyingServer::start(|_| Reply::new(200).body(b"layer".as_slice()).stalls_after(2)).await;
    let descriptor = Descriptor::of(media_type::OCI_LAYER_GZIP, b"layer");
    let error = match impatient().blob(image(&server).repository(), &descriptor).await {
        Ok(mut blob) => loop {
            match blob.chunk().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("half a blob passed for all of it"),
                Err(error) => break error,
            }
        },
        Err(error) => error,
    };
    assert!(text(&error).contains("timed out"), "{}", text(&error));
}

#[tokio::test]
async fn upload_to_a_registry_that_stalls_ends_as_unavailable() {
    let server = LyingServer::start(|asked| match asked.method.as_str() {
        "HEAD" => Reply::new(404),
        _ => Reply::silent(),
    })
    .await;
    let descriptor = Descriptor::of(media_type::OCI_LAYER_GZIP, b"layer");
    let source = Bytes::from_static(b"layer");
    let error = impatient().upload_blob(image(&server).repository(), &descriptor, &source).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable { .. }), "{error}");
    assert!(text(&error).contains("timed out"), "{}", text(&error));
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let server = LyingServer::start(|asked| match asked.earlier {
        0 => Reply::new(429).header("retry-after", "1"),
        _ => manifest_reply(),
    })
    .await;
    let begun = Instant::now();
    anonymous().manifest(&image(&server)).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn retry_after_beyond_the_budget_ends_at_once() {
    let server = LyingServer::start(|_| Reply::new(429).header("retry-after", "3600").body("slow down")).await;
    let error = anonymous().manifest(&image(&server)).await.unwrap_err();
    assert!(text(&error).contains("status 429: slow down"), "{}", text(&error));
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn server_errors_pass_by_themselves() {
    let server = LyingServer::start(|asked| match asked.earlier {
        0..3 => Reply::new(500),
        _ => manifest_reply(),
    })
    .await;
    anonymous().manifest(&image(&server)).await.unwrap();
    assert_eq!(server.count("GET", MANIFEST), 4);
}

#[tokio::test]
async fn refusal_is_not_repeated() {
    let server = LyingServer::start(|_| Reply::new(400).body(r#"{"errors":[{"code":"NAME_INVALID"}]}"#)).await;
    let error = anonymous().manifest(&image(&server)).await.unwrap_err();
    assert!(matches!(error, RegistryError::Refused { status: 400, .. }), "{error}");
    assert!(error.to_string().contains("NAME_INVALID"));
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn endless_redirect_ends() {
    let server = LyingServer::start(|asked| Reply::new(307).header("location", format!("{}x", asked.path))).await;
    let error = anonymous().manifest(&image(&server)).await.unwrap_err();
    assert!(error.to_string().contains("redirects more than 5 times"), "{error}");
    assert_eq!(server.asked().len(), 6);
}

#[tokio::test]
async fn login_does_not_follow_a_redirect_to_another_host() {
    let storage = LyingServer::start(|_| Reply::new(200).body("blob")).await;
    let elsewhere = format!("http://{}/blob", storage.address);
    let server = LyingServer::start(move |asked| match &asked.authorization {
        None => Reply::new(401).header("www-authenticate", "Basic realm=\"x\""),
        Some(_) => Reply::new(307).header("location", elsewhere.clone()),
    })
    .await;
    let (client, _) = logged_in();
    let blob = Descriptor::of("x", b"blob");
    assert_eq!(client.blob_bytes(image(&server).repository(), &blob, 100).await.unwrap(), "blob");
    assert!(server.asked().last().unwrap().authorization.is_some());
    assert_eq!(storage.asked().last().unwrap().authorization, None);
}

#[tokio::test]
async fn login_does_not_follow_an_upload_to_another_host() {
    let storage = LyingServer::start(|_| Reply::new(201)).await;
    let elsewhere = format!("http://{}/upload?session=1", storage.address);
    let server = LyingServer::start(move |asked| match (&asked.authorization, asked.method.as_str()) {
        (None, _) => Reply::new(401).header("www-authenticate", "Basic realm=\"x\""),
        (_, "HEAD") => Reply::new(404),
        _ => Reply::new(202).header("location", elsewhere.clone()),
    })
    .await;
    let (client, _) = logged_in();
    let bytes = Bytes::from_static(b"blob");
    client.upload_blob(image(&server).repository(), &Descriptor::of("x", &bytes), &bytes).await.unwrap();
    let sent = storage.asked().pop().unwrap();
    assert_eq!((sent.authorization, sent.body), (None, bytes.clone()));
    assert!(sent.query.starts_with("session=1&digest=sha256"), "{}", sent.query);
}

/// A registry with a token server whose tokens are `token-1`, `token-2`, …; only `good` accepts one.
async fn with_tokens(good: impl Fn(&str) -> bool + Send + Sync + 'static, life: u64) -> LyingServer {
    let address = Arc::new(std::sync::OnceLock::<String>::new());
    let own = Arc::clone(&address);
    let server = LyingServer::start(move |asked: &Asked| {
        if asked.path == "/token" {
            let token = format!("token-{}", asked.earlier + 1);
            return Reply::new(200).body(serde_json::json!({"token": token, "expires_in": life}).to_string());
        }
        match asked.authorization.as_deref().and_then(|value| value.strip_prefix("Bearer ")) {
            Some(token) if good(token) => manifest_reply(),
            _ => Reply::new(401).header(
                "www-authenticate",
                format!("Bearer realm=\"http://{}/token\",service=\"test\"", own.get().unwrap()),
            ),
        }
    })
    .await;
    address.set(server.address.clone()).unwrap();
    server
}

#[tokio::test]
async fn token_is_fetched_once_and_used_again() {
    let server = with_tokens(|_| true, 300).await;
    let (client, _) = logged_in();
    client.manifest(&image(&server)).await.unwrap();
    client.manifest(&image(&server)).await.unwrap();
    client.clone().resolve(&image(&server)).await.unwrap();
    assert_eq!(server.count("GET", "/token"), 1);
    let token = server.asked().into_iter().find(|asked| asked.path == "/token").unwrap();
    assert_eq!(token.query, "service=test&scope=repository%3Aapp%3Apull&account=user");
    assert!(token.authorization.unwrap().starts_with("Basic "));
}

#[tokio::test]
async fn token_that_runs_out_midway_is_renewed_once() {
    let server = with_tokens(|token| token == "token-2", 300).await;
    let (client, _) = logged_in();
    client.manifest(&image(&server)).await.unwrap();
    assert_eq!(server.count("GET", "/token"), 2);
    assert_eq!(server.count("GET", MANIFEST), 3);
}

#[tokio::test]
async fn token_that_is_never_accepted_ends_as_unauthorized() {
    let server = with_tokens(|_| false, 300).await;
    let (client, _) = logged_in();
    let error = client.manifest(&image(&server)).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");
    assert!(error.how_to_log_in().unwrap().contains(&format!("docker login {}", server.address)));
    assert_eq!(server.count("GET", "/token"), 2);
    assert!(!text(&error).contains("password") && !text(&error).contains("token-1"), "{}", text(&error));
}

#[tokio::test]
async fn many_requests_at_once_fetch_one_token() {
    let server = with_tokens(|_| true, 300).await;
    let (client, _) = logged_in();
    let target = image(&server);
    client.manifest(&target).await.unwrap();
    let all = futures_util::future::join_all((0..20).map(|_| client.manifest(&target))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(server.count("GET", "/token"), 1);
}

#[tokio::test]
async fn password_that_ran_out_is_asked_for_again() {
    // The second password, as ECR answers to one that is older than twelve hours.
    let good = "Basic dXNlcjpwYXNzd29yZC0x";
    let server = LyingServer::start(move |asked| match asked.authorization.as_deref() {
        None => Reply::new(401).header("www-authenticate", "Basic realm=\"x\""),
        Some(value) if value == good => manifest_reply(),
        Some(_) => Reply::new(403).body(
            r#"{"errors":[{"code":"DENIED","message":"Your authorization token has expired. Reauthenticate and try again."}]}"#,
        ),
    })
    .await;
    let (client, login) = logged_in();
    client.manifest(&image(&server)).await.unwrap();
    assert_eq!(login.forgotten.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn missing_right_is_not_tried_twice() {
    let server = LyingServer::start(|asked| match &asked.authorization {
        None => Reply::new(401).header("www-authenticate", "Basic realm=\"x\""),
        Some(_) => Reply::new(403).body(r#"{"errors":[{"code":"DENIED","message":"no"}]}"#),
    })
    .await;
    let (client, login) = logged_in();
    let error = client.manifest(&image(&server)).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");
    assert_eq!(login.forgotten.load(Ordering::SeqCst), 0);
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn huge_manifest_is_not_read() {
    let huge = Bytes::from(vec![b' '; 4 * 1024 * 1024 + 1]);
    let server = LyingServer::start(move |_| Reply::new(200).body(huge.clone())).await;
    let error = anonymous().manifest(&image(&server)).await.unwrap_err();
    assert!(error.to_string().contains("longer than 4194304 bytes"), "{error}");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn blob_with_wrong_bytes_or_length_is_a_lie() {
    for (sent, lie) in [("blub", "what came is"), ("bl", "2 bytes short"), ("blobblob", "longer than 4")] {
        let server = LyingServer::start(move |_| Reply::new(200).body(sent)).await;
        let wanted = Descriptor::of("x", b"blob");
        let error = anonymous().blob_bytes(image(&server).repository(), &wanted, 100).await.unwrap_err();
        assert!(matches!(error, RegistryError::Lied { .. }), "{error}");
        assert!(error.to_string().contains(lie), "{error}");
    }
}

#[tokio::test]
async fn blob_announced_too_large_is_not_asked_for() {
    let server = LyingServer::start(|_| Reply::new(200)).await;
    let mut wanted = Descriptor::of("x", b"blob");
    wanted.size = u64::MAX;
    let error = anonymous().blob_bytes(image(&server).repository(), &wanted, 100).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreadable { .. }), "{error}");
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn index_inside_an_index_is_not_followed() {
    let server = LyingServer::start(|asked| {
        let inner = serde_json::json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": []});
        let mut entry = Descriptor::of(media_type::OCI_INDEX, inner.to_string().as_bytes());
        entry.platform = Some(Platform::linux("amd64"));
        let outer = serde_json::json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [entry]});
        let body = if asked.path == MANIFEST { outer } else { inner };
        Reply::new(200).header("content-type", media_type::OCI_INDEX).body(body.to_string())
    })
    .await;
    let error = anonymous().config(&image(&server), &Platform::linux("amd64")).await.unwrap_err();
    assert!(text(&error).contains("index inside an index"), "{}", text(&error));
    let error = anonymous().config(&image(&server), &Platform::linux("s390x")).await.unwrap_err();
    assert!(text(&error).contains("linux/s390x"), "{}", text(&error));
}

#[tokio::test]
async fn immutable_tag_is_told_apart() {
    for (status, body) in [
        (
            400,
            r#"{"errors":[{"code":"TAG_INVALID","message":"The image tag '2' already exists in the 'app' repository and cannot be overwritten because the repository is immutable."}]}"#,
        ),
        (
            412,
            r#"{"errors":[{"code":"PRECONDITION","message":"Failed to process request due to 'app:2' configured as immutable."}]}"#,
        ),
    ] {
        let server = LyingServer::start(move |asked| match (asked.method.as_str(), asked.path.as_str()) {
            ("PUT", _) => Reply::new(status).body(body),
            ("HEAD", _) => Reply::new(200).header("docker-content-digest", Digest::of(b"older").to_string()),
            _ => manifest_reply(),
        })
        .await;
        let error = anonymous().tag(&image(&server), &"2".parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, RegistryError::TagImmutable { .. }), "{error}");
    }
}

#[tokio::test]
async fn tag_that_another_client_set_meanwhile_to_the_same_image_is_fine() {
    let server = LyingServer::start(|asked| match asked.method.as_str() {
        "PUT" => Reply::new(400).body(r#"{"errors":[{"code":"TAG_INVALID","message":"tag is immutable"}]}"#),
        "HEAD" if asked.earlier == 0 => Reply::new(404),
        _ => manifest_reply(),
    })
    .await;
    assert_eq!(anonymous().tag(&image(&server), &"2".parse().unwrap()).await.unwrap(), Tagged::AlreadyThere);
}

#[tokio::test]
async fn tag_with_the_same_digest_is_not_written() {
    let server = LyingServer::start(|asked| match asked.method.as_str() {
        "PUT" => Reply::new(500),
        _ => manifest_reply(),
    })
    .await;
    assert_eq!(anonymous().tag(&image(&server), &"2".parse().unwrap()).await.unwrap(), Tagged::AlreadyThere);
    assert!(server.asked().iter().all(|asked| asked.method != "PUT"));
}

#[tokio::test]
async fn tag_is_written_with_the_very_bytes_that_came() {
    let odd = Bytes::from(format!(" {}\n", String::from_utf8(manifest().to_vec()).unwrap()));
    let answer = odd.clone();
    let server = LyingServer::start(move |asked| match asked.method.as_str() {
        "HEAD" => Reply::new(404),
        "PUT" => Reply::new(201),
        _ => Reply::new(200).header("content-type", media_type::DOCKER_MANIFEST).body(answer.clone()),
    })
    .await;
    assert_eq!(anonymous().tag(&image(&server), &"2".parse().unwrap()).await.unwrap(), Tagged::Written);
    let put = server.asked().into_iter().find(|asked| asked.method == "PUT").unwrap();
    assert_eq!((put.path.as_str(), put.body), ("/v2/app/manifests/2", odd));
}

#[tokio::test]
async fn registry_that_does_not_delete_by_tag_is_left_alone() {
    for status in [400, 403, 405] {
        let server =
            LyingServer::start(move |_| Reply::new(status).body(r#"{"errors":[{"code":"UNSUPPORTED"}]}"#)).await;
        let tag: Tag = "1".parse().unwrap();
        let outcome = anonymous().delete_tag(image(&server).repository(), &tag).await.unwrap();
        assert_eq!(outcome, Deleted::Unsupported { reason: "UNSUPPORTED".to_owned() });
        assert!(server.asked().iter().all(|asked| asked.is("DELETE", MANIFEST)), "{:?}", server.asked());
    }
}

#[tokio::test]
async fn list_of_tags_that_never_ends_is_given_up() {
    let server = LyingServer::start(|_| {
        Reply::new(200).header("link", "</v2/app/tags/list?last=a>; rel=\"next\"").body(r#"{"tags":["a"]}"#)
    })
    .await;
    let error = anonymous().tags(image(&server).repository()).await.unwrap_err();
    assert!(error.to_string().contains("pages"), "{error}");
}

#[tokio::test]
async fn broken_upload_begins_anew() {
    let server = LyingServer::start(|asked| match (asked.method.as_str(), asked.earlier) {
        ("HEAD", _) => Reply::new(404),
        ("POST", n) => Reply::new(202).header("location", format!("/v2/app/blobs/uploads/{n}")),
        (_, _) if asked.path.ends_with("/0") => Reply::new(502),
        _ => Reply::new(201),
    })
    .await;
    let bytes = Bytes::from_static(b"blob");
    anonymous().upload_blob(image(&server).repository(), &Descriptor::of("x", &bytes), &bytes).await.unwrap();
    assert_eq!(server.count("PUT", "/v2/app/blobs/uploads/0"), 1);
    assert_eq!(server.count("PUT", "/v2/app/blobs/uploads/1"), 1);
}

#[tokio::test]
async fn upload_whose_source_fails_says_so() {
    struct Broken;
    #[async_trait]
    impl BlobSource for Broken {
        async fn open(
            &self,
            _: u64,
        ) -> std::io::Result<futures_util::stream::BoxStream<'static, std::io::Result<Bytes>>> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }
    let server = LyingServer::start(|asked| match asked.method.as_str() {
        "HEAD" => Reply::new(404),
        _ => Reply::new(202).header("location", "/v2/app/blobs/uploads/1"),
    })
    .await;
    let blob = Descriptor::of("x", b"blob");
    let error = anonymous().upload_blob(image(&server).repository(), &blob, &Broken).await.unwrap_err();
    assert!(text(&error).contains("the disk is gone"), "{}", text(&error));
}

#[tokio::test]
async fn nobody_there_is_unavailable_and_names_both() {
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let target: ImageReference = format!("{address}/app:1").parse().unwrap();
    let error = anonymous().resolve(&target).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains(&format!("`{target}`")), "{error}");
}

/// A client that sends blobs in pieces of four bytes.
fn in_pieces() -> RegistryClient {
    let options = RegistryOptions { upload_piece: 4, ..options() };
    RegistryClient::new(options, Arc::new(Anonymous)).unwrap()
}

/// A registry that keeps one upload and does what `adversity` says, before anything else, to each piece by its number.
async fn uploads(adversity: fn(usize) -> Option<Reply>) -> (LyingServer, Arc<std::sync::Mutex<Vec<u8>>>) {
    let kept = Arc::new(std::sync::Mutex::new(Vec::new()));
    let shared = Arc::clone(&kept);
    let pieces = AtomicUsize::new(0);
    let server = LyingServer::start(move |asked| {
        let mut kept = shared.lock().unwrap();
        let state = |status: u16, kept: &Vec<u8>| {
            let place = format!("/v2/app/blobs/uploads/1?state={}", kept.len());
            Reply::new(status).header("location", place).header("range", format!("0-{}", kept.len().max(1) - 1))
        };
        match asked.method.as_str() {
            "HEAD" => Reply::new(404),
            "POST" => {
                kept.clear();
                state(202, &kept)
            }
            "PATCH" => adversity(pieces.fetch_add(1, Ordering::SeqCst)).unwrap_or_else(|| {
                kept.extend_from_slice(&asked.body);
                state(202, &kept)
            }),
            "GET" => state(204, &kept),
            "PUT" => {
                kept.extend_from_slice(&asked.body);
                Reply::new(201)
            }
            _ => Reply::new(405),
        }
    })
    .await;
    (server, kept)
}

#[tokio::test]
async fn upload_goes_on_where_it_broke() {
    for adversity in [
        |piece| (piece == 1).then(|| Reply::new(502)),
        |piece| (piece == 1 || piece == 2).then(|| Reply::new(429)),
        |piece| (piece == 2).then(|| Reply::new(416)),
    ] {
        let (server, kept) = uploads(adversity).await;
        let bytes = Bytes::from_static(b"a blob of fifteen");
        in_pieces().upload_blob(image(&server).repository(), &Descriptor::of("x", &bytes), &bytes).await.unwrap();
        assert_eq!(*kept.lock().unwrap(), bytes);
        let sent: usize =
            server.asked().iter().filter(|asked| asked.method == "PATCH").map(|asked| asked.body.len()).sum();
        assert!(sent <= bytes.len() + 8, "only what was lost is sent again, not {sent} bytes");
        assert_eq!(server.count("POST", "/v2/app/blobs/uploads/"), 1);
    }
}

#[tokio::test]
async fn upload_that_the_registry_has_forgotten_begins_anew() {
    let begun = AtomicUsize::new(0);
    let server = LyingServer::start(move |asked| match asked.method.as_str() {
        "HEAD" | "GET" => Reply::new(404),
        "POST" => {
            let number = begun.fetch_add(1, Ordering::SeqCst);
            Reply::new(202).header("location", format!("/v2/app/blobs/uploads/{number}"))
        }
        "PATCH" if asked.path.ends_with("/0") && asked.earlier == 1 => Reply::new(404),
        "PATCH" => Reply::new(202).header("location", asked.path.clone()),
        _ => Reply::new(201),
    })
    .await;
    let bytes = Bytes::from_static(b"a blob of fifteen");
    in_pieces().upload_blob(image(&server).repository(), &Descriptor::of("x", &bytes), &bytes).await.unwrap();
    assert_eq!(server.count("PATCH", "/v2/app/blobs/uploads/1"), 5);
}

#[tokio::test]
async fn registry_that_takes_no_pieces_gets_the_blob_whole() {
    let server = LyingServer::start(|asked| match asked.method.as_str() {
        "HEAD" => Reply::new(404),
        "POST" => Reply::new(202).header("location", "/v2/app/blobs/uploads/1"),
        "PATCH" => Reply::new(405),
        _ => Reply::new(201),
    })
    .await;
    let bytes = Bytes::from_static(b"a blob of fifteen");
    in_pieces().upload_blob(image(&server).repository(), &Descriptor::of("x", &bytes), &bytes).await.unwrap();
    let put = server.asked().into_iter().find(|asked| asked.method == "PUT").unwrap();
    assert_eq!(put.body, bytes);
}

#[tokio::test]
async fn registry_that_claims_more_than_was_sent_lies() {
    let server = LyingServer::start(|asked| match asked.method.as_str() {
        "HEAD" => Reply::new(404),
        _ => Reply::new(202).header("location", "/v2/app/blobs/uploads/1").header("range", "0-99"),
    })
    .await;
    let bytes = Bytes::from_static(b"a blob of fifteen");
    let sent = in_pieces().upload_blob(image(&server).repository(), &Descriptor::of("x", &bytes), &bytes).await;
    assert!(matches!(sent, Err(RegistryError::Lied { .. })), "{sent:?}");
}

#[tokio::test]
async fn upload_that_never_gets_through_ends() {
    let (server, _) = uploads(|_| Some(Reply::new(503))).await;
    let bytes = Bytes::from_static(b"a blob of fifteen");
    let sent = in_pieces().upload_blob(image(&server).repository(), &Descriptor::of("x", &bytes), &bytes).await;
    assert!(matches!(sent, Err(RegistryError::Unavailable { .. })), "{sent:?}");
    assert!(server.asked().len() < 50);
}
