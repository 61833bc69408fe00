use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;
use proptest::prelude::*;

use super::*;
use crate::lifecycle::executor::{Executor, Exit, Output, Program};
use crate::lifecycle::folders::{Folder, Folders};
use crate::lifecycle::log::Recorder;
use crate::lifecycle::order::{Element, Group};
use crate::lifecycle::plan::{Candidate, parse_build_plan};
use crate::lifecycle::target::RunTarget;

/// Runs no program: answers with each buildpack's exit code and build plan.
#[derive(Default)]
struct Answers {
    by_id: BTreeMap<String, (i32, &'static str)>,
    asked: Mutex<Vec<String>>,
    scratch: std::path::PathBuf,
}

#[async_trait]
impl Executor for Answers {
    async fn run(&self, program: &Program, output: &mut Output<'_>) -> io::Result<Exit> {
        let path = Path::new(&program.argv[0]);
        let id = path.ancestors().nth(3).unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        assert!(path.ends_with("bin/detect"));
        let (code, plan) = self.by_id.get(&id).copied().unwrap_or((0, ""));
        let file = Path::new(&program.argv[2]).strip_prefix("/scratch").unwrap();
        fs::write(self.scratch.join(file), plan)?;
        output(format!("this is {id}\n").as_bytes());
        self.asked.lock().unwrap().push(id);
        Ok(if code < 0 { Exit::Signaled(-code) } else { Exit::Exited(code) })
    }

    async fn end_strays(&self) -> io::Result<()> {
        Ok(())
    }
}

struct Builder {
    root: tempfile::TempDir,
    folders: Folders,
    answers: Answers,
    log: Recorder,
    exec_env: &'static str,
}

impl Builder {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let host = root.path().join(name);
            fs::create_dir_all(&host).unwrap();
            Folder::new(format!("/{name}"), host)
        };
        let folders = Folders {
            root: Folder::new("/", root.path()),
            app: folder("workspace"),
            layers: folder("layers"),
            platform: folder("platform"),
            cnb: folder("cnb"),
            added: None,
            scratch: folder("scratch"),
            owner: None,
        };
        let answers = Answers { scratch: folders.scratch.host.clone(), ..Answers::default() };
        Self { root, folders, answers, log: Recorder::default(), exec_env: "production" }
    }

    /// Adds a buildpack with an exit code and a build plan.
    fn with(mut self, id: &str, code: i32, plan: &'static str) -> Self {
        self.answers.by_id.insert(id.to_owned(), (code, plan));
        self.described(id, "0.10", "")
    }

    fn described(self, id: &str, api: &str, rest: &str) -> Self {
        let folder = self.root.path().join("cnb/buildpacks").join(id.replace('/', "_")).join("1");
        fs::create_dir_all(&folder).unwrap();
        let text = format!("api = \"{api}\"\n[buildpack]\nid = \"{id}\"\nversion = \"1\"\n{rest}");
        fs::write(folder.join("buildpack.toml"), text).unwrap();
        self
    }

    fn detect(&self, order: &[&str]) -> Result<String, DetectError> {
        let order: Order = order.iter().map(|group| group_of(group)).collect();
        let target = RunTarget { os: "linux".into(), arch: "amd64".into(), ..RunTarget::default() };
        let Self { folders, answers, log, exec_env, .. } = self;
        let site = Site { folders, executor: answers, log, target: &target, exec_env };
        let store = Store::new(folders);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let detected = runtime.block_on(detect(&site, &store, &order, &Variables::default()))?;
        Ok(detected.group.iter().map(|member| member.id.to_string()).collect::<Vec<_>>().join(" "))
    }
}

/// `"a ?b"`: a is required, b is optional.
fn group_of(text: &str) -> Group {
    let element = |word: &str| {
        let (id, optional) = word.strip_prefix('?').map_or((word, false), |id| (id, true));
        Element { id: id.parse().unwrap(), version: "1".into(), optional }
    };
    Group { group: text.split_whitespace().map(element).collect() }
}

fn order_toml(groups: &[&str]) -> String {
    let element = |Element { id, version, optional }: &Element| {
        format!("[[order.group]]\nid = \"{id}\"\nversion = \"{version}\"\noptional = {optional}\n")
    };
    let group = |text: &&str| format!("[[order]]\n{}", group_of(text).group.iter().map(element).collect::<String>());
    groups.iter().map(group).collect()
}

