//! An app image on another run image, without building it again.

use serde_json::{Map, Value, json};

use super::config::{History, ImageConfig};
use super::digest::Digest;
use super::draft::{self, ImageDraft};
use super::lifecycle_label::{self, LABEL, LabelError, RunImage};
use super::manifest::Descriptor;
use super::reference::{ImageReference, ReferenceError};
use super::source::{ImageError, SourceImage};
use super::target::NewImage;

/// What is to be made: the layers of the new run image, then those of the app.
#[derive(Debug)]
pub struct Rebase {
    /// The image, ready to be written.
    pub image: NewImage,
    /// Which of its layers come from the new run image, the lowest first; the others are the app's own.
    pub run_layers: Vec<Descriptor>,
    /// The app's own.
    pub app_layers: Vec<Descriptor>,
    /// What was overridden because it was forced.
    pub warnings: Vec<RebaseError>,
}

/// Why an image cannot be put on another run image.
#[derive(Debug, thiserror::Error)]
pub enum RebaseError {
    /// An image is damaged.
    #[error(transparent)]
    Image(Box<ImageError>),
    /// It says nothing of its layers.
    #[error("`{image}` is not an app image of a buildpack lifecycle")]
    Label {
        /// The app image.
        image: ImageReference,
        /// What is wrong with its label.
        #[source]
        source: LabelError,
    },
    /// The label names a layer that the image does not have.
    #[error("`{image}` has no layer {layer}, which its label calls the uppermost of its run image")]
    NotBased {
        /// The app image.
        image: ImageReference,
        /// The layer.
        layer: Digest,
    },
    /// A run image without layers.
    #[error("the run image `{0}` has no layers")]
    Empty(ImageReference),
    /// The app was built so that it needs its very run image.
    #[error("`{0}` is marked as not to be rebased")]
    NotRebasable(ImageReference),
    /// Another operating system, processor or distribution.
    #[error("the new run image is for {new} and the app for {old}")]
    Target {
        /// What the app was built for.
        old: String,
        /// What the run image is for.
        new: String,
    },
    /// A run image that the builder did not name.
    #[error("`{new}` is not a version or mirror of `{known}`, the run image that `{image}` was built on")]
    OtherRunImage {
        /// The app image.
        image: String,
        /// The new run image.
        new: String,
        /// The one in the label.
        known: String,
    },
    /// A stack of old builders that differs.
    #[error("the new run image is of the stack `{new}` and the app of `{old}`")]
    Stack {
        /// The app's.
        old: String,
        /// The run image's.
        new: String,
    },
}

impl From<ImageError> for RebaseError {
    fn from(error: ImageError) -> Self {
        Self::Image(Box::new(error))
    }
}

impl RebaseError {
    /// Tells whether `force` overrides it.
    #[must_use]
    pub fn can_be_forced(&self) -> bool {
        matches!(self, Self::NotRebasable(_) | Self::Target { .. } | Self::OtherRunImage { .. })
    }
}

/// Returns the run images that the app's label names, the first choice first: one in the app's own registry, so that its
/// layers need no transfer.
pub fn run_images(app: &SourceImage) -> Result<Vec<ImageReference>, RebaseError> {
    let label = lifecycle_label::read(&app.config).map_err(|source| label_error(app, source))?;
    let mut names: Vec<ImageReference> = label.run_image.names().filter_map(|name| unpinned(name).ok()).collect();
    names.sort_by_key(|name| name.registry() != app.reference.registry());
    Ok(names)
}

