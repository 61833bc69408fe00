//! What an app image is built in and upon: the builder's files with a place to work in, and the run image.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::try_join;
use serde::Deserialize;

use super::failure::{not_possible, of_rootfs};
use super::images::{Found, Images, Named};
use super::settings::EmbeddedSettings;
use super::told::Told;
use crate::adapters::sandbox::account::Account;
use crate::adapters::sandbox::rootfs::{Owners, RootStore};
use crate::adapters::sandbox::{Sandbox, Users, Workplace};
use crate::image::{ImageConfig, ImageReference, Registry};
use crate::lifecycle::analyze;
use crate::lifecycle::labels::RunImageNames;
use crate::ports::failure::{Failure, chain};
use crate::ports::image_builder::{ImageBuild, ImageBuildError};

/// The label in which a builder says what it has.
const METADATA: &str = "io.buildpacks.builder.metadata";

/// What tells a builder image from other filesystems.
const SIGNS: [&str; 2] = ["/cnb/order.toml", "/cnb/lifecycle"];

/// Tells whether packhorse itself runs inside a builder image.
pub fn is_inside_a_builder(variables: &[(String, String)]) -> bool {
    let set = |wanted: &str| variables.iter().any(|(name, _)| name == wanted);
    set("CNB_USER_ID") && set("CNB_GROUP_ID") && SIGNS.iter().all(|path| Path::new(path).exists())
}

/// A builder that is ready to build.
pub(super) struct Base {
    pub(super) workplace: Workplace,
    /// The variables of the builder, with those of its user and of proxies.
    pub(super) environment: Vec<(String, String)>,
    /// The version of its lifecycle, where it says.
    pub(super) lifecycle: String,
    /// The run images that it names.
    run_images: Vec<RunImageNames>,
}

/// What a builder says of itself.
#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    lifecycle: Lifecycle,
    #[serde(default)]
    images: Option<Vec<RunImageNames>>,
    #[serde(default)]
    stack: Stack,
}

#[derive(Default, Deserialize)]
struct Lifecycle {
    #[serde(default)]
    version: String,
}

#[derive(Default, Deserialize)]
struct Stack {
    #[serde(default, rename = "runImage")]
    run_image: RunImageNames,
}

impl Metadata {
    fn of(config: &ImageConfig) -> Self {
        config.label(METADATA).and_then(|label| serde_json::from_str(label).ok()).unwrap_or_default()
    }

    fn run_images(self) -> Vec<RunImageNames> {
        let images = self.images.unwrap_or_default().into_iter().chain([self.stack.run_image]);
        images.filter(|names| !names.image.is_empty()).collect()
    }
}

impl Base {
    /// Brings the builder's files to this machine, unless packhorse runs within them, and makes a place to build in.
    pub(super) async fn prepare(
        settings: &EmbeddedSettings,
        images: &Images,
        build: &ImageBuild,
        told: &Told<'_>,
    ) -> Result<Self, ImageBuildError> {
        if is_inside_a_builder(&settings.variables) {
            told.say("Building in place: this machine is a builder image itself");
            return Self::in_place(settings);
        }
        let users = Users::of_process();
        let held = Held::back(told);
        let tried = async {
            Sandbox::try_out(&settings.helper, users).await.map_err(|error| not_possible(chain(&error)))?;
            held.release();
            Ok(())
        };
        let Named { reference, source } = images.named(&build.builder)?;
        let owners = if users == Users::All { Owners::Kept } else { Owners::Own };
        let store = RootStore::new(settings.roots(), owners);
        let say = |text: &str| held.say(text);
        let rootfs = async {
            match store.get(source.as_ref(), &reference, &say).await {
                Ok(rootfs) => Ok(rootfs),
                Err(error) => Err(of_rootfs(error, images, "builder", &build.builder).await),
            }
        };
        // Nothing is fetched to its end where it would be of no use.
        let ((), rootfs) = try_join(tried, rootfs).boxed().await?;
        told.say(&format!("Builder {}", rootfs.image));
        let account = Account::of_image(&rootfs.config, &rootfs.folder);
        let account =
            account.map_err(|error| Failure::refused(format!("use `{}` as a builder", build.builder), error))?;
        let variables = rootfs.config.config.env.iter().filter_map(|pair| pair.split_once('='));
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let environment = environment(variables, &account, &settings.proxies);
        let workplace = Workplace::over(&rootfs, account, &settings.helper, &settings.cache, users);
        let workplace = workplace.map_err(|error| Failure::refused("make a place to build in", error))?;
        let metadata = Metadata::of(&rootfs.config);
        let lifecycle = metadata.lifecycle.version.clone();
        Self { workplace, environment, lifecycle, run_images: metadata.run_images() }.with_own_run_images()
    }

