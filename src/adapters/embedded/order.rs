//! Which buildpacks a build tries: what the caller or the app declares, in the way of `pack`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use toml::{Table, Value};

use super::app_files::{AppFiles, Copy};
use super::buildpack_images::BuildpackImages;
use super::buildpack_registry::Registered;
use super::failure::not_possible;
use super::images::Images;
use super::settings::EmbeddedSettings;
use super::told::Told;
use crate::domain::file_patterns::FilePatterns;
use crate::domain::manifest::{ProjectBuildpack, ProjectToml};
use crate::image::ImageReference;
use crate::lifecycle::Folders;
use crate::lifecycle::buildpack::Buildpack;
use crate::lifecycle::order::{BuildpackId, Element, Group, Order, OrderFile};
use crate::ports::failure::Failure;
use crate::ports::image_builder::{ImageBuild, ImageBuildError};

/// The whole order of the builder.
const FROM_BUILDER: &str = "from=builder";
/// A buildpack of the builder, by its id.
const ON_BUILDER: [&str; 2] = ["urn:cnb:builder:", "from=builder:"];
/// The version of a buildpack that is written in `project.toml` itself.
const INLINE_VERSION: &str = "0.0.0";

/// What a way to write a buildpack means.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Locator {
    /// The builder's own order.
    Builder,
    /// A buildpack that the builder has.
    OnBuilder(Element),
    /// A folder of this machine.
    Folder(PathBuf),
    /// The image of a buildpack.
    Image(String),
    /// A buildpack of the registry.
    Registered(Registered),
}

/// A place in an order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    /// The builder's own order.
    Builder,
    /// A buildpack.
    One(Element),
}

/// Fetches the buildpacks of a build that are images.
pub(super) async fn bring(
    settings: &EmbeddedSettings,
    images: &Images,
    folders: &Folders,
    build: &ImageBuild,
    project: &ProjectToml,
    told: &Told<'_>,
) -> Result<BuildpackImages, ImageBuildError> {
    let mut brought = BuildpackImages::default();
    let place = Place { folders, source: &build.source, images: &BuildpackImages::default() };
    let group = if build.buildpacks.is_empty() { project.group.as_slice() } else { &[] };
    let of_project = group.iter().chain(&project.pre).chain(&project.post).filter_map(ProjectBuildpack::locator);
    for written in build.buildpacks.iter().cloned().chain(of_project) {
        match place.read(&written)? {
            Locator::Image(image) => brought.fetch(&written, &image, settings, images, told).await?,
            Locator::Registered(registered) => {
                told.say(&format!(
                    "Asking the registry for the buildpack {registered}; the builder has {}",
                    place.listed()
                ));
                let image = match registered.image(&settings.buildpack_registry).await {
                    Err(Failure::NotFound { what }) => return Err(place.nowhere(&written, &what)),
                    image => image?,
                };
                brought.fetch(&written, &image, settings, images, told).await?;
            }
            Locator::Builder | Locator::OnBuilder(_) | Locator::Folder(_) => {}
        }
    }
    Ok(brought)
}

/// Writes the order of a build into its layers folder, where it is found before the builder's, and adds buildpacks that the
/// builder does not have. Without wishes the builder's own order stands.
pub(super) fn declare(
    folders: &Folders,
    build: &ImageBuild,
    project: &ProjectToml,
    images: &BuildpackImages,
) -> Result<(), ImageBuildError> {
    let place = Place { folders, source: &build.source, images };
    let declared: Vec<Item> = if build.buildpacks.is_empty() {
        place.all(&project.group)?
    } else {
        build.buildpacks.iter().map(|written| place.locate(written)).collect::<Result<_, _>>()?
    };
    let (pre, post) = (place.all(&project.pre)?, place.all(&project.post)?);
    let own = || {
        let text = folders.read_text(&folders.cnb.inside.join("order.toml"));
        let file =
            text.and_then(|text| toml::from_str::<OrderFile>(&text.unwrap_or_default()).map_err(io::Error::other));
        file.map(|file| file.order).map_err(|error| Failure::refused("read the builder's `order.toml`", error))
    };
    let Some(order) = compose(declared, pre, post, own)? else { return Ok(()) };
    let written = folders.write(&folders.layers.inside.join("order.toml"), to_toml(&order).as_bytes());
    written.map_err(|error| Failure::refused("write the order of buildpacks", error))?;
    Ok(())
}

