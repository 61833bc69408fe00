use super::*;
use crate::lifecycle::metadata::{Command, Process};

fn process(kind: &str, buildpack: &str) -> Process {
    Process {
        kind: kind.into(),
        command: Command(vec!["run".into()]),
        args: None,
        direct: true,
        buildpack: buildpack.into(),
        working_dir: String::new(),
        exec_env: vec![],
    }
}

#[test]
fn later_processes_replace_earlier_ones_and_the_last_default_wins() {
    for (buildpacks, expected, lost) in [
        (&[&[("web", true)][..], &[("worker", false)]][..], "web", None),
        (&[&[("web", true)], &[("worker", true)]], "worker", None),
        (&[&[("web", true)], &[("web", false)]], "", Some("web")),
        (&[&[("web", true)], &[("web", false), ("worker", true)]], "worker", None),
        (&[&[("web", true)], &[("worker", true), ("web", false)]], "worker", None),
        (&[&[("web", false)]], "", None),
    ] {
        let mut processes = Processes::default();
        let mut last = None;
        for (index, buildpack) in buildpacks.iter().enumerate() {
            let added = buildpack.iter().map(|(kind, default)| (process(kind, &index.to_string()), *default));
            last = processes.add(added.collect());
        }
        let (all, default) = processes.finish();
        assert_eq!((default.as_str(), last.as_deref()), (expected, lost), "{buildpacks:?}");
        assert!(all.is_sorted_by_key(|process| process.kind.clone()));
        let web = all.iter().find(|process| process.kind == "web").unwrap();
        let last_with_web = buildpacks.iter().rposition(|buildpack| buildpack.iter().any(|(kind, _)| *kind == "web"));
        assert_eq!(web.buildpack, last_with_web.unwrap().to_string());
    }
}
