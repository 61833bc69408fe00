//! One build by the Go lifecycle and by ours: same builder, buildpacks, app and variables, in containers of the same image.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output as Finished};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use packhorse::image::credentials::Anonymous;
use packhorse::image::layer::{Compression, Packer};
use packhorse::image::registry::RegistryTarget;
use packhorse::image::{
    Digest, ImageConfig, ImageReference, ImageSource, Platform, RegistryClient, RegistryOptions, SourceImage,
};
use packhorse::lifecycle::cache::{ImageCache, LayerCache};
use packhorse::lifecycle::create::Create;
use packhorse::lifecycle::export::{CnbUser, Launcher, Origin};
use packhorse::lifecycle::log::{Level, Log};
use packhorse::lifecycle::metadata::LauncherMetadata;
use packhorse::lifecycle::{Executor, Exit, Folder, Folders, Output, Owner, Program};

use super::docker::{Broom, random_name};
use super::parts;

const CNB: Owner = Owner { uid: 1000, gid: 1000 };

/// A build that both lifecycles do.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
    /// Whether layers are kept in an image, for both the same, and not in folders.
    cache_image: bool,
    name: String,
    client: RegistryClient,
    _broom: Broom,
}

/// What a build made and said.
pub(crate) struct Built {
    pub(crate) image: ImageReference,
    pub(crate) config: ImageConfig,
    pub(crate) said: String,
}

/// How a build failed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) code: i32,
    /// The line that says why, without `ERROR: `.
    pub(crate) error: String,
    pub(crate) said: String,
}

