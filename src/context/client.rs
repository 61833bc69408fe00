//! What commands on one app work with: its records in the account, or the local state of `up`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::{docker, local};
use crate::adapters::docker::ContainerProcesses;
use crate::adapters::local::{LocalState, SystemClock};
use crate::adapters::memory::CollectedPhaseEvents;
use crate::domain::lane::{BuildRecord, Event, LaneKey, Phase, PhaseChange, PhaseState};
use crate::domain::names::{BuildArn, BuildNumber, ProcessType};
use crate::domain::namespace::{Namespace, partition};
use crate::orchestrator::LanePorts;
use crate::orchestrator::advance::{Advanced, advance};
use crate::orchestrator::handle::Handled;
use crate::orchestrator::rollback::remembered;
use crate::ports::app_settings::AppSettings;
use crate::ports::clock::Clock;
use crate::ports::failure::{Failure, chain};
use crate::ports::lane_store::LaneStore;
use crate::ports::log_reader::{LogLine, LogReader};
use crate::ports::parameters::ParameterStore;
use crate::ports::phase_events::PhaseEvents;
use crate::ports::processes::{Processes, RunningProcess};
use crate::ports::records::Records;
use crate::session::Session;
use crate::ui::CliError;
use crate::up::handover::{Standing, Wish, ask};

/// What is kept of one app.
pub struct AppAccess {
    /// Which app.
    pub lane: LaneKey,
    /// What clients see of its builds.
    pub records: Arc<dyn Records>,
    /// Its lane.
    pub lanes: Arc<dyn LaneStore>,
    /// Its variables, scale and scheduled tasks.
    pub parameters: Arc<dyn ParameterStore>,
    /// What its stacks have made.
    pub settings: Arc<dyn AppSettings>,
    /// Its logs.
    pub logs: Arc<dyn LogReader>,
    /// What runs of it.
    pub processes: Arc<dyn Processes>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    pub(super) home: Home,
}

/// Where an app is at home.
pub(super) enum Home {
    /// In the account.
    #[cfg(feature = "aws")]
    Account(Box<crate::adapters::aws::Clients>),
    /// On this machine, with its state in this folder.
    Here(PathBuf),
}

impl AppAccess {
    /// Tells whether `up` runs the app on this machine.
    pub fn is_here(&self) -> bool {
        matches!(self.home, Home::Here(_))
    }

    /// Returns a build, or the newest.
    pub async fn build(&self, number: Option<BuildNumber>) -> Result<Option<BuildRecord>, Failure> {
        match number {
            Some(number) => self.records.build(&self.lane, number).await,
            None => Ok(self.records.builds(&self.lane, 1).await?.into_iter().next()),
        }
    }

    /// Returns a build, or the newest; that there is none is told to the user.
    pub async fn expect_build(&self, number: Option<BuildNumber>) -> Result<BuildRecord, CliError> {
        let missing = || match number {
            Some(number) => format!("{} has no build {number}", self.lane),
            None => format!("{} has no builds yet", self.lane),
        };
        let hint = "`packhorse build list` shows the builds there are";
        self.build(number).await?.ok_or_else(|| CliError::app(missing()).hint(hint))
    }
}

/// Opens an app in the account, or, where none is named, that of the local state.
pub async fn app(session: &Session, app: Option<&LaneKey>, state: Option<&Path>) -> Result<AppAccess, CliError> {
    match app {
        Some(lane) => super::account_app(session, lane).await,
        None => here(state),
    }
}

fn here(state: Option<&Path>) -> Result<AppAccess, CliError> {
    let here =
        std::env::current_dir().map_err(|error| CliError::remote("there is no current folder").because(error))?;
    let folder = local::state_folder(&here, state);
    if !folder.join("state.db").exists() {
        return Err(CliError::usage("no app was named, and `packhorse up` has not run in this folder")
            .hint("name an app in the account with `--app NAME`, or go to a folder in which `packhorse up` has run"));
    }
    let lane = local::lane_of(folder.parent().unwrap_or(&here), None)?;
    let state = Arc::new(LocalState::open(&folder)?);
    let on_docker = Arc::new(OnDocker { folder: folder.clone(), lane: lane.clone(), state: state.clone() });
    Ok(AppAccess {
        lane,
        records: state.clone(),
        lanes: state.clone(),
        parameters: state.clone(),
        settings: state,
        logs: Arc::new(LocalLogs(on_docker.clone())),
        processes: on_docker,
        clock: Arc::new(SystemClock),
        home: Home::Here(folder),
    })
}

/// Starts a build; returns its number.
pub async fn start_build(app: &AppAccess, source: Option<&str>) -> Result<BuildNumber, CliError> {
    match &app.home {
        #[cfg(feature = "aws")]
        Home::Account(clients) => super::aws::start_build(app, clients, source).await,
        Home::Here(folder) => {
            if source.is_some() {
                return Err(CliError::usage(
                    "`packhorse up` builds the folder as it is; there is no other ref to build",
                ));
            }
            let unusable = |error| CliError::remote(format!("`{}` cannot be used", folder.display())).because(error);
            let newest = app.build(None).await?.map_or(0, |build| build.build_number.0);
            match Standing::take(folder).await.map_err(unusable)? {
                Standing::First(_) => Err(CliError::app("no `packhorse up` runs in this folder that could build")
                    .hint("start it with `packhorse up`")),
                Standing::Later(mut first) => {
                    ask(&mut first, Wish::Build).await.map_err(unusable)?;
                    Ok(BuildNumber(newest + 1))
                }
            }
        }
    }
}