#[test]
fn first_group_that_wants_the_app_wins() {
    let builder = Builder::new().with("no", 100, "").with("yes", 0, "").with("other", 0, "").with("broken", 3, "");
    for (order, expected) in [
        (&["yes"][..], "yes"),
        (&["no", "yes"], "yes"),
        (&["?no yes"], "yes"),
        (&["no yes", "other"], "other"),
        (&["?broken yes"], "yes"),
        (&["broken", "yes"], "yes"),
        (&["yes yes other"], "yes other"),
    ] {
        assert_eq!(builder.detect(order).unwrap(), expected, "{order:?}");
    }
    assert!(matches!(builder.detect(&["no", "?no"]), Err(DetectError::NothingDetected)));
    assert!(matches!(builder.detect(&["broken", "no"]), Err(DetectError::BuildpackFailed)));
    assert!(matches!(builder.detect(&[]), Err(DetectError::NothingDetected)));
}

#[test]
fn composite_stands_for_each_of_its_groups_in_turn() {
    let builder = Builder::new()
        .with("no", 100, "")
        .with("a", 0, "")
        .with("b", 0, "")
        .with("c", 0, "")
        .with("broken", 1, "")
        .described("outer", "0.10", &order_toml(&["no", "a inner", "b"]))
        .described("inner", "0.10", &order_toml(&["no", "b"]))
        .described("never", "0.10", &order_toml(&["no"]))
        .described("errs", "0.10", &order_toml(&["broken"]));
    for (order, expected) in [
        (&["outer"][..], "a b"),
        (&["c outer c"], "c a b"),
        (&["?never c"], "c"),
        (&["never c", "b"], "b"),
        (&["outer ?never c"], "a b c"),
        // What comes after a composite is part of each of its groups.
        (&["outer no", "c"], "c"),
    ] {
        assert_eq!(builder.detect(order).unwrap(), expected, "{order:?}");
    }
    assert!(matches!(builder.detect(&["errs", "no"]), Err(DetectError::BuildpackFailed)));
    // Without an optional composite another group failed, and that one's reason counts.
    assert!(matches!(builder.detect(&["?errs no"]), Err(DetectError::NothingDetected)));
    let asked = builder.answers.asked.lock().unwrap();
    assert!(asked.iter().filter(|id| *id == "no").count() <= 8, "once per detection at most: {asked:?}");
}

#[test]
fn composite_within_itself_is_an_error_and_not_for_ever() {
    let builder = Builder::new()
        .with("no", 100, "")
        .described("one", "0.10", &order_toml(&["no", "two"]))
        .described("two", "0.10", &order_toml(&["one"]))
        .described("self", "0.10", &order_toml(&["?self"]));
    assert!(matches!(builder.detect(&["one"]), Err(DetectError::Cyclic(name)) if name == "one@1"));
    assert!(matches!(builder.detect(&["self"]), Err(DetectError::Cyclic(_))));
}

#[test]
fn order_with_endless_groups_is_given_up() {
    let mut builder = Builder::new().with("no", 100, "");
    let mut all = String::new();
    for index in 0..16 {
        let id = format!("c{index}");
        builder = builder.with(&format!("x{index}"), 0, "").described(
            &id,
            "0.10",
            &order_toml(&[&format!("x{index}"), &format!("x{index}")]),
        );
        all.push_str(&id);
        all.push(' ');
    }
    assert!(matches!(builder.detect(&[&format!("{all} no")]), Err(DetectError::TooManyGroups)));
}

#[test]
fn buildpack_of_another_api_or_none_is_refused() {
    let builder = Builder::new().described("future", "0.13", "").described("none", "", "").described(
        "composite",
        "0.10",
        &order_toml(&["future"]),
    );
    for id in ["future", "none", "composite"] {
        assert!(matches!(builder.detect(&[id]), Err(DetectError::Incompatible { .. })), "{id}");
    }
    assert!(matches!(builder.detect(&["missing"]), Err(DetectError::Store(StoreError::Missing { .. }))));
}

#[test]
fn required_buildpack_for_another_platform_is_an_error_and_an_optional_one_runs() {
    let windows = "[[targets]]\nos = \"windows\"\n";
    let builder = Builder::new().with("a", 0, "").described("w", "0.10", windows);
    assert!(matches!(builder.detect(&["w a"]), Err(DetectError::BuildpackFailed)));
    assert!(builder.answers.asked.lock().unwrap().iter().all(|id| id != "w"));
    assert!(
        builder
            .log
            .lines(Level::Info)
            .iter()
            .any(|line| line.starts_with("unable to satisfy target os/arch constraints"))
    );
    assert_eq!(builder.detect(&["?w a"]).unwrap(), "w a");
}

