//! Causes of builds that failed, known by the phase and by words of what was said.

use super::{Diagnosis, Facts};
use crate::domain::lane::Phase;

/// A cause that is known.
struct Known {
    name: &'static str,
    /// The phases in which it happens; none means any.
    phases: &'static [Phase],
    /// Each inner list must have one of its words in what was said; compared in lower case.
    signs: &'static [&'static [&'static str]],
    /// Words of the log, one of which must be there too; none means that the log does not matter.
    log: &'static [&'static str],
    /// What happened, after "Build 7 ". `{cause}` is what was said, `{phase}` the phase, `{code}` the exit code.
    says: &'static str,
    next: &'static str,
}

use Phase::{Build, Deploy, Finalize, Postdeploy, Release, Test};

const TASKS: &[Phase] = &[Release, Postdeploy];

/// The first that fits counts, so what says more stands before what says less.
const KNOWN: &[Known] = &[
    Known {
        name: "pull-request-closed",
        phases: &[],
        signs: &[&["the pull request was closed"]],
        log: &[],
        says: "was ended in its {phase} phase because its pull request was merged or closed",
        next: "nothing is wrong; open the pull request again to have a review app",
    },
    Known {
        name: "interrupted-with-up",
        phases: &[],
        signs: &[&["the `up` that ran it was stopped"]],
        log: &[],
        says: "ended in its {phase} phase because the `packhorse up` that ran it was stopped",
        next: "run `packhorse up` again",
    },
    Known {
        name: "build-stopped",
        phases: &[Build, Test, Finalize],
        signs: &[&["the build was stopped", "was interrupted", "were interrupted"]],
        log: &[],
        says: "was stopped by somebody in its {phase} phase",
        next: "start it again with `packhorse build start`",
    },
    Known {
        name: "build-timed-out",
        phases: &[Build, Test, Finalize],
        signs: &[&["longer than its codebuild project allows"]],
        log: &[],
        says: "took longer than its CodeBuild project allows",
        next: "find the slow step in `packhorse build logs`, or raise the timeout of the CodeBuild project",
    },
    Known {
        name: "deadline",
        phases: &[],
        signs: &[&["phase did not end within"]],
        log: &[],
        says: "ran out of time: {cause}",
        next: "look at what it waited for in `packhorse build logs`; if nothing was slow, an outage of AWS is likely: start it again",
    },
    Known {
        name: "disk-full",
        phases: &[],
        signs: &[&["no space left", "disk quota exceeded"]],
        log: &[],
        says: "ran out of disk space in its {phase} phase",
        next: "choose a larger compute type for the CodeBuild project; on your own machine, `docker system prune`",
    },
    Known {
        name: "docker-missing",
        phases: &[Build, Test],
        signs: &[
            &["docker"],
            &[
                "no docker socket",
                "connection refused",
                "no such file",
                "not running",
                "cannot connect",
                "did not answer",
            ],
        ],
        log: &[],
        says: "could not reach a Docker daemon",
        next: "let the CodeBuild project run privileged, and its image start Docker; `packhorse doctor` checks a machine",
    },
    Known {
        name: "manifest-invalid",
        phases: &[Build],
        signs: &[
            &["app.json", "procfile", "apppack.toml", "project.toml"],
            &[
                "not valid",
                "must be",
                "unknown",
                "expected",
                "cannot be read",
                "duplicate",
                "missing",
                "line",
                "no process",
                "not json",
                "not toml",
            ],
        ],
        log: &[],
        says: "was not begun because a manifest is not valid: {cause}",
        next: "correct the file at the place that is named, and push again",
    },
    Known {
        name: "no-process-to-run",
        phases: &[],
        signs: &[&["no process to run"]],
        log: &[],
        says: "says nothing about what to run",
        next: "add a `Procfile` with a line `web: COMMAND`, and push again",
    },
    Known {
        name: "environment-incomplete",
        phases: &[Build],
        signs: &[&["environment of the build is not complete"]],
        log: &[],
        says: "was not begun because its CodeBuild project lacks variables: {cause}",
        next: "set the variables that are named on the CodeBuild project; the app's stack does it",
    },
    Known {
        name: "registry-login",
        phases: &[Build, Test],
        signs: &[
            &["no login for", "401", "403", "unauthorized", "denied"],
            &["registry", "repository", "login", "push", "pull", "image", "manifest"],
        ],
        log: &[],
        says: "was refused by a registry: {cause}",
        next: "check that the repository exists and that the role or login may push to it and pull the builder",
    },
    Known {
        name: "no-buildpack-fits",
        phases: &[Build],
        signs: &[&["`detect`", "exit code 20", "exit code 21", "no buildpack groups passed"]],
        log: &[],
        says: "has no buildpack that fits its source",
        next: "commit the file that tells the language (`requirements.txt`, `package.json`, `Gemfile`, …), or name buildpacks in `app.json`",
    },
    Known {
        name: "dependency-missing",
        phases: &[Build],
        signs: &[&["image build failed"]],
        log: &[
            "no matching distribution",
            "could not find a version",
            "npm err! 404",
            "could not find gem",
            "no matching version",
        ],
        says: "could not install a dependency: it does not exist in the wanted version",
        next: "correct the name or version of the dependency that the end of `packhorse build logs` names",
    },
    Known {
        name: "buildpack-failed",
        phases: &[Build],
        signs: &[&["`build` step", "exit code 51"]],
        log: &[],
        says: "failed because a buildpack failed: {cause}",
        next: "read the end of `packhorse build logs`: the buildpack says what it lacks",
    },
    Known {
        name: "image-build-slow",
        phases: &[Build],
        signs: &[&["image build was stopped after"]],
        log: &[],
        says: "was given up because {cause}",
        next: "find the slow step in `packhorse build logs`",
    },
    Known {
        name: "builder-missing",
        phases: &[Build],
        signs: &[
            &["builder", "run image", "run-image", "stack"],
            &["does not exist", "not found", "manifest unknown", "no such image", "unknown"],
        ],
        log: &[],
        says: "could not use its builder: {cause}",
        next: "check the name under `stack` in `app.json` or `builder` in the config file",
    },
    Known {
        name: "builder-not-fetched",
        phases: &[Build],
        signs: &[&["image build failed"]],
        log: &["failed to fetch builder image", "failed to fetch run image"],
        says: "could not fetch the builder or its run image",
        next: "the end of `packhorse build logs` names the image and the reason: check the name under `stack` in `app.json`, the network, and the login to its registry",
    },
    Known {
        name: "image-build-failed",
        phases: &[Build],
        signs: &[&["image build failed", "cannot build here"]],
        log: &[],
        says: "made no image: {cause}",
        next: "read the end of `packhorse build logs`",
    },
    Known {
        name: "build-cut-off",
        phases: &[Build, Test],
        signs: &[&["cut off before its end"]],
        log: &[],
        says: "lost its machine in the middle of the image build, or ran out of memory there",
        next: "start it again; if it happens again, choose a larger compute type for the CodeBuild project",
    },
    Known {
        name: "other-command-failed",
        phases: &[Build, Test],
        signs: &[&["another command of the build failed"]],
        log: &[],
        says: "was failed by a command of its buildspec that is not packhorse's",
        next: "look in the build's log for the command that ended with an error",
    },
    Known {
        name: "source-missing",
        phases: &[Build],
        signs: &[&[
            "authentication required",
            "could not read username",
            "reference not found",
            "repository not found",
            "download_source",
            "source version",
        ]],
        log: &[],
        says: "could not get its source: {cause}",
        next: "check that the branch or commit exists and that the connection to the repository still works",
    },
    Known {
        name: "tests-failed",
        phases: &[Test],
        signs: &[&["the tests failed"]],
        log: &[],
        says: "was not released because its tests failed (exit code {code})",
        next: "read the output of the tests with `packhorse build logs --phase test`; no release was touched",
    },
    Known {
        name: "tests-timed-out",
        phases: &[Test],
        signs: &[&["the tests were stopped after"]],
        log: &[],
        says: "was not released because its tests did not end: {cause}",
        next: "find the test that waits for something, or set `timeout` in the `[test]` table of the config file",
    },
    Known {
        name: "test-addon-failed",
        phases: &[Test, Build],
        signs: &[&["add-on"], &["did not start"]],
        log: &[],
        says: "could not be tested because an add-on of the tests did not start: {cause}",
        next: "check the image that is named for the add-on; if it is right, start the build again",
    },
    Known {
        name: "runner-silent",
        phases: &[Test, Build],
        signs: &[&["runner never reported"]],
        log: &[],
        says: "ended well in CodeBuild, but nobody said that its tests passed",
        next: "check that the buildspec runs `postbuild` in POST_BUILD: `packhorse buildspec --check FILE`",
    },
    Known {
        name: "tag-taken",
        phases: &[Test],
        signs: &[&["the tag"], &["does not let it move"]],
        log: &[],
        says: "could not name its image: {cause}",
        next: "check that no other CodeBuild project pushes to this repository: build numbers are used once",
    },
    Known {
        name: "artifacts-missing",
        phases: &[Finalize],
        signs: &[&["artifact", "left no artifacts"], &["is missing", "is not there", "left no artifacts"]],
        log: &[],
        says: "left no word of what to run: {cause}",
        next: "check the `artifacts` of the buildspec (`packhorse buildspec --check FILE`) and the rights of the CodeBuild role on the bucket",
    },
    Known {
        name: "artifacts-unreadable",
        phases: &[Finalize],
        signs: &[&["cannot be read", "names no image"]],
        log: &[],
        says: "left something that cannot be read: {cause}",
        next: "check that the same version of packhorse runs in all three steps of the build, and start it again",
    },
    Known {
        name: "image-missing",
        phases: &[Finalize],
        signs: &[&["does not exist", "is not a tag"]],
        log: &[],
        says: "has no image in its repository: {cause}",
        next: "look whether a lifecycle rule of the repository removed it, and start the build again",
    },
    Known {
        name: "out-of-memory",
        phases: TASKS,
        signs: &[&["outofmemory", "out of memory", "ran out of memory", "code 137"]],
        log: &[],
        says: "was not deployed because its {phase} command ran out of memory",
        next: "give it more: `packhorse ps scale {phase} --memory 2G`, then start the build again",
    },
    Known {
        name: "command-not-found",
        phases: TASKS,
        signs: &[&["code 127", "code 126"]],
        log: &[],
        says: "was not deployed because the program of its {phase} command is not in the image",
        next: "check the spelling of the command, and that the dependency it belongs to is installed",
    },
    Known {
        name: "variable-missing",
        phases: TASKS,
        signs: &[&["exited with code"]],
        log: &["keyerror: '", "environment variable", "is not set", "must be set"],
        says: "was not deployed because its {phase} command lacks a variable (exit code {code})",
        next: "set it with `packhorse config set NAME=VALUE`, then start the build again",
    },
    Known {
        name: "database-unreachable",
        phases: TASKS,
        signs: &[&["exited with code"]],
        log: &[
            "could not connect to server",
            "connection refused",
            "could not translate host name",
            "password authentication failed",
            "can't connect to mysql",
        ],
        says: "was not deployed because its {phase} command could not reach its database (exit code {code})",
        next: "check `DATABASE_URL` (`packhorse config list`) and that the database runs",
    },
    Known {
        name: "module-missing",
        phases: TASKS,
        signs: &[&["exited with code"]],
        log: &["modulenotfounderror", "cannot find module", "cannot load such file", "importerror"],
        says: "was not deployed because its {phase} command needs a module that is not in the image (exit code {code})",
        next: "add it to the app's dependencies, and push again",
    },
    Known {
        name: "command-failed",
        phases: TASKS,
        signs: &[&["exited with code"]],
        log: &[],
        says: "was not deployed because its {phase} command failed (exit code {code})",
        next: "read what it said: `packhorse build logs --phase {phase}`; the release before still runs",
    },
    Known {
        name: "task-without-secrets",
        phases: TASKS,
        signs: &[&["did not run", "did not start"], &["secret", "ssm", "parameter"]],
        log: &[],
        says: "was not deployed because a config variable could not be read when its {phase} task was to start",
        next: "check that the variable still exists, and that the app's execution role may read its parameters",
    },
    Known {
        name: "task-without-image",
        phases: TASKS,
        signs: &[&["did not run", "did not start"], &["cannotpull", "pull", "manifest unknown"]],
        log: &[],
        says: "was not deployed because the image could not be pulled for its {phase} task",
        next: "check that the image is still in the repository, that the execution role may pull it, and that the subnets reach ECR",
    },
    Known {
        name: "no-capacity",
        phases: &[Release, Postdeploy, Deploy],
        signs: &[&["capacity", "resource:", "unable to place"]],
        log: &[],
        says: "was not deployed because the cluster had no room: {cause}",
        next: "wait and start it again, or ask for smaller processes (`packhorse ps scale`)",
    },
    Known {
        name: "host-taken-away",
        phases: TASKS,
        signs: &[&["host was taken away", "spot"]],
        log: &[],
        says: "was not deployed because the host of its {phase} task was taken away each time it was tried",
        next: "start the build again; run tasks on demand rather than on spot capacity if it happens often",
    },
    Known {
        name: "task-did-not-run",
        phases: TASKS,
        signs: &[&["did not run"]],
        log: &[],
        says: "was not deployed because its {phase} task never ran: {cause}",
        next: "correct what ECS names as the reason, then start the build again",
    },
    Known {
        name: "outcome-unknown",
        phases: TASKS,
        signs: &[&["outcome unknown"]],
        log: &[],
        says: "was not deployed because nobody can tell whether its {phase} command ran",
        next: "look at what the command changes, such as the state of the migrations, before you start the build again",
    },
    Known {
        name: "task-stopped",
        phases: TASKS,
        signs: &[&["task was stopped"]],
        log: &[],
        says: "was not deployed because somebody stopped its {phase} task",
        next: "look at what the command had done by then, and start the build again",
    },
    Known {
        name: "task-refused",
        phases: TASKS,
        signs: &[&["task was refused"]],
        log: &[],
        says: "was not deployed because its {phase} task could not be asked for: {cause}",
        next: "correct what is named: a role, a subnet or a size that does not exist",
    },
    Known {
        name: "services-refused",
        phases: &[Deploy],
        signs: &[&["services could not be updated"]],
        log: &[],
        says: "was not deployed because its services could not be changed: {cause}",
        next: "correct what is named: a role, a subnet, a target group or a size that does not exist",
    },
    Known {
        name: "web-silent",
        phases: &[Deploy],
        signs: &[&["did not answer on port", "health check", "elb", "unhealthy"]],
        log: &[],
        says: "was not deployed because its web process did not answer: {cause}",
        next: "let it listen on all addresses at the port in the variable `PORT`, and answer the health check's path",
    },
    Known {
        name: "process-crashed",
        phases: &[Deploy],
        signs: &[&["exited with code", "exited", "failed to start", "crash"]],
        log: &[],
        says: "was not deployed because one of its processes does not stay up: {cause}",
        next: "read what it said last: `packhorse logs`",
    },
    Known {
        name: "first-deploy-failed",
        phases: &[Deploy],
        signs: &[&["first deploy", "no release to go back to"]],
        log: &[],
        says: "is the first and its services did not become healthy: {cause}",
        next: "read what its processes say: `packhorse logs`; the next build that works makes it good",
    },
    Known {
        name: "rolled-back",
        phases: &[Deploy],
        signs: &[&["rolled back", "roll back", "rollback", "circuit breaker", "goes on running", "processes are gone"]],
        log: &[],
        says: "was taken back because its services did not become healthy: {cause}",
        next: "read what its processes said: `packhorse logs`; the release before still runs",
    },
];

