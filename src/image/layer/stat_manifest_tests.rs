use std::fs::{FileTimes, OpenOptions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::super::{Compression, Ownership, Packer, Root};
use super::*;

fn folder(path: &Path) -> LayerFolder {
    let contents = Ownership::Fixed { uid: 1000, gid: 1000 };
    let root = Root::in_place().with("/layers/bp/venv", path);
    let root = root.with("/", path.parent().unwrap());
    let parents = Ownership::OnDisk;
    LayerFolder {
        root: root.with("/layers", "/").with("/layers/bp", "/"),
        path: "/layers/bp/venv".into(),
        parents,
        contents,
        order: Order::DepthFirst,
    }
}

#[test]
fn every_change_is_seen_and_none_is_made_up() {
    let root = tempfile::tempdir().unwrap();
    let top = root.path().join("venv");
    fs::create_dir_all(top.join("lib")).unwrap();
    fs::write(top.join("lib/a"), "one").unwrap();
    symlink("a", top.join("lib/link")).unwrap();
    let same_size = |path: &Path| {
        // A change that hides: the same size, and the time of writing set back.
        let before = path.metadata().unwrap().modified().unwrap();
        fs::write(path, "two").unwrap();
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.set_times(FileTimes::new().set_modified(before)).unwrap();
    };
    let changes: [&dyn Fn(); 6] = [
        &|| same_size(&top.join("lib/a")),
        &|| fs::set_permissions(top.join("lib/a"), fs::Permissions::from_mode(0o600)).unwrap(),
        &|| fs::write(top.join("lib/b"), "").unwrap(),
        &|| fs::rename(top.join("lib/b"), top.join("lib/c")).unwrap(),
        &|| {
            fs::remove_file(top.join("lib/link")).unwrap();
            symlink("c", top.join("lib/link")).unwrap();
        },
        &|| fs::remove_file(top.join("lib/c")).unwrap(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let before = StatManifest::take(&folder(&top)).unwrap().unwrap();
        assert!(before.fits(&folder(&top)), "{number}");
        change();
        assert!(!before.fits(&folder(&top)), "{number}");
    }
    let before = StatManifest::take(&folder(&top)).unwrap().unwrap();
    let other = LayerFolder { contents: Ownership::Fixed { uid: 1001, gid: 1000 }, ..folder(&top) };
    assert!(!before.fits(&other));
    fs::remove_dir_all(&top).unwrap();
    assert!(!before.fits(&folder(&top)));
}

#[test]
fn a_folder_may_be_moved_and_another_program_may_ask_but_not_after_a_restart_of_the_machine() {
    let root = tempfile::tempdir().unwrap();
    let (top, elsewhere) = (root.path().join("venv"), root.path().join("elsewhere/venv"));
    fs::create_dir_all(top.join("lib")).unwrap();
    fs::create_dir(root.path().join("elsewhere")).unwrap();
    fs::write(top.join("lib/a"), "one").unwrap();
    symlink("lib/a", top.join("link")).unwrap();
    let taken = StatManifest::take(&folder(&top)).unwrap().unwrap();
    let written = serde_json::to_string(&taken).unwrap();
    fs::rename(&top, &elsewhere).unwrap();
    let moved = LayerFolder { root: folder(&top).root.with("/layers/bp/venv", &elsewhere), ..folder(&top) };
    let mut read: StatManifest = serde_json::from_str(&written).unwrap();
    assert!(read.fits(&moved));
    fs::write(elsewhere.join("lib/a"), "two").unwrap();
    assert!(!read.fits(&moved));
    read = StatManifest::take(&moved).unwrap().unwrap();
    assert!(read.fits(&moved));
    read.machine.push('x');
    assert!(!read.fits(&moved));
}

#[test]
fn what_unpacking_would_not_make_is_told() {
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let additions: [&dyn Fn(&Path); 3] = [
        &|top| fs::hard_link(top.join("a"), top.join("b")).unwrap(),
        &|top| drop(std::os::unix::net::UnixListener::bind(top.join("socket")).unwrap()),
        &|top| {
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, top.join("pipe"), kind, 0o644.into(), 0).unwrap();
        },
    ];
    for (number, add) in additions.into_iter().enumerate() {
        let root = tempfile::tempdir().unwrap();
        let top = root.path().join("venv");
        fs::create_dir(&top).unwrap();
        fs::write(top.join("a"), "one").unwrap();
        symlink("a", top.join("link")).unwrap();
        let taken = || StatManifest::take(&folder(&top)).unwrap().unwrap();
        assert!(taken().is_as_unpacked_for(own) && !taken().is_as_unpacked_for((own.0 + 1, own.1)));
        add(&top);
        assert!(!taken().is_as_unpacked_for(own), "{number}");
    }
}

#[test]
fn clock_that_went_back_fits_nothing() {
    let before = Clocks { wall: (2_000_000_000, 500), steady: Duration::from_secs(100) };
    for (steady, wall, went_back) in [
        (60.0, 60_000_000_000, false),
        // Slowed down by a time server.
        (60.0, 59_970_000_000, false),
        // Slept in between, or set forward.
        (60.0, 4_000_000_000_000, false),
        (0.0, 0, false),
        (60.0, 30_000_000_000, true),
        (60.0, 0, true),
        (60.0, -3_600_000_000_000, true),
        (0.001, -1_000_000_000, true),
    ] {
        let wall = 2_000_000_000_000_000_500 + wall;
        let wall = (wall / 1_000_000_000, wall % 1_000_000_000);
        let later = Clocks { wall, steady: before.steady + Duration::from_secs_f64(steady) };
        assert_eq!(before.went_back(later), went_back, "{steady} {wall:?}");
    }
    let root = tempfile::tempdir().unwrap();
    let top = root.path().join("venv");
    fs::create_dir(&top).unwrap();
    let mut manifest = StatManifest::take(&folder(&top)).unwrap().unwrap();
    assert!(manifest.fits(&folder(&top)));
    // As if the clock had been an hour ahead when it was taken.
    manifest.taken.wall.0 += 3600;
    assert!(!manifest.fits(&folder(&top)));
}

/// One thing that happens to a layer, on files `0` to `4` of folders `0` and `1`.
#[derive(Debug, Clone)]
enum Edit {
    Write {
        file: usize,
        byte: u8,
    },
    /// Same size, and the time of writing as it was.
    WriteAndHide {
        file: usize,
        byte: u8,
    },
    /// Written over by a copy with the same size and times, under the old name.
    Replace {
        file: usize,
        byte: u8,
    },
    Touch {
        file: usize,
    },
    Mode {
        file: usize,
        mode: u32,
    },
    Rename {
        from: usize,
        to: usize,
    },
    Swap {
        one: usize,
        other: usize,
    },
    HardLink {
        from: usize,
        to: usize,
    },
    /// Written through a name outside of the layer.
    WriteThroughLink {
        file: usize,
        byte: u8,
    },
    Symlink {
        file: usize,
        target: usize,
    },
    Remove {
        file: usize,
    },
}

fn edit() -> impl Strategy<Value = Edit> {
    let (file, byte) = (0..10_usize, 0..3_u8);
    prop_oneof![
        (file.clone(), byte.clone()).prop_map(|(file, byte)| Edit::Write { file, byte }),
        (file.clone(), byte.clone()).prop_map(|(file, byte)| Edit::WriteAndHide { file, byte }),
        (file.clone(), byte.clone()).prop_map(|(file, byte)| Edit::Replace { file, byte }),
        file.clone().prop_map(|file| Edit::Touch { file }),
        (file.clone(), 0..2_u32).prop_map(|(file, bit)| Edit::Mode { file, mode: 0o600 | bit }),
        (file.clone(), file.clone()).prop_map(|(from, to)| Edit::Rename { from, to }),
        (file.clone(), file.clone()).prop_map(|(one, other)| Edit::Swap { one, other }),
        (file.clone(), file.clone()).prop_map(|(from, to)| Edit::HardLink { from, to }),
        (file.clone(), byte).prop_map(|(file, byte)| Edit::WriteThroughLink { file, byte }),
        (file.clone(), file.clone()).prop_map(|(file, target)| Edit::Symlink { file, target }),
        file.prop_map(|file| Edit::Remove { file }),
    ]
}

fn hidden(path: &Path, write: impl FnOnce()) {
    let Ok(before) = path.symlink_metadata() else { return };
    write();
    if let Ok(file) = OpenOptions::new().write(true).open(path) {
        let times = FileTimes::new().set_modified(before.modified().unwrap()).set_accessed(before.accessed().unwrap());
        let _ = file.set_times(times);
    }
}

impl Edit {
    /// Does it; what cannot be done, such as renaming what is not there, is left.
    fn apply(&self, top: &Path) {
        let at = |file: usize| top.join(format!("folder-{}/file-{}", file / 5, file % 5));
        let outside = top.with_file_name("outside");
        match *self {
            Self::Write { file, byte } => drop(fs::write(at(file), [byte; 64])),
            Self::WriteAndHide { file, byte } => hidden(&at(file), || drop(fs::write(at(file), [byte; 64]))),
            Self::Replace { file, byte } => hidden(&at(file), || {
                fs::write(&outside, [byte; 64]).unwrap();
                let _ = fs::rename(&outside, at(file));
            }),
            Self::Touch { file } => {
                if let Ok(file) = OpenOptions::new().write(true).open(at(file)) {
                    file.set_times(FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH)).unwrap();
                }
            }
            Self::Mode { file, mode } => drop(fs::set_permissions(at(file), fs::Permissions::from_mode(mode))),
            Self::Rename { from, to } => drop(fs::rename(at(from), at(to))),
            Self::Swap { one, other } => {
                let _ = fs::rename(at(one), &outside);
                let _ = fs::rename(at(other), at(one));
                let _ = fs::rename(&outside, at(other));
            }
            Self::HardLink { from, to } => drop(fs::hard_link(at(from), at(to))),
            Self::WriteThroughLink { file, byte } => {
                if fs::hard_link(at(file), &outside).is_ok() {
                    hidden(&outside, || drop(fs::write(&outside, [byte; 64])));
                }
            }
            Self::Symlink { file, target } => drop(symlink(at(target).file_name().unwrap(), at(file))),
            Self::Remove { file } => drop(fs::remove_file(at(file))),
        }
        let _ = fs::remove_file(outside);
    }
}