#[test]
fn buildpack_for_another_execution_environment_is_left_out() {
    let mut builder = Builder::new().with("a", 0, "").described("t", "0.12", "exec-env = [\"test\"]");
    assert_eq!(builder.detect(&["t a"]).unwrap(), "a");
    builder.exec_env = "test";
    assert_eq!(builder.detect(&["t a"]).unwrap(), "t a");
}

#[test]
fn output_is_shown_when_something_failed() {
    let builder = Builder::new()
        .with("a", 0, "")
        .with("no", 100, "")
        .with("broken", 7, "")
        .with("killed", -9, "")
        .with("plan", 0, "provides = 1")
        .with("old", 0, "[[requires]]\nname = \"x\"\nversion = \"1\"");
    builder.detect(&["?no ?broken ?killed ?plan ?old a"]).unwrap();
    let info = builder.log.lines(Level::Info).join("\n");
    for expected in [
        "Output: broken@1",
        "err:  broken@1 (7)",
        "err:  killed@1\n",
        "err:  plan@1",
        "Error: old@1",
        "1 of 6 buildpacks participating",
    ] {
        assert!(info.contains(expected), "{expected}: {info}");
    }
    assert!(!info.contains("Output: a@1") && !info.contains("Output: no@1"), "{info}");

    let builder = Builder::new().with("no", 100, "");
    builder.detect(&["no"]).unwrap_err();
    let expected = ["======== Output: no@1 ========", "this is no", "======== Results ========", "fail: no@1"];
    assert_eq!(builder.log.lines(Level::Info), expected);
}

#[test]
fn list_of_buildpacks_is_aligned() {
    let builder = Builder::new().with("heroku/python", 0, "").with("b", 0, "");
    builder.answers.asked.lock().unwrap().clear();
    builder.detect(&["heroku/python b"]).unwrap();
    assert_eq!(builder.log.lines(Level::Info), ["heroku/python 1", "b             1"]);
}

/// The definition: every group that an order stands for, written out.
fn written_out(order: &[Group], composites: &Composites) -> Vec<Vec<Element>> {
    order.iter().flat_map(|group| written_out_group(&group.group, composites)).collect()
}

fn written_out_group(elements: &[Element], composites: &Composites) -> Vec<Vec<Element>> {
    let Some((first, rest)) = elements.split_first() else { return vec![Vec::new()] };
    let rests = written_out_group(rest, composites);
    let mut heads = match composites.get(first.id.as_str()) {
        Some(order) => written_out(order, composites),
        None => vec![vec![first.clone()]],
    };
    if composites.contains_key(first.id.as_str()) && first.optional {
        heads.push(Vec::new());
    }
    heads.iter().flat_map(|head| rests.iter().map(move |rest| [head.clone(), rest.clone()].concat())).collect()
}

