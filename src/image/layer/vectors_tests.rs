//! Golden vectors: sizes and diff IDs of layers that the Go lifecycle wrote. Owner 1000:1000, umask 022.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::{Compression, LayerEntry, LayerError, LayerFolder, Order, Ownership, Packer, Root};

const CNB: Ownership = Ownership::Fixed { uid: 1000, gid: 1000 };

/// A root filesystem whose parents belong to the CNB user, whoever runs the test.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        for folder in path.ancestors().skip(1).take_while(|folder| *folder != self.0.path()) {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        self
    }

    fn folder(&self, path: &str, order: Order) -> LayerFolder {
        LayerFolder {
            root: Root::in_place().with("/", self.0.path()),
            path: path.into(),
            parents: CNB,
            contents: CNB,
            order,
        }
    }
}

fn packed(entries: impl Iterator<Item = Result<LayerEntry, LayerError>>) -> (u64, String) {
    let folder = tempfile::tempdir().unwrap();
    let packer = Packer::new(folder.path(), Compression::Gzip).unwrap();
    let layer = packer.pack(entries).unwrap();
    let bytes = fs::read(&*layer.blob).unwrap();
    assert_eq!(layer.descriptor.size, bytes.len() as u64);
    assert_eq!(layer.descriptor.digest, crate::image::Digest::of(&bytes));
    let mut archive = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(bytes.as_slice()), &mut archive).unwrap();
    assert_eq!(layer.archive_size, archive.len() as u64);
    assert_eq!(layer.diff_id, crate::image::Digest::of(&archive));
    (layer.archive_size, layer.diff_id.hex().to_owned())
}

fn expected(size: u64, hex: &str) -> (u64, String) {
    (size, hex.to_owned())
}

fn launcher_folders() -> Vec<LayerEntry> {
    vec![LayerEntry::directory("/cnb", 0o755), LayerEntry::directory("/cnb/process", 0o755)]
}

fn process(name: &str) -> LayerEntry {
    LayerEntry::symlink(format!("/cnb/process/{name}"), 0o755, "/cnb/lifecycle/launcher")
}

#[test]
fn process_types_are_those_of_the_go_lifecycle() {
    let mut entries = launcher_folders();
    entries.push(process("web"));
    let one = packed(entries.clone().into_iter().map(Ok));
    assert_eq!(one, expected(2560, "83d85471d9f8a3834b4e27cf701e3f0aef220cc816d9c173c7d32cd73909a590"));
    entries.push(process("worker"));
    let two = packed(entries.into_iter().map(Ok));
    assert_eq!(two, expected(3072, "c32b6c6d08c5d84a980a518d1dd9093c22b9e003f2b6b468f12fe1e7cd918b3f"));
}

#[test]
fn launcher_is_that_of_the_go_lifecycle() {
    let entries = [
        LayerEntry::directory("/cnb", 0o755),
        LayerEntry::directory("/cnb/lifecycle", 0o755),
        LayerEntry::file("/cnb/lifecycle/launcher", 0o755, "fake launcher\n"),
    ];
    let layer = packed(entries.into_iter().map(Ok));
    assert_eq!(layer, expected(3072, "75beba2d9997b5b6c20b47cdd86fa7ea81395c666809d1f39596bad9cebf5d8a"));
}

#[test]
fn sbom_and_config_are_those_of_the_go_lifecycle() {
    let tree = Tree::new();
    tree.file("layers/sbom/launch/sbom.legacy.json", "null\n");
    let layer = packed(tree.folder("/layers/sbom/launch", Order::DepthFirst).entries());
    assert_eq!(layer, expected(3584, "36f9de0748c420980a265697f38f76b0f9ae9b7862d3467b76b638706e637425"));

    let metadata = r#"buildpack-default-process-type = "web"

[[buildpacks]]
  id = "heroku/python"
  version = "6.5.6"
  api = "0.10"

[[processes]]
  type = "web"
  command = ["python", "app.py"]
  direct = true
  buildpack-id = "heroku/python"
"#;
    tree.file("layers/config/metadata.toml", metadata);
    let layer = packed(tree.folder("/layers/config", Order::DepthFirst).entries());
    assert_eq!(layer, expected(3072, "bb96f1fcb9d9077d286c95970b8f0d071da93de44ac89f9290ee16d163073ad8"));
}

#[test]
fn layer_of_a_buildpack_is_that_of_the_go_lifecycle() {
    let tree = Tree::new();
    let long = format!("layers/heroku_python/venv/lib/deep/{}.py", "n".repeat(120));
    tree.file("layers/heroku_python/venv/bin/python", "#!/bin/sh\n")
        .file("layers/heroku_python/venv/lib/é.txt", "x")
        .file("layers/heroku_python/venv/lib/empty", "")
        .file(&long, "y");
    let bin = tree.0.path().join("layers/heroku_python/venv/bin");
    fs::set_permissions(bin.join("python"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("python", bin.join("python3")).unwrap();
    let layer = packed(tree.folder("/layers/heroku_python/venv", Order::DepthFirst).entries());
    assert_eq!(layer, expected(10240, "fdb3c68fd827702febac551f4bfc457f830a253af5c087a1aa527391aef192d2"));
}

#[test]
fn app_is_that_of_the_go_lifecycle() {
    let tree = Tree::new();
    write_app(&tree);
    let layer = packed(tree.folder("/workspace", Order::Flat).entries());
    assert_eq!(layer, expected(9728, "c7050137cca521af66c70df41dd6bedc52f8034a19f379c09255c3f80309c71f"));
}

fn write_app(tree: &Tree) {
    tree.file("workspace/a.txt", "4")
        .file("workspace/a/c.txt", "1")
        .file("workspace/a/d.bin", "2")
        .file("workspace/a-b/e", "3")
        .file("workspace/app.py", "print(1)\n")
        .file("workspace/static/css/s.css", "p {}\n");
}

#[test]
fn nothing_at_all_is_two_blocks() {
    let layer = packed(std::iter::empty());
    assert_eq!(layer, expected(1024, "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"));
}

#[test]
fn a_digest_alone_is_that_of_the_layer() {
    let tree = Tree::new();
    write_app(&tree);
    let folder = tempfile::tempdir().unwrap();
    let packer = Packer::new(folder.path(), Compression::Zstd).unwrap();
    let digest = packer.digest(tree.folder("/workspace", Order::Flat).entries()).unwrap();
    let layer = packer.pack(tree.folder("/workspace", Order::Flat).entries()).unwrap();
    assert_eq!((digest.diff_id, digest.size), (layer.diff_id, layer.archive_size));
    assert!(Path::new(&*layer.blob).exists());
}
