//! The registry client against the real `registry`.

use std::sync::Arc;

use bytes::Bytes;
use packhorse::image::credentials::Anonymous;
use packhorse::image::registry::Mounted;
use packhorse::image::{
    Descriptor, Digest, ImageReference, Platform, RegistryClient, RegistryError, RegistryOptions, Repository, Tag,
    media_type,
};
use packhorse::ports::failure::Failure;
use packhorse::ports::image_store::{ImageStore, RemoveOutcome, TagOutcome};

use crate::support::parts;

fn client() -> RegistryClient {
    let options = RegistryOptions::new(Arc::new(rustls::crypto::ring::default_provider()));
    RegistryClient::new(options, Arc::new(Anonymous)).unwrap()
}

fn new_repository() -> Repository {
    let name: String = std::iter::repeat_with(fastrand::lowercase).take(12).collect();
    format!("{}/test/{name}", parts::registry()).parse().unwrap()
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

/// Pushes an image as a buildpack lifecycle leaves it: one layer with the list of processes.
async fn push(client: &RegistryClient, repository: &Repository, marker: &str) -> ImageReference {
    let layer = layer(b"[[processes]]\n");
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "created": "1980-01-01T00:00:01Z",
        "config": {
            "Entrypoint": ["/cnb/process/web"], "User": "1000:1000", "WorkingDir": "/workspace", "Env": ["A=b"],
            "Labels": {
                "marker": marker,
                "io.buildpacks.lifecycle.metadata": serde_json::json!({"config": {"sha": Digest::of(&layer)}}).to_string(),
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer)]},
    });
    let config = Bytes::from(config.to_string());
    let layer = Bytes::from(layer);
    let config_descriptor = Descriptor::of(media_type::OCI_CONFIG, &config);
    let layer_descriptor = Descriptor::of("application/vnd.oci.image.layer.v1.tar", &layer);
    client.upload_blob(repository, &config_descriptor, &config).await.unwrap();
    client.upload_blob(repository, &layer_descriptor, &layer).await.unwrap();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": config_descriptor, "layers": [layer_descriptor],
    });
    let image = repository.tagged(tag("candidate"));
    client.put_manifest(&image, media_type::OCI_MANIFEST, manifest.to_string().into()).await.unwrap();
    image
}

