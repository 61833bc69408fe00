//! The environment of buildpacks and of processes: what is inherited, and how files of env folders change it.
//!
//! The rules are those of the Buildpack API 0.7 to 0.12; values are bytes and may hold anything but NUL. The launcher has this file
//! as well.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What detect and build inherit of the builder image's variables, besides the path variables.
const INHERITED_BY_BUILDS: [&str; 9] = [
    "CNB_STACK_ID",
    "HOSTNAME",
    "HOME",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "NO_PROXY",
    "no_proxy",
];

/// What processes do not inherit.
const NOT_FOR_PROCESSES: [&str; 5] =
    ["CNB_LAYERS_DIR", "CNB_APP_DIR", "CNB_PROCESS_TYPE", "CNB_PLATFORM_API", "CNB_DEPRECATION_MODE"];

/// A folder of a layer, and the path variables that it goes in front of.
pub type PathFolder = (&'static str, &'static [&'static str]);

/// Folders of a build layer that go into path variables.
pub const BUILD_PATHS: [PathFolder; 4] = [
    ("bin", &["PATH"]),
    ("lib", &["LD_LIBRARY_PATH", "LIBRARY_PATH"]),
    ("include", &["CPATH"]),
    ("pkgconfig", &["PKG_CONFIG_PATH"]),
];

/// Folders of a launch layer that go into path variables.
pub const LAUNCH_PATHS: [PathFolder; 2] = [("bin", &["PATH"]), ("lib", &["LD_LIBRARY_PATH"])];

/// A file of an env folder: its name, and all it holds. A folder's files are given in the byte order of their names.
pub type EnvFile = (OsString, Vec<u8>);

/// What a file without a suffix does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsuffixed {
    /// It sets the variable: env folders of layers.
    Overrides,
    /// It sets the variable where that is empty: the builder's build-config.
    IsDefault,
}

/// Variables and their values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<OsString, OsString>);

impl Variables {
    /// What detect and build begin with, of what the builder image and the platform set.
    pub fn for_build<'a>(environment: impl IntoIterator<Item = (&'a OsStr, &'a OsStr)>) -> Self {
        let kept = |name: &OsStr| INHERITED_BY_BUILDS.iter().any(|known| *known == name) || is_build_path(name);
        Self::filtered(environment, kept)
    }

    /// What a process begins with: all but the lifecycle's own variables, and without the lifecycle's folders in `PATH`.
    pub fn for_launch<'a>(environment: impl IntoIterator<Item = (&'a OsStr, &'a OsStr)>) -> Self {
        let mut variables = Self::filtered(environment, |name| !NOT_FOR_PROCESSES.iter().any(|own| *own == name));
        if let Some(path) = variables.0.get_mut(OsStr::new("PATH")) {
            let own = |part: &&[u8]| *part == b"/cnb/process" || *part == b"/cnb/lifecycle";
            let parts: Vec<_> = path.as_bytes().split(|byte| *byte == b':').filter(|part| !own(part)).collect();
            *path = OsString::from_vec(parts.join(&b':'));
        }
        variables
    }

    fn filtered<'a>(
        environment: impl IntoIterator<Item = (&'a OsStr, &'a OsStr)>,
        keep: impl Fn(&OsStr) -> bool,
    ) -> Self {
        let kept = environment.into_iter().filter(|(name, _)| keep(name));
        Self(kept.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// Returns a variable's value; one that is not set is empty.
    pub fn get(&self, name: impl AsRef<OsStr>) -> &OsStr {
        self.0.get(name.as_ref()).map_or(OsStr::new(""), OsString::as_os_str)
    }

    /// Sets a variable.
    pub fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.0.insert(name.into(), value.into());
    }

    /// Puts a folder in front of path variables.
    pub fn prepend_folder(&mut self, folder: &OsStr, names: &[&str]) {
        for name in names {
            self.prepend(OsStr::new(name), folder.as_bytes(), b":");
        }
    }

    /// Applies the files of an env folder by their suffixes. A suffix that is not known, such as `b.append`, is ignored.
    pub fn apply_folder(&mut self, files: &[EnvFile], unsuffixed: Unsuffixed) {
        for (file, value) in files {
            let (name, suffix) = split(file);
            let delimiter = || {
                let of_name = |(file, _): &&EnvFile| split(file) == (name, Some(b"delim".as_slice()));
                files.iter().find(of_name).map_or(b"".as_slice(), |(_, content)| content.as_slice())
            };
            let name = OsStr::from_bytes(name);
            match (suffix, unsuffixed) {
                (Some(b"append"), _) => self.append(name, value, delimiter()),
                (Some(b"prepend"), _) => self.prepend(name, value, delimiter()),
                (Some(b"override"), _) | (None, Unsuffixed::Overrides) => self.set(name, OsStr::from_bytes(value)),
                (Some(b"default"), _) | (None, Unsuffixed::IsDefault) if self.get(name).is_empty() => {
                    self.set(name, OsStr::from_bytes(value));
                }
                _ => {}
            }
        }
    }

    /// Applies the variables that the user set: path variables grow at their front, others are replaced. Names and values are
    /// taken as they are.
    pub fn apply_user(&mut self, files: &[EnvFile]) {
        for (name, value) in files {
            if is_build_path(name) {
                self.prepend(name, value, b":");
            } else {
                self.set(name, OsStr::from_bytes(value));
            }
        }
    }

    /// Returns all variables.
    pub fn into_map(self) -> BTreeMap<OsString, OsString> {
        self.0
    }

    /// Iterates over the variables by name.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    fn prepend(&mut self, name: &OsStr, value: &[u8], delimiter: &[u8]) {
        let existing = self.get(name).as_bytes();
        let parts = if existing.is_empty() { vec![value] } else { vec![value, delimiter, existing] };
        let joined = OsString::from_vec(parts.concat());
        self.set(name, joined);
    }

    fn append(&mut self, name: &OsStr, value: &[u8], delimiter: &[u8]) {
        let existing = self.get(name).as_bytes();
        let parts = if existing.is_empty() { vec![value] } else { vec![existing, delimiter, value] };
        let joined = OsString::from_vec(parts.concat());
        self.set(name, joined);
    }
}

