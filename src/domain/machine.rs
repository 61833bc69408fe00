//! What a machine has and lacks for packhorse: facts in, checks with their next step out.

use serde::Serialize;

/// What was found out about a machine. An error is told in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineFacts {
    /// The Docker daemon's version and API version.
    pub docker: Result<DockerFacts, String>,
    /// The version that `pack` prints.
    pub pack: Result<String, String>,
    /// How the engine `embedded` can build here, or why it cannot, with the way out.
    pub embedded: Result<String, String>,
    /// The version that `git` prints.
    pub git: Result<String, String>,
    /// Free bytes where images and state are kept, and that folder.
    pub free_disk: Result<(u64, String), String>,
    /// The file of certificate authorities that is set, and how many it holds.
    pub ca_bundle: Option<(String, Result<usize, String>)>,
    /// What the account answered, where it was asked.
    pub aws: Option<Result<String, String>>,
}

/// What a Docker daemon says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerFacts {
    /// Its version, such as `26.1.5`.
    pub version: String,
    /// The newest API version that it speaks, such as `1.45`.
    pub api: String,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Good.
    Ok,
    /// Something will not work, or not well.
    Warn,
    /// Something that is needed is missing.
    Fail,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do; empty when all is well.
    pub next: String,
}

/// The oldest Docker API by which `pack` can leave an image with the daemon (Docker 25); publishing works below it.
pub(super) const DAEMON_MODE_API: (u32, u32) = (1, 44);
/// The oldest `pack` whose platform API and flags the engine uses.
const OLDEST_PACK: (u32, u32) = (0, 38);
/// Below this a build of a usual app can fill the disk: builder, run image and layers take some 3 GB.
const LITTLE_DISK: u64 = 5_000_000_000;
/// Below this not even the images fit.
const NO_DISK: u64 = 1_000_000_000;

/// Judges a machine, in the order in which a person should look.
pub fn checks(facts: &MachineFacts) -> Vec<Check> {
    let MachineFacts { docker, pack, embedded, git, free_disk, ca_bundle, aws } = facts;
    let mut checks = vec![check_docker(docker), check_pack(pack), check_embedded(embedded)];
    // One engine is enough to make images.
    if embedded.is_ok() {
        let missing = checks.iter_mut().filter(|check| check.verdict == Verdict::Fail);
        for check in missing {
            check.verdict = Verdict::Warn;
            check.next.push_str(match check.name {
                "docker" => "; only `up` needs it, as images are made without it too",
                _ => "; not needed, as the engine `embedded` makes images too",
            });
        }
    }
    checks.extend([check_git(git), check_disk(free_disk)]);
    checks.extend(ca_bundle.as_ref().map(|(file, certificates)| check_ca_bundle(file, certificates)));
    checks.extend(aws.as_ref().map(check_aws));
    checks
}

fn check_docker(docker: &Result<DockerFacts, String>) -> Check {
    let make = |verdict, found: String, next: &str| Check { name: "docker", verdict, found, next: next.to_owned() };
    match docker {
        Ok(DockerFacts { version, api }) => {
            let found = format!("Docker {version}, API {api}");
            if two_numbers(api).is_some_and(|api| api < DAEMON_MODE_API) {
                let next = "upgrade Docker to 25 or newer, or publish to a registry: older daemons cannot be given images by `pack`";
                make(Verdict::Warn, found, next)
            } else {
                make(Verdict::Ok, found, "")
            }
        }
        Err(reason) => make(Verdict::Fail, reason.clone(), "start Docker, or set `DOCKER_HOST` to where it listens"),
    }
}

fn check_pack(pack: &Result<String, String>) -> Check {
    let make = |verdict, found: String| {
        let next = if verdict == Verdict::Ok {
            ""
        } else {
            "install `pack` 0.38 or newer, or set `PACKHORSE_PACK` to its path"
        };
        Check { name: "pack", verdict, found, next: next.to_owned() }
    };
    match pack {
        Ok(version) => match two_numbers(version) {
            Some(numbers) if numbers < OLDEST_PACK => make(Verdict::Fail, format!("pack {version}")),
            Some(_) => make(Verdict::Ok, format!("pack {version}")),
            None => make(Verdict::Warn, format!("pack of unknown version `{version}`")),
        },
        Err(reason) => make(Verdict::Fail, reason.clone()),
    }
}

fn check_embedded(embedded: &Result<String, String>) -> Check {
    let (verdict, found, next) = match embedded {
        Ok(how) => (Verdict::Ok, format!("images can be made without Docker: {how}"), ""),
        Err(reason) => (Verdict::Warn, reason.clone(), "do as it says, or make images with `pack` and Docker"),
    };
    Check { name: "embedded", verdict, found, next: next.to_owned() }
}

fn check_git(git: &Result<String, String>) -> Check {
    match git {
        Ok(version) => Check { name: "git", verdict: Verdict::Ok, found: version.clone(), next: String::new() },
        Err(reason) => Check {
            name: "git",
            verdict: Verdict::Warn,
            found: reason.clone(),
            next: "install git: without it builds are named after the content of the folder".to_owned(),
        },
    }
}

