//! What changed between two states of a lane, as told to others.

use serde::{Deserialize, Serialize};

use super::phase::{Phase, PhaseState};
use super::state::{Lane, LaneKey};
use crate::domain::names::{AppName, BuildArn, BuildNumber, PullRequest};

/// The detail of a `Packhorse Phase Change` event: a hint that carries no result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseChange {
    /// Layout of this detail; 1.
    pub format: u32,
    /// The app or pipeline.
    pub app: AppName,
    /// The bare pull-request number, for a review app only.
    #[serde(rename = "pr", default, skip_serializing_if = "Option::is_none", with = "bare_number")]
    pub pull_request: Option<PullRequest>,
    /// The build's number.
    pub build: BuildNumber,
    /// The build's ARN.
    pub build_arn: BuildArn,
    /// The phase that changed.
    pub phase: Phase,
    /// What it is now.
    pub state: PhaseState,
    /// The version of the lane as committed.
    pub lane_version: u64,
}

impl PhaseChange {
    /// The `source` of the event.
    pub const SOURCE: &'static str = "packhorse";
    /// The `detail-type` of the event.
    pub const DETAIL_TYPE: &'static str = "Packhorse Phase Change";

    /// The lane that the change happened in.
    pub fn lane(&self) -> LaneKey {
        LaneKey { app: self.app.clone(), pull_request: self.pull_request }
    }
}

/// Lists the phases that changed from `before` to `after`, in order of builds and phases.
pub fn changes(before: &Lane, after: &Lane, version: u64) -> Vec<PhaseChange> {
    let mut found = Vec::new();
    for (number, build) in &after.builds {
        let earlier = before.builds.get(number);
        for (phase, record) in &build.phases {
            let known = earlier.and_then(|build| build.phases.get(phase)).map(|record| record.state);
            if known != Some(record.state) {
                found.push(PhaseChange {
                    format: 1,
                    app: after.key.app.clone(),
                    pull_request: after.key.pull_request,
                    build: *number,
                    build_arn: build.arn.clone(),
                    phase: *phase,
                    state: record.state,
                    lane_version: version,
                });
            }
        }
    }
    found
}

/// A pull request as the text of its number.
mod bare_number {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::domain::names::PullRequest;

    #[expect(clippy::trivially_copy_pass_by_ref, clippy::ref_option, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(value: &Option<PullRequest>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(pr) => to.collect_str(pr),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PullRequest>, D::Error> {
        Option::<String>::deserialize(from)?.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}
