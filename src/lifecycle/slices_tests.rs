//! Golden vectors of sliced apps, and slices against a slow model that follows the Go program step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;

use super::*;
use crate::image::layer::{Compression, Ownership, Packer, Root};

const CNB: Ownership = Ownership::Fixed { uid: 1000, gid: 1000 };

fn slice(patterns: &[&str]) -> Vec<String> {
    patterns.iter().map(|pattern| (*pattern).to_owned()).collect()
}

#[test]
fn slices_are_those_of_the_go_lifecycle() {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in [
        ("a.txt", "4"),
        ("a/c.txt", "1"),
        ("a/d.bin", "2"),
        ("a-b/e", "3"),
        ("app.py", "print(1)\n"),
        ("static/css/s.css", "p {}\n"),
    ] {
        let path = root.path().join("workspace").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        for folder in path.ancestors().skip(1).take_while(|folder| *folder != root.path()) {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    let folder = LayerFolder {
        root: Root::in_place().with("/", root.path()),
        path: "/workspace".into(),
        parents: CNB,
        contents: CNB,
        order: Order::Flat,
    };
    let slices = [slice(&["static"]), slice(&["*.nope"]), slice(&["a/*.txt", "a-b"])];
    let kept = tempfile::tempdir().unwrap();
    let packer = Packer::new(kept.path(), Compression::Gzip).unwrap();
    let layers: Vec<(u64, String)> = cut(&folder, &slices)
        .unwrap()
        .iter()
        .map(|layer| packer.digest(layer.entries()).map(|digest| (digest.size, digest.diff_id.hex().to_owned())))
        .collect::<Result<_, _>>()
        .unwrap();
    let expected = [
        (3584, "d6887982c112fae7d5d90016ed4c8d764997d031a78b201ff83e69b0a2865c3f"),
        (1024, "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"),
        (4608, "9e2bfc5dd8bdb8a4db55c6aa987d1783218950bcd4836763d51a68735af76517"),
        (5120, "f6aa965a80e2b28c7840c96a6e8109b97fb6c4799dd38bb89cb43c57308973bd"),
    ];
    assert_eq!(layers, expected.map(|(size, hex)| (size, hex.to_owned())));
    // Without slices the whole app is one layer, and that is the same as one whose slices match nothing leave.
    let whole = packer.digest(cut(&folder, &[]).unwrap()[0].entries()).unwrap();
    let rest = cut(&folder, &[slice(&["nothing"])]).unwrap();
    assert_eq!(packer.digest(rest[1].entries()).unwrap(), whole);
}

#[test]
fn a_bad_pattern_is_named() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a"), "").unwrap();
    let folder = LayerFolder {
        root: Root::in_place(),
        path: root.path().to_owned(),
        parents: CNB,
        contents: CNB,
        order: Order::Flat,
    };
    let error = cut(&folder, &[slice(&["a", "[x"])]).unwrap_err();
    assert!(matches!(error, SliceError::Pattern(BadPattern(pattern)) if pattern == "[x"));
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}
fn add(
    name: &str,
    sliced: &mut BTreeMap<String, bool>,
    matched: &mut BTreeSet<String>,
    children: &dyn Fn(&str) -> Vec<String>,
) {
    if sliced[name] {
        return;
    }
    for child in children(name) {
        add(&child, sliced, matched, children);
    }
    matched.insert(name.to_owned());
    sliced.insert(name.to_owned(), true);
}

/// The Go program's own steps: maps of what is sliced, recursion into matches, parents filled in, deepest first.
fn model(names: &[String], slices: &[Vec<String>]) -> Vec<BTreeSet<String>> {
    let children = |folder: &str| -> Vec<String> {
        names.iter().filter(|name| !name.is_empty() && parent(name) == folder).cloned().collect()
    };
    let mut done: BTreeMap<String, bool> = names.iter().map(|name| (name.clone(), false)).collect();
    let mut layers = Vec::new();
    for patterns in slices {
        let mut matched = BTreeSet::new();
        for pattern in patterns {
            for name in names.iter().filter(|name| !name.is_empty()) {
                if glob::matches(&glob::clean(pattern), name.as_bytes()).unwrap() {
                    add(name, &mut done, &mut matched, &children);
                }
            }
        }
        let mut above = BTreeSet::new();
        for name in &matched {
            let mut name = name.as_str();
            while !name.is_empty() {
                name = parent(name);
                if !matched.contains(name) {
                    above.insert(name.to_owned());
                }
            }
        }
        let mut by_depth: Vec<&String> = above.iter().collect();
        let depth = |name: &str| if name.is_empty() { 0 } else { name.split('/').count() };
        by_depth.sort_by_key(|name| std::cmp::Reverse(depth(name)));
        for folder in by_depth {
            let all = children(folder).iter().all(|child| done[child]);
            done.insert(folder.clone(), all);
        }
        layers.push(matched.union(&above).cloned().collect());
    }
    layers.push(done.into_iter().filter(|(_, taken)| !taken).map(|(name, _)| name).collect());
    layers
}

fn trees() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(proptest::collection::vec("[ab](\\.t|-)?", 1..4), 0..12).prop_map(|paths| {
        let mut names = BTreeSet::from([String::new()]);
        for path in paths {
            (1..=path.len()).for_each(|depth| {
                names.insert(path[..depth].join("/"));
            });
        }
        names.into_iter().collect()
    })
}

proptest! {
    #[test]
    fn any_slices_of_any_tree_are_those_of_the_model(
        names in trees(),
        slices in proptest::collection::vec(proptest::collection::vec("([ab*?](\\.t|-)?/?){1,3}", 0..3), 0..4),
    ) {
        let nodes = Nodes::of(names.iter().map(|name| name.clone().into_bytes()).collect());
        let layers: Vec<BTreeSet<String>> = nodes.cut(&slices).unwrap().into_iter()
            .map(|layer| layer.into_iter().map(|node| names[node].clone()).collect()).collect();
        prop_assert_eq!(layers, model(&names, &slices));
    }
}