fn contents(top: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let found = folder(top).found().map(|found| found.unwrap().host);
    found.map(|path| (path.clone(), fs::read(&path).ok())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The promise that all rests on: where the manifest fits, the layer's digest is what it was.
    #[test]
    fn layer_that_fits_has_the_digest_it_had(
        before in proptest::collection::vec(edit(), 0..12),
        after in proptest::collection::vec(edit(), 0..4),
    ) {
        let root = tempfile::tempdir().unwrap();
        let top = root.path().join("venv");
        for number in 0..2 {
            fs::create_dir_all(top.join(format!("folder-{number}"))).unwrap();
        }
        for edit in &before {
            edit.apply(&top);
        }
        let packer = Packer::new(root.path(), Compression::Gzip).unwrap();
        let digest = || packer.digest(folder(&top).entries()).unwrap().diff_id;
        let (first, first_contents) = (digest(), contents(&top));
        let manifest = StatManifest::take(&folder(&top)).unwrap().unwrap();
        prop_assert!(manifest.fits(&folder(&top)), "nothing happened yet");
        for edit in &after {
            edit.apply(&top);
        }
        if manifest.fits(&folder(&top)) {
            prop_assert_eq!(digest(), first);
            prop_assert_eq!(contents(&top), first_contents);
        }
    }
}
