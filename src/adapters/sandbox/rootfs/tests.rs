//! Layers as they should be, and layers made to do harm.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::StreamExt as _;
use tar::{EntryType, Header};

use super::*;
use crate::image::manifest::Manifest;
use crate::image::media_type;
use crate::image::source::{BlobStream, ImageError};
use crate::ports::failure::chain;

/// The archive of a layer; names go in as they are, however wrong.
#[derive(Default)]
struct Layer(Vec<u8>);

impl Layer {
    fn entry(mut self, kind: EntryType, name: &str, mode: u32, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(u64::from(rustix::process::getuid().as_raw()));
        header.set_gid(u64::from(rustix::process::getgid().as_raw()));
        header.set_mtime(1_000_000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, name, 0o644, "", content.as_bytes())
    }

    fn folder(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, 0o755, "", b"")
    }

    fn symlink(self, name: &str, to: &str) -> Self {
        self.entry(EntryType::Symlink, name, 0o777, to, b"")
    }

    fn link(self, name: &str, to: &str) -> Self {
        self.entry(EntryType::Link, name, 0o644, to, b"")
    }

    fn archive(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// A record of a PAX header, which begins with its own length.
fn pax(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let length = (rest.len()..rest.len() + 10).find(|length| length.to_string().len() + rest.len() == *length).unwrap();
    format!("{length}{rest}").into_bytes()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An image in memory.
struct Image {
    found: SourceImage,
    blobs: BTreeMap<String, Bytes>,
    reads: AtomicUsize,
}

impl Image {
    fn of(layers: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self::packed(layers.into_iter().map(|archive| (Digest::of(&archive), gzip(&archive))))
    }

    fn packed(layers: impl IntoIterator<Item = (Digest, Vec<u8>)>) -> Self {
        let (mut config, mut descriptors, mut blobs) = (ImageConfig::default(), Vec::new(), BTreeMap::new());
        for (diff_id, blob) in layers {
            config.rootfs.diff_ids.push(diff_id);
            let descriptor = Descriptor::of(media_type::OCI_LAYER_GZIP, &blob);
            blobs.insert(descriptor.digest.to_string(), Bytes::from(blob));
            descriptors.push(descriptor);
        }
        config.config.env = vec!["CNB_USER_ID=1000".to_owned(), "CNB_GROUP_ID=1000".to_owned()];
        let manifest = Manifest {
            schema_version: 2,
            media_type: None,
            config: Descriptor::of(media_type::OCI_CONFIG, b"{}"),
            layers: descriptors,
            other: BTreeMap::new(),
        };
        let digest = Digest::of(&serde_json::to_vec(&manifest).unwrap());
        let reference = "registry.example.com/builder:1".parse().unwrap();
        let media_type = media_type::OCI_MANIFEST.to_owned();
        Self {
            found: SourceImage { reference, digest, media_type, manifest, config },
            blobs,
            reads: AtomicUsize::new(0),
        }
    }

    async fn unpack(&self, store: &Path) -> Result<Rootfs, RootfsError> {
        let limits = Limits { floor: 1 << 20, ..Limits::default() };
        let store = RootStore::new(store, Owners::Own).with_limits(limits);
        store.get(self, &self.found.reference, &|_| {}).await
    }
}

#[async_trait]
impl ImageSource for Image {
    async fn image(&self, _: &ImageReference, _: &Platform) -> Result<Option<SourceImage>, ImageError> {
        Ok(Some(self.found.clone()))
    }

    async fn blob(&self, _: &SourceImage, blob: &Descriptor) -> Result<BlobStream, ImageError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let bytes = self.blobs[blob.digest.as_str()].clone();
        Ok(futures_util::stream::once(async { Ok(bytes) }).boxed())
    }
}

async fn unpacked(layers: impl IntoIterator<Item = Layer>) -> (tempfile::TempDir, Rootfs) {
    let store = tempfile::tempdir().unwrap();
    let image = Image::of(layers.into_iter().map(Layer::archive));
    let rootfs = image.unpack(store.path()).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
    (store, rootfs)
}

async fn refused(layer: Layer) -> String {
    let top = tempfile::tempdir().unwrap();
    let store = top.path().join("store");
    let image = Image::of([layer.archive()]);
    let refusal = chain(&image.unpack(&store).await.unwrap_err());
    assert!(left(&store).is_empty(), "{:?}", left(&store));
    assert_eq!(fs::read_dir(top.path()).unwrap().count(), 1, "something was written beside the store");
    refusal
}

fn left(store: &Path) -> Vec<String> {
    let names = fs::read_dir(store).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name != LOCKS).collect()
}

