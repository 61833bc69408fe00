//! A build whose buildpack is this process: for what can go wrong around buildpacks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use packhorse::image::SourceImage;
use packhorse::image::layer::{Compression, Growing, Layer, LayerEntry, Packer};
use packhorse::image::{
    Descriptor, Digest, ImageDraft, ImageError, ImageReference, ImageSource, ImageTarget, Layout, NewImage, Platform,
    Stored,
};
use packhorse::lifecycle::cache::{Handover, LayerCache};
use packhorse::lifecycle::create::Create;
use packhorse::lifecycle::export::{CnbUser, Exported, Launcher, Origin};
use packhorse::lifecycle::log::{Level, Log};
use packhorse::lifecycle::{CreateError, Executor, Exit, Folder, Folders, Output, Program};

/// A build in a folder, which may hold what an earlier one in it left.
pub(crate) struct MadeBuild {
    folder: PathBuf,
    /// Where layers lie until they are sent.
    pub(crate) blobs: PathBuf,
    /// Where layers are kept for the next build.
    pub(crate) cache: PathBuf,
    steps: Steps,
}

impl MadeBuild {
    pub(crate) fn below(folder: &Path) -> Self {
        let path = |name: &str| folder.join(name);
        let this =
            Self { folder: folder.to_owned(), blobs: path("blobs"), cache: path("cache"), steps: Steps::default() };
        let _ = fs::remove_dir_all(path("layers"));
        for name in ["app/static", "layers", "platform/env", "cnb/buildpacks/test_made/1", "scratch", "root", "blobs"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        for (file, text) in [
            ("app/main.py", "print(1)\n"),
            ("app/static/style.css", "p {}\n"),
            ("cnb/order.toml", "[[order]]\n[[order.group]]\nid = \"test/made\"\nversion = \"1\"\n"),
            ("cnb/run.toml", "[[images]]\nimage = \"test/run\"\n"),
            (
                "cnb/buildpacks/test_made/1/buildpack.toml",
                "api = \"0.10\"\n[buildpack]\nid = \"test/made\"\nversion = \"1\"\n",
            ),
        ] {
            fs::write(path(file), text).unwrap();
        }
        this
    }

    /// Ends this process as `kill -9` does when the build comes to this step, from 1.
    pub(crate) fn killed_at(mut self, step: usize) -> Self {
        self.steps.deadly = Some(step);
        self
    }

    /// How many steps the build had so far.
    pub(crate) fn steps(&self) -> usize {
        self.steps.count.load(Ordering::SeqCst)
    }

    /// Builds; the image before, if any, has the first of the names.
    pub(crate) async fn run(
        &self,
        target: &dyn ImageTarget,
        previous: &dyn ImageSource,
        name: &ImageReference,
    ) -> Result<Exported, CreateError> {
        let folders = self.folders();
        let (layout, run_name) = (Layout::at(self.folder.join("run")), "test/run:1".parse().unwrap());
        let run_image = self.run_image(&layout, &run_name).await;
        let previous_image = previous.image(name, &Platform::host()).await.unwrap();
        let handed = Handover::below(self.folder.join("handed"), |path| fs::remove_dir_all(path));
        let cache = LayerCache::new(&self.cache).with_handover(handed);
        let stepped = Stepped { target, steps: &self.steps };
        let create = Create {
            folders: &folders,
            executor: &Made(&folders),
            log: &self.steps,
            environment: &[("PATH".to_owned(), "/bin".to_owned())],
            user: CnbUser { uid: 1000, gid: 1000 },
            exec_env: "production",
            run_image: Origin { image: &run_image, source: &layout },
            chosen_run_image: None,
            previous: previous_image.as_ref().map(|image| Origin { image, source: previous }),
            cache: Some(&cache),
            skip_layers: false,
            launcher: Launcher::own(),
            process: None,
            project: "{}",
            created: packhorse::image::draft::CREATED,
            packer: Arc::new(Packer::new(&self.blobs, Compression::Gzip).unwrap()),
            target: &stepped,
            names: std::slice::from_ref(name),
        };
        create.run().await
    }

    fn folders(&self) -> Folders {
        let folder = |inside: &str, name: &str| Folder::new(inside, self.folder.join(name));
        Folders {
            root: folder("/", "root"),
            app: folder("/workspace", "app"),
            layers: folder("/layers", "layers"),
            platform: folder("/platform", "platform"),
            cnb: folder("/cnb", "cnb"),
            added: None,
            scratch: folder("/tmp/scratch", "scratch"),
            owner: None,
        }
    }

    /// A run image with one small layer.
    async fn run_image(&self, layout: &Layout, name: &ImageReference) -> SourceImage {
        if let Some(image) = layout.image(name, &Platform::host()).await.unwrap() {
            return image;
        }
        let kept = tempfile::tempdir().unwrap();
        let file = LayerEntry::file("/etc/run-image", 0o644, "of the run image\n");
        let layer = Packer::new(kept.path(), Compression::Gzip).unwrap().pack([Ok(file)].into_iter()).unwrap();
        let mut draft = ImageDraft::empty("linux", &Platform::host().architecture);
        draft.push(layer.diff_id.clone(), layer.descriptor.clone(), "run image");
        layout.put_layer(&layer).await.unwrap();
        let image = draft.finish(packhorse::image::draft::CREATED).unwrap();
        layout.finish(&image, std::slice::from_ref(name)).await.unwrap();
        layout.image(name, &Platform::host()).await.unwrap().unwrap()
    }
}

/// Does what a buildpack would do.
struct Made<'a>(&'a Folders);

