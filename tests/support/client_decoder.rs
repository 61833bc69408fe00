//! Reads items as an existing client does, and refuses what it would refuse.
//!
//! Written from the wire contract alone, on items as the service sends them (`{"S": …}`), so that it cannot agree with
//! our own writer by accident. A client decodes a whole item or fails its command.
#![allow(dead_code, reason = "each build of the tests uses its own part")]

use serde_json::Value;

/// A build as a client holds it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct ClientBuild {
    pub(crate) app: String,
    pub(crate) build_number: i64,
    pub(crate) pr_number: String,
    pub(crate) commit: String,
    /// In the order in which clients look at them: build, test, finalize, release, postdeploy, deploy.
    pub(crate) phases: [ClientPhase; 6],
}

/// A phase as a client holds it; all zero when it never ran.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct ClientPhase {
    pub(crate) arns: Vec<String>,
    pub(crate) logs: String,
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) state: String,
}

/// The most recent deploy as a client holds it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct ClientDeployStatus {
    pub(crate) phase: String,
    pub(crate) processes: Vec<ClientProcess>,
    pub(crate) build_id: String,
    pub(crate) last_update: i64,
    pub(crate) commit: String,
    pub(crate) build_number: i64,
    pub(crate) failed: bool,
}

/// A process of a deploy as a client holds it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct ClientProcess {
    pub(crate) name: String,
    pub(crate) cpu: String,
    pub(crate) memory: String,
    pub(crate) min_processes: i64,
    pub(crate) max_processes: i64,
    pub(crate) state: String,
    pub(crate) command: String,
}

/// The names of the phases, in order.
pub(crate) const PHASES: [&str; 6] = ["build", "test", "finalize", "release", "postdeploy", "deploy"];

/// Decodes a `BUILD#…` item.
pub(crate) fn decode_build(item: &Value) -> Result<ClientBuild, String> {
    let mut build = ClientBuild {
        app: string(item, "app")?,
        build_number: integer(item, "build_number")?,
        pr_number: string(item, "pr_number")?,
        commit: string(item, "commit")?,
        ..ClientBuild::default()
    };
    for (phase, name) in build.phases.iter_mut().zip(PHASES) {
        if let Some(map) = structure(item, name)? {
            *phase = ClientPhase {
                arns: strings(map, "arns")?,
                logs: string(map, "logs")?,
                start: integer(map, "start")?,
                end: integer(map, "end")?,
                state: string(map, "state")?,
            };
        }
    }
    Ok(build)
}

/// Decodes a `DEPLOYSTATUS…` item.
pub(crate) fn decode_deploy_status(item: &Value) -> Result<ClientDeployStatus, String> {
    let value = structure(item, "value")?.ok_or("`value` is missing")?;
    let mut processes = Vec::new();
    for process in structures(value, "processes")? {
        processes.push(ClientProcess {
            name: string(process, "name")?,
            cpu: string(process, "cpu")?,
            memory: string(process, "memory")?,
            min_processes: integer(process, "min_processes")?,
            max_processes: integer(process, "max_processes")?,
            state: string(process, "state")?,
            command: string(process, "command")?,
        });
    }
    Ok(ClientDeployStatus {
        phase: string(value, "phase")?,
        processes,
        build_id: string(value, "build_id")?,
        last_update: integer(value, "last_update")?,
        commit: string(value, "commit")?,
        build_number: integer(value, "build_number")?,
        failed: boolean(value, "failed")?,
    })
}

/// Decodes a build and checks what a client can see of it: returns every rule that it breaks.
pub(crate) fn check_build(item: &Value) -> Result<ClientBuild, Vec<String>> {
    let build = decode_build(item).map_err(|problem| vec![problem])?;
    let mut broken = Vec::new();
    check_keys(item, &build, &mut broken);
    check_phases(item, &build, &mut broken);
    check_logs(&build, &mut broken);
    if broken.is_empty() { Ok(build) } else { Err(broken) }
}