#[tokio::test]
async fn layers_lie_over_each_other() {
    let lower = Layer::default()
        .folder("./")
        .folder("etc/")
        .file("etc/kept", "1")
        .file("etc/gone", "2")
        .file("etc/changed", "3")
        .folder("opaque")
        .file("opaque/old", "4")
        .folder("was-folder")
        .file("was-folder/file", "5")
        .symlink("was-link", "etc")
        .file("was-file", "6")
        .file("/absolute", "7");
    let upper = Layer::default()
        .file("etc/.wh.gone", "")
        .file("etc/changed", "three")
        .file("opaque/new", "8")
        .file("opaque/.wh..wh..opq", "")
        .file("was-folder", "9")
        .folder("was-link")
        .file("was-link/in", "10")
        .folder("was-file")
        .file("missing/parents/file", "11")
        .file(".wh..wh.plnk", "")
        .file("nowhere/.wh.thing", "");
    let (_store, rootfs) = unpacked([lower, upper]).await;
    let read = |path: &str| fs::read_to_string(rootfs.folder.join(path)).ok();
    let table = [
        ("etc/kept", Some("1")),
        ("etc/gone", None),
        ("etc/changed", Some("three")),
        ("opaque/old", None),
        ("opaque/new", Some("8")),
        ("was-folder", Some("9")),
        ("was-link/in", Some("10")),
        ("etc/in", None),
        ("missing/parents/file", Some("11")),
        ("absolute", Some("7")),
    ];
    for (path, content) in table {
        assert_eq!(read(path).as_deref(), content, "{path}");
    }
    assert!(rootfs.folder.join("was-file").is_dir());
    assert!(!rootfs.folder.join(".wh..wh.plnk").exists());
}

#[tokio::test]
async fn whiteouts_do_not_touch_their_own_layer() {
    let layer = || Layer::default().file("a/own", "1").file("a/.wh.own", "").file("a/.wh..wh..opq", "");
    let (_store, rootfs) = unpacked([Layer::default().file("a/old", ""), layer()]).await;
    assert!(rootfs.folder.join("a/own").exists() && !rootfs.folder.join("a/old").exists());
}

#[tokio::test]
async fn modes_times_and_links_are_kept() {
    let layer = Layer::default()
        .entry(EntryType::Regular, "bin/tool", 0o4755, "", b"x")
        .link("bin/alias", "/bin/tool")
        .symlink("lib", "/usr/lib")
        .file("usr/lib/a", "a")
        .file("lib/b", "b")
        .symlink("dangling", "nowhere")
        .link("also-dangling", "dangling")
        .entry(EntryType::Directory, "closed", 0o000, "", b"")
        .file("closed/in", "")
        .entry(EntryType::Regular, "secret", 0o000, "", b"s");
    let (_store, rootfs) = unpacked([layer]).await;
    let metadata = |path: &str| fs::symlink_metadata(rootfs.folder.join(path)).unwrap();
    assert_eq!(metadata("bin/tool").permissions().mode() & 0o7777, 0o4755);
    assert_eq!(metadata("bin/tool").mtime(), 1_000_000);
    assert_eq!(metadata("bin/tool").ino(), metadata("bin/alias").ino());
    assert!(metadata("also-dangling").is_symlink());
    assert!(metadata("usr/lib/b").is_file());
    // What the image closes to all stays open to the one user who is to see it as the CNB user.
    assert_eq!(metadata("closed").permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::read_to_string(rootfs.folder.join("secret")).unwrap(), "s");
}

#[tokio::test]
async fn a_file_of_a_lower_layer_is_not_written_through_a_link() {
    let lower = Layer::default().file("a", "one").link("b", "a");
    let (_store, rootfs) = unpacked([lower, Layer::default().file("b", "two")]).await;
    assert_eq!(fs::read_to_string(rootfs.folder.join("a")).unwrap(), "one");
}

#[tokio::test]
async fn long_names_come_in_both_forms() {
    let long = "n".repeat(150);
    let layer = Layer::default()
        .entry(EntryType::GNULongName, "././@LongLink", 0o644, "", format!("gnu/{long}\0").as_bytes())
        .file("cut", "1")
        .entry(EntryType::XHeader, "pax", 0o644, "", &pax("path", &format!("pax/{long}")))
        .file("cut", "2")
        .file("plain", "3");
    let (_store, rootfs) = unpacked([layer]).await;
    let read = |path: String| fs::read_to_string(rootfs.folder.join(path)).unwrap();
    assert_eq!((read(format!("gnu/{long}")), read(format!("pax/{long}"))), ("1".to_owned(), "2".to_owned()));
    assert!(rootfs.folder.join("plain").is_file() && !rootfs.folder.join("cut").exists());
}