/// Bytes that no compression makes smaller, the same in each build.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

#[async_trait]
impl Executor for Made<'_> {
    async fn run(&self, program: &Program, _: &mut Output<'_>) -> io::Result<Exit> {
        if Path::new(&program.argv[0]).ends_with("bin/build") {
            let own = self.0.layers.host.join("test_made");
            for (name, types, length) in [
                ("both", "launch = true\ncache = true", 300_000),
                ("launched", "launch = true", 70_000),
                ("cached", "cache = true", 90_000),
            ] {
                fs::create_dir_all(own.join(name).join("folder"))?;
                fs::write(own.join(name).join("folder/file"), noise(length as u64, length))?;
                fs::write(own.join(format!("{name}.toml")), format!("[types]\n{types}\n"))?;
            }
            let launch = "[[processes]]\ntype = \"web\"\ncommand = [\"cat\"]\ndefault = true\n[[slices]]\npaths = [\"static\"]\n";
            fs::write(own.join("launch.toml"), launch)?;
            fs::write(own.join("store.toml"), "[metadata]\nkept = true\n")?;
        }
        Ok(Exit::Exited(0))
    }

    async fn end_strays(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts what is said, and what is asked of the target before and after; one of these may be the last.
#[derive(Default)]
struct Steps {
    count: AtomicUsize,
    deadly: Option<usize>,
}

impl Steps {
    fn step(&self) {
        if Some(self.count.fetch_add(1, Ordering::SeqCst) + 1) == self.deadly {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        }
    }
}

impl Log for Steps {
    fn line(&self, _: Level, _: &str) {
        self.step();
    }

    fn output(&self, _: &[u8]) {}
}

struct Stepped<'a> {
    target: &'a dyn ImageTarget,
    steps: &'a Steps,
}

#[async_trait]
impl ImageTarget for Stepped<'_> {
    async fn put_layer(&self, layer: &Layer) -> Result<Stored, ImageError> {
        self.steps.step();
        let stored = self.target.put_layer(layer).await;
        self.steps.step();
        stored
    }

    async fn put_growing(&self, layer: Growing) -> Result<Option<Stored>, ImageError> {
        self.steps.step();
        let stored = self.target.put_growing(layer).await;
        self.steps.step();
        stored
    }

    async fn has_layer(&self, layer: &Descriptor) -> Result<bool, ImageError> {
        self.target.has_layer(layer).await
    }

    async fn take_layer(
        &self,
        source: &dyn ImageSource,
        from: &SourceImage,
        layer: &Descriptor,
    ) -> Result<Stored, ImageError> {
        self.steps.step();
        let stored = self.target.take_layer(source, from, layer).await;
        self.steps.step();
        stored
    }

    async fn finish(&self, image: &NewImage, names: &[ImageReference]) -> Result<Digest, ImageError> {
        self.steps.step();
        let digest = self.target.finish(image, names).await;
        self.steps.step();
        digest
    }
}
