//! Whether a build would change anything: the same image with the same configuration is not deployed again.

use super::pipeline::Pipeline;
use crate::domain::lane::ReleasePlan;
use crate::domain::names::{BuildArn, BuildNumber};
use crate::ports::failure::Failure;
use crate::runner::{self, RunnerContext};

/// Returns the build that is live, when what was built now is what runs: the same image by digest, the same commands, the
/// same variables, and every process up in the number that is wanted.
pub(super) async fn live_build(pipeline: &Pipeline, number: BuildNumber) -> Result<Option<BuildNumber>, Failure> {
    let Some(found) = pipeline.orchestrator.lanes.lanes.load(&pipeline.lane).await? else { return Ok(None) };
    let Some(live) = &found.lane.live else { return Ok(None) };
    let Some(Ok(plan)) = pipeline.orchestrator.read_artifacts(&found.lane, number).await?.plan else {
        return Ok(None);
    };
    // A release begins in its turn; until then it has no place in the sequence.
    let wanted = ReleasePlan { sequence: live.plan.sequence, ..plan };
    if wanted != live.plan {
        return Ok(None);
    }
    let formation = pipeline.orchestrator.formation(&found.lane, live.build, &live.plan).await?;
    Ok(pipeline.place.runs(&pipeline.lane, &formation).await?.then_some(live.build))
}

/// Tells the runner's last step that there is nothing to do, which then only removes what the others had made.
pub(super) async fn skip_the_rest(cx: &RunnerContext, build: &BuildArn) -> Result<(), Failure> {
    let marker = cx.settings.outputs.join(cx.settings.namespace.skip_marker_file(build.build_id()));
    std::fs::write(&marker, b"").map_err(|error| Failure::refused(format!("write {}", marker.display()), error))?;
    let mut quiet = cx.clone();
    quiet.printer = cx.printer.silent();
    runner::postbuild(&quiet).await;
    Ok(())
}
