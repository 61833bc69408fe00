//! The orchestrator of each app in an account, with the rights that this app's stacks give it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::{docker, engine};
use crate::adapters::aws::{
    AwsSettings, Clients, CloudFormationReviewApps, CloudWatchActivityLog, CodeBuild, DynamoLaneStore,
    DynamoPlaceRecords, DynamoRecords, DynamoSettings, EcrCredentials, EcsPlace, EventBridgePhaseEvents, S3Buckets,
    SsmParameters,
};
use crate::adapters::docker::place::ContainerPlace;
use crate::adapters::local::SystemClock;
use crate::adapters::memory::MemorySettings;
use crate::domain::app_settings::Role;
use crate::domain::aws_event::{News, ServiceNews};
use crate::domain::lane::{Event, LaneKey};
use crate::domain::names::EpochSeconds;
use crate::domain::namespace::Namespace;
use crate::env_vars;
use crate::flags::PlaceChoice;
use crate::image::CredentialSource;
use crate::image::credentials::CredentialChain;
use crate::orchestrator::handle::Handled;
use crate::orchestrator::intake::Fleet;
use crate::orchestrator::{LanePorts, Orchestrator};
use crate::ports::app_settings::AppSettings;
use crate::ports::clock::Clock as _;
use crate::ports::failure::{Failure, chain};
use crate::ports::lane_store::LaneStore;
use crate::ports::phase_events::PhaseEvents;
use crate::ports::place::Place;
use crate::ports::routes::Routes;
use crate::session::Session;
use crate::ui::CliError;

/// A variable that is set to something.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Makes clients with the credentials that lie around.
pub(super) async fn clients(session: &Session) -> Result<Clients, CliError> {
    let mut settings = AwsSettings::from_lookup(variable);
    settings.region.clone_from(&session.globals.region);
    Ok(Clients::load(&settings).await?)
}

/// Where phase events go.
pub(super) fn phase_events(clients: &Clients) -> Arc<dyn PhaseEvents> {
    Arc::new(EventBridgePhaseEvents::new(clients.eventbridge(), variable(env_vars::PACKHORSE_EVENT_BUS)))
}

/// The stores of lanes and of what clients see of them.
pub(super) fn lanes(clients: &Clients) -> LanePorts {
    let namespace = Namespace::default();
    LanePorts {
        lanes: Arc::new(DynamoLaneStore::new(clients.dynamodb(), namespace.table())),
        records: Arc::new(DynamoRecords::new(clients.dynamodb(), namespace.table())),
        events: phase_events(clients),
        clock: Arc::new(SystemClock),
    }
}

/// Makes the orchestrator of an app.
///
/// The credentials that lie around only find out which app is meant; everything else is done in the role that the app's
/// settings name. Where they name none, there is one set of credentials for all.
pub(super) struct Orchestrators {
    base: Clients,
    /// Docker of this machine as the place, instead of ECS.
    containers: Option<Arc<ContainerPlace>>,
    acting: Mutex<BTreeMap<Role, Clients>>,
}

impl Orchestrators {
    /// Prepares connections; on ECS nothing is called yet.
    pub(super) async fn open(session: &Session, place: PlaceChoice) -> Result<Self, CliError> {
        let base = clients(session).await?;
        let containers = match place {
            PlaceChoice::Ecs => None,
            PlaceChoice::Docker => Some(Arc::new(ContainerPlace::new(
                Arc::new(docker::connect_with(registries(&base)?).await?),
                Arc::new(SsmParameters::new(base.ssm())),
                Arc::new(DynamoPlaceRecords::new(base.dynamodb(), Namespace::default().table())),
                Arc::new(SystemClock),
                Arc::new(NoProxy),
                base.region(),
            )?)),
        };
        Ok(Self { base, containers, acting: Mutex::default() })
    }

    /// Takes in what one event tells, each lane with the rights for its app.
    pub(super) async fn hear(&self, news: &News) -> Result<Handled, CliError> {
        let mut answer = Handled::NoLane;
        match news {
            News::Lane(addressed) => answer = self.of(&addressed.lane).await?.hear(news).await?,
            News::Pipeline(pipeline) => {
                let all = DynamoLaneStore::new(self.base.dynamodb(), Namespace::default().table()).all().await?;
                for lane in all.iter().filter(|lane| lane.pull_request.is_some() && lane.app == *pipeline) {
                    answer = self.of(lane).await?.handle(lane, &[Event::SettingsChanged]).await?;
                }
            }
            News::Service(service) => {
                for lane in &service.lanes {
                    let one = ServiceNews { lanes: vec![lane.clone()], ..service.clone() };
                    match self.of(lane).await?.hear(&News::Service(one)).await? {
                        Handled::NoLane => {}
                        handled => answer = handled,
                    }
                }
            }
            News::Access(_) => answer = Handled::Ignored("a list of people is no part of a lane"),
        }
        Ok(answer)
    }