fn check_disk(free: &Result<(u64, String), String>) -> Check {
    let make = |verdict, found, next: &str| Check { name: "disk", verdict, found, next: next.to_owned() };
    match free {
        Ok((bytes, folder)) => {
            let found = format!("{:.1} GB free in {folder}", gigabytes(*bytes));
            let next = "free disk space: `docker system df` shows what Docker keeps";
            match *bytes {
                bytes if bytes < NO_DISK => make(Verdict::Fail, found, next),
                bytes if bytes < LITTLE_DISK => make(Verdict::Warn, found, next),
                _ => make(Verdict::Ok, found, ""),
            }
        }
        Err(reason) => make(Verdict::Warn, reason.clone(), ""),
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

fn check_ca_bundle(file: &str, certificates: &Result<usize, String>) -> Check {
    let make = |verdict, found, next: &str| Check { name: "ca-bundle", verdict, found, next: next.to_owned() };
    match certificates {
        Ok(0) => {
            make(Verdict::Fail, format!("{file} holds no certificate"), "give a PEM file of certificate authorities")
        }
        Ok(count) => make(Verdict::Ok, format!("{count} certificates in {file}"), ""),
        Err(reason) => make(Verdict::Fail, format!("{file}: {reason}"), "correct `PACKHORSE_CA_BUNDLE`, or unset it"),
    }
}

fn check_aws(aws: &Result<String, String>) -> Check {
    match aws {
        Ok(found) => Check { name: "aws", verdict: Verdict::Ok, found: found.clone(), next: String::new() },
        Err(reason) => Check {
            name: "aws",
            verdict: Verdict::Fail,
            found: reason.clone(),
            next: "check credentials (`AWS_PROFILE`), the region (`--region`) and that the account is set up"
                .to_owned(),
        },
    }
}

/// Reads the first two numbers of a version such as `0.40.2+git`.
fn two_numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim().trim_start_matches('v').split(['.', '+', '-', ' ']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> MachineFacts {
        MachineFacts {
            docker: Ok(DockerFacts { version: "26.1.5".to_owned(), api: "1.45".to_owned() }),
            pack: Ok("0.40.2+git-1234".to_owned()),
            embedded: Ok("in a sandbox".to_owned()),
            git: Ok("git version 2.39.5".to_owned()),
            free_disk: Ok((50_000_000_000, "/".to_owned())),
            ca_bundle: None,
            aws: None,
        }
    }

    fn verdict(facts: &MachineFacts, name: &str) -> Verdict {
        let check = checks(facts).into_iter().find(|check| check.name == name).unwrap();
        assert_eq!(check.verdict == Verdict::Ok, check.next.is_empty(), "{check:?}");
        check.verdict
    }

    #[test]
    fn a_good_machine_needs_nothing() {
        assert!(checks(&good()).iter().all(|check| check.verdict == Verdict::Ok), "{:?}", checks(&good()));
    }

    #[test]
    fn each_lack_is_told_with_its_next_step() {
        let no = || Err("no".to_owned());
        let no_docker = || Err("no".to_owned());
        let old = Ok(DockerFacts { version: "20.10.24".to_owned(), api: "1.41".to_owned() });
        let bundle = |count| Some(("ca.pem".to_owned(), count));
        let alone = || MachineFacts { embedded: no(), ..good() };
        let table = [
            (alone(), "embedded", Verdict::Warn),
            (MachineFacts { docker: no_docker(), ..good() }, "docker", Verdict::Warn),
            (MachineFacts { docker: no_docker(), ..alone() }, "docker", Verdict::Fail),
            (MachineFacts { docker: old, ..good() }, "docker", Verdict::Warn),
            (MachineFacts { pack: no(), ..good() }, "pack", Verdict::Warn),
            (MachineFacts { pack: no(), ..alone() }, "pack", Verdict::Fail),
            (MachineFacts { pack: Ok("0.29.0".to_owned()), ..alone() }, "pack", Verdict::Fail),
            (MachineFacts { pack: Ok("0.38.0".to_owned()), ..good() }, "pack", Verdict::Ok),
            (MachineFacts { git: no(), ..good() }, "git", Verdict::Warn),
            (MachineFacts { free_disk: Ok((2_000_000_000, "/".to_owned())), ..good() }, "disk", Verdict::Warn),
            (MachineFacts { free_disk: Ok((1, "/".to_owned())), ..good() }, "disk", Verdict::Fail),
            (MachineFacts { ca_bundle: bundle(Ok(0)), ..good() }, "ca-bundle", Verdict::Fail),
            (MachineFacts { ca_bundle: bundle(Ok(3)), ..good() }, "ca-bundle", Verdict::Ok),
            (MachineFacts { aws: Some(no()), ..good() }, "aws", Verdict::Fail),
        ];
        for (facts, name, expected) in table {
            assert_eq!(verdict(&facts, name), expected, "{name}");
        }
    }
}
