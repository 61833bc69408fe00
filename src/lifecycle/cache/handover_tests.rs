use std::os::unix::fs::symlink;
use std::sync::Barrier;

use super::*;
use crate::image::layer::{Compression, Order, Ownership, Packer, Root};

/// A place for what is handed over, and folders of layers of builds.
struct Bench {
    folder: tempfile::TempDir,
    handover: Handover,
}

fn owner() -> Owner {
    Owner { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let handover = Handover::below(folder.path().join("handed"), |path| fs::remove_dir_all(path));
        Self { folder, handover }
    }

    /// The layer as a build has it, which need not be there.
    fn layer(&self, build: &str) -> LayerFolder {
        let host = self.folder.path().join(build);
        fs::create_dir_all(host.join("bp")).unwrap();
        LayerFolder {
            root: Root::in_place().with("/layers", host),
            path: "/layers/bp/venv".into(),
            parents: Ownership::Fixed { uid: 1000, gid: 1000 },
            contents: Ownership::Fixed { uid: 1000, gid: 1000 },
            order: Order::DepthFirst,
        }
    }

    fn digest(&self, layer: &LayerFolder) -> Digest {
        Packer::new(self.folder.path(), Compression::Gzip).unwrap().digest(layer.entries()).unwrap().diff_id
    }

    /// A build that makes the layer and hands it over.
    fn made(&self, build: &str, content: &str) -> Digest {
        let layer = self.layer(build);
        let host = host(&layer);
        fs::create_dir(&host).unwrap();
        fs::create_dir(host.join("bin")).unwrap();
        fs::write(host.join("bin/python"), content).unwrap();
        symlink("python", host.join("bin/python3")).unwrap();
        let manifest = StatManifest::take(&layer).unwrap().unwrap();
        let digest = self.digest(&layer);
        assert!(self.handover.keep(&digest, &layer, &manifest, owner()));
        assert!(!host.exists());
        digest
    }

    fn take(&self, digest: &Digest, build: &str) -> Option<StatManifest> {
        self.handover.take(digest, &self.layer(build), owner())
    }

    fn kept(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join("handed")).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn host(layer: &LayerFolder) -> PathBuf {
    layer.root.host(&layer.path)
}

#[test]
fn a_folder_goes_from_build_to_build_and_is_known_without_being_read() {
    let bench = Bench::new();
    let digest = bench.made("first", "1");
    for (build, next) in [("second", "third"), ("third", "")] {
        let layer = bench.layer(build);
        let manifest = bench.take(&digest, build).unwrap();
        assert!(manifest.fits(&layer), "nobody has touched it");
        assert_eq!(bench.digest(&layer), digest);
        assert!(bench.take(&digest, "another").is_none(), "it is gone from there");
        if !next.is_empty() {
            assert!(bench.handover.keep(&digest, &layer, &manifest, owner()));
        }
    }
}

#[test]
fn what_was_changed_is_not_believed_and_not_left() {
    let changes: [&dyn Fn(&Path); 4] = [
        &|top| fs::write(top.join("bin/python"), "2").unwrap(),
        &|top| fs::write(top.join("more"), "").unwrap(),
        &|top| fs::remove_file(top.join("bin/python3")).unwrap(),
        &|top| fs::hard_link(top.join("bin/python"), top.parent().unwrap().join("outside")).unwrap(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let bench = Bench::new();
        let digest = bench.made("first", "1");
        change(&bench.folder.path().join("handed").join(digest.hex()));
        assert!(bench.take(&digest, "second").is_none(), "{number}");
        assert!(!host(&bench.layer("second")).exists(), "{number}");
    }
    // Changed by a build that had it: what it hands over then is another layer, under another digest.
    let bench = Bench::new();
    let (digest, layer) = (bench.made("first", "1"), bench.layer("second"));
    let before = bench.take(&digest, "second").unwrap();
    fs::write(host(&layer).join("bin/python"), "2").unwrap();
    assert!(!before.fits(&layer));
    assert!(bench.handover.keep(&digest, &layer, &before, owner()), "nothing is looked at here");
    assert!(bench.take(&digest, "third").is_none());
}

/// Leaves a folder and its record as a killed build may.
type Leave = dyn Fn(&Path, &Path);

#[test]
fn half_of_a_folder_or_record_is_none() {
    let leftovers: [&Leave; 5] = [
        // Killed before the folder was moved, or after it was taken.
        &|folder, _| fs::remove_dir_all(folder).unwrap(),
        &|_, record| fs::remove_file(record).unwrap(),
        // Killed while the record was written.
        &|_, record| fs::write(record, &fs::read(record).unwrap()[..40]).unwrap(),
        &|_, record| fs::write(record, "").unwrap(),
        // The record of a folder that lay there before.
        &|folder, _| {
            fs::remove_dir_all(folder).unwrap();
            fs::create_dir_all(folder.join("bin")).unwrap();
            fs::write(folder.join("bin/python"), "1").unwrap();
            symlink("python", folder.join("bin/python3")).unwrap();
        },
    ];
    for (number, leave) in leftovers.into_iter().enumerate() {
        let bench = Bench::new();
        let digest = bench.made("first", "1");
        let (folder, record) = bench.handover.paths(&digest);
        leave(&folder, &record);
        assert!(bench.take(&digest, "second").is_none(), "{number}");
        assert!(!host(&bench.layer("second")).exists(), "{number}");
        // The next one is none the worse for it.
        assert_eq!(bench.made("third", "1"), digest);
        assert!(bench.take(&digest, "fourth").is_some(), "{number}");
    }
}

#[test]
fn of_many_builds_one_gets_the_folder() {
    for _ in 0..20 {
        let bench = Bench::new();
        let digest = bench.made("first", "1");
        let names: Vec<String> = (0..6).map(|number| format!("build-{number}")).collect();
        let begin = Barrier::new(names.len());
        let taken: Vec<bool> = std::thread::scope(|scope| {
            let threads: Vec<_> = names
                .iter()
                .map(|name| {
                    let (bench, digest, begin) = (&bench, &digest, &begin);
                    scope.spawn(move || {
                        begin.wait();
                        bench.take(digest, name).is_some()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
        for (name, taken) in names.iter().zip(taken) {
            assert_eq!(host(&bench.layer(name)).exists(), taken);
        }
    }
}

#[test]
fn a_folder_of_other_owners_or_with_what_archives_lack_stays_where_it_is() {
    let bench = Bench::new();
    let digest = bench.made("first", "1");
    let other = Owner { uid: owner().uid + 1, ..owner() };
    assert!(bench.handover.take(&digest, &bench.layer("second"), other).is_none());
    assert!(bench.take(&digest, "third").is_some());

    let layer = bench.layer("third");
    fs::hard_link(host(&layer).join("bin/python"), host(&layer).join("twin")).unwrap();
    let manifest = StatManifest::take(&layer).unwrap().unwrap();
    assert!(!bench.handover.keep(&bench.digest(&layer), &layer, &manifest, owner()));
    assert!(host(&layer).exists());
}

#[test]
fn what_is_in_the_way_is_left() {
    let bench = Bench::new();
    let (digest, layer) = (bench.made("first", "1"), bench.layer("second"));
    fs::create_dir(host(&layer)).unwrap();
    assert!(bench.take(&digest, "second").is_none());
    assert!(bench.take(&digest, "third").is_some());
}

#[test]
fn old_folders_are_removed() {
    let bench = Bench::new();
    let (old, new) = (bench.made("first", "1"), bench.made("second", "2"));
    fs::create_dir_all(bench.folder.path().join("handed/.old-killed/layer")).unwrap();
    bench.handover.keep_only(&[new.clone()].into());
    assert_eq!(bench.kept(), [new.hex().to_owned(), format!("{}.json", new.hex())]);
    assert!(bench.take(&old, "third").is_none());
    assert!(bench.take(&new, "third").is_some());
}