#[tokio::test]
async fn nothing_is_written_outside_of_the_root() {
    for layer in [
        Layer::default().file("../escaped", "x"),
        Layer::default().file("a/../../escaped", "x"),
        Layer::default().file("/../escaped", "x"),
        Layer::default().file("a/.wh...", "x"),
        Layer::default().file(".wh..", "x"),
        Layer::default().file("a/.wh.", "x"),
        Layer::default().link("here", "../../../etc/passwd"),
        Layer::default().link("here", "/etc/no-such-file-in-the-image"),
        Layer::default().symlink("up", "../../..").link("here", "up/etc/hostname"),
        Layer::default()
            .symlink("file", "/etc")
            .file("file/passwd/x/y", "x")
            .file("etc/passwd", "")
            .file("etc/passwd/x", ""),
        Layer::default().entry(EntryType::XHeader, "pax", 0o644, "", &pax("path", "../../../escaped")).file("a", "x"),
        Layer::default().entry(EntryType::GNULongName, "l", 0o644, "", b"../escaped\0").file("a", "x"),
    ] {
        refused(layer).await;
    }
    // What follows is allowed, and stays inside.
    let layer = Layer::default()
        .symlink("up", "../../../../../..")
        .file("up/escaped", "x")
        .symlink("abs", "/")
        .file("abs/also-escaped", "x")
        .file("up/.wh.gone", "")
        .symlink("loop", "loop");
    let (store, rootfs) = unpacked([layer]).await;
    assert!(rootfs.folder.join("escaped").is_file() && rootfs.folder.join("also-escaped").is_file());
    assert!(!store.path().join("escaped").exists());
    let text = refused(Layer::default().symlink("loop", "loop").file("loop/file", "x")).await;
    assert!(text.contains("could not unpack `/loop/file`"), "{text}");
}

#[tokio::test]
async fn device_nodes_and_pipes_are_left_out_and_unknown_kinds_refused() {
    let layer = Layer::default()
        .entry(EntryType::Char, "dev/null", 0o666, "", b"")
        .entry(EntryType::Block, "disk", 0o666, "", b"")
        .entry(EntryType::Fifo, "pipe", 0o666, "", b"")
        .file("after", "");
    let (_store, rootfs) = unpacked([layer]).await;
    for name in ["dev/null", "disk", "pipe"] {
        assert!(!rootfs.folder.join(name).exists(), "{name}");
    }
    assert!(rootfs.folder.join("after").exists());
    let text = refused(Layer::default().entry(EntryType::GNUSparse, "sparse", 0o644, "", b"")).await;
    assert!(text.contains("unknown kind"), "{text}");
    let sparse = pax("GNU.sparse.major", "1");
    let text = refused(Layer::default().entry(EntryType::XHeader, "x", 0o644, "", &sparse).file("a", "")).await;
    assert!(text.contains("GNU.sparse.major"), "{text}");
}

#[tokio::test]
async fn bombs_end_in_an_error() {
    let zeros = "\0".repeat(8 << 20);
    let text = refused(Layer::default().file("zeros", &zeros)).await;
    assert!(text.contains("is a bomb"), "{text}");
    let name = "n".repeat(2 << 20);
    let text = refused(Layer::default().entry(EntryType::GNULongName, "l", 0, "", name.as_bytes()).file("a", "")).await;
    assert!(text.contains("longer than a megabyte"), "{text}");
    let deep = pax("path", &"d/".repeat(240));
    let layer = Layer::default().entry(EntryType::XHeader, "x", 0o644, "", &deep).file("a", "");
    let text = refused(layer).await;
    assert!(text.contains("too deep"), "{text}");

    let store = tempfile::tempdir().unwrap();
    let image = Image::of([Layer::default().file("a", "").file("b", "").file("c", "").archive()]);
    let few = RootStore::new(store.path(), Owners::Own).with_limits(Limits { entries: 2, ..Limits::default() });
    let text = chain(&few.get(&image, &image.found.reference, &|_| {}).await.unwrap_err());
    assert!(text.contains("more than 2 files and folders"), "{text}");
}