/// Puts an order together; `None` where the builder's own stands.
fn compose(
    declared: Vec<Item>,
    pre: Vec<Item>,
    post: Vec<Item>,
    own: impl Fn() -> Result<Order, Failure>,
) -> Result<Option<Order>, ImageBuildError> {
    if declared.is_empty() && pre.is_empty() && post.is_empty() {
        return Ok(None);
    }
    // What stands around the builder's order counts only where nothing is declared.
    let items =
        // The last of those before it comes first, as `pack` puts one after the other in front.
        if declared.is_empty() { pre.into_iter().rev().chain([Item::Builder]).chain(post).collect() } else { declared };
    if items.iter().filter(|item| **item == Item::Builder).count() > 1 {
        return Err(not_possible(format!("`{FROM_BUILDER}` can stand in a list of buildpacks only once")));
    }
    let mut order: Order = vec![Group::default()];
    for item in items {
        match item {
            Item::One(element) => order.iter_mut().for_each(|group| group.group.push(element.clone())),
            Item::Builder => {
                let before = order.pop().unwrap_or_default().group;
                order = own()?;
                for group in &mut order {
                    group.group.splice(0..0, before.clone());
                }
            }
        }
    }
    Ok(Some(order))
}

fn to_toml(order: &Order) -> String {
    let element = |element: &Element| {
        let Element { id, version, optional } = element;
        Value::Table(Table::from_iter([
            ("id".to_owned(), id.as_str().into()),
            ("version".to_owned(), version.as_str().into()),
            ("optional".to_owned(), (*optional).into()),
        ]))
    };
    let group = |group: &Group| {
        let elements: Vec<Value> = group.group.iter().map(element).collect();
        Value::Table(Table::from_iter([("group".to_owned(), elements.into())]))
    };
    Table::from_iter([("order".to_owned(), Value::Array(order.iter().map(group).collect()))]).to_string()
}

/// Where buildpacks are looked for.
struct Place<'a> {
    folders: &'a Folders,
    source: &'a Path,
    images: &'a BuildpackImages,
}