fn is_build_path(name: &OsStr) -> bool {
    BUILD_PATHS.iter().any(|(_, names)| names.iter().any(|known| *known == name))
}

/// A file's variable, and its suffix: all that follows the first dot.
fn split(file: &OsStr) -> (&[u8], Option<&[u8]>) {
    let bytes = file.as_bytes();
    match bytes.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&bytes[..dot], Some(&bytes[dot + 1..])),
        None => (bytes, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        Variables(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    fn files(pairs: &[(&str, &str)]) -> Vec<EnvFile> {
        let mut files: Vec<_> =
            pairs.iter().map(|(name, value)| (OsString::from(name), value.as_bytes().to_vec())).collect();
        files.sort();
        files
    }

    fn applied(before: &[(&str, &str)], folder: &[(&str, &str)], unsuffixed: Unsuffixed) -> String {
        let mut variables = variables(before);
        variables.apply_folder(&files(folder), unsuffixed);
        let list: Vec<_> =
            variables.iter().map(|(name, value)| format!("{}={}", name.display(), value.display())).collect();
        list.join(" ")
    }

    #[test]
    fn suffix_says_how_a_file_changes_its_variable() {
        let set = [("A", "old")];
        for (before, folder, expected) in [
            (&set[..], &[("A", "new")][..], "A=new"),
            (&set, &[("A.override", "new")], "A=new"),
            (&set, &[("A.default", "new")], "A=old"),
            (&[], &[("A.default", "new")], "A=new"),
            (&[("A", "")], &[("A.default", "new")], "A=new"),
            (&set, &[("A.append", "new")], "A=oldnew"),
            (&set, &[("A.append", "new"), ("A.delim", ":")], "A=old:new"),
            (&set, &[("A.prepend", "new"), ("A.delim", ", ")], "A=new, old"),
            (&[], &[("A.prepend", "new"), ("A.delim", ":")], "A=new"),
            (&[], &[("A.append", "new"), ("A.delim", ":")], "A=new"),
            (&set, &[("A.b.append", "new"), ("A.future", "new"), ("A.", "new")], "A=old"),
            // In the byte order of the file names: `A`, `A.append`, `A.default`.
            (&set, &[("A.default", "3"), ("A.append", "2"), ("A", "1")], "A=12"),
            // A delimiter belongs to its name and folder.
            (&set, &[("B.delim", ":"), ("A.append", "new")], "A=oldnew"),
            (&set, &[("A", "line\n")], "A=line\n"),
        ] {
            assert_eq!(applied(before, folder, Unsuffixed::Overrides), expected, "{folder:?}");
        }
        assert_eq!(applied(&set, &[("A", "new"), ("B", "new")], Unsuffixed::IsDefault), "A=old B=new");
    }

    #[test]
    fn users_variables_go_in_front_of_paths_and_replace_others() {
        let mut variables = variables(&[("PATH", "/bin"), ("HOME", "/home/cnb")]);
        variables.apply_user(&files(&[
            ("PATH", "/opt/bin"),
            ("HOME", "/root"),
            ("CPATH", "/inc"),
            ("A.append", "x\n"),
        ]));
        assert_eq!(variables.get("PATH"), "/opt/bin:/bin");
        assert_eq!(variables.get("HOME"), "/root");
        assert_eq!(variables.get("CPATH"), "/inc");
        assert_eq!(variables.get("A.append"), "x\n");
    }

    #[test]
    fn builds_inherit_a_list_and_processes_all_but_a_list() {
        let environment = [
            ("PATH", "/cnb/process:/cnb/lifecycle:/bin:/cnb/process"),
            ("LANG", "C"),
            ("HOME", "/h"),
            ("CNB_APP_DIR", "/w"),
        ]
        .map(|(name, value)| (OsStr::new(name), OsStr::new(value)));
        let names = |variables: Variables| variables.into_map().into_keys().collect::<Vec<_>>();
        assert_eq!(names(Variables::for_build(environment)), ["HOME", "PATH"]);
        let launch = Variables::for_launch(environment);
        assert_eq!(launch.get("PATH"), "/bin");
        assert_eq!(names(launch), ["HOME", "LANG", "PATH"]);
    }

    #[test]
    fn folders_of_layers_go_in_front() {
        let mut variables = variables(&[("LD_LIBRARY_PATH", "/old")]);
        variables.prepend_folder(OsStr::new("/layers/a/b/lib"), BUILD_PATHS[1].1);
        assert_eq!(variables.get("LD_LIBRARY_PATH"), "/layers/a/b/lib:/old");
        assert_eq!(variables.get("LIBRARY_PATH"), "/layers/a/b/lib");
    }

    #[test]
    fn values_need_not_be_text() {
        let mut variables = Variables::default();
        variables.apply_folder(&[("A.append".into(), vec![0xff, b'x'])], Unsuffixed::Overrides);
        assert_eq!(variables.get("A").as_bytes(), [0xff, b'x']);
    }
}
