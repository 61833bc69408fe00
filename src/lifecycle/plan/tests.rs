use proptest::prelude::*;

use super::*;

fn require(name: &str) -> Require {
    Require { name: name.to_owned(), metadata: toml::Table::new() }
}

/// `"p a, r b | r c"`: one alternative provides a and requires b, the other requires c. A leading `?` makes it optional.
fn candidate(place: usize, text: &str) -> Candidate {
    let (optional, text) = text.strip_prefix('?').map_or((false, text), |rest| (true, rest));
    let alternative = |text: &str| {
        let mut alternative = Alternative::default();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            match item.split_once(' ').unwrap() {
                ("p", name) => alternative.provides.push(name.to_owned()),
                (_, name) => alternative.requires.push(require(name)),
            }
        }
        alternative
    };
    Candidate { name: format!("{place}@1"), optional, alternatives: text.split('|').map(alternative).collect() }
}

fn resolved(texts: &[&str]) -> Result<Vec<usize>, Unresolved> {
    let candidates: Vec<_> = texts.iter().enumerate().map(|(place, text)| candidate(place, text)).collect();
    resolve(&candidates, &mut |_| ()).map(|resolution| resolution.chosen)
}

#[test]
fn group_holds_together_by_what_is_provided_and_required() {
    let fails = Err(Unresolved::NoFit);
    for (texts, expected) in [
        (&["", ""][..], Ok(vec![0, 1])),
        (&["p a", "r a"], Ok(vec![0, 1])),
        // A buildpack may provide what it requires itself.
        (&["p a, r a"], Ok(vec![0])),
        // A provider must not come after who requires.
        (&["r a", "p a"], fails.clone()),
        (&["p a"], fails.clone()),
        (&["r a"], fails.clone()),
        (&["?p a", ""], Ok(vec![1])),
        (&["", "?r a"], Ok(vec![0])),
        (&["?p a", "?r a"], Ok(vec![0, 1])),
        // Dropping one leaves another without use.
        (&["?p a", "?r a, r b", ""], Ok(vec![2])),
        (&["p a", "?r a, r b"], fails.clone()),
        (&["?p a"], fails.clone()),
        // The later provider is unused: nothing after it requires.
        (&["p a", "r a", "p a"], fails.clone()),
        (&["p a", "r a", "?p a"], Ok(vec![0, 1])),
        (&["p a", "p a, r a", "r a"], Ok(vec![0, 1, 2])),
        // With an alternative left, an optional buildpack counts as required, so the first that fits is the second.
        (&["?p a | ", ""], Ok(vec![0, 1])),
        (&["?p a | p b", ""], Ok(vec![1])),
        (&["p a | p b", "r b"], Ok(vec![0, 1])),
        (&[], fails.clone()),
    ] {
        assert_eq!(resolved(texts), expected, "{texts:?}");
    }
}

#[test]
fn entries_have_every_provider_and_require_of_a_name() {
    let candidates: Vec<_> =
        ["p a, p b", "r b", "p a, r a", "r a"].iter().enumerate().map(|(place, text)| candidate(place, text)).collect();
    let entries = resolve(&candidates, &mut |_| ()).unwrap().entries;
    assert_eq!(entries[0], Entry { providers: vec![0, 2], requires: vec![require("a"), require("a")] });
    assert_eq!(entries[1], Entry { providers: vec![0], requires: vec![require("b")] });
}

#[test]
fn plan_bomb_is_given_up() {
    let bomb = ["r x"; 20].join("|");
    assert_eq!(resolved(&vec![bomb.as_str(); 20]), Err(Unresolved::TooMany));
}

#[test]
fn build_plan_has_alternatives_and_refuses_old_versions() {
    let text = "[[provides]]\nname = \"a\"\n[[requires]]\nname = \"b\"\n[requires.metadata]\nversion = \"1\"\n[[or]]\n[[or.provides]]\nname = \"c\"\n[[or]]\n";
    let alternatives = parse_build_plan(text).unwrap();
    assert_eq!(alternatives.len(), 3);
    assert_eq!(alternatives[0].requires[0].metadata["version"].as_str(), Some("1"));
    assert_eq!(alternatives[1].provides, ["c"]);
    assert_eq!(parse_build_plan("").unwrap(), [Alternative::default()]);
    for text in
        ["[[requires]]\nname = \"b\"\nversion = \"1\"", "[[or]]\n[[or.requires]]\nname = \"b\"\nversion = \"1\""]
    {
        assert!(matches!(parse_build_plan(text), Err(BuildPlanError::Version)), "{text}");
    }
    assert!(matches!(parse_build_plan("provides = 1"), Err(BuildPlanError::Malformed(_))));
}