impl Place<'_> {
    fn all(&self, declared: &[ProjectBuildpack]) -> Result<Vec<Item>, ImageBuildError> {
        declared.iter().map(|buildpack| self.declared(buildpack)).collect()
    }

    fn declared(&self, buildpack: &ProjectBuildpack) -> Result<Item, ImageBuildError> {
        match (buildpack, buildpack.locator()) {
            (ProjectBuildpack::Script { id, api, inline, shell }, _) => {
                self.add_script(id, api.as_deref(), inline, shell.as_deref()).map(Item::One)
            }
            (_, written) => self.locate(&written.unwrap_or_default()),
        }
    }

    /// Finds what a locator means, and adds it where the builder does not have it.
    fn locate(&self, written: &str) -> Result<Item, ImageBuildError> {
        let element = match self.read(written)? {
            Locator::Builder => return Ok(Item::Builder),
            Locator::OnBuilder(element) => element,
            Locator::Folder(folder) => self.add(&folder)?,
            Locator::Image(_) | Locator::Registered(_) => {
                let missing = || Failure::NotFound { what: format!("the buildpack `{written}`") };
                let image = self.images.get(written).ok_or_else(missing)?;
                for folder in &image.folders {
                    self.add(folder)?;
                }
                image.element.clone()
            }
        };
        Ok(Item::One(element))
    }

    /// Reads a locator as `pack` does: what the builder has comes before the registry, and that before images without a mark.
    fn read(&self, written: &str) -> Result<Locator, ImageBuildError> {
        let not_understood = |why: &str| {
            not_possible(format!(
                "{why}, as `{written}` asks for: use one that the builder has (`urn:cnb:builder:ID`), one of the registry \
                 (`urn:cnb:registry:ID`), an image (`docker://IMAGE`), a folder, or `--engine pack`"
            ))
        };
        if written == FROM_BUILDER {
            return Ok(Locator::Builder);
        }
        if let Some(id) = ON_BUILDER.iter().find_map(|prefix| written.strip_prefix(prefix)) {
            return self.id(id).map(Locator::OnBuilder);
        }
        let missing = match self.id(written) {
            Ok(element) => return Ok(Locator::OnBuilder(element)),
            Err(missing) => missing,
        };
        if let Some(folder) = self.folder(written) {
            return Ok(Locator::Folder(folder));
        }
        if let Some(id) = written.strip_prefix("urn:cnb:registry:") {
            let registered = Registered::read(id).map(Locator::Registered);
            return registered.ok_or_else(|| not_understood("the registry of buildpacks can have no such name"));
        }
        if let Some(image) = written.strip_prefix("docker://") {
            return Ok(Locator::Image(image.to_owned()));
        }
        if written.contains("://") || is_archive(written) {
            return Err(not_understood("archives of buildpacks are not read"));
        }
        if written.starts_with(['.', '/']) {
            return Err(not_possible(format!(
                "there is no buildpack in `{written}`: a folder with a `buildpack.toml`"
            )));
        }
        // Of one that the builder has, another version is a slip rather than another buildpack.
        let id = written.split_once('@').map_or(written, |(id, _)| id);
        if !self.versions(id).is_empty() {
            return Err(missing);
        }
        if let Some(registered) = Registered::read(written) {
            return Ok(Locator::Registered(registered));
        }
        if written.contains('/') && written.parse::<ImageReference>().is_ok() {
            return Ok(Locator::Image(written.to_owned()));
        }
        Err(missing)
    }

    /// Tells that neither the builder nor the registry has a buildpack.
    fn nowhere(&self, written: &str, missing: &str) -> ImageBuildError {
        if written.starts_with("urn:") {
            return Failure::NotFound { what: missing.to_owned() }.into();
        }
        not_possible(format!(
            "neither the builder nor the registry has the buildpack `{written}`: the builder has {}",
            self.listed()
        ))
    }

    /// A folder with a buildpack: as seen from where packhorse was started, or from the app.
    fn folder(&self, written: &str) -> Option<PathBuf> {
        let path = Path::new(written.strip_prefix("file://").unwrap_or(written));
        let places = [path.to_owned(), self.source.join(path)];
        places.into_iter().find(|folder| folder.join("buildpack.toml").is_file())
    }

    fn id(&self, written: &str) -> Result<Element, ImageBuildError> {
        let (id, version) = written.split_once('@').map_or((written, None), |(id, version)| (id, Some(version)));
        self.on_builder(id, version)
    }

    /// Finds a buildpack of the builder; without a version there must be only one.
    fn on_builder(&self, written: &str, version: Option<&str>) -> Result<Element, ImageBuildError> {
        let missing = |has: String| {
            let wanted = version.map_or_else(|| written.to_owned(), |version| format!("{written}@{version}"));
            not_possible(format!("the builder has no buildpack `{wanted}`{has}"))
        };
        let Ok(id) = written.parse::<BuildpackId>() else { return Err(missing(String::new())) };
        let versions = self.versions(written);
        let version = match (version, versions.as_slice()) {
            (_, []) => return Err(missing(format!(": it has {}", self.listed()))),
            (Some(version), all) if all.iter().any(|found| found == version) => version.to_owned(),
            (None, [only]) => only.clone(),
            (Some(_), all) => return Err(missing(format!(": it has {}", all.join(" and ")))),
            (None, all) => {
                let reason = format!("the builder has `{written}` in several versions ({}): name one", all.join(", "));
                return Err(not_possible(reason));
            }
        };
        Ok(Element { id, version, optional: false })
    }

    /// Returns the versions of a buildpack that the builder has.
    fn versions(&self, id: &str) -> Vec<String> {
        let Ok(id) = id.parse::<BuildpackId>() else { return Vec::new() };
        let folder = self.folders.cnb.inside.join("buildpacks").join(id.folder());
        let listed = self.folders.list(&folder).unwrap_or_default();
        listed.iter().map(|entry| entry.name.to_string_lossy().into_owned()).collect()
    }

    /// Names the builder's buildpacks.
    fn listed(&self) -> String {
        let all = self.folders.list(&self.folders.cnb.inside.join("buildpacks")).unwrap_or_default();
        let names: Vec<String> = all.iter().map(|entry| entry.name.to_string_lossy().replacen('_', "/", 1)).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    /// Adds a buildpack that lies in a folder of this machine.
    fn add(&self, from: &Path) -> Result<Element, ImageBuildError> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            Failure::refused(format!("use the buildpack in `{}`", from.display()), error)
        };
        let text = fs::read_to_string(from.join("buildpack.toml")).map_err(|error| failed(error.into()))?;
        let about = Buildpack::parse(&text, from.join("bin/build").exists()).map_err(|error| failed(error.into()))?;
        let element = Element { id: about.id, version: about.version, optional: false };
        let to = self.make_place(&element).map_err(|error| failed(error.into()))?;
        let (from, files) = (from.to_owned(), AppFiles::AllBut(FilePatterns::default()));
        let copy = Copy { from: from.clone(), to, files, owner: self.folders.owner };
        copy.run(&AtomicBool::new(false))
            .map_err(|error| Failure::refused(format!("use the buildpack in `{}`", from.display()), error))?;
        Ok(element)
    }

    /// Adds a buildpack that is a script of `project.toml`: it always takes part.
    fn add_script(
        &self,
        id: &str,
        api: Option<&str>,
        inline: &str,
        shell: Option<&str>,
    ) -> Result<Element, ImageBuildError> {
        let doing = format!("use the script `{id}` of `project.toml` as a buildpack");
        let failed = |error| Failure::refused(doing.clone(), error);
        let id: BuildpackId = id.parse().map_err(|error| Failure::refused(doing.clone(), error))?;
        let api = api.ok_or_else(|| Failure::refused(doing.clone(), "it does not say its `api`"))?;
        let element = Element { id, version: INLINE_VERSION.to_owned(), optional: false };
        let of_buildpack = Table::from_iter([
            ("id".to_owned(), element.id.as_str().into()),
            ("version".to_owned(), INLINE_VERSION.into()),
        ]);
        let about =
            Table::from_iter([("api".to_owned(), api.into()), ("buildpack".to_owned(), Value::Table(of_buildpack))]);
        let shell = shell.unwrap_or("/bin/sh");
        let to = self.make_place(&element).map_err(failed)?;
        fs::create_dir(to.join("bin")).map_err(failed)?;
        self.folders.own(&to.join("bin"), 0o755).map_err(failed)?;
        for (name, text, mode) in [
            ("buildpack.toml", about.to_string(), 0o644),
            ("bin/detect", format!("#!{shell}\n\nexit 0\n"), 0o755),
            ("bin/build", format!("#!{shell}\n\n{inline}\n"), 0o755),
        ] {
            let path = to.join(name);
            fs::write(&path, text).and_then(|()| self.folders.own(&path, mode)).map_err(failed)?;
        }
        Ok(element)
    }

    /// Makes the empty folder of an added buildpack.
    fn make_place(&self, element: &Element) -> io::Result<PathBuf> {
        let Element { id, version, .. } = element;
        let is_name = !["", ".", ".."].contains(&version.as_str()) && !version.contains(['/', '\0']);
        let added =
            self.folders.added.as_ref().filter(|_| is_name).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidInput, format!("`{version}` cannot be a version"))
            })?;
        let above = added.host.join(id.folder());
        let to = above.join(version);
        fs::create_dir_all(&to)?;
        for folder in [&above, &to] {
            self.folders.own(folder, 0o755)?;
        }
        Ok(to)
    }
}

