//! Moves lanes forward: commits facts, performs what is owed, and asks for the truth when events were lost.

pub mod access;
pub mod advance;
mod formation;
pub mod handle;
mod hear;
pub mod intake;
pub mod lambda;
mod observe;
mod perform;
pub mod poll;
mod release_plan;
pub mod rollback;
pub mod sweep;

use std::sync::Arc;

pub use advance::LanePorts;

use crate::ports::activity_log::ActivityLog;
use crate::ports::app_config::AppConfig;
use crate::ports::app_settings::AppSettings;
use crate::ports::artifacts::ArtifactStores;
use crate::ports::build_service::BuildService;
use crate::ports::image_store::ImageStore;
use crate::ports::notifier::Notifier;
use crate::ports::parameters::ParameterStore;
use crate::ports::place::Place;
use crate::ports::review_apps::ReviewApps;

/// What the orchestrator acts on.
#[derive(Clone)]
pub struct Orchestrator {
    /// Lanes and what clients see of them.
    pub lanes: LanePorts,
    /// The artifacts of the apps' builds.
    pub artifacts: Arc<dyn ArtifactStores>,
    /// Tells the digests of their images.
    pub images: Arc<dyn ImageStore>,
    /// Where builds run.
    pub builds: Arc<dyn BuildService>,
    /// The names of the apps' config variables.
    pub config: Arc<dyn AppConfig>,
    /// What the apps' stacks have made.
    pub settings: Arc<dyn AppSettings>,
    /// Scaling and what runs by the clock.
    pub parameters: Arc<dyn ParameterStore>,
    /// Where tasks and services run.
    pub place: Arc<dyn Place>,
    /// The stacks of review apps.
    pub review_apps: Arc<dyn ReviewApps>,
    /// What happened to each app, for people.
    pub activity: Arc<dyn ActivityLog>,
    /// Tells somebody at once.
    pub notifier: Arc<dyn Notifier>,
}