/// What a buildpack thinks of an app, and for whom it is.
#[derive(Debug, Clone, Copy)]
struct Kind {
    /// The exit code of its detection.
    code: i32,
    /// Its build plan.
    plan: &'static str,
    meant_for: MeantFor,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum MeantFor {
    This,
    AnotherPlatform,
    AnotherEnvironment,
}

type Composites = BTreeMap<String, Vec<Group>>;
type Kinds = BTreeMap<String, Kind>;

/// Build plans in which needs are met, not met, met by oneself, and may be met in two ways.
const PLANS: [&str; 7] = [
    "",
    "[[provides]]\nname = \"a\"",
    "[[requires]]\nname = \"a\"",
    "[[provides]]\nname = \"a\"\n[[requires]]\nname = \"a\"",
    "[[provides]]\nname = \"a\"\n[[or]]",
    "[[requires]]\nname = \"b\"\n[[or]]\n[[or.requires]]\nname = \"a\"",
    "[[provides]]\nname = \"b\"\n[[or]]\n[[or.provides]]\nname = \"a\"",
];

/// The definition: the first group, written out, in which nobody required is missing and the plans of those who pass fit.
fn model(order: &[Group], composites: &Composites, kinds: &Kinds) -> Option<String> {
    // Whoever was refused once stays so for the whole build, as what it says of the app does.
    let mut refused = BTreeSet::new();
    written_out(order, composites).into_iter().find_map(|elements| {
        let kind = |element: &Element| kinds[element.id.as_str()];
        let mut group: Vec<Element> = Vec::new();
        for element in elements {
            let known = group.iter().any(|other| other.id == element.id);
            if !known && kind(&element).meant_for != MeantFor::AnotherEnvironment {
                group.push(element);
            }
        }
        // An optional one for another platform runs all the same.
        let is_refused = |element: &&Element| !element.optional && kind(element).meant_for == MeantFor::AnotherPlatform;
        refused.extend(group.iter().filter(is_refused).map(|element| element.id.clone()));
        let passes = |element: &&Element| kind(element).code == 0 && !refused.contains(&element.id);
        if group.iter().any(|element| !element.optional && !passes(&element)) {
            return None;
        }
        let passing: Vec<_> = group.iter().filter(passes).collect();
        let candidate = |element: &&Element| Candidate {
            name: String::new(),
            optional: element.optional,
            alternatives: parse_build_plan(kind(element).plan).unwrap(),
        };
        let candidates: Vec<_> = passing.iter().map(candidate).collect();
        let chosen = crate::lifecycle::plan::tests::model(&candidates)?;
        Some(chosen.iter().map(|&index| passing[index].id.to_string()).collect::<Vec<_>>().join(" "))
    })
}

fn any_kind() -> impl Strategy<Value = Kind> {
    // Most pass, or hardly any group would.
    let code = prop::sample::select(vec![0, 0, 0, 0, 100, 3]);
    let plan = prop_oneof![3 => Just(PLANS[0]), 4 => prop::sample::select(PLANS.to_vec())];
    let meant_for = prop_oneof![
        6 => Just(MeantFor::This), 1 => Just(MeantFor::AnotherPlatform), 1 => Just(MeantFor::AnotherEnvironment)
    ];
    (code, plan, meant_for).prop_map(|(code, plan, meant_for)| Kind { code, plan, meant_for })
}

/// Buildpacks b0 to b3, and composites c0 to c2, each of buildpacks and of composites with a higher number only, so that none contains
/// itself.
fn any_order() -> impl Strategy<Value = (Vec<Group>, Composites, Kinds)> {
    let group = |from: usize| {
        let ids: Vec<String> = (0..4).map(|n| format!("b{n}")).chain((from..3).map(|n| format!("c{n}"))).collect();
        let element = (prop::sample::select(ids), any::<bool>()).prop_map(|(id, optional)| Element {
            id: id.parse().unwrap(),
            version: "1".into(),
            optional,
        });
        proptest::collection::vec(element, 1..4).prop_map(|group| Group { group })
    };
    let order = move |from: usize| proptest::collection::vec(group(from), 1..3);
    let composites = (order(1), order(2), order(3)).prop_map(|(zero, one, two)| {
        [("c0", zero), ("c1", one), ("c2", two)].map(|(id, order)| (id.to_owned(), order)).into()
    });
    let kinds = proptest::collection::vec(any_kind(), 4)
        .prop_map(|kinds| kinds.into_iter().enumerate().map(|(n, kind)| (format!("b{n}"), kind)).collect());
    (order(0), composites, kinds)
}

fn text_of(group: &Group) -> String {
    let word = |element: &Element| format!("{}{}", if element.optional { "?" } else { "" }, element.id);
    group.group.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn builder_of(composites: &Composites, kinds: &Kinds) -> Builder {
    let mut builder = Builder::new();
    for (id, Kind { code, plan, meant_for }) in kinds {
        builder = builder.with(id, *code, plan);
        builder = match meant_for {
            MeantFor::This => builder,
            MeantFor::AnotherPlatform => builder.described(id, "0.12", "[[targets]]\nos = \"windows\"\n"),
            MeantFor::AnotherEnvironment => builder.described(id, "0.12", "exec-env = [\"test\"]\n"),
        };
    }
    for (id, order) in composites {
        let groups: Vec<_> = order.iter().map(text_of).collect();
        let groups: Vec<_> = groups.iter().map(String::as_str).collect();
        builder = builder.described(id, "0.10", &order_toml(&groups));
    }
    builder
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn groups_are_found_as_written_out((order, composites, kinds) in any_order()) {
        prop_assume!(written_out(&order, &composites).len() < 1000);
        let builder = builder_of(&composites, &kinds);
        let groups: Vec<_> = order.iter().map(text_of).collect();
        let groups: Vec<_> = groups.iter().map(String::as_str).collect();
        prop_assert_eq!(builder.detect(&groups).ok(), model(&order, &composites, &kinds));
    }
}
