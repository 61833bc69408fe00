//! A tiny app: one process, built in seconds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use packhorse::image::layer::Compression;
use packhorse::ports::image_builder::{BuildOutput, Cache, ImageBuild};

use super::parts;

/// Makes the folder of an app with this Procfile.
pub(crate) fn app(procfile: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("Procfile"), procfile).unwrap();
    folder
}

/// Asks for an image of an app, published to the registry.
pub(crate) fn published(source: &Path, name: &str) -> ImageBuild {
    ImageBuild {
        source: source.to_owned(),
        builder: parts::builder(),
        run_image: None,
        buildpacks: Vec::new(),
        image: format!("{}/{name}:candidate-1", parts::registry()),
        previous_image: None,
        env: BTreeMap::new(),
        publish: true,
        compression: Compression::default(),
        cache: Cache::Volume(name.to_owned()),
        network: Some("host".to_owned()),
        ca_bundle: None,
        exclude: Vec::new(),
        trust_builder: true,
        docker_config: None,
        verbose: false,
    }
}

/// Asks for an image of an app that stays with the daemon.
pub(crate) fn local(source: &Path, name: &str) -> ImageBuild {
    ImageBuild {
        builder: parts::builder_local(),
        image: format!("{name}:candidate-1"),
        publish: false,
        ..published(source, name)
    }
}

/// Keeps the lines of a build.
#[derive(Default)]
pub(crate) struct Lines(Mutex<Vec<String>>);

impl BuildOutput for Lines {
    fn line(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}

impl Lines {
    /// Returns them as one text.
    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}