/// Decodes a deploy's item and checks what a client can see of it.
pub(crate) fn check_deploy_status(item: &Value) -> Result<ClientDeployStatus, Vec<String>> {
    let status = decode_deploy_status(item).map_err(|problem| vec![problem])?;
    let mut broken = Vec::new();
    let mut rule = |holds: bool, text: &str| {
        if !holds {
            broken.push(text.to_owned());
        }
    };
    let primary = string(item, "primary_id").unwrap_or_default();
    let secondary = string(item, "secondary_id").unwrap_or_default();
    rule(primary.starts_with("APP#") && !primary.contains(':'), "the item lies with the app or the pipeline itself");
    rule(
        secondary == "DEPLOYSTATUS" || secondary.starts_with("DEPLOYSTATUS#"),
        "the sort key begins with DEPLOYSTATUS",
    );
    rule(status.build_number > 0, "`build_number` is there");
    rule(status.build_id.starts_with("arn:") && status.build_id.contains('/'), "`build_id` is the ARN of a build");
    rule(plausible(status.last_update), "`last_update` is in seconds");
    for process in &status.processes {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        rule(!process.name.is_empty(), "a process has a name");
        rule(digits(&process.cpu) && digits(&process.memory), "sizes of a process are digits");
        rule(
            0 <= process.min_processes && process.min_processes <= process.max_processes,
            "the minimum is at most the maximum",
        );
    }
    if broken.is_empty() { Ok(status) } else { Err(broken) }
}

fn check_keys(item: &Value, build: &ClientBuild, broken: &mut Vec<String>) {
    let primary = string(item, "primary_id").unwrap_or_default();
    let secondary = string(item, "secondary_id").unwrap_or_default();
    if secondary != format!("BUILD#{:010}", build.build_number) {
        broken.push(format!("`build_number` {} is not that of the key {secondary}", build.build_number));
    }
    let expected = match build.pr_number.as_str() {
        "" => format!("APP#{}", build.app),
        pr => format!("APP#{}:{pr}", build.app),
    };
    if primary != expected || build.app.is_empty() {
        broken.push(format!("the partition {primary} is not {expected}"));
    }
    if !build.pr_number.bytes().all(|byte| byte.is_ascii_digit()) {
        broken.push(format!("`pr_number` {} is not a bare number", build.pr_number));
    }
}

fn check_phases(item: &Value, build: &ClientBuild, broken: &mut Vec<String>) {
    let present: Vec<usize> = (0..6).filter(|index| item.get(PHASES[*index]).is_some()).collect();
    if present.first() != Some(&0) {
        broken.push("`build` is there from the first write on".to_owned());
    }
    for index in &present {
        let (phase, name) = (&build.phases[*index], PHASES[*index]);
        let terminal = match phase.state.as_str() {
            "started" => false,
            "succeeded" | "failed" => true,
            other => {
                broken.push(format!("`{name}.state` is `{other}`"));
                continue;
            }
        };
        if terminal != (phase.end != 0) {
            broken.push(format!("`{name}` has `end` exactly when it has ended"));
        }
        if !plausible(phase.start) || (terminal && phase.end < phase.start) {
            broken.push(format!("`{name}` starts and ends in seconds, in that order"));
        }
        if !terminal && index != present.last().unwrap_or(index) {
            broken.push(format!("`{name}` runs while a later phase has begun"));
        }
        if phase.state == "failed" && index != present.last().unwrap_or(index) {
            broken.push(format!("a phase follows `{name}`, which failed"));
        }
    }
    for pair in present.windows(2) {
        if build.phases[pair[0]].start > build.phases[pair[1]].start {
            broken.push(format!("`{}` starts before `{}`", PHASES[pair[1]], PHASES[pair[0]]));
        }
    }
    // Release and Postdeploy are the ones that an app may not have.
    let last = present.last().copied().unwrap_or_default();
    for index in (0..last).filter(|index| ![3, 4].contains(index) && !present.contains(index)) {
        broken.push(format!("`{}` was left out", PHASES[index]));
    }
    if last != 5 && build.phases[last].state == "succeeded" {
        broken.push(format!("`{}` has ended and nothing has begun: the build looks finished", PHASES[last]));
    }
    for index in [0, 5].into_iter().filter(|index| present.contains(index)) {
        if build.phases[index].arns.is_empty() {
            broken.push(format!("`{}.arns` is not empty", PHASES[index]));
        }
    }
}