impl Bench {
    /// Takes buildpacks of the fixtures in this order: groups, and in them ids, optional ones with `?`.
    pub(crate) fn new(order: &[&str]) -> Self {
        let options = RegistryOptions::new(Arc::new(rustls::crypto::ring::default_provider()));
        let client = RegistryClient::new(options, Arc::new(Anonymous)).unwrap();
        let name = random_name("creator");
        let (folder, broom) = (tempfile::tempdir().unwrap(), Broom(name.clone()));
        let bench = Self { folder, cache_image: false, name, client, _broom: broom };
        fs::set_permissions(bench.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let buildpacks = bench.path("cnb/buildpacks");
        fs::create_dir_all(&buildpacks).unwrap();
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/buildpacks");
        for entry in fs::read_dir(fixtures).unwrap() {
            let entry = entry.unwrap();
            bench.add_buildpack(entry.file_name().to_str().unwrap(), &entry.path());
        }
        bench.write("cnb/order.toml", &order_toml(order));
        let run_image = Self::run_image();
        bench.write("cnb/run.toml", &format!("[[images]]\nimage = \"{run_image}\"\n"));
        for folder in
            ["app", "cnb/build-config/env", "cnb/lifecycle", "platform/env", "root", "scratch", "theirs/cache", "ours"]
        {
            fs::create_dir_all(bench.path(folder)).unwrap();
        }
        // The very launcher of the builder, which goes into both images.
        let launcher =
            docker(&["run", "--rm", "--entrypoint", "cat", &parts::builder_local(), "/cnb/lifecycle/launcher"]);
        fs::write(bench.path("cnb/lifecycle/launcher"), launcher.stdout).unwrap();
        bench
    }

    /// Has both keep layers in one image of the registry.
    pub(crate) fn with_cache_image(self) -> Self {
        Self { cache_image: true, ..self }
    }

    /// Returns what the image with the cache says of its layers, and their digests.
    pub(crate) async fn cache_image(&self) -> (serde_json::Value, Vec<Digest>) {
        let image = self.source(&self.image("cache")).await.unwrap();
        let label = image.config.label("io.buildpacks.lifecycle.cache.metadata").unwrap();
        let mut layers = image.config.rootfs.diff_ids.clone();
        layers.sort();
        // The Go lifecycle adds a layer that it takes over a second time.
        layers.dedup();
        (serde_json::from_str(label).unwrap(), layers)
    }

    /// Adds a buildpack from elsewhere.
    pub(crate) fn with_buildpack(self, name: &str, folder: impl AsRef<Path>) -> Self {
        self.add_buildpack(name, folder.as_ref());
        self
    }

    fn add_buildpack(&self, name: &str, from: &Path) {
        let folder = self.path("cnb/buildpacks").join(format!("test_{name}"));
        fs::create_dir(&folder).unwrap();
        run(Command::new("cp").arg("-r").arg(from).arg(folder.join("1.0.0")));
        run(Command::new("chmod").args(["-R", "go=rX,u=rwX"]).arg(&folder));
    }

    /// Adds a file of the builder, below `/cnb`.
    pub(crate) fn with_builder_file(self, path: &str, content: &str) -> Self {
        self.write(&format!("cnb/{path}"), content);
        self
    }

    /// Takes the launcher out of the builder that ours works with.
    pub(crate) fn without_launcher(self) -> Self {
        fs::remove_file(self.path("cnb/lifecycle/launcher")).unwrap();
        self
    }

    /// Adds a file of the app.
    pub(crate) fn with_file(self, path: &str, content: &str) -> Self {
        self.write(&format!("app/{path}"), content);
        self
    }

    /// Adds a variable of the user.
    pub(crate) fn with_variable(self, name: &str, value: &str) -> Self {
        self.write(&format!("platform/env/{name}"), value);
        self
    }

    /// Adds a file to the builder's build-config.
    pub(crate) fn with_build_config(self, name: &str, value: &str) -> Self {
        self.write(&format!("cnb/build-config/env/{name}"), value);
        self
    }

    /// Builds with the Go lifecycle; the image before is its own last one.
    pub(crate) async fn theirs(&self) -> Built {
        self.theirs_after("theirs").await.unwrap_or_else(|failed| panic!("{failed:?}"))
    }

    /// Builds with the Go lifecycle; the image before is `previous`, in the registry.
    pub(crate) async fn theirs_after(&self, previous: &str) -> Result<Built, Failed> {
        let (app, layers) = self.fresh("theirs");
        let cache = self.path("theirs/cache");
        run(Command::new("chown").args(["-R", "1000:1000"]).arg(&cache));
        let image = self.image("theirs");
        let mut creator = Command::new(parts::docker_cli());
        creator.args(["run", "--rm", "--network", "host", "--user", "0:0"]);
        for (from, to) in [
            (app, "/workspace"),
            (layers, "/layers"),
            (cache, "/cache"),
            (self.path("platform"), "/platform:ro"),
            (self.path("cnb/buildpacks"), "/cnb/buildpacks:ro"),
            (self.path("cnb/order.toml"), "/cnb/order.toml:ro"),
            (self.path("cnb/run.toml"), "/cnb/run.toml:ro"),
            (self.path("cnb/build-config"), "/cnb/build-config:ro"),
        ] {
            creator.arg("-v").arg(format!("{}:{to}", from.display()));
        }
        for variable in ["CNB_PLATFORM_API=0.15", "LANG=of-the-builder", "NO_PROXY=nowhere"] {
            creator.args(["-e", variable]);
        }
        creator.args(["--entrypoint", "/cnb/lifecycle/creator", &parts::builder_local(), "-no-color"]);
        let cache_image = self.image("cache").to_string();
        creator.args(if self.cache_image { ["-cache-image", &cache_image] } else { ["-cache-dir", "/cache"] });
        creator.args(["-run-image", &Self::run_image().to_string()]);
        creator.args(["-previous-image", &self.image(previous).to_string(), &image.to_string()]);
        let finished = creator.output().unwrap();
        let said = [finished.stdout, finished.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        if finished.status.success() {
            return Ok(Built { config: self.source(&image).await.unwrap().config, image, said });
        }
        let error = said.lines().rev().find_map(|line| line.strip_prefix("ERROR: ")).unwrap_or_default().to_owned();
        Err(Failed { code: finished.status.code().unwrap(), error, said })
    }

    /// Builds with ours; the image before is `previous`, in the registry.
    pub(crate) async fn ours(&self, previous: Option<&str>) -> Result<Built, Failed> {
        let (app, layers) = self.fresh("ours");
        let folders = Folders {
            root: Folder::new("/", self.path("root")),
            app: Folder::new("/workspace", app),
            layers: Folder::new("/layers", layers),
            platform: Folder::new("/platform", self.path("platform")),
            cnb: Folder::new("/cnb", self.path("cnb")),
            added: None,
            scratch: Folder::new("/tmp/scratch", self.path("scratch")),
            owner: Some(CNB),
        };
        let container = Container::start(&self.name, &folders);
        let log = Said::default();
        let source = &self.client;
        let run_image = self.source(&Self::run_image()).await.unwrap();
        let previous = match previous {
            Some(name) => Some(self.source(&self.image(name)).await.unwrap()),
            None => None,
        };
        let launcher = Launcher::of_builder(&folders, LauncherMetadata::default()).unwrap();
        let environment = [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", "/home/cnb"),
            ("CNB_USER_ID", "1000"),
            ("LANG", "of-the-builder"),
            ("NO_PROXY", "nowhere"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let cache = if self.cache_image {
            LayerCache::in_registry(ImageCache::new(&self.client, self.image("cache"), vec![]))
        } else {
            LayerCache::new(self.path("ours/cache"))
        };
        let image = self.image("ours");
        let target = RegistryTarget::new(self.client.clone(), image.repository().clone());
        let names = [image.clone()];
        let create = Create {
            folders: &folders,
            executor: &container,
            log: &log,
            environment: &environment,
            user: CnbUser { uid: CNB.uid, gid: CNB.gid },
            exec_env: "production",
            run_image: Origin { image: &run_image, source },
            chosen_run_image: None,
            previous: previous.as_ref().map(|image| Origin { image, source }),
            cache: Some(&cache),
            skip_layers: false,
            launcher,
            process: None,
            project: "{}",
            created: packhorse::image::draft::CREATED,
            packer: Arc::new(Packer::new(self.folder.path(), Compression::Gzip).unwrap()),
            target: &target,
            names: &names,
        };
        let said = || log.0.lock().unwrap().clone();
        match create.run().await {
            // As it is written, which leaves more out than what is in memory.
            Ok(_) => Ok(Built { config: self.source(&image).await.unwrap().config, image, said: said() }),
            Err(error) => {
                let code = error.exit_code().code();
                Err(Failed { code, error: packhorse::ports::failure::chain(&error), said: said() })
            }
        }
    }

    /// The folder that the Go lifecycle keeps layers in becomes the one that ours begins with.
    pub(crate) fn hand_their_cache_to_us(&self) {
        let _ = fs::remove_dir_all(self.path("ours/cache"));
        run(Command::new("cp").arg("-r").arg(self.path("theirs/cache")).arg(self.path("ours/cache")));
    }

    /// The folder that ours keeps layers in becomes the one that the Go lifecycle begins with.
    pub(crate) fn hand_our_cache_to_them(&self) {
        fs::remove_dir_all(self.path("theirs/cache")).unwrap();
        run(Command::new("cp").arg("-r").arg(self.path("ours/cache")).arg(self.path("theirs/cache")));
    }

    /// Gets an image into the engine.
    pub(crate) fn pull(built: &Built) {
        let finished = docker(&["pull", "--quiet", &built.image.to_string()]);
        assert!(finished.status.success(), "{}", String::from_utf8_lossy(&finished.stderr));
    }

    /// Runs a process of an image in a container: its exit code, and all that it prints, by line.
    pub(crate) fn run(built: &Built, options: &[&str], arguments: &[&str]) -> (Option<i32>, Vec<String>) {
        let mut command = Command::new(parts::docker_cli());
        command.args(["run", "--rm", "--hostname", "app", "--network", "none"]).args(options);
        let finished = command.arg(built.image.to_string()).args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&[finished.stdout, finished.stderr].concat()).into_owned();
        // The Go launcher hands variables on in any order.
        let mut lines: Vec<_> = text.lines().map(ToOwned::to_owned).collect();
        lines.sort();
        (finished.status.code(), lines)
    }

    fn run_image() -> ImageReference {
        format!("{}/packhorse/run:debian-12", parts::registry()).parse().unwrap()
    }

    fn image(&self, side: &str) -> ImageReference {
        format!("{}/test/{}:{side}", parts::registry(), self.name).parse().unwrap()
    }

    async fn source(&self, image: &ImageReference) -> Option<SourceImage> {
        self.client.image(image, &Platform::host()).await.unwrap()
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A copy of the app, and an empty folder for layers, both the CNB user's.
    fn fresh(&self, side: &str) -> (PathBuf, PathBuf) {
        let (app, layers) = (self.path(side).join("workspace"), self.path(side).join("layers"));
        for folder in [&app, &layers] {
            let _ = fs::remove_dir_all(folder);
        }
        fs::create_dir_all(&layers).unwrap();
        run(Command::new("cp").arg("-r").arg(self.path("app")).arg(&app));
        run(Command::new("chown").args(["-R", "1000:1000"]).args([&app, &layers, &self.path("scratch")]));
        run(Command::new("chmod").args(["-R", "go=rX,u=rwX"]).args([&app, &layers]));
        (app, layers)
    }
}

impl Built {
    /// The types of its processes.
    pub(crate) fn process_types(&self) -> Vec<String> {
        let label = &self.config.config.labels["io.buildpacks.build.metadata"];
        let label: serde_json::Value = serde_json::from_str(label).unwrap();
        let processes = label["processes"].as_array().unwrap();
        processes.iter().map(|process| process["type"].as_str().unwrap().to_owned()).collect()
    }
}

/// Fails unless two images are the same but for what only the Go lifecycle knows: its own version and commit.
pub(crate) fn assert_same_image(ours: &Built, theirs: &Built) {
    let said = || format!("theirs:\n{}\nours:\n{}", theirs.said, ours.said);
    let layers = |built: &Built| {
        let history = built.config.history.iter().map(|step| step.created_by.clone());
        built.config.rootfs.diff_ids.iter().map(ToString::to_string).zip(history).collect::<Vec<_>>()
    };
    assert_eq!(layers(ours), layers(theirs), "{}", said());
    let (mut one, mut other) = (ours.config.clone(), theirs.config.clone());
    for config in [&mut one, &mut other] {
        // What Docker writes into a config and Go's library does not know; ours keeps it.
        for field in ["comment", "container_config"] {
            config.other.remove(field);
        }
        for value in config.config.labels.values_mut() {
            let Ok(mut label) = serde_json::from_str::<serde_json::Value>(value) else { continue };
            if let Some(launcher) = label.get_mut("launcher").filter(|launcher| launcher.get("source").is_some()) {
                *launcher = serde_json::json!("left out");
                *value = label.to_string();
            }
        }
    }
    let lines = |config: &ImageConfig| {
        let text = serde_json::to_string_pretty(config).unwrap();
        text.lines().map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let (one, other) = (lines(&one), lines(&other));
    let different: Vec<_> = one.iter().zip(&other).filter(|(one, other)| one != other).collect();
    assert!(different.is_empty() && one.len() == other.len(), "{different:#?}\n{}", said());
}

fn order_toml(groups: &[&str]) -> String {
    let element = |word: &str| {
        let (id, optional) = word.strip_prefix('?').map_or((word, false), |id| (id, true));
        format!("[[order.group]]\nid = \"test/{id}\"\nversion = \"1.0.0\"\noptional = {optional}\n")
    };
    let group = |text: &&str| format!("[[order]]\n{}", text.split_whitespace().map(element).collect::<String>());
    groups.iter().map(group).collect()
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

fn docker(args: &[&str]) -> Finished {
    Command::new(parts::docker_cli()).args(args).output().unwrap()
}

/// A container of the builder in which our lifecycle runs programs.
struct Container(String);

impl Container {
    fn start(name: &str, folders: &Folders) -> Self {
        let mounts: Vec<String> = [&folders.app, &folders.layers, &folders.scratch, &folders.platform]
            .iter()
            .map(|folder| format!("{}:{}", folder.host.display(), folder.inside.display()))
            .chain([format!("{}/buildpacks:/cnb/buildpacks:ro", folders.cnb.host.display())])
            .collect();
        let mut args = vec!["run", "-d", "--init", "--name", name, "--network", "host"];
        for mount in &mounts {
            args.extend(["-v", mount]);
        }
        let builder = parts::builder_local();
        args.extend(["--entrypoint", "sleep", &builder, "infinity"]);
        let finished = docker(&args);
        assert!(finished.status.success(), "{}", String::from_utf8_lossy(&finished.stderr));
        Self(name.to_owned())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        docker(&["rm", "-f", &self.0]);
    }
}

#[async_trait]
impl Executor for Container {
    async fn run(&self, program: &Program, output: &mut Output<'_>) -> io::Result<Exit> {
        let mut command = tokio::process::Command::new(parts::docker_cli());
        command
            .args(["exec", "-u", "1000:1000", "-w"])
            .arg(&program.working_dir)
            .arg(&self.0)
            .args(["/usr/bin/env", "-i"]);
        for (name, value) in &program.env {
            command.arg([name.as_os_str(), OsStr::new("="), value].into_iter().collect::<std::ffi::OsString>());
        }
        let finished = command.args(&program.argv).output().await?;
        output(&finished.stdout);
        output(&finished.stderr);
        // A shell's way to say that a signal ended it, which is Docker's too.
        Ok(match finished.status.code().unwrap_or(-1) {
            code @ 129..160 => Exit::Signaled(code - 128),
            code => Exit::Exited(code),
        })
    }

    async fn end_strays(&self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct Said(Mutex<String>);

impl Log for Said {
    fn line(&self, level: Level, text: &str) {
        if level > Level::Debug {
            let mut said = self.0.lock().unwrap();
            said.push_str(if level == Level::Warning { "Warning: " } else { "" });
            said.push_str(text);
            said.push('\n');
        }
    }

    fn output(&self, bytes: &[u8]) {
        self.0.lock().unwrap().push_str(&String::from_utf8_lossy(bytes));
    }
}
