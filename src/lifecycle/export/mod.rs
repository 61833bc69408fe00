//! The export phase: the layers that buildpacks made, on top of the run image, as an image that can be run and found again.

mod app_image;
mod at_hand;
mod cached;
mod launcher;
mod layers;

use std::io;
use std::sync::Arc;

use super::cache::{Found, LayerCache, NewLayers};
use super::folders::{Folders, Owner};
use super::labels::{LayersMetadata, RunImageNames};
use super::layer_dir::LayerFileError;
use super::looked::Looked;
use super::metadata::{BuildMetadata, Member};
use super::site::Site;
use super::slices::SliceError;
use crate::image::layer::{LayerError, Ownership, Packer, Root};
use crate::image::sending::SendError;
use crate::image::{Digest, ImageError, ImageReference, ImageSource, ImageTarget, SourceImage};

pub use app_image::take_base;
pub use at_hand::AtHand;
pub use cached::{Cached, store};
pub use launcher::Launcher;
pub(super) use layers::folder;

/// The CNB user, to whom layers belong inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CnbUser {
    /// `CNB_USER_ID`.
    pub uid: u32,
    /// `CNB_GROUP_ID`.
    pub gid: u32,
}

/// An image, and where its layers are read from.
#[derive(Clone, Copy)]
pub struct Origin<'a> {
    /// The image.
    pub image: &'a SourceImage,
    /// Where it lies.
    pub source: &'a dyn ImageSource,
}

/// What is to be exported, and where to.
pub struct Export<'a> {
    /// The build.
    pub site: &'a Site<'a>,
    /// The buildpacks.
    pub group: &'a [Member],
    /// What they built.
    pub build: &'a BuildMetadata,
    /// The run image.
    pub run_image: Origin<'a>,
    /// The name of the run image with its digest, as Go writes it.
    pub run_image_reference: String,
    /// The names of the run image in the builder's list.
    pub run_image_names: RunImageNames,
    /// The image before, whose layers may be used again.
    pub previous: Option<Origin<'a>>,
    /// Its layers.
    pub previous_layers: &'a LayersMetadata,
    /// What is known of layers without reading them.
    pub looked: &'a Looked,
    /// The cache they came from, and what is in it.
    pub cache: Option<(&'a LayerCache, &'a Found)>,
    /// The layers for the next build, which some of the image's are too.
    pub kept: Option<&'a NewLayers<'a>>,
    /// The launcher.
    pub launcher: Launcher,
    /// The process to start by default, where the user chose one.
    pub process: Option<&'a str>,
    /// The label with the project's metadata, `{}` where nothing is known.
    pub project: &'a str,
    /// To whom layers belong.
    pub user: CnbUser,
    /// The time of the image, in RFC 3339.
    pub created: &'a str,
    /// Makes layers.
    pub packer: Arc<Packer>,
    /// Where the image goes.
    pub target: &'a dyn ImageTarget,
    /// Its names; never none.
    pub names: &'a [ImageReference],
}

/// An exported image.
#[derive(Debug)]
pub struct Exported {
    /// The digest of its manifest.
    pub digest: Digest,
    /// What the next build will find in its label.
    pub layers: LayersMetadata,
    /// Its layers, as far as they are still on this machine.
    pub at_hand: AtHand,
}

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A layer could not be made.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The app could not be cut into slices.
    #[error(transparent)]
    Slices(#[from] SliceError),
    /// An image could not be read or written.
    #[error(transparent)]
    Image(Box<ImageError>),
    /// The file of a layer is refused.
    #[error("failed to parse metadata for layers '[{}]'", .0.join(" "))]
    Malformed(Vec<String>),
    /// A buildpack's folder cannot be read.
    #[error(transparent)]
    Folder(#[from] LayerFileError),
    /// A layer that is to be cached has nothing to be cached.
    #[error("layer '{0}' is cache=true but has no contents")]
    NothingToCache(String),
    /// A layer without a folder stands for that of the image before, which has none.
    #[error("cannot reuse '{0}', previous image has no metadata for layer '{0}'")]
    NothingToReuse(String),
    /// The user chose a process that does not exist.
    #[error("tried to set {0} to default but it doesn't exist")]
    NoSuchProcess(String),
    /// A process type cannot be a file's name.
    #[error("invalid process type '{0}': it must not be empty or contain any of `/><:|&\\`")]
    ProcessType(String),
    /// The run image has no layers.
    #[error("the run image `{0}` has no layers")]
    EmptyRunImage(ImageReference),
    /// A file of the engine's own making failed.
    #[error("could not {doing}")]
    Files {
        /// What was tried.
        doing: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A worker ended without an answer.
    #[error("a worker that made a layer ended early")]
    Worker,
}

impl From<ImageError> for ExportError {
    fn from(error: ImageError) -> Self {
        Self::Image(Box::new(error))
    }
}

impl From<SendError> for ExportError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Layer(error) => Self::Layer(error),
            SendError::Image(error) => Self::Image(error),
            SendError::Worker => Self::Worker,
        }
    }
}

impl Export<'_> {
    /// Makes the layers, sends those that are new, and writes the image under its names. The layers of the run image are there
    /// already; see [`take_base`].
    pub async fn run(self) -> Result<Exported, ExportError> {
        app_image::export(self).await
    }
}

/// Where the paths of layers lie on this machine.
pub(super) fn root_of(folders: &Folders) -> Root {
    [&folders.app, &folders.layers]
        .into_iter()
        .fold(Root::in_place(), |root, folder| root.with(folder.inside.clone(), folder.host.clone()))
}

/// To whom folders above layers belong: the host's user stands for the CNB user.
pub(super) fn parents(folders: &Folders, user: CnbUser) -> Ownership {
    let Owner { uid, gid } = folders.owner_on_disk();
    Ownership::Mapped { uids: [(uid, user.uid)].into(), gids: [(gid, user.gid)].into() }
}
