//! Takes over an app that another orchestrator ran.

use serde_json::json;

use super::aws;
use super::client::Home;
use crate::adapters::aws::{Clients, DynamoSettings, EcsProcesses};
use crate::domain::adoption::{self, Left};
use crate::domain::app_settings::Role;
use crate::domain::names::ProcessType;
use crate::domain::namespace::Namespace;
use crate::flags::AdoptArgs;
use crate::ports::failure::Failure;
use crate::ports::lane_store::Version;
use crate::session::Session;
use crate::ui::CliError;

/// Builds that are looked at.
const BUILDS: usize = 100;

/// Makes the lane of an app, and writes its role where one is given. Safe to repeat: a lane that is there stays as it is.
pub(super) async fn adopt(session: &Session, args: &AdoptArgs) -> Result<(), CliError> {
    let key = &args.app.0;
    let app = aws::app(session, key).await?;
    let Home::Account(clients) = &app.home else { return Err(CliError::internal("an account without clients")) };
    let store = DynamoSettings::new(clients.dynamodb(), Namespace::default().table());
    let settings = app.settings.settings(key).await?;
    let printer = &session.printer;
    let known = app.lanes.load(key).await?;
    let (lane, made) = if let Some(known) = known {
        (known.lane, false)
    } else {
        let status = app.records.deploy_status(key).await?;
        let processes: Vec<ProcessType> =
            status.iter().flat_map(|status| &status.processes).filter_map(|known| known.name.parse().ok()).collect();
        let services = services(clients, &store, key, &processes).await?;
        let builds = app.records.builds(key, BUILDS).await?;
        (adoption::lane(key.clone(), &Left { builds, status, services }), true)
    };
    if made && !args.dry_run {
        match app.lanes.commit(Version(0), &lane).await {
            // Somebody adopted it at the same time.
            Ok(_) | Err(Failure::Conflict { .. }) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    let role = args.role_arn.as_ref().map(|arn| Role {
        arn: arn.clone(),
        external_id: args
            .external_id
            .clone()
            .or_else(|| settings.role.as_ref().and_then(|role| role.external_id.clone()))
            .or_else(|| Some(format!("{:032x}", fastrand::u128(..)))),
    });
    if let (Some(role), false) = (&role, args.dry_run) {
        store.set_role(&key.app, role, args.events_role_arn.as_deref()).await?;
    }
    let trust = role.as_ref().map(|role| {
        let account = role.arn.split(':').nth(4).unwrap_or_default();
        let trusted = args.trusted.clone().unwrap_or_else(|| format!("arn:aws:iam::{account}:root"));
        adoption::trust(&trusted, role.external_id.as_deref().unwrap_or_default())
    });
    let live = lane.live.as_ref().map(|live| live.build.0);
    printer
        .json(&json!({ "app": key.to_string(), "made": made, "dry_run": args.dry_run, "live": live, "trust": trust }));
    let verb = if args.dry_run { "would be" } else { "is" };
    printer.result(match (made, live) {
        (false, _) => format!("{key} has a lane already; packhorse looks after it"),
        (true, Some(live)) => format!("{key} {verb} adopted with build {live} live"),
        (true, None) => format!("{key} {verb} adopted; nothing of it runs yet"),
    });
    if let (Some(trust), Some(role)) = (&trust, &role) {
        printer.note(format_args!("Add this statement to the trust policy of {}:", role.arn));
        printer.result(serde_json::to_string_pretty(trust).unwrap_or_default());
    }
    if args.events_role_arn.is_none() && settings.schedule_role.is_none() {
        printer.note(
            "Scheduled tasks stay with the rules there are until the settings name a role for them: `--events-role-arn`",
        );
    }
    if made && !args.dry_run {
        printer.note("Stop the other orchestrator for this app: two of them would both act on its builds");
    }
    Ok(())
}

async fn services(
    clients: &Clients,
    settings: &DynamoSettings,
    key: &crate::domain::lane::LaneKey,
    processes: &[ProcessType],
) -> Result<std::collections::BTreeMap<ProcessType, adoption::FoundService>, CliError> {
    Ok(EcsProcesses::new(clients, std::sync::Arc::new(settings.clone())).services(key, processes).await?)
}