fn layer(metadata: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    let name = b"/layers/config/metadata.toml";
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_size(metadata.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    archive.append(&header, metadata).unwrap();
    archive.into_inner().unwrap()
}

#[tokio::test]
#[ignore = "needs a registry"]
async fn pushed_image_is_found_and_read() {
    let (client, repository) = (client(), new_repository());
    let image = push(&client, &repository, "first").await;
    let digest = client.resolve(&image).await.unwrap();
    assert_eq!(client.manifest(&image).await.unwrap().digest, digest);
    assert_eq!(client.resolve(&repository.at(digest.clone())).await.unwrap(), digest);
    let config = client.config(&image, &Platform::linux("amd64")).await.unwrap();
    assert_eq!(config.label("marker"), Some("first"));
    assert_eq!(config.config.entrypoint, ["/cnb/process/web"]);
    assert_eq!((config.config.user.as_str(), config.env("A")), ("1000:1000", Some("b")));
    let metadata = client.build_metadata(&image, &Platform::linux("amd64")).await.unwrap();
    assert_eq!(metadata.as_deref(), Some("[[processes]]\n"));
}

#[tokio::test]
#[ignore = "needs a registry"]
async fn tags_are_set_once_and_move_to_a_newer_image() {
    let (client, repository) = (client(), new_repository());
    let first = push(&client, &repository, "first").await;
    let first = first.with_digest(client.resolve(&first).await.unwrap());
    let tags = [tag("build-1"), tag("latest")];
    let store: &dyn ImageStore = &client;
    assert_eq!(store.tag(&first, &tags).await.unwrap(), [TagOutcome::Created; 2]);
    assert_eq!(store.tag(&first, &tags).await.unwrap(), [TagOutcome::AlreadyThere; 2]);

    let second = push(&client, &repository, "second").await;
    assert_eq!(store.tag(&second, &[tag("latest")]).await.unwrap(), [TagOutcome::Created]);
    let latest = store.resolve(&repository.tagged(tag("latest"))).await.unwrap();
    assert_eq!(latest, store.resolve(&second).await.unwrap());
    assert_eq!(Some(&store.resolve(&repository.tagged(tag("build-1"))).await.unwrap()), first.digest());
    let mut all = client.tags(&repository).await.unwrap();
    all.sort();
    assert_eq!(all, [tag("build-1"), tag("candidate"), tag("latest")]);
}

/// `registry` 2.8 deletes by digest only, and that would take the release along.
#[tokio::test]
#[ignore = "needs a registry"]
async fn removing_a_tag_never_removes_the_image() {
    let (client, repository) = (client(), new_repository());
    let image = push(&client, &repository, "first").await;
    let store: &dyn ImageStore = &client;
    store.tag(&image, &[tag("latest")]).await.unwrap();
    let outcome = store.remove_tag(&image).await.unwrap();
    assert!(matches!(outcome, RemoveOutcome::Unsupported { .. } | RemoveOutcome::Removed), "{outcome:?}");
    store.resolve(&repository.tagged(tag("latest"))).await.unwrap();
    let pinned = image.with_digest(client.resolve(&image).await.unwrap());
    assert!(matches!(store.remove_tag(&pinned).await, Err(Failure::Refused { .. })));
    store.resolve(&pinned).await.unwrap();
}

#[tokio::test]
#[ignore = "needs a registry"]
async fn what_is_not_there_is_not_found() {
    let (client, repository) = (client(), new_repository());
    let image = repository.tagged(tag("none"));
    assert!(matches!(client.resolve(&image).await, Err(RegistryError::NotFound { .. })));
    assert!(matches!(client.manifest(&image).await, Err(RegistryError::NotFound { .. })));
    let blob = Descriptor::of("x", b"nobody has sent this");
    assert!(matches!(client.blob(&repository, &blob).await, Err(RegistryError::NotFound { .. })));
    let store: &dyn ImageStore = &client;
    assert!(matches!(store.resolve(&image).await, Err(Failure::NotFound { .. })));
}

#[tokio::test]
#[ignore = "needs a registry"]
async fn blob_is_mounted_from_a_neighbour_and_sent_from_a_file() {
    let (client, repository, neighbour) = (client(), new_repository(), new_repository());
    let bytes: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(3_000_000).collect();
    let descriptor = Descriptor::of("application/octet-stream", &bytes);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("blob");
    std::fs::write(&file, &bytes).unwrap();
    client.upload_blob(&neighbour, &descriptor, &file).await.unwrap();
    assert_eq!(client.mount(&repository, &neighbour, &descriptor.digest).await.unwrap(), Mounted::Done);
    let read = client.blob_bytes(&repository, &descriptor, 4_000_000).await.unwrap();
    assert_eq!(read, bytes);
    let missing = Digest::of(b"nobody has sent this");
    assert_eq!(client.mount(&repository, &neighbour, &missing).await.unwrap(), Mounted::MustUpload);
}

#[tokio::test]
#[ignore = "needs a registry"]
async fn wrong_digest_is_refused_by_the_registry_and_leaves_nothing() {
    let (client, repository) = (client(), new_repository());
    let bytes = Bytes::from_static(b"four");
    let wrong = Descriptor { digest: Digest::of(b"five"), ..Descriptor::of("x", &bytes) };
    let error = client.upload_blob(&repository, &wrong, &bytes).await.unwrap_err();
    assert!(matches!(error, RegistryError::Refused { status: 400, .. }), "{error}");
    assert!(!client.has_blob(&repository, &wrong.digest).await.unwrap());
}
