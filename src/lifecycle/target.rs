//! The platform that an app image is for, and whether a buildpack says that it supports it.

use serde::Deserialize;

/// A distribution of an operating system. An empty field matches any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
pub struct Distro {
    /// Its name, `ID` in `/etc/os-release`.
    #[serde(default)]
    pub name: String,
    /// Its version, `VERSION_ID` in `/etc/os-release`.
    #[serde(default)]
    pub version: String,
}

impl Distro {
    /// Reads `/etc/os-release` as the Go lifecycle does.
    pub fn from_os_release(text: &str) -> Option<Self> {
        let mut distro = Self::default();
        for line in text.lines() {
            let Some((key, value)) = line.split_once('=').filter(|(_, value)| !value.contains('=')) else { continue };
            let value = value.trim_matches(['"', ' ']);
            match key {
                "ID" => value.clone_into(&mut distro.name),
                "VERSION_ID" => value.clone_into(&mut distro.version),
                _ => {}
            }
            if !distro.name.is_empty() && !distro.version.is_empty() {
                break;
            }
        }
        (distro != Self::default()).then_some(distro)
    }
}

/// What a buildpack supports. An empty field matches any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
pub struct Target {
    /// The operating system.
    #[serde(default)]
    pub os: String,
    /// The processor, in Go's names.
    #[serde(default)]
    pub arch: String,
    /// The variant of the processor. The specification says `variant`, the Go code reads `arch-variant`.
    #[serde(default, alias = "arch-variant", skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// The distributions; none at all means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub distros: Vec<Distro>,
}

/// The run image's platform.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct RunTarget {
    /// `io.buildpacks.base.id`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The operating system.
    pub os: String,
    /// The processor, in Go's names.
    pub arch: String,
    /// The variant of the processor.
    #[serde(rename = "arch-variant", skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// The distribution, where one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distro: Option<Distro>,
}

impl RunTarget {
    /// Tells whether a buildpack with these targets supports this platform. A buildpack without any supports all.
    pub fn satisfies(&self, targets: &[Target]) -> bool {
        targets.is_empty() || targets.iter().any(|target| self.satisfies_one(target))
    }

    fn satisfies_one(&self, target: &Target) -> bool {
        let Target { os, arch, variant, distros } = target;
        let distro = |wanted: &Distro| {
            self.distro
                .as_ref()
                .is_some_and(|found| matches(&found.name, &wanted.name) && matches(&found.version, &wanted.version))
        };
        matches(&self.os, os)
            && matches(&self.arch, arch)
            && matches(&self.variant, variant)
            && (distros.is_empty() || distros.iter().any(distro))
    }

    /// Returns the variables that tell buildpacks of API 0.10 and above.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let distro = self.distro.clone().unwrap_or_default();
        let mut variables = vec![("CNB_TARGET_OS", self.os.clone()), ("CNB_TARGET_ARCH", self.arch.clone())];
        let optional = [
            ("CNB_TARGET_ARCH_VARIANT", self.variant.clone()),
            ("CNB_TARGET_DISTRO_NAME", distro.name),
            ("CNB_TARGET_DISTRO_VERSION", distro.version),
        ];
        variables.extend(optional.into_iter().filter(|(_, value)| !value.is_empty()));
        variables
    }
}

fn matches(one: &str, other: &str) -> bool {
    one.is_empty() || other.is_empty() || one == other
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(variant: &str, distro: Option<(&str, &str)>) -> RunTarget {
        let distro = distro.map(|(name, version)| Distro { name: name.to_owned(), version: version.to_owned() });
        RunTarget { id: String::new(), os: "linux".into(), arch: "amd64".into(), variant: variant.into(), distro }
    }

    fn target(text: &str) -> Target {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn every_field_matches_or_is_empty() {
        let debian = Some(("debian", "12"));
        for (on, wanted, expected) in [
            (run("", debian), "", true),
            (run("", None), "os = \"linux\"", true),
            (run("", debian), "os = \"windows\"", false),
            (run("", debian), "arch = \"arm64\"", false),
            (run("", debian), "variant = \"v2\"", true),
            (run("v1", debian), "variant = \"v2\"", false),
            (run("v1", debian), "arch-variant = \"v1\"", true),
            (run("", debian), "distros = [{name = \"ubuntu\"}, {name = \"debian\", version = \"12\"}]", true),
            (run("", debian), "distros = [{name = \"debian\", version = \"11\"}]", false),
            (run("", Some(("debian", ""))), "distros = [{name = \"debian\", version = \"11\"}]", true),
            (run("", None), "distros = [{name = \"debian\"}]", false),
        ] {
            assert_eq!(on.satisfies(&[target(wanted)]), expected, "{on:?} {wanted}");
        }
        assert!(run("", None).satisfies(&[]));
        assert!(run("", debian).satisfies(&[target("os = \"windows\""), target("os = \"linux\"")]));
    }

    #[test]
    fn distribution_is_read_without_quotes() {
        let text = "NAME=\"Debian\"\nX=a=b\nVERSION_ID=\"12\"\nID=debian\nID=later\n";
        assert_eq!(Distro::from_os_release(text), Some(Distro { name: "debian".into(), version: "12".into() }));
        assert_eq!(Distro::from_os_release("NAME=x\n"), None);
    }

    #[test]
    fn variables_leave_out_what_is_not_known() {
        let names = |target: &RunTarget| target.variables().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(&run("", None)), ["CNB_TARGET_OS", "CNB_TARGET_ARCH"]);
        assert_eq!(names(&run("v1", Some(("debian", "12")))).len(), 5);
    }
}
