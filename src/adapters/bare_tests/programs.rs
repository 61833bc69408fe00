//! Finds the programs of an add-on on this machine.

use std::fs;
use std::path::PathBuf;

use crate::adapters::process::programs::is_program;
use crate::domain::addons::ProcessRules;

/// Finds each of the programs, in the order of the rules; else says which is missing.
pub(super) fn find(rules: &ProcessRules, path: &str) -> Result<Vec<PathBuf>, String> {
    let folders: Vec<PathBuf> = std::env::split_paths(path).chain(versions(rules)).collect();
    let one = |names: &[&str]| {
        let all = || folders.iter().flat_map(|folder| names.iter().map(|name| folder.join(name)));
        let missing = || format!("the program `{}` is not there", names.join("` or `"));
        all().find(|program| is_program(program)).ok_or_else(missing)
    };
    rules.programs.iter().map(|names| one(names)).collect()
}

/// The folders of installed versions, the newest first.
fn versions(rules: &ProcessRules) -> Vec<PathBuf> {
    let mut found: Vec<(Vec<u32>, PathBuf)> = Vec::new();
    for (before, after) in rules.versions {
        // What stands before the version may end in the middle of a name.
        let cut = before.rfind('/').map_or(0, |at| at + 1);
        let (folder, start) = before.split_at(cut);
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(version) = name.strip_prefix(start) else { continue };
            let numbers: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
            if let Some(numbers) = numbers {
                found.push((numbers, PathBuf::from(format!("{before}{version}{after}"))));
            }
        }
    }
    found.sort_by(|one, other| other.0.cmp(&one.0));
    found.into_iter().map(|(_, folder)| folder).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use std::path::Path;

    use super::*;

    fn program(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    #[test]
    fn programs_are_found_in_path_and_in_the_newest_version() {
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        for name in ["pg-9.6/bin/server", "pg-15/bin/server", "pg-beta/bin/server", "bin/client-b"] {
            program(&at(name));
        }
        fs::write(at("bin/server"), "no program").unwrap();
        let before: &'static str = at("pg-").display().to_string().leak();
        let versions: &'static [(&str, &str)] = vec![(before, "/bin")].leak();
        let rules =
            ProcessRules { programs: &[&["server"], &["client-a", "client-b"]], versions, package: ("Thing", "thing") };
        let path = at("bin").display().to_string();
        assert_eq!(find(&rules, &path).unwrap(), [at("pg-15/bin/server"), at("bin/client-b")]);
        let missing = find(&rules, "/nowhere").unwrap_err();
        assert_eq!(missing, "the program `client-a` or `client-b` is not there");
    }
}