/// Plans `app` on `run_image`. Reads no layer.
///
/// A run image of the same repository as one that the label names is another version of it, whatever its tag; the Go
/// lifecycle refuses that unless forced. The label then names the new version.
pub fn plan(app: &SourceImage, run_image: &SourceImage, force: bool) -> Result<Rebase, RebaseError> {
    app.check()?;
    run_image.check()?;
    let label = lifecycle_label::read(&app.config).map_err(|source| label_error(app, source))?;
    let mut warnings = Vec::new();
    for problem in problems(app, run_image, &label.run_image) {
        if !(force && problem.can_be_forced()) {
            return Err(problem);
        }
        warnings.push(problem);
    }
    let old_top = &label.run_image.top_layer;
    let position = app.config.rootfs.diff_ids.iter().position(|layer| layer == old_top);
    let below =
        position.ok_or_else(|| RebaseError::NotBased { image: app.reference.clone(), layer: old_top.clone() })?;
    let new_top = run_image.top_layer().ok_or_else(|| RebaseError::Empty(run_image.reference.clone()))?;

    let run_layers = run_image.manifest.layers.clone();
    let app_layers = app.manifest.layers[below + 1..].to_vec();
    let mut draft = ImageDraft::on(app)?;
    let app_steps = draft.config.history.split_off(below + 1);
    let app_ids = draft.config.rootfs.diff_ids.split_off(below + 1);
    restart(&mut draft, &run_image.config);
    for ((id, layer), step) in run_image.layers().zip(base_steps(&run_image.config)) {
        draft.push_with(id.clone(), layer.clone(), step);
    }
    for ((id, layer), step) in app_ids.into_iter().zip(&app_layers).zip(app_steps) {
        draft.push_with(id, layer.clone(), step);
    }
    let text =
        relabelled(&app.config, run_image, new_top, &label.run_image).map_err(|source| label_error(app, source))?;
    draft.config.config.labels.insert(LABEL.to_owned(), text);
    copy_base_labels(&mut draft.config, &run_image.config);
    let created = app.config.created.clone().unwrap_or_else(|| draft::CREATED.to_owned());
    Ok(Rebase { image: draft.finish(&created)?, run_layers, app_layers, warnings })
}

fn label_error(app: &SourceImage, source: LabelError) -> RebaseError {
    RebaseError::Label { image: app.reference.clone(), source }
}

/// Returns everything that speaks against it.
fn problems(app: &SourceImage, run_image: &SourceImage, known: &RunImage) -> Vec<RebaseError> {
    let mut problems = Vec::new();
    let old_api = app.config.env("CNB_PLATFORM_API").is_none_or(is_before_targets);
    if old_api {
        let stack = |config: &ImageConfig| config.label("io.buildpacks.stack.id").unwrap_or_default().to_owned();
        let (old, new) = (stack(&app.config), stack(&run_image.config));
        if old != new {
            problems.push(RebaseError::Stack { old, new });
        }
    } else {
        if app.config.label("io.buildpacks.rebasable") == Some("false") {
            problems.push(RebaseError::NotRebasable(app.reference.clone()));
        }
        let (old, new) = (Target::of(&app.config), Target::of(&run_image.config));
        if !new.serves(&old) {
            problems.push(RebaseError::Target { old: old.shown(), new: new.shown() });
        }
    }
    if !is_known(known, &run_image.reference) {
        let known = known.image.clone().unwrap_or_else(|| known.reference.clone());
        let (image, new) = (app.reference.to_string(), run_image.reference.to_string());
        problems.push(RebaseError::OtherRunImage { image, new, known });
    }
    problems
}

/// Platform API 0.12 replaced stacks by targets.
fn is_before_targets(api: &str) -> bool {
    let mut parts = api.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < (0, 12)
}

fn is_known(known: &RunImage, new: &ImageReference) -> bool {
    known.names().filter_map(|name| unpinned(name).ok()).any(|name| name.repository() == new.repository())
}

/// Reads a name without its digest: a version is named by its tag.
fn unpinned(name: &str) -> Result<ImageReference, ReferenceError> {
    let reference: ImageReference = name.split('@').next().unwrap_or(name).parse()?;
    Ok(reference)
}

/// What an image runs on.
struct Target<'a> {
    os: &'a str,
    architecture: &'a str,
    variant: &'a str,
    distribution: [&'a str; 2],
}