fn check_logs(build: &ClientBuild, broken: &mut Vec<String>) {
    let [build_phase, test, _, release, postdeploy, _] = &build.phases;
    let mut rule = |holds: bool, text: &str| {
        if !holds {
            broken.push(text.to_owned());
        }
    };
    for phase in &build.phases {
        rule(
            phase.logs.is_empty() || is_live(&phase.logs) || is_stored(&phase.logs),
            "`logs` is a URL that clients know",
        );
    }
    rule(!build_phase.logs.is_empty(), "`build.logs` is there from the first write on");
    let running = build_phase.state == "started" || test.state == "started";
    rule(!running || is_live(&build_phase.logs), "`build.logs` can be followed while Build or Test runs");
    rule(test.logs.is_empty() || is_stored(&test.logs), "`test.logs` is empty or in S3");
    let both = is_stored(&build_phase.logs) == is_stored(&test.logs);
    rule(both || test.state.is_empty() || test.state == "failed", "`build.logs` and `test.logs` flip together");
    for (phase, name) in [(release, "release"), (postdeploy, "postdeploy")] {
        let tailed = phase.state == "started" && !phase.arns.is_empty();
        rule(!tailed || is_live(&phase.logs), &format!("`{name}.logs` can be followed while its task runs"));
        rule(phase.state != "started" || !is_stored(&phase.logs), &format!("`{name}.logs` is stored only at its end"));
    }
}

/// Tells whether a client can follow this log: one `#` between group and stream.
fn is_live(url: &str) -> bool {
    let parts = url.strip_prefix("cloudwatch://").map(|rest| rest.split('#').collect::<Vec<_>>());
    parts.is_some_and(|parts| parts.len() == 2 && parts.iter().all(|part| !part.is_empty()))
}

/// Tells whether a client can fetch this log: a bucket and a key.
fn is_stored(url: &str) -> bool {
    let parts = url.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
    parts.is_some_and(|(bucket, key)| !bucket.is_empty() && !key.is_empty())
}

/// Tells whether a time is in seconds: between 2001 and 2286.
fn plausible(time: i64) -> bool {
    (1_000_000_000..10_000_000_000).contains(&time)
}

/// Finds an attribute: the exact name first, then without regard to case; NULL is absent.
fn attribute<'a>(map: &'a Value, name: &str) -> Option<(&'a str, &'a Value)> {
    let map = map.as_object()?;
    let found = map.get(name).or_else(|| map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v))?;
    let (kind, value) = found.as_object()?.iter().next()?;
    (kind != "NULL").then_some((kind.as_str(), value))
}

fn string(map: &Value, name: &str) -> Result<String, String> {
    match attribute(map, name) {
        None => Ok(String::new()),
        Some(("S" | "N", value)) => Ok(value.as_str().unwrap_or_default().to_owned()),
        Some((kind, _)) => Err(format!("`{name}` is {kind} and cannot be read as a string")),
    }
}

fn integer(map: &Value, name: &str) -> Result<i64, String> {
    match attribute(map, name) {
        None => Ok(0),
        Some(("N", value)) => {
            let text = value.as_str().unwrap_or_default();
            text.parse().map_err(|_| format!("`{name}` is {text}, which is not a whole number"))
        }
        Some((kind, _)) => Err(format!("`{name}` is {kind} and cannot be read as a number")),
    }
}

fn boolean(map: &Value, name: &str) -> Result<bool, String> {
    match attribute(map, name) {
        None => Ok(false),
        Some(("BOOL", value)) => Ok(value.as_bool().unwrap_or_default()),
        Some((kind, _)) => Err(format!("`{name}` is {kind} and cannot be read as true or false")),
    }
}

fn strings(map: &Value, name: &str) -> Result<Vec<String>, String> {
    match attribute(map, name) {
        None => Ok(Vec::new()),
        Some(("SS", set)) => {
            Ok(set.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect())
        }
        Some(("L", list)) => list
            .as_array()
            .into_iter()
            .flatten()
            .map(|element| match element.as_object().and_then(|object| object.iter().next()) {
                Some((kind, value)) if kind == "S" => Ok(value.as_str().unwrap_or_default().to_owned()),
                other => Err(format!("`{name}` holds {other:?}")),
            })
            .collect(),
        Some((kind, _)) => Err(format!("`{name}` is {kind} and cannot be read as a list")),
    }
}

