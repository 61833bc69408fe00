//! The command line of `pack build`: pure, so that it can be read and tested as a whole.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::adapters::docker::DockerAddress;
use crate::image::Digest;
use crate::ports::image_builder::{Cache, ImageBuild};

/// Where a mounted certificate bundle lies inside build containers; no part of any image.
pub(super) const CA_INSIDE: &str = "/packhorse/ca-certificates.crt";

const USUAL_SOCKET: &str = "/var/run/docker.sock";

/// How build variables reach the buildpacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Variables {
    /// As files of this folder, mounted where the lifecycle reads them.
    Mounted(Option<PathBuf>),
    /// By a daemon that does not see our files: single lines in a private file, the rest by name from `pack`'s environment.
    Forwarded {
        /// The private file.
        file: PathBuf,
        /// The names.
        names: Vec<String>,
    },
}

/// What the command line is made from, besides the build itself.
#[derive(Debug, Clone)]
pub(super) struct Setting<'a> {
    pub(super) docker: &'a DockerAddress,
    pub(super) variables: Variables,
    pub(super) descriptor: &'a Path,
    pub(super) report: &'a Path,
    pub(super) lifecycle_image: Option<&'a str>,
}

/// Returns the arguments; nothing in them is secret.
pub(super) fn arguments(build: &ImageBuild, setting: &Setting<'_>) -> Vec<OsString> {
    let mut out = Arguments(vec!["build".into(), build.image.clone().into()]);
    out.option("--path", &build.source);
    out.option("--descriptor", setting.descriptor);
    out.option("--builder", &build.builder);
    out.option("--pull-policy", "if-not-present");
    for buildpack in &build.buildpacks {
        out.option("--buildpack", buildpack);
    }
    if let Some(image) = &build.run_image {
        out.option("--run-image", image);
    }
    if let Some(image) = &build.previous_image {
        out.option("--previous-image", image);
    }
    if build.publish {
        out.flag("--publish");
    }
    if build.trust_builder {
        out.flag("--trust-builder");
    }
    // Buildpacks that are not on the builder make `pack` fall back to the phases of an untrusted one.
    if let Some(image) = setting.lifecycle_image.filter(|_| !build.trust_builder || !build.buildpacks.is_empty()) {
        out.option("--lifecycle-image", image);
    }
    out.cache(build);
    out.variables(build, &setting.variables);
    if let Some(network) = &build.network {
        out.option("--network", network);
    }
    match setting.docker {
        DockerAddress::Unix(path) if path == Path::new(USUAL_SOCKET) => {}
        DockerAddress::Unix(_) => out.option("--docker-host", setting.docker.to_string()),
        DockerAddress::Tcp(_) => out.option("--docker-host", "inherit"),
    }
    out.option("--report-output-dir", setting.report);
    out.flag("--no-color");
    if build.verbose {
        out.flag("--verbose");
    }
    out.0
}

struct Arguments(Vec<OsString>);

impl Arguments {
    fn flag(&mut self, name: &str) {
        self.0.push(name.into());
    }

    fn option(&mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) {
        self.0.push(name.into());
        self.0.push(value.as_ref().to_owned());
    }

    /// Volumes are always named: `pack` would name them after the image, whose tag is another one at every build.
    fn cache(&mut self, build: &ImageBuild) {
        let stable = match &build.cache {
            Cache::Volume(text) => text.clone(),
            Cache::Image { image, .. } => image.clone(),
            Cache::None => build.source.display().to_string(),
        };
        let name = volume(&stable);
        if let (Cache::Image { image, .. }, true) = (&build.cache, build.publish) {
            self.option("--cache-image", image);
        } else {
            self.option("--cache", format!("type=build;format=volume;name={name}-build"));
        }
        self.option("--cache", format!("type=launch;format=volume;name={name}-launch"));
        if build.cache == Cache::None {
            self.flag("--clear-cache");
        }
    }

    fn variables(&mut self, build: &ImageBuild, variables: &Variables) {
        match variables {
            Variables::Mounted(folder) => {
                if let Some(folder) = folder {
                    self.option("--volume", mount(folder, "/platform/env"));
                }
                if let Some(bundle) = &build.ca_bundle {
                    self.option("--volume", mount(bundle, CA_INSIDE));
                }
            }
            Variables::Forwarded { file, names } => {
                self.option("--env-file", file);
                for name in names {
                    self.option("--env", name);
                }
            }
        }
    }
}

fn mount(from: &Path, to: &str) -> OsString {
    let mut text = from.as_os_str().to_owned();
    text.push(format!(":{to}:ro"));
    text
}

/// The volumes in which a cache of this name is kept.
pub fn cache_volumes(cache: &str) -> [String; 2] {
    let name = volume(cache);
    [format!("{name}-build"), format!("{name}-launch")]
}

