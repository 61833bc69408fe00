//! What every place promises in which an app's tests run.

use std::sync::Arc;
use std::time::Duration;

use packhorse::adapters::docker::ContainerTestBed;
use packhorse::adapters::process::Stop;
use packhorse::ports::test_bed::{TestBed, TestBedError, TestRun};

use crate::support::docker::{Broom, docker, engine, random_name};
use crate::support::heard::Heard;
use crate::support::sandbox::processes_with;
use crate::support::tested_app::{image, tests_of};

/// A place under test, with an app image whose `.profile` sets `FROM_PROFILE`.
pub(crate) trait Bench: Sync {
    fn bed(&self) -> &dyn TestBed;

    /// Stops what the bed runs.
    fn stop(&self) -> &Stop;

    /// A run of the app's tests with `GIVEN` as a variable of two lines.
    fn run(&self, command: &str) -> TestRun;

    /// Runs tests that succeed, and returns what they say.
    async fn lines(&self, command: &str) -> Vec<String> {
        let heard = Heard::default();
        let code = self.bed().run(&self.run(command), &heard).await.unwrap();
        let lines = heard.taken();
        assert_eq!(code, 0, "{lines:#?}");
        lines
    }
}

async fn tests_have_the_images_files_and_variables_and_nothing_of_packhorse(bench: &impl Bench) {
    let lines = bench
        .lines(
            "echo $FROM_PROFILE; echo \"$GIVEN\"; pwd; cat Procfile; cat; ls /layers/config; echo '$HOME' >written && cat written; \
             umask; env | grep -c -e ^PACKHORSE -e ^CARGO -e ^BARE; true",
        )
        .await;
    let expected = "yes\ntwo\nlines\n/workspace\nweb: exec sleep 1000\nmetadata.toml\n$HOME\n0022\n0";
    assert_eq!(lines.join("\n"), expected);
}

async fn each_run_begins_with_what_was_exported(bench: &impl Bench) {
    // What buildpacks, or tests before, left beside it is not there.
    for _ in 0..2 {
        let lines = bench.lines("ls -A; ls /layers; touch left /tmp/left; rm Procfile").await;
        assert!(lines.contains(&"Procfile".to_owned()) && !lines.contains(&"left".to_owned()), "{lines:?}");
    }
}

async fn each_way_to_end_is_told(bench: &impl Bench) {
    let heard = Heard::default();
    assert_eq!(bench.bed().run(&bench.run("echo \"a  b\"; echo c >&2; exit 7"), &heard).await.unwrap(), 7);
    let mut lines = heard.taken();
    // Two streams have no order.
    lines.sort();
    assert_eq!(lines, ["a  b", "c"]);
    assert_eq!(bench.bed().run(&bench.run("bash -c 'kill -9 $$'; exit $?"), &Heard::default()).await.unwrap(), 137);
}

async fn tests_that_hang_say_goodbye_and_leave_nothing(bench: &impl Bench) {
    let marker = format!("marker-{:016x}", fastrand::u64(..));
    let hang = format!(
        "trap 'echo bye; exit' TERM; setsid bash -c 'trap \"\" TERM; exec -a {marker} sleep 1000' </dev/null & \
         mkfifo /tmp/f; until grep -q {marker} /proc/[0-9]*/cmdline; do :; done; echo begun; read line <>/tmp/f"
    );
    let heard = Heard::default();
    let run = TestRun { limit: Duration::from_secs(2), ..bench.run(&hang) };
    let ended = bench.bed().run(&run, &heard).await;
    let lines = heard.taken();
    assert!(matches!(ended, Err(TestBedError::TimedOut { seconds: 2 })), "{ended:?} {lines:?}");
    // A shell may say meanwhile that it was asked.
    assert_eq!((lines.first().unwrap().as_str(), lines.last().unwrap().as_str()), ("begun", "bye"), "{lines:?}");
    assert_eq!(processes_with(&marker), Vec::<String>::new());
}

/// The last, as the bed runs nothing any more.
async fn tests_that_are_interrupted_end(bench: &impl Bench) {
    let heard = Heard::stopping_at("begun", bench.stop().clone());
    let run = bench.run("trap 'echo bye; exit 0' TERM; echo begun; rm -f /tmp/g; mkfifo /tmp/g; read line <>/tmp/g");
    assert!(matches!(bench.bed().run(&run, &heard).await, Err(TestBedError::Interrupted)));
    let lines = heard.taken();
    assert_eq!((lines.first().unwrap().as_str(), lines.last().unwrap().as_str()), ("begun", "bye"), "{lines:?}");
}

/// All that is promised, one after the other: a place may have room for one run at a time.
pub(crate) async fn promises(bench: &impl Bench) {
    tests_have_the_images_files_and_variables_and_nothing_of_packhorse(bench).await;
    each_run_begins_with_what_was_exported(bench).await;
    each_way_to_end_is_told(bench).await;
    tests_that_hang_say_goodbye_and_leave_nothing(bench).await;
    tests_that_are_interrupted_end(bench).await;
}

/// Containers.
struct InDocker {
    bed: ContainerTestBed,
    stop: Stop,
    image: String,
    build_id: String,
    _broom: Broom,
}

impl Bench for InDocker {
    fn bed(&self) -> &dyn TestBed {
        &self.bed
    }

    fn stop(&self) -> &Stop {
        &self.stop
    }

    fn run(&self, command: &str) -> TestRun {
        tests_of(&self.build_id, &self.image, command)
    }
}

#[tokio::test]
#[ignore = "needs Docker Engine 26, pack and the registry"]
async fn containers_keep_what_every_place_for_tests_promises() {
    let (stop, name) = (Stop::default(), random_name("ph-test"));
    let bed = ContainerTestBed::new(Arc::new(engine().await), stop.clone());
    let bench = InDocker { bed, stop, image: image().await, build_id: format!("{name}:6b0e7c1a"), _broom: Broom(name) };
    promises(&bench).await;
    bench.bed.remove(&bench.build_id).await.unwrap();
    let label = format!("label=packhorse.build={}", bench.build_id);
    assert_eq!(docker(&["ps", "-aq", "--filter", &label]), "");
}