fn structure<'a>(map: &'a Value, name: &str) -> Result<Option<&'a Value>, String> {
    match attribute(map, name) {
        None => Ok(None),
        Some(("M", value)) => Ok(Some(value)),
        Some((kind, _)) => Err(format!("`{name}` is {kind} and cannot be read as a structure")),
    }
}

fn structures<'a>(map: &'a Value, name: &str) -> Result<Vec<&'a Value>, String> {
    match attribute(map, name) {
        None => Ok(Vec::new()),
        Some(("L", list)) => list
            .as_array()
            .into_iter()
            .flatten()
            .map(|element| element.get("M").ok_or_else(|| format!("`{name}` holds something that is not a map")))
            .collect(),
        Some((kind, _)) => Err(format!("`{name}` is {kind} and cannot be read as a list")),
    }
}

mod tests {
    use serde_json::json;

    use super::*;

    fn sample() -> Value {
        let arn = "arn:aws:codebuild:us-east-1:111122223333:build/shop:6b0e7c1a";
        json!({
            "primary_id": {"S": "APP#shop"}, "secondary_id": {"S": "BUILD#0000000042"},
            "app": {"S": "shop"}, "build_number": {"N": "42"}, "pr_number": {"S": ""}, "commit": {"S": "9f8e7d6"},
            "build": {"M": {"state": {"S": "succeeded"}, "start": {"N": "1767225600"}, "end": {"N": "1767225720"},
                "arns": {"L": [{"S": arn}]}, "logs": {"S": "cloudwatch:///aws/codebuild/shop#6b0e7c1a"}}},
            "test": {"M": {"state": {"S": "started"}, "start": {"N": "1767225720"},
                "arns": {"L": [{"S": arn}]}, "logs": {"S": ""}}}
        })
    }

    #[test]
    fn a_sample_of_the_contract_is_read() {
        let build = check_build(&sample()).unwrap();
        assert_eq!((build.app.as_str(), build.build_number), ("shop", 42));
        assert_eq!(build.phases[0].end, 1_767_225_720);
        assert_eq!(build.phases[3], ClientPhase::default());
    }

    #[test]
    fn a_wrong_type_fails_the_whole_item() {
        for (path, wrong) in [
            ("/build_number", json!({"S": "42"})),
            ("/build_number", json!({"N": "1.5"})),
            ("/app", json!({"BOOL": true})),
            ("/build/M/arns", json!({"S": "arn:aws:x"})),
            ("/build/M/arns", json!({"L": [{"N": "1"}]})),
            ("/build/M/start", json!({"S": "1767225600"})),
            ("/test", json!({"S": "started"})),
        ] {
            let mut item = sample();
            *item.pointer_mut(path).unwrap() = wrong;
            assert!(decode_build(&item).is_err(), "{path}");
        }
    }

    #[test]
    fn every_broken_rule_is_told() {
        for (path, wrong) in [
            ("/secondary_id", json!({"S": "BUILD#42"})),
            ("/primary_id", json!({"S": "APP#other"})),
            ("/pr_number", json!({"S": "pr/1"})),
            ("/build/M/logs", json!({"S": ""})),
            ("/build/M/logs", json!({"S": "s3://shop-artifacts/42/build.log"})),
            ("/build/M/logs", json!({"S": "cloudwatch://group"})),
            ("/build/M/arns", json!({"L": []})),
            ("/build/M/end", json!({"N": "0"})),
            ("/build/M/state", json!({"S": "started"})),
            ("/build/M/state", json!({"S": "done"})),
            ("/test/M/logs", json!({"S": "cloudwatch://group#stream"})),
            ("/test/M/start", json!({"N": "1767225000"})),
            ("/test/M/start", json!({"N": "1767225720000"})),
            ("/test/M/state", json!({"S": "succeeded"})),
        ] {
            let mut item = sample();
            *item.pointer_mut(path).unwrap() = wrong.clone();
            assert!(check_build(&item).is_err(), "{path} {wrong}");
        }
        let mut gap = sample();
        gap["deploy"] = gap["test"].clone();
        assert!(check_build(&gap).is_err());
    }
}
