//! `down`: stops what `up` started on this machine, and removes what it left.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;

use super::docker;
use super::local::{instance, lane_of, state_folder};
use crate::adapters::docker::place::ContainerPlace;
use crate::adapters::docker::{ContainerTestBed, Docker};
use crate::adapters::embedded::kept_folders;
use crate::adapters::local::{LocalState, SystemClock};
use crate::adapters::pack::cache_volumes;
use crate::domain::lane::LaneKey;
use crate::flags::DownArgs;
use crate::image::ImageReference;
use crate::ports::container_engine::ContainerEngine as _;
use crate::ports::failure::Failure;
use crate::ports::lane_store::LaneStore as _;
use crate::ports::routes::Routes;
use crate::ports::test_bed::TestBed as _;
use crate::session::Session;
use crate::ui::CliError;
use crate::up::handover::Standing;

/// What `up` keeps in its state folder; a folder that holds other things too keeps those.
const STATE: [&str; 11] = [
    ".gitignore",
    "activity.jsonl",
    "artifacts",
    "builds",
    "private",
    "instance",
    "state.db",
    "state.db-shm",
    "state.db-wal",
    "up.sock",
    "up.lock",
];

/// Stops the app of a folder and removes what `up` left of it.
pub(super) async fn down(session: &Session, args: &DownArgs) -> Result<(), CliError> {
    let folder = args
        .path
        .canonicalize()
        .map_err(|error| CliError::usage(format!("`{}` cannot be read", args.path.display())).because(error))?;
    let state_folder = state_folder(&folder, args.state_dir.as_deref());
    if !state_folder.join("state.db").exists() {
        session.printer.json(&json!({ "lanes": [], "kept": [] }));
        session.printer.result("There is nothing to stop: `packhorse up` has not run here");
        return Ok(());
    }
    let unusable = |error| CliError::remote(format!("`{}` cannot be used", state_folder.display())).because(error);
    let holder = Standing::take_from_others(&state_folder).await.map_err(unusable)?;
    let state = Arc::new(LocalState::open(&state_folder)?);
    let engine = Arc::new(docker::connect().await?);
    let name = instance(&state_folder).map_err(unusable)?;
    let place = ContainerPlace::new(
        engine.clone(),
        state.clone(),
        state.clone(),
        Arc::new(SystemClock),
        Arc::new(NoRoutes),
        &name,
    )?;
    let lanes: BTreeSet<LaneKey> = state.all().await?.into_iter().chain([lane_of(&folder, None)?]).collect();
    let mut kept = Vec::new();
    let tests = ContainerTestBed::new(engine.clone(), super::engine::stop(session));
    for lane in &lanes {
        let found = state.load(lane).await?;
        // Those that nobody has seen the end of: their `up` was killed.
        for build in found.iter().flat_map(|found| found.lane.builds.values()).filter(|build| !build.settled) {
            tests.remove(build.arn.build_id()).await?;
        }
        if args.volumes {
            place.destroy(lane).await?;
            remove_what_was_built(&engine, lane).await?;
        } else {
            place.halt(lane).await?;
            kept.extend(place.addons(lane).await?);
        }
    }
    if args.volumes {
        drop(state);
        remove_state(&state_folder).map_err(unusable)?;
    }
    drop(holder);
    let lanes: Vec<String> = lanes.iter().map(ToString::to_string).collect();
    session.printer.json(&json!({ "lanes": lanes, "kept": kept }));
    session.printer.result(match (args.volumes, kept.is_empty()) {
        (true, _) => "Stopped; all that `packhorse up` has made here is removed".to_owned(),
        (false, true) => "Stopped; build caches and images are kept (`--volumes` removes them)".to_owned(),
        (false, false) => format!(
            "Stopped; the data of {}, build caches and images are kept (`--volumes` removes them)",
            kept.join(" and ")
        ),
    });
    Ok(())
}

/// Removes the images and caches of a lane's builds. Those of another folder of the same name are the same: it builds
/// them again.
async fn remove_what_was_built(engine: &Docker, lane: &LaneKey) -> Result<(), Failure> {
    for volume in cache_volumes(&lane.to_string()) {
        engine.remove_volume(&volume).await?;
    }
    let repository = format!("packhorse/{}", lane.app.as_str().to_lowercase());
    if let Ok(image) = repository.parse::<ImageReference>() {
        for folder in kept_folders(&super::engine::cache_folder(), &lane.to_string(), image.repository()) {
            match std::fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Failure::refused(format!("remove `{}`", folder.display()), error));
                }
                _ => {}
            }
        }
    }
    for name in engine.image_names(&repository).await? {
        engine.untag_image(&name).await?;
    }
    Ok(())
}

fn remove_state(folder: &Path) -> io::Result<()> {
    for name in STATE {
        let path = folder.join(name);
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    match std::fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => Err(error),
        _ => Ok(()),
    }
}

/// Nobody asks for anything any more.
struct NoRoutes;

#[async_trait]
impl Routes for NoRoutes {
    async fn point_to(&self, _: &LaneKey, _: &[SocketAddr]) {}
}