    /// Returns the orchestrator of a lane's app.
    pub(super) async fn of(&self, lane: &LaneKey) -> Result<Orchestrator, CliError> {
        let clients = self.clients_of(lane).await?;
        let table = Namespace::default().table().to_owned();
        let parameters = Arc::new(SsmParameters::new(clients.ssm()));
        let settings: Arc<dyn AppSettings> = match self.containers {
            // Containers on this machine have no sizes.
            Some(_) => Arc::new(MemorySettings::default()),
            None => Arc::new(DynamoSettings::new(clients.dynamodb(), &table)),
        };
        let records = Arc::new(DynamoPlaceRecords::new(clients.dynamodb(), &table));
        let on_ecs = || EcsPlace::new(&clients, settings.clone(), records, Arc::new(SystemClock));
        let place: Arc<dyn Place> = match &self.containers {
            Some(containers) => containers.clone(),
            None => Arc::new(on_ecs()),
        };
        let bucket = variable(env_vars::ARTIFACT_BUCKET).unwrap_or_default();
        Ok(Orchestrator {
            lanes: lanes(&clients),
            artifacts: Arc::new(S3Buckets::new(clients.s3(), bucket)),
            images: engine::registry(registries(&clients)?)?,
            builds: Arc::new(CodeBuild::new(&clients)),
            config: parameters.clone(),
            settings,
            parameters,
            place,
            review_apps: Arc::new(CloudFormationReviewApps::new(&clients, Namespace::default())),
            activity: Arc::new(CloudWatchActivityLog::new(&clients)),
            notifier: super::notifier()?,
        })
    }

    /// Returns clients with the rights for a lane's app. Those for one role share their credentials, which are asked for once.
    async fn clients_of(&self, lane: &LaneKey) -> Result<Clients, Failure> {
        if self.containers.is_some() {
            return Ok(self.base.clone());
        }
        let settings = DynamoSettings::new(self.base.dynamodb(), Namespace::default().table()).settings(lane).await;
        let role = match settings {
            Ok(settings) => settings.role,
            // An app that no stack of ours has made: whether it has a lane is still to be seen.
            Err(Failure::NotFound { .. }) => None,
            Err(failure) => return Err(failure),
        };
        let Some(role) = role else { return Ok(self.base.clone()) };
        let mut acting = self.acting.lock().await;
        if let Some(clients) = acting.get(&role) {
            return Ok(clients.clone());
        }
        let clients = self.base.acting_in(&role, &format!("packhorse-{}", lane.app)).await;
        acting.insert(role, clients.clone());
        Ok(clients)
    }
}

#[async_trait]
impl Fleet for Orchestrators {
    async fn of(&self, lane: &LaneKey) -> Result<Orchestrator, Failure> {
        match Self::of(self, lane).await {
            Ok(orchestrator) => Ok(orchestrator),
            Err(error) => Err(Failure::unavailable(format!("act for {lane}"), chain(&error))),
        }
    }

    fn lanes(&self) -> Arc<dyn LaneStore> {
        Arc::new(DynamoLaneStore::new(self.base.dynamodb(), Namespace::default().table()))
    }

    fn now(&self) -> EpochSeconds {
        SystemClock.now()
    }
}

/// Logins of registries: of ECR by the account, of others by this machine.
fn registries(clients: &Clients) -> Result<Arc<dyn CredentialSource>, CliError> {
    let ecr: Arc<dyn CredentialSource> = Arc::new(EcrCredentials::new(clients.clone(), Arc::new(SystemClock)));
    Ok(Arc::new(CredentialChain::new(vec![ecr, docker::credentials()?])))
}

/// Nobody stands before the web process: it answers on the port that Docker gave it.
struct NoProxy;

#[async_trait]
impl Routes for NoProxy {
    async fn point_to(&self, _: &LaneKey, _: &[std::net::SocketAddr]) {}
}