#[tokio::test]
async fn a_layer_that_is_damaged_or_another_one_is_refused() {
    let archive = Layer::default().file("a", "x").archive();
    let other = Digest::of(b"something else");
    let store = tempfile::tempdir().unwrap();
    let refusal = Image::packed([(other, gzip(&archive))]).unpack(store.path()).await.unwrap_err();
    assert!(matches!(refusal, RootfsError::Lied { number: 1, .. }), "{refusal}");
    let cut = gzip(&archive);
    let refusal = Image::packed([(Digest::of(&archive), cut[..cut.len() / 2].to_vec())]).unpack(store.path()).await;
    assert!(matches!(refusal, Err(RootfsError::Unpack { .. })));
    let refusal =
        Image::of([b"no archive at all, but long enough to be read as one".repeat(40)]).unpack(store.path()).await;
    assert!(matches!(refusal, Err(RootfsError::Unpack { .. })));
    assert_eq!(left(store.path()), Vec::<String>::new());
}

#[tokio::test]
async fn all_three_compressions_are_read() {
    let archive = Layer::default().file("a", "x").archive();
    let members = [gzip(&archive[..100]), gzip(&archive[100..])].concat();
    let zstd = zstd::encode_all(archive.as_slice(), 1).unwrap();
    for blob in [members, zstd, archive.clone()] {
        let store = tempfile::tempdir().unwrap();
        let rootfs = Image::packed([(Digest::of(&archive), blob)]).unpack(store.path()).await.unwrap();
        assert!(rootfs.folder.join("a").is_file());
    }
}

#[tokio::test]
async fn one_root_is_made_once_however_many_want_it() {
    let store = tempfile::tempdir().unwrap();
    let image = Image::of([Layer::default().file("a", "x").archive()]);
    let all = futures_util::future::join_all((0..8).map(|_| image.unpack(store.path()))).await;
    let folders: Vec<_> = all.into_iter().map(|rootfs| rootfs.unwrap().folder).collect();
    assert!(folders.iter().all(|folder| folder == &folders[0]));
    assert_eq!(image.reads.load(Ordering::Relaxed), 1);
    assert_eq!(left(store.path()).len(), 1);
}

#[tokio::test]
async fn what_a_killed_process_left_is_removed_and_made_again() {
    let store = tempfile::tempdir().unwrap();
    let image = Image::of([Layer::default().file("a", "x").archive()]);
    let name = format!("{}-own-{FORMAT}", image.found.digest.hex());
    for left in [format!("{NEW}{name}"), format!("{NEW}of-another-image")] {
        fs::create_dir_all(store.path().join(left).join("root/half")).unwrap();
    }
    let rootfs = image.unpack(store.path()).await.unwrap();
    assert!(rootfs.folder.join("a").is_file() && !rootfs.folder.join("half").exists());
    assert_eq!(left(store.path()), [name]);
}

#[tokio::test]
async fn places_to_mount_are_made_whatever_the_image_has_there() {
    let layer = Layer::default()
        .symlink("etc/resolv.conf", "../run/resolv.conf")
        .file("etc/passwd", "cnb:x:1000:1000::/home/cnb:/bin/sh\n")
        .symlink("workspace", "/app")
        .folder("app");
    let (_store, rootfs) = unpacked([layer]).await;
    let kind = |path: &str| fs::symlink_metadata(rootfs.folder.join(path)).unwrap().file_type();
    assert!(kind("etc/resolv.conf").is_file() && kind("etc/hosts").is_file());
    for folder in ["proc", "dev", "layers", "platform", "var/tmp", "home/cnb"] {
        assert!(kind(folder).is_dir(), "{folder}");
    }
    assert!(kind("workspace").is_symlink());
}

#[tokio::test]
async fn those_used_longest_ago_are_removed_unless_somebody_uses_them() {
    let store = tempfile::tempdir().unwrap();
    let names = || left(store.path()).into_iter().map(|name| name[..64].to_owned()).collect::<Vec<_>>();
    let image = |number: usize| Image::of([Layer::default().file("number", &number.to_string()).archive()]);
    let first = image(0).unpack(store.path()).await.unwrap();
    for number in 1..=MOST {
        image(number).unpack(store.path()).await.unwrap();
    }
    assert_eq!(names().len(), MOST + 1, "the first one is in use");
    drop(first);
    // Used again, it is not the one that was used longest ago.
    image(0).unpack(store.path()).await.unwrap();
    image(MOST + 1).unpack(store.path()).await.unwrap();
    let left = names();
    assert_eq!(left.len(), MOST);
    let has = |number: usize| left.contains(&image(number).found.digest.hex().to_owned());
    assert!(has(0) && !has(1) && !has(2) && has(MOST) && has(MOST + 1));
    assert_eq!(image(1).unpack(store.path()).await.unwrap().config, image(1).found.config);
}
