//! Folders that change, cannot be read, are huge or hold odd things, while layers are made of them.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use packhorse::image::layer::{
    Compression, EntryKind, LayerEntry, LayerError, LayerFolder, Order, Ownership, Packer, Root,
};

fn folder(path: &Path) -> LayerFolder {
    LayerFolder {
        root: Root::in_place().with("/layers/bp/big", path).with("/layers", "/").with("/layers/bp", "/"),
        path: "/layers/bp/big".into(),
        parents: Ownership::OnDisk,
        contents: Ownership::Fixed { uid: 1000, gid: 1000 },
        order: Order::DepthFirst,
    }
}

fn packer(folder: &Path) -> Packer {
    Packer::new(folder, Compression::Gzip).unwrap()
}

/// Walks `source` and, as soon as `name` was listed, does `harm` to it before it is opened.
fn harmed(source: &Path, name: &str, harm: impl Fn(&Path) + Send) -> Option<LayerError> {
    let kept = tempfile::tempdir().unwrap();
    let path = source.join(name);
    let entries = folder(source).entries().inspect(|entry| {
        if entry.as_ref().is_ok_and(|entry| entry.path.ends_with(name.as_bytes())) {
            harm(&path);
        }
    });
    let error = packer(kept.path()).pack(entries).err();
    assert_eq!(fs::read_dir(kept.path()).unwrap().count(), 0, "nothing is left of a layer that failed");
    error
}

#[test]
fn file_that_changes_while_it_is_archived_is_named() {
    let source = tempfile::tempdir().unwrap();
    let name = "log";
    let path = source.path().join(name);
    fs::write(&path, vec![b'x'; 3_000_000]).unwrap();
    let grown = harmed(source.path(), name, |path| {
        OpenOptions::new().append(true).open(path).unwrap().write_all(b"more").unwrap();
    });
    assert!(matches!(&grown, Some(LayerError::Changed { path: named, grew: true, .. }) if *named == path), "{grown:?}");
    let cut =
        harmed(source.path(), name, |path| OpenOptions::new().write(true).open(path).unwrap().set_len(9).unwrap());
    assert!(matches!(&cut, Some(LayerError::Changed { path: named, grew: false, .. }) if *named == path), "{cut:?}");
    assert!(cut.unwrap().to_string().contains("changed while it was archived"));
}

#[test]
fn file_that_becomes_a_link_or_a_pipe_is_neither_followed_nor_waited_for() {
    let source = tempfile::tempdir().unwrap();
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), "root:x").unwrap();
    for is_pipe in [false, true] {
        let path = source.path().join("file");
        let _ = fs::remove_file(&path);
        fs::write(&path, "public").unwrap();
        let packed = harmed(source.path(), "file", |path| {
            fs::remove_file(path).unwrap();
            if is_pipe {
                assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
            } else {
                symlink(secret.path(), path).unwrap();
            }
        });
        assert!(packed.is_some(), "a pipe: {is_pipe}");
    }
}

#[test]
fn file_that_vanishes_or_may_not_be_read_is_named() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("file"), "text").unwrap();
    let gone = harmed(source.path(), "file", |path| fs::remove_file(path).unwrap()).unwrap();
    assert!(matches!(&gone, LayerError::Unreadable { source, .. } if source.kind() == std::io::ErrorKind::NotFound));
    assert!(gone.to_string().contains("file"), "{gone}");
    let missing = packer(source.path()).pack(folder(&source.path().join("nothing")).entries()).unwrap_err();
    assert!(matches!(missing, LayerError::Unreadable { .. }), "{missing}");
}