/// Asks the lane of an app to run an older build again; the orchestrator does it.
pub async fn roll_back(app: &AppAccess, to: BuildNumber) -> Result<Handled, CliError> {
    let Some(current) = app.lanes.load(&app.lane).await? else { return Ok(Handled::NoLane) };
    let Some(release) = remembered(&current.lane, to, app.clock.now()) else {
        return Err(CliError::app(format!("{} does not remember what build {to} ran", app.lane))
            .hint("`packhorse releases` shows the releases there are; to run an older one, build its commit again"));
    };
    let arn = release.arn.clone();
    let events: Arc<dyn PhaseEvents> = match &app.home {
        #[cfg(feature = "aws")]
        Home::Account(clients) => super::orchestrators::phase_events(clients),
        Home::Here(_) => Arc::new(CollectedPhaseEvents::new()),
    };
    let (lanes, records, clock) = (app.lanes.clone(), app.records.clone(), app.clock.clone());
    let ports = LanePorts { lanes, records, events: events.clone(), clock };
    let event = Event::RollbackRequested { release: Box::new(release) };
    match advance(&ports, &app.lane, &event).await.map_err(|failure| cannot_ask(app, failure))? {
        Advanced::Changed(next) => {
            // Only a hint, which wakes the orchestrator up; it finds the request by itself at its next sweep.
            let hint = PhaseChange {
                format: 1,
                app: app.lane.app.clone(),
                pull_request: app.lane.pull_request,
                build: to,
                build_arn: arn,
                phase: Phase::Deploy,
                state: PhaseState::Started,
                lane_version: next.version.0,
            };
            if let Err(failure) = events.emit(&[hint]).await {
                tracing::debug!(cause = chain(&failure), "The orchestrator was not woken up");
            }
            Ok(Handled::Done)
        }
        Advanced::Ignored(reason) => Ok(Handled::Ignored(reason)),
        Advanced::NoLane => Ok(Handled::NoLane),
    }
}

/// Why a lane could not be asked for something. Who reads an app need not be allowed to write its lane.
fn cannot_ask(app: &AppAccess, failure: Failure) -> CliError {
    if !failure.is_denied() {
        return failure.into();
    }
    let right = format!(
        "a rollback is written into the app's lane: your role needs `dynamodb:PutItem` and `dynamodb:UpdateItem` on the \
         table `{}` for the keys of `{}`",
        Namespace::default().table(),
        partition(&app.lane)
    );
    CliError::remote(format!("you may not roll back {}", app.lane))
        .because(failure)
        .hint(right)
        .hint("without them, build the older commit again: `packhorse build start --ref COMMIT`")
}

/// Stops a build in the account.
pub async fn stop_build(app: &AppAccess, arn: &BuildArn) -> Result<(), CliError> {
    match &app.home {
        #[cfg(feature = "aws")]
        Home::Account(clients) => Ok(super::aws::stop_build(clients, arn).await?),
        Home::Here(_) => {
            let _ = arn;
            Err(CliError::usage("a build on this machine ends with its `packhorse up`")
                .hint("press Ctrl-C there; a build that is not needed any more is left out when a newer one is ready"))
        }
    }
}

/// The processes of `up`. Docker is asked only by commands that need it.
struct OnDocker {
    folder: PathBuf,
    lane: LaneKey,
    state: Arc<LocalState>,
}

impl OnDocker {
    async fn connect(&self) -> Result<ContainerProcesses, Failure> {
        let credentials = docker::credentials().map_err(|error| Failure::refused("read Docker's logins", error))?;
        let engine = Arc::new(docker::connect_with(credentials).await?);
        let instance = local::instance(&self.folder)
            .map_err(|error| Failure::refused(format!("read the state in {}", self.folder.display()), error))?;
        Ok(ContainerProcesses::new(engine, self.state.clone(), &instance))
    }
}

#[async_trait]
impl Processes for OnDocker {
    async fn running(&self, lane: &LaneKey) -> Result<Vec<RunningProcess>, Failure> {
        self.connect().await?.running(lane).await
    }

    async fn restart(&self, lane: &LaneKey, processes: &[ProcessType]) -> Result<Vec<String>, Failure> {
        self.connect().await?.restart(lane, processes).await
    }
}

/// Logs in files, and of containers.
struct LocalLogs(Arc<OnDocker>);

#[async_trait]
impl LogReader for LocalLogs {
    async fn read(&self, location: &str) -> Result<Option<Vec<String>>, Failure> {
        let Some(path) = location.strip_prefix("file://") else {
            return Err(Failure::refused(format!("read {location}"), "it is not on this machine"));
        };
        match tokio::fs::read(path).await {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::refused(format!("read {location}"), error)),
        }
    }

    async fn said(&self, _: &str, prefix: &str, _: u64) -> Result<Vec<LogLine>, Failure> {
        self.0.connect().await?.said(&self.0.lane, prefix).await
    }
}