pub(super) fn of(facts: &Facts<'_>, phase: Phase, cause: &str) -> Diagnosis {
    let said = cause.to_lowercase();
    let log = facts.log.unwrap_or_default().to_lowercase();
    let fits = |known: &&Known| {
        (known.phases.is_empty() || known.phases.contains(&phase))
            && known.signs.iter().all(|any| any.iter().any(|sign| said.contains(sign)))
            && (known.log.is_empty() || known.log.iter().any(|sign| log.contains(sign)))
    };
    let filled = |template: &str| {
        template
            .replace("{phase}", phase.as_str())
            .replace("{code}", exit_code(&said).unwrap_or("unknown"))
            .replace("{cause}", cause)
    };
    if let Some(known) = KNOWN.iter().find(fits) {
        return Diagnosis::new(facts, known.name, filled(known.says), filled(known.next));
    }
    let logs = facts.record.phases.get(&phase).map(|record| record.logs.as_str()).unwrap_or_default();
    let next = if logs.is_empty() {
        format!("read what it said: `packhorse build logs {} --phase {phase}`", facts.record.build_number)
    } else {
        format!("read what it said: {logs}")
    };
    if cause.is_empty() {
        return Diagnosis::new(facts, "failed", format_args!("failed in its {phase} phase"), next);
    }
    Diagnosis::new(facts, "failed", format_args!("failed in its {phase} phase: {cause}"), next)
}

/// The number behind `code` in what was said.
fn exit_code(said: &str) -> Option<&str> {
    let after = said.split("code ").nth(1)?;
    let end = after.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(after.len());
    after.get(..end).filter(|code| !code.is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_known_cause_has_a_name_of_its_own_and_words_in_lower_case() {
        let names: BTreeSet<&str> = KNOWN.iter().map(|known| known.name).collect();
        assert_eq!(names.len(), KNOWN.len());
        for known in KNOWN {
            for sign in known.signs.iter().copied().flatten().chain(known.log) {
                assert_eq!(*sign, sign.to_lowercase(), "{}", known.name);
            }
        }
    }

    #[test]
    fn an_exit_code_is_found_in_a_sentence() {
        assert_eq!(exit_code("the release command exited with code 137 (out of memory)"), Some("137"));
        assert_eq!(exit_code("the tests failed: exit code 3"), Some("3"));
        assert_eq!(exit_code("it was stopped"), None);
    }
}
