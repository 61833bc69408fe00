//! `doctor` names each lack with its next step.

use super::Bench;

#[test]
fn a_machine_without_docker_and_pack_is_told_what_to_do() {
    // A cache that nobody can make: then no engine is left.
    let bench = Bench::new().with("PACKHORSE_PACK", "/nonexistent/pack").with("PACKHORSE_CACHE_DIR", "/dev/null/none");
    let ran = bench.run(&["doctor"]);
    assert_eq!(ran.code, 4, "{ran}");
    for words in ["fail  docker", "start Docker", "fail  pack", "install `pack`", "warn  embedded", "ok    git"] {
        assert!(ran.stdout.contains(words), "{words}: {ran}");
    }
    assert!(ran.stderr.contains("this machine is not ready: docker, pack"), "{ran}");
}

#[test]
fn programs_read_the_checks_as_json() {
    let bench = Bench::new().with("PACKHORSE_CACHE_DIR", "/dev/null/none");
    let ran = bench.run(&["doctor", "--json", "--ca-bundle", "/nonexistent/ca.pem"]);
    let mut documents = serde_json::Deserializer::from_str(&ran.stdout).into_iter::<serde_json::Value>();
    let checks = documents.next().unwrap().unwrap();
    let verdict = |name: &str| {
        let list = checks["checks"].as_array().unwrap();
        list.iter().find(|check| check["name"] == name).map(|check| check["verdict"].as_str().unwrap().to_owned())
    };
    assert_eq!(verdict("docker").as_deref(), Some("fail"));
    assert_eq!(verdict("embedded").as_deref(), Some("warn"));
    assert_eq!(verdict("ca-bundle").as_deref(), Some("fail"));
    assert_eq!(verdict("aws"), None);
    assert_eq!(documents.next().unwrap().unwrap()["type"], "error");
}