/// Runs this very test again as an ordinary user, since root may read everything.
#[test]
#[ignore = "needs root, to become somebody else"]
fn file_that_its_reader_may_not_read_is_an_error_as_with_the_go_lifecycle() {
    let source = tempfile::tempdir().unwrap();
    if let Ok(path) = std::env::var("LAYER_TEST_UNREADABLE") {
        let error =
            Packer::new(std::env::temp_dir(), Compression::Gzip).unwrap().digest(folder(Path::new(&path)).entries());
        assert!(
            matches!(&error, Err(LayerError::Unreadable { path, source })
            if path.ends_with("secret") && source.kind() == std::io::ErrorKind::PermissionDenied),
            "{error:?}"
        );
        return;
    }
    fs::set_permissions(source.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(source.path().join("secret"), "x").unwrap();
    fs::set_permissions(source.path().join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    // The test program lies where only root may go.
    let program = source.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let app = source.path().join("app");
    fs::create_dir(&app).unwrap();
    fs::rename(source.path().join("secret"), app.join("secret")).unwrap();
    let name = "hostile::layers::file_that_its_reader_may_not_read_is_an_error_as_with_the_go_lifecycle";
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args(["--exact", name, "--include-ignored"])
        .env("LAYER_TEST_UNREADABLE", &app)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn odd_things_become_what_the_go_lifecycle_makes_of_them() {
    let source = tempfile::tempdir().unwrap();
    let top = source.path();
    let _socket = UnixListener::bind(top.join("socket")).unwrap();
    assert!(Command::new("mkfifo").arg(top.join("pipe")).status().unwrap().success());
    fs::write(top.join("one"), "same").unwrap();
    fs::hard_link(top.join("one"), top.join("two")).unwrap();
    symlink("/etc/passwd", top.join("link")).unwrap();
    let entries: Vec<LayerEntry> = folder(top).entries().collect::<Result<_, _>>().unwrap();
    let told: Vec<(String, bool)> = entries
        .iter()
        .map(|entry| (entry.shown(), matches!(entry.kind, EntryKind::File { size: 4, .. })))
        .skip(3)
        .collect();
    let told: Vec<(&str, bool)> =
        told.iter().map(|(path, is_file)| (path.strip_prefix("/layers/bp/big/").unwrap(), *is_file)).collect();
    // No socket; each hard link is a file; a link stays a link.
    assert_eq!(told, [("link", false), ("one", true), ("pipe", false), ("two", true)]);
    packer(top.parent().unwrap()).digest(folder(top).entries()).unwrap();
}

#[test]
#[ignore = "needs root, to make device nodes"]
fn device_nodes_are_entries_and_are_not_read() {
    let source = tempfile::tempdir().unwrap();
    let zero = source.path().join("zero");
    assert!(Command::new("mknod").arg(&zero).args(["c", "1", "5"]).status().unwrap().success());
    let entries: Vec<LayerEntry> = folder(source.path()).entries().collect::<Result<_, _>>().unwrap();
    assert_eq!(entries.last().unwrap().kind, EntryKind::CharacterDevice { major: 1, minor: 5 });
    packer(source.path().parent().unwrap()).digest(folder(source.path()).entries()).unwrap();
}

#[test]
#[ignore = "needs root, to mount a small disk"]
fn full_disk_is_an_error_that_says_where_and_leaves_nothing() {
    let (source, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(8 << 20).collect();
    fs::write(source.path().join("noise"), noise).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(disk.path()).status();
    assert!(mounted.unwrap().success());
    let packed = packer(disk.path()).pack(folder(source.path()).entries());
    let left = fs::read_dir(disk.path()).unwrap().count();
    assert!(Command::new("umount").arg(disk.path()).status().unwrap().success());
    let error = packed.unwrap_err();
    assert!(
        matches!(&error, LayerError::Unwritable { folder, source }
        if folder == disk.path() && source.kind() == std::io::ErrorKind::StorageFull),
        "{error:?}"
    );
    assert_eq!(left, 0);
}

/// Makes a tree of `files` small files and returns the most memory that packing it took, in bytes.
fn peak_of(make: impl FnOnce(&Path)) -> u64 {
    let (source, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(source.path());
    let name = "hostile::layers::pack_for_a_test_of_memory";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--include-ignored", "--nocapture"])
        .env("MEMORY_TEST_SOURCE", source.path())
        .env("MEMORY_TEST_KEPT", kept.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let peak = text.lines().find_map(|line| line.split("peak memory ").nth(1)).unwrap();
    peak.trim().parse::<u64>().unwrap() * 1024
}

/// Not a test by itself: what the tests of memory run in a process of their own.
#[test]
#[ignore = "needs a folder, which the tests of memory make"]
fn pack_for_a_test_of_memory() {
    let (Ok(source), Ok(kept)) = (std::env::var("MEMORY_TEST_SOURCE"), std::env::var("MEMORY_TEST_KEPT")) else {
        return;
    };
    let packer = packer(&PathBuf::from(&kept));
    // First what keeps every core busy with as many blocks as there can be: on a busy machine a small layer has fewer under way.
    let busy = Path::new(&kept).join("busy");
    fs::create_dir(&busy).unwrap();
    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(1 << 20).collect();
    let file = File::create(busy.join("noise")).unwrap();
    (0..64).for_each(|block| file.write_all_at(&noise, block << 20).unwrap());
    packer.pack(folder(&busy).entries()).unwrap();
    packer.pack(folder(Path::new(&source)).entries()).unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    println!("peak memory {}", peak.trim().trim_end_matches(" kB"));
}

fn small_files(count: usize) -> u64 {
    peak_of(|top| {
        for folder in 0..count.div_ceil(500) {
            let folder = top.join(format!("module-{folder}"));
            fs::create_dir(&folder).unwrap();
            (0..500).for_each(|file| fs::write(folder.join(format!("file-{file}.py")), "pass\n").unwrap());
        }
    })
}

#[test]
#[ignore = "needs a minute: makes 210,000 files"]
fn memory_does_not_grow_with_the_number_of_files() {
    let (few, many) = (small_files(10_000), small_files(200_000));
    assert!(many <= few + few / 10, "{few} bytes for 10,000 files, {many} for 200,000");
}

#[test]
#[ignore = "needs a minute: reads 10 GB"]
fn sparse_file_of_10_gb_takes_little_memory() {
    let peak = peak_of(|top| {
        let file = File::create(top.join("sparse")).unwrap();
        file.set_len(10 << 30).unwrap();
        file.write_all_at(b"end", (10 << 30) - 3).unwrap();
    });
    assert!(peak < 128 << 20, "{peak} bytes");
}