    fn in_place(settings: &EmbeddedSettings) -> Result<Self, ImageBuildError> {
        let lookup = |wanted: &str| {
            let found = settings.variables.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.clone())
        };
        let account = Account::of_variables(lookup, Path::new("/"));
        let account = account.map_err(|error| Failure::refused("use this builder image", error))?;
        let environment = environment(settings.variables.clone(), &account, &[]);
        let workplace = Workplace::in_place(account, &settings.helper);
        let workplace = workplace.map_err(|error| Failure::refused("make a place to build in", error))?;
        Self { workplace, environment, lifecycle: String::new(), run_images: Vec::new() }.with_own_run_images()
    }

    /// Reads the builder's list of run images where no label had one.
    fn with_own_run_images(mut self) -> Result<Self, ImageBuildError> {
        if self.run_images.is_empty() {
            let listed = analyze::run_images(self.workplace.folders());
            self.run_images = listed.map_err(|error| Failure::refused("read `/cnb/run.toml` of the builder", error))?;
        }
        Ok(self)
    }

    /// Finds the run image: the wanted one, else the builder's own or a mirror of it, best in the registry that the app image
    /// goes to.
    pub(super) async fn run_image(
        &self,
        images: &Images,
        build: &ImageBuild,
        near: Option<&Registry>,
    ) -> Result<Found, ImageBuildError> {
        let names = match (&build.run_image, self.run_images.first()) {
            (Some(wanted), _) => vec![wanted.clone()],
            (None, Some(names)) => candidates(names, near),
            (None, None) => {
                let reason = format!("the builder `{}` names no run image", build.builder);
                return Err(not_possible(reason));
            }
        };
        let mut last = None;
        for name in &names {
            match images.find(name).await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => last = last.or(Some(Failure::NotFound { what: format!("the run image `{name}`") })),
                Err(failure) => last = Some(failure),
            }
        }
        Err(last.unwrap_or_else(|| Failure::NotFound { what: "a run image".to_owned() }).into())
    }

    /// Returns where the builder's launcher lies.
    pub(super) fn launcher(&self) -> Option<PathBuf> {
        let path = self.workplace.folders().resolve(Path::new("/cnb/lifecycle/launcher")).ok()?;
        path.is_file().then_some(path)
    }
}

/// Lines that are said only once it is known that the build can go on.
struct Held<'t> {
    told: &'t Told<'t>,
    lines: Mutex<Option<Vec<String>>>,
}

impl<'t> Held<'t> {
    fn back(told: &'t Told<'t>) -> Self {
        Self { told, lines: Mutex::new(Some(Vec::new())) }
    }

    fn say(&self, line: &str) {
        match self.lines.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(lines) => lines.push(line.to_owned()),
            None => self.told.say(line),
        }
    }

    fn release(&self) {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner).take();
        lines.into_iter().flatten().for_each(|line| self.told.say(&line));
    }
}

/// The names of a run image, those in the registry `near` first.
fn candidates(names: &RunImageNames, near: Option<&Registry>) -> Vec<String> {
    let is_near = |name: &&String| {
        let registry = name.parse::<ImageReference>().ok().map(|reference| reference.registry().clone());
        near.is_some() && registry.as_ref() == near
    };
    let all = std::iter::once(&names.image).chain(&names.mirrors);
    let (near, far): (Vec<&String>, Vec<&String>) = all.partition(is_near);
    near.into_iter().chain(far).cloned().collect()
}

/// The variables that the lifecycle begins with, of which buildpacks see some.
fn environment(
    mut variables: Vec<(String, String)>,
    account: &Account,
    proxies: &[(String, String)],
) -> Vec<(String, String)> {
    variables.retain(|(name, _)| name != "HOME" && !proxies.iter().any(|(proxy, _)| proxy == name));
    variables.push(("HOME".to_owned(), account.home.display().to_string()));
    variables.extend(proxies.iter().cloned());
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_image_beside_the_app_image_comes_first() {
        let names = RunImageNames {
            image: "docker.io/heroku/heroku:24".to_owned(),
            mirrors: vec!["public.ecr.aws/heroku/heroku:24".to_owned()],
        };
        let registry = |name: &str| name.parse::<ImageReference>().unwrap().registry().clone();
        let near = registry("public.ecr.aws/shop/app");
        assert_eq!(candidates(&names, Some(&near))[0], names.mirrors[0]);
        assert_eq!(candidates(&names, Some(&registry("example.com/app")))[0], names.image);
        assert_eq!(candidates(&names, None), [names.image.clone(), names.mirrors[0].clone()]);
    }

    #[test]
    fn a_builder_may_say_where_its_run_image_is_in_two_ways() {
        let run_images = |label: &str| {
            let mut config = ImageConfig::default();
            config.config.labels.insert(METADATA.to_owned(), label.to_owned());
            Metadata::of(&config).run_images().into_iter().map(|names| names.image).collect::<Vec<_>>()
        };
        assert_eq!(
            run_images(r#"{"images":[{"image":"a","mirrors":null}],"stack":{"runImage":{"image":"b"}}}"#),
            ["a", "b"]
        );
        assert_eq!(run_images(r#"{"images":null,"stack":{"runImage":{"image":"b","mirrors":["c"]}}}"#), ["b"]);
        assert!(run_images("{}").is_empty() && run_images("nonsense").is_empty());
    }
}