impl<'a> Target<'a> {
    fn of(config: &'a ImageConfig) -> Self {
        let label = |name: &str| config.label(name).unwrap_or_default();
        Self {
            os: &config.os,
            architecture: &config.architecture,
            variant: config.other.get("variant").and_then(Value::as_str).unwrap_or_default(),
            distribution: [label("io.buildpacks.base.distro.name"), label("io.buildpacks.base.distro.version")],
        }
    }

    /// Tells whether an app for `app` runs on this: what the run image does not say is not compared.
    fn serves(&self, app: &Self) -> bool {
        let fits = |new: &str, old: &str| new.is_empty() || new == old;
        self.os == app.os
            && self.architecture == app.architecture
            && (fits(self.variant, app.variant) || app.variant.is_empty())
            && self.distribution.iter().zip(app.distribution).all(|(new, old)| fits(new, old))
    }

    fn shown(&self) -> String {
        let platform = [self.os, self.architecture, self.variant].into_iter().filter(|part| !part.is_empty());
        let platform = platform.collect::<Vec<_>>().join("/");
        [platform.as_str(), self.distribution[0], self.distribution[1]].join(" ").trim().to_owned()
    }
}

/// Empties the draft of layers and takes over what belongs to the operating system.
fn restart(draft: &mut ImageDraft, base: &ImageConfig) {
    draft.clear_layers();
    draft.config.os.clone_from(&base.os);
    draft.config.architecture.clone_from(&base.architecture);
    for field in ["os.version", "os.features", "variant"] {
        draft.config.other.remove(field);
        if let Some(value) = base.other.get(field) {
            draft.config.other.insert(field.to_owned(), value.clone());
        }
    }
}

/// Returns a step of history per layer of the run image.
fn base_steps(base: &ImageConfig) -> Vec<History> {
    let mut base = base.clone();
    draft::normalize_history(&mut base);
    base.history
}

/// Writes the label with its new run image; all else stays as it is.
fn relabelled(
    app: &ImageConfig,
    run_image: &SourceImage,
    top_layer: &Digest,
    known: &RunImage,
) -> Result<String, LabelError> {
    let mut label: Map<String, Value> = serde_json::from_str(app.label(LABEL).unwrap_or_default())?;
    let is_new = |name: &str| unpinned(name).is_ok_and(|name| name == without_digest(&run_image.reference));
    let (image, mirrors) = if known.names().any(is_new) {
        (known.image.clone(), known.mirrors.clone())
    } else {
        (Some(without_digest(&run_image.reference).to_string()), Vec::new())
    };
    let mut names = Map::new();
    names.extend(image.map(|image| ("image".to_owned(), json!(image))));
    if !mirrors.is_empty() {
        names.insert("mirrors".to_owned(), json!(mirrors));
    }
    // The image's full name, as the Go lifecycle writes references.
    let pinned = lifecycle_label::go_name(&run_image.pinned());
    let mut new = names.clone();
    new.insert("topLayer".to_owned(), json!(top_layer));
    new.insert("reference".to_owned(), json!(pinned));
    label.insert("runImage".to_owned(), Value::Object(new));
    if label.contains_key("stack") || !known.names().any(is_new) {
        label.insert("stack".to_owned(), json!({ "runImage": names }));
    }
    lifecycle_label::write(&Value::Object(label))
}

fn without_digest(image: &ImageReference) -> ImageReference {
    match image.tag() {
        Some(tag) => image.with_tag(tag.clone()),
        None => image.with_tag(super::reference::Tag::latest()),
    }
}

/// Takes labels over that tell of the base, and drops those of the old one.
fn copy_base_labels(config: &mut ImageConfig, base: &ImageConfig) {
    let of_base = |name: &String| name.starts_with("io.buildpacks.stack.") || name.starts_with("io.buildpacks.base.");
    config.config.labels.retain(|name, _| !of_base(name));
    let labels = base.config.labels.iter().filter(|(name, _)| of_base(name));
    config.config.labels.extend(labels.map(|(name, value)| (name.clone(), value.clone())));
}