#[test]
fn buildpack_gets_what_it_provides_until_it_is_met() {
    let id = |text: &str| text.parse::<BuildpackId>().unwrap();
    let mut plan = Plan::new(vec![(vec![id("a"), id("b")], vec![require("x")]), (vec![id("b")], vec![require("y")])]);
    assert_eq!(plan.for_buildpack(&id("b")), [require("x"), require("y")]);
    plan.remove_met(&BTreeSet::from(["x".to_owned()]));
    assert_eq!(plan.for_buildpack(&id("b")), [require("y")]);
    assert_eq!(plan.for_buildpack(&id("a")), []);
    assert_eq!(buildpack_plan(&[require("y")]), "[[entries]]\n  name = \"y\"\n");
    assert_eq!(buildpack_plan(&[]), "");
}

/// The definition, with no thought of speed: of all sets of candidates in which everybody fits and nobody required is missing, the
/// largest; a trial of alternatives that has none fails, and the first that has one wins.
pub(in crate::lifecycle) fn model(candidates: &[Candidate]) -> Option<Vec<usize>> {
    let mut trials = vec![vec![]];
    for candidate in candidates {
        trials = trials
            .iter()
            .flat_map(|begun| (0..candidate.alternatives.len()).map(move |next| [begun.clone(), vec![next]].concat()))
            .collect();
    }
    trials.iter().find_map(|picked| {
        let fitting = (0_u32..1 << candidates.len())
            .map(|bits| (0..candidates.len()).filter(|index| bits >> index & 1 == 1).collect::<Vec<_>>())
            .filter(|set| fits(candidates, picked, set));
        fitting.max_by_key(Vec::len).filter(|set| !set.is_empty())
    })
}

fn fits(candidates: &[Candidate], picked: &[usize], set: &[usize]) -> bool {
    let alternative = |index: usize| &candidates[index].alternatives[picked[index]];
    let may_be_left_out =
        |index: usize| candidates[index].optional && picked[index] == candidates[index].alternatives.len() - 1;
    let nobody_missing = (0..candidates.len()).all(|index| set.contains(&index) || may_be_left_out(index));
    let provides = |index: usize, name: &str| alternative(index).provides.iter().any(|other| other == name);
    let requires = |index: usize, name: &str| alternative(index).requires.iter().any(|other| other.name == name);
    nobody_missing
        && set.iter().all(|&index| {
            let met = |require: &Require| set.iter().any(|&other| other <= index && provides(other, &require.name));
            let used = |name: &String| set.iter().any(|&other| other >= index && requires(other, name));
            alternative(index).requires.iter().all(met) && alternative(index).provides.iter().all(used)
        })
}

fn any_candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let names = || proptest::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 0..3);
    let alternative = (names(), names()).prop_map(|(provides, requires)| Alternative {
        provides: provides.into_iter().map(ToOwned::to_owned).collect(),
        requires: requires.into_iter().map(require).collect(),
    });
    let candidate = (any::<bool>(), proptest::collection::vec(alternative, 1..4))
        .prop_map(|(optional, alternatives)| Candidate { name: String::new(), optional, alternatives });
    proptest::collection::vec(candidate, 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn resolution_is_the_models(candidates in any_candidates()) {
        let found = resolve(&candidates, &mut |_| ());
        prop_assert_eq!(found.as_ref().ok().map(|resolution| resolution.chosen.clone()), model(&candidates));
        if let Ok(Resolution { chosen, entries }) = found {
            for Entry { providers, requires } in entries {
                prop_assert!(!providers.is_empty() && !requires.is_empty());
                prop_assert!(providers.iter().all(|provider| chosen.contains(provider)));
            }
        }
    }
}