/// Names a volume after a text of any form; `pack` changes some words within names, so it has hex digits only.
fn volume(text: &str) -> String {
    format!("packhorse-{}", &Digest::of(text.as_bytes()).hex()[..16])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::image::layer::Compression;

    fn build() -> ImageBuild {
        ImageBuild {
            source: "/src/shop".into(),
            builder: "heroku/builder:24".to_owned(),
            run_image: None,
            buildpacks: Vec::new(),
            image: "registry.example.com/shop:candidate-1".to_owned(),
            previous_image: None,
            env: BTreeMap::from([("TOKEN".to_owned(), "s3cret".into())]),
            publish: true,
            compression: Compression::default(),
            cache: Cache::Volume("shop".to_owned()),
            network: None,
            ca_bundle: None,
            exclude: Vec::new(),
            trust_builder: true,
            docker_config: None,
            verbose: false,
        }
    }

    fn line(build: &ImageBuild, docker: &str, variables: Variables) -> String {
        let docker = DockerAddress::parse(docker).unwrap();
        let setting = Setting {
            docker: &docker,
            variables,
            descriptor: Path::new("/tmp/x/project.toml"),
            report: Path::new("/tmp/x/report"),
            lifecycle_image: Some("lifecycle:0.21"),
        };
        let words = arguments(build, &setting);
        words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_published_image_with_a_cache_image() {
        let build = ImageBuild {
            run_image: Some("run:1".to_owned()),
            buildpacks: vec!["urn:cnb:builder:heroku/python".to_owned(), "b".to_owned()],
            previous_image: Some("registry.example.com/shop:latest".to_owned()),
            cache: Cache::Image { image: "registry.example.com/shop:cache-main".to_owned(), fallback: None },
            network: Some("host".to_owned()),
            ca_bundle: Some("/etc/ca.pem".into()),
            verbose: true,
            ..build()
        };
        let variables = Variables::Mounted(Some("/dev/shm/x/env".into()));
        let launch = volume("registry.example.com/shop:cache-main");
        assert_eq!(
            line(&build, "unix:///var/run/docker.sock", variables),
            format!(
                "build registry.example.com/shop:candidate-1 --path /src/shop --descriptor /tmp/x/project.toml \
                 --builder heroku/builder:24 --pull-policy if-not-present --buildpack urn:cnb:builder:heroku/python \
                 --buildpack b --run-image run:1 --previous-image registry.example.com/shop:latest --publish \
                 --trust-builder --lifecycle-image lifecycle:0.21 --cache-image registry.example.com/shop:cache-main \
                 --cache type=launch;format=volume;name={launch}-launch --volume /dev/shm/x/env:/platform/env:ro \
                 --volume /etc/ca.pem:/packhorse/ca-certificates.crt:ro --network host \
                 --report-output-dir /tmp/x/report --no-color --verbose"
            )
        );
    }

    #[test]
    fn an_untrusted_builder_on_another_socket_with_volumes() {
        let build = ImageBuild { publish: false, trust_builder: false, ..build() };
        let text = line(&build, "unix:///run/user/1000/docker.sock", Variables::Mounted(None));
        let name = volume("shop");
        assert!(
            text.contains(&format!(
                "--lifecycle-image lifecycle:0.21 --cache type=build;format=volume;name={name}-build \
             --cache type=launch;format=volume;name={name}-launch --docker-host unix:///run/user/1000/docker.sock"
            )),
            "{text}"
        );
        assert!(!text.contains("--publish") && !text.contains("--volume"));
    }

    #[test]
    fn a_remote_daemon_gets_variables_by_name_and_no_folder() {
        let variables = Variables::Forwarded { file: "/dev/shm/x/env-file".into(), names: vec!["KEY".to_owned()] };
        let build = ImageBuild { ca_bundle: Some("/etc/ca.pem".into()), ..build() };
        let text = line(&build, "tcp://10.0.0.1:2375", variables);
        assert!(text.contains("--env-file /dev/shm/x/env-file --env KEY --docker-host inherit"), "{text}");
        assert!(!text.contains("--volume"));
    }

    #[test]
    fn values_are_never_on_the_command_line() {
        for docker in ["unix:///var/run/docker.sock", "tcp://10.0.0.1:2375"] {
            let variables = Variables::Forwarded { file: "/x".into(), names: vec!["TOKEN".to_owned()] };
            assert!(!line(&build(), docker, variables).contains("s3cret"));
        }
    }

    #[test]
    fn a_cache_name_is_the_same_at_every_build() {
        let other = ImageBuild { image: "registry.example.com/shop:candidate-2".to_owned(), ..build() };
        let variables = || Variables::Mounted(None);
        let docker = "unix:///var/run/docker.sock";
        let cache = |text: String| text.split("--cache").skip(1).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(cache(line(&build(), docker, variables())), cache(line(&other, docker, variables())));
        let none = ImageBuild { cache: Cache::None, ..build() };
        assert!(line(&none, docker, variables()).contains("--clear-cache"));
    }
}
