//! What every activity log promises.

use async_trait::async_trait;
use packhorse::adapters::local::ActivityFile;
use packhorse::adapters::memory::CollectedNews;
use packhorse::domain::activity::{Happened, Line};
use packhorse::domain::lane::{LaneKey, Phase, PhaseState};
use packhorse::domain::names::{BuildNumber, EpochSeconds};
use packhorse::ports::activity_log::ActivityLog;

use crate::support::lanes::{some_app, some_review_app};
use crate::support::suite::suite;

/// A log under test.
#[async_trait]
pub(crate) trait Bench: Send + Sync {
    fn log(&self) -> &dyn ActivityLog;

    /// Makes what the stacks make for an app.
    fn prepare(&self, lane: &LaneKey);

    /// Returns the lines that are there of a lane, copies left out.
    async fn lines(&self, lane: &LaneKey) -> Vec<Line>;
}

/// Lines of a build, of one moment each.
fn lines(lane: &LaneKey, numbers: std::ops::Range<u64>) -> Vec<Line> {
    // A log takes lines of now only.
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap() - 1000;
    let what = |number| Happened::Phase { build: BuildNumber(number), phase: Phase::Test, state: PhaseState::Started };
    numbers
        .map(|number| Line {
            id: format!("{lane}/{number}/0"),
            at: EpochSeconds(now + number),
            lane: lane.to_string(),
            text: format!("build {number}: test started"),
            what: what(number),
        })
        .collect()
}

/// Lines are added in order and never lost, lane by lane.
async fn lines_are_only_ever_added(bench: &impl Bench) {
    let (app, review_app) = (some_app(), some_review_app());
    for lane in [&app, &review_app] {
        bench.prepare(lane);
        let all = lines(lane, 1..8);
        for some in [&all[..3], &all[3..4], &[], &all[4..]] {
            bench.log().append(lane, some).await.unwrap();
        }
        assert_eq!(bench.lines(lane).await, all);
    }
}

/// A line that comes again after a crash is known by its id.
async fn a_copy_keeps_its_id(bench: &impl Bench) {
    let lane = some_app();
    bench.prepare(&lane);
    let all = lines(&lane, 1..3);
    bench.log().append(&lane, &all).await.unwrap();
    bench.log().append(&lane, &all).await.unwrap();
    assert_eq!(bench.lines(&lane).await, all);
}

fn without_copies(lines: impl Iterator<Item = Line>) -> Vec<Line> {
    let mut known = std::collections::BTreeSet::new();
    lines.filter(|line| known.insert(line.id.clone())).collect()
}

struct File {
    folder: tempfile::TempDir,
    log: ActivityFile,
}

#[async_trait]
impl Bench for File {
    fn log(&self) -> &dyn ActivityLog {
        &self.log
    }

    fn prepare(&self, _: &LaneKey) {}

    async fn lines(&self, lane: &LaneKey) -> Vec<Line> {
        let text = std::fs::read_to_string(self.folder.path().join("activity.jsonl")).unwrap();
        let all = text.lines().map(|line| serde_json::from_str::<Line>(line).unwrap());
        without_copies(all.filter(|line| line.lane == lane.to_string()))
    }
}

fn open_file() -> File {
    let folder = tempfile::tempdir().unwrap();
    File { log: ActivityFile::new(folder.path().join("activity.jsonl")), folder }
}

macro_rules! promises {
    ($name:ident, $($how:tt)+) => {
        suite!($name, $($how)+, [lines_are_only_ever_added, a_copy_keeps_its_id]);
    };
}

#[async_trait]
impl Bench for CollectedNews {
    fn log(&self) -> &dyn ActivityLog {
        self
    }

    fn prepare(&self, _: &LaneKey) {}

    async fn lines(&self, lane: &LaneKey) -> Vec<Line> {
        Self::lines(self).into_iter().filter(|line| line.lane == lane.to_string()).collect()
    }
}

promises!(file, super::open_file());
promises!(memory, packhorse::adapters::memory::CollectedNews::new());

#[cfg(feature = "aws")]
mod aws {
    use packhorse::adapters::aws::CloudWatchActivityLog;
    use serde_json::{Value, json};

    use super::*;
    use crate::support::aws::clients;
    use crate::support::{http, parts};

    pub(super) struct CloudWatch(CloudWatchActivityLog);

    pub(super) async fn open() -> CloudWatch {
        CloudWatch(CloudWatchActivityLog::new(&clients(&parts::moto()).await))
    }

    fn call(operation: &str, input: &Value) -> Value {
        http::call(&parts::moto(), "logs", &format!("Logs_20140328.{operation}"), input)
            .unwrap_or_else(|answer| panic!("{operation}: {answer:?}"))
    }

    fn group(lane: &LaneKey) -> String {
        format!("/apppack/activity/{}", lane.app)
    }

    #[async_trait]
    impl Bench for CloudWatch {
        fn log(&self) -> &dyn ActivityLog {
            &self.0
        }

        fn prepare(&self, lane: &LaneKey) {
            call("CreateLogGroup", &json!({ "logGroupName": group(lane) }));
        }

        async fn lines(&self, lane: &LaneKey) -> Vec<Line> {
            let input = json!({
                "logGroupName": group(lane), "logStreamName": lane.resource_prefix(), "startFromHead": true,
            });
            let found = call("GetLogEvents", &input);
            call("DeleteLogGroup", &json!({ "logGroupName": group(lane) }));
            let lines = found["events"].as_array().unwrap().iter();
            without_copies(lines.map(|event| serde_json::from_str(event["message"].as_str().unwrap()).unwrap()))
        }
    }
}

#[cfg(feature = "aws")]
promises!(cloudwatch, super::aws::open().await, "needs moto");