fn is_archive(written: &str) -> bool {
    [".tgz", ".tar", ".tar.gz", ".cnb", ".zip"].iter().any(|ending| written.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Folder;

    fn one(id: &str) -> Item {
        Item::One(Element { id: id.parse().unwrap(), version: "1".to_owned(), optional: false })
    }

    fn own() -> Order {
        let element = |id: &str| Element { id: id.parse().unwrap(), version: "1".to_owned(), optional: id == "b" };
        vec![Group { group: vec![element("a"), element("b")] }, Group { group: vec![element("a")] }]
    }

    fn composed(declared: &[Item], pre: &[Item], post: &[Item]) -> Vec<String> {
        let order = compose(declared.to_vec(), pre.to_vec(), post.to_vec(), || Ok(own())).unwrap();
        let ids = |group: &Group| group.group.iter().map(|element| element.id.to_string()).collect::<String>();
        order.iter().flatten().map(ids).collect()
    }

    #[test]
    fn what_is_declared_stands_around_the_builders_order_or_in_its_place() {
        assert!(composed(&[], &[], &[]).is_empty());
        assert_eq!(composed(&[one("x")], &[one("p")], &[]), ["x"]);
        assert_eq!(composed(&[Item::Builder, one("x")], &[], &[]), ["abx", "ax"]);
        assert_eq!(composed(&[one("x"), Item::Builder, one("y")], &[], &[]), ["xaby", "xay"]);
        assert_eq!(composed(&[], &[one("p"), one("q")], &[one("z")]), ["qpabz", "qpaz"]);
        let twice = vec![Item::Builder, Item::Builder];
        assert!(compose(twice, Vec::new(), Vec::new(), || Ok(own())).is_err());
    }

    #[test]
    fn an_order_is_read_as_it_was_written() {
        assert_eq!(toml::from_str::<OrderFile>(&to_toml(&own())).unwrap().order, own());
    }

    /// A builder with two buildpacks, one of them in two versions, and a folder with another one.
    fn folders(top: &Path) -> Folders {
        for path in ["cnb/buildpacks/x_py/1", "cnb/buildpacks/x_js/1", "cnb/buildpacks/x_js/2", "added", "own/bin"] {
            fs::create_dir_all(top.join(path)).unwrap();
        }
        fs::write(top.join("own/buildpack.toml"), "api = \"0.10\"\n[buildpack]\nid = \"own/one\"\nversion = \"3\"\n")
            .unwrap();
        fs::write(top.join("own/bin/build"), "").unwrap();
        Folders {
            cnb: Folder::new("/cnb", top.join("cnb")),
            added: Some(Folder::new("/platform/buildpacks", top.join("added"))),
            ..Folders::in_place(top, None)
        }
    }

    fn told(place: &Place<'_>, written: &str) -> String {
        match place.read(written) {
            Ok(Locator::OnBuilder(element)) => element.to_string(),
            Ok(Locator::Builder) => "the builder's".to_owned(),
            Ok(Locator::Folder(folder)) => place.add(&folder).unwrap().to_string(),
            Ok(Locator::Image(image)) => format!("the image {image}"),
            Ok(Locator::Registered(registered)) => format!("the registry's {registered}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn each_way_to_name_a_buildpack_is_understood_or_refused_in_words() {
        let top = tempfile::tempdir().unwrap();
        let folders = folders(top.path());
        let images = BuildpackImages::default();
        let place = Place { folders: &folders, source: top.path(), images: &images };
        for (written, means) in [
            ("from=builder", "the builder's"),
            ("urn:cnb:builder:x/py", "x/py@1"),
            ("from=builder:x/js@2", "x/js@2"),
            ("x/py", "x/py@1"),
            ("x/py@1", "x/py@1"),
            ("own", "own/one@3"),
            ("x/js", "in several versions (1, 2): name one"),
            ("x/js@7", "no buildpack `x/js@7`: it has 1 and 2"),
            ("urn:cnb:builder:x/none", "no buildpack `x/none`: it has x/js, x/py"),
            ("x/none", "the registry's x/none"),
            ("none", "no buildpack `none`: it has x/js, x/py"),
            ("./none", "there is no buildpack in `./none`"),
            ("urn:cnb:registry:x/py@1.2.3", "the registry's x/py@1.2.3"),
            ("urn:cnb:registry:py", "can have no such name"),
            ("docker://example.com/x", "the image example.com/x"),
            ("example.com/shop/x:1", "the image example.com/shop/x:1"),
            ("https://example.com/x.tgz", "archives of buildpacks are not read"),
        ] {
            let told = told(&place, written);
            assert!(told.contains(means), "{written}: {told}");
        }
        assert!(top.path().join("added/own_one/3/bin/build").is_file());
    }

    #[test]
    fn a_script_of_the_project_becomes_a_buildpack() {
        let top = tempfile::tempdir().unwrap();
        let folders = folders(top.path());
        let images = BuildpackImages::default();
        let place = Place { folders: &folders, source: top.path(), images: &images };
        let script = ProjectBuildpack::Script {
            id: "me/script".to_owned(),
            api: Some("0.10".to_owned()),
            inline: "echo hello".to_owned(),
            shell: None,
        };
        assert_eq!(
            place.declared(&script).unwrap(),
            Item::One(Element { id: "me/script".parse().unwrap(), version: "0.0.0".to_owned(), optional: false })
        );
        let text = fs::read_to_string(top.path().join("added/me_script/0.0.0/bin/build")).unwrap();
        assert_eq!(text, "#!/bin/sh\n\necho hello\n");
    }
}
