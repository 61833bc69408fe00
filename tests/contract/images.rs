//! Images written to each place and read back: the real registry, OCI layouts, archives for `docker load`.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use packhorse::image::credentials::Anonymous;
use packhorse::image::draft::CREATED;
use packhorse::image::layer::{Compression, Layer, LayerEntry, Packer};
use packhorse::image::registry::Uploaded;
use packhorse::image::{
    Descriptor, DockerArchive, ImageDraft, ImageReference, ImageSource, ImageTarget, Layout, NewImage, Platform,
    RegistryClient, RegistryOptions, RegistryTarget, Repository, SourceImage, Stored,
};

use crate::support::docker::{Broom, docker, random_name};
use crate::support::parts;

pub(crate) fn client() -> RegistryClient {
    let options = RegistryOptions::new(Arc::new(rustls::crypto::ring::default_provider()));
    RegistryClient::new(options, Arc::new(Anonymous)).unwrap()
}

pub(crate) fn new_repository() -> Repository {
    format!("{}/test/{}", parts::registry(), random_name("images")).parse().unwrap()
}

fn linux() -> Platform {
    Platform::linux("amd64")
}

/// The run image beside the builder, which has a shell.
pub(crate) fn run_image() -> ImageReference {
    format!("{}/packhorse/run:debian-12", parts::registry()).parse().unwrap()
}

async fn base(client: &RegistryClient) -> SourceImage {
    client.image(&run_image(), &linux()).await.unwrap().expect("the run image is in the registry")
}

fn layer(folder: &Path, compression: Compression, text: &str) -> Layer {
    let entries = [LayerEntry::directory("/made", 0o755), LayerEntry::file("/made/here", 0o644, text.to_owned())];
    Packer::new(folder, compression).unwrap().pack(entries.into_iter().map(Ok)).unwrap()
}

/// Writes an image of `base` and one layer to `target`.
async fn write(
    target: &dyn ImageTarget,
    source: &dyn ImageSource,
    base: &SourceImage,
    layer: &Layer,
    names: &[ImageReference],
) -> NewImage {
    let mut draft = ImageDraft::on(base).unwrap();
    for (_, below) in base.layers() {
        target.take_layer(source, base, below).await.unwrap();
    }
    target.put_layer(layer).await.unwrap();
    draft.push(layer.diff_id.clone(), layer.descriptor.clone(), "test");
    draft.config.config.entrypoint = vec!["/bin/cat".to_owned(), "/made/here".to_owned()];
    draft.config.config.cmd.clear();
    let image = draft.finish(CREATED).unwrap();
    assert_eq!(target.finish(&image, names).await.unwrap(), image.digest());
    image
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a registry and Docker Engine 26"]
async fn image_in_a_registry_runs_and_layers_of_its_base_are_mounted() {
    let (client, repository, folder) = (client(), new_repository(), tempfile::tempdir().unwrap());
    let base = base(&client).await;
    let target = RegistryTarget::new(client.clone(), repository.clone());
    let layer = layer(folder.path(), Compression::Gzip, "in a registry");
    let bottom = base.layers().next().unwrap().1.clone();
    assert_eq!(target.take_layer(&client, &base, &bottom).await.unwrap(), Stored::Mounted);
    let elsewhere = new_repository().tagged("v2".parse().unwrap());
    let names = [repository.tagged("1".parse().unwrap()), elsewhere.clone()];
    let image = write(&target, &client, &base, &layer, &names).await;
    assert_eq!(target.put_layer(&layer).await.unwrap(), Stored::AlreadyThere);
    for name in &names {
        let read = client.image(name, &linux()).await.unwrap().unwrap();
        assert_eq!(read.digest, image.digest());
    }
    let _broom = Broom(elsewhere.repository().path().to_owned());
    assert_eq!(docker(&["run", "--rm", "--pull", "always", &elsewhere.to_string()]), "in a registry");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a registry and both Docker Engines"]
async fn archive_is_loaded_and_run_by_old_and_new_docker() {
    let (client, folder) = (client(), tempfile::tempdir().unwrap());
    let base = base(&client).await;
    let layer = layer(folder.path(), Compression::Gzip, "in an archive");
    let name: ImageReference = format!("{}:1", random_name("archive")).parse().unwrap();
    let path = folder.path().join("image.tar");
    let target = DockerArchive::at(&path).unwrap();
    write(&target, &client, &base, &layer, std::slice::from_ref(&name)).await;
    drop(target);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "the archive and the layer: {left:?}");
    let _broom = Broom(name.repository().to_string());
    for host in [parts::docker(), parts::docker_old()] {
        let run = |args: &[&str]| {
            let output = Command::new(parts::docker_cli()).env("DOCKER_HOST", &host).args(args).output().unwrap();
            assert!(output.status.success(), "{host}: {args:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        run(&["load", "--input", path.to_str().unwrap()]);
        assert_eq!(run(&["run", "--rm", &name.to_string()]), "in an archive");
        run(&["rmi", &name.to_string()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a registry"]
async fn image_goes_through_a_layout_and_stays_the_same() {
    let (client, folder) = (client(), tempfile::tempdir().unwrap());
    let base = base(&client).await;
    let layer = layer(folder.path(), Compression::Zstd, "in a layout");
    let name: ImageReference = "example.com/app:1".parse().unwrap();
    let layout = Layout::below(folder.path(), &name);
    assert_eq!(layout.folder(), folder.path().join("example.com/app/1"));
    let image = write(&layout, &client, &base, &layer, std::slice::from_ref(&name)).await;

    let read = layout.image(&name, &linux()).await.unwrap().unwrap();
    assert_eq!((&read.digest, &read.manifest), (&image.digest(), &image.manifest));
    assert_eq!(read.config.to_json().unwrap(), image.config_bytes);
    let repository = new_repository();
    let target = RegistryTarget::new(client.clone(), repository.clone());
    for (_, layer) in read.layers() {
        target.take_layer(&layout, &read, layer).await.unwrap();
    }
    let tag = repository.tagged("1".parse().unwrap());
    target.finish(&image, std::slice::from_ref(&tag)).await.unwrap();
    assert_eq!(client.resolve(&tag).await.unwrap(), image.digest());

    let damaged = layout.blob_path(&read.manifest.layers[0].digest);
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    let other = Layout::at(folder.path().join("other"));
    let error = other.take_layer(&layout, &read, &read.manifest.layers[0]).await.unwrap_err();
    assert!(error.to_string().contains("is damaged"), "{error}");
    assert!(!other.blob_path(&read.manifest.layers[0].digest).exists());
}

#[tokio::test]
#[ignore = "needs a registry"]
async fn large_blob_is_sent_in_pieces() {
    let mut options = RegistryOptions::new(Arc::new(rustls::crypto::ring::default_provider()));
    options.upload_piece = 1_000_000;
    let client = RegistryClient::new(options, Arc::new(Anonymous)).unwrap();
    let (repository, folder) = (new_repository(), tempfile::tempdir().unwrap());
    let bytes: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(4_500_000).collect();
    let path = folder.path().join("blob");
    std::fs::write(&path, &bytes).unwrap();
    let descriptor = Descriptor::of("x", &bytes);
    assert_eq!(client.upload_blob(&repository, &descriptor, &path).await.unwrap(), Uploaded::Sent);
    assert_eq!(client.blob_bytes(&repository, &descriptor, bytes.len()).await.unwrap(), bytes);
    let bytes = Bytes::from(bytes);
    assert_eq!(client.upload_blob(&repository, &descriptor, &bytes).await.unwrap(), Uploaded::AlreadyThere);
}
