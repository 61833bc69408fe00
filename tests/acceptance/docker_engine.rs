use std::collections::BTreeMap;
use std::sync::Mutex;

use packhorse::image::Tag;
use packhorse::ports::container_engine::{
    ApiVersion, ContainerEngine, ContainerSpec, ContainerState, Labels, LogRange,
};
use packhorse::ports::failure::Failure;
use packhorse::ports::image_store::{ImageStore, RemoveOutcome, TagOutcome};

use crate::support::docker::{Broom, SHELL_IMAGE, docker, engine, old_engine, random_name};

fn shell(name: &str, script: &str) -> ContainerSpec {
    ContainerSpec {
        name: name.to_owned(),
        image: SHELL_IMAGE.to_owned(),
        entrypoint: Some(vec!["/bin/sh".to_owned(), "-c".to_owned()]),
        command: Some(vec![script.to_owned()]),
        labels: labels(name),
        ..ContainerSpec::default()
    }
}

fn labels(name: &str) -> Labels {
    BTreeMap::from([("packhorse.test".to_owned(), name.to_owned())])
}

async fn log(engine: &dyn ContainerEngine, name: &str, range: LogRange) -> Vec<String> {
    let lines = Mutex::new(Vec::new());
    engine.logs(name, range, &|line| lines.lock().unwrap().push(line.to_owned())).await.unwrap();
    lines.into_inner().unwrap()
}

#[tokio::test]
#[ignore = "needs Docker Engine 26"]
async fn a_container_lives_from_its_making_to_its_removal() {
    let engine = engine().await;
    let name = random_name("ph-life");
    let _broom = Broom(name.clone());
    let mut spec = shell(&name, "echo out; echo \"$SECRET\" >&2; cat /mnt/file; exit 51");
    spec.env.insert("SECRET".to_owned(), "one\ntwo".to_owned().into());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "mounted\n").unwrap();
    spec.mounts.insert(folder.path().to_owned(), "/mnt".to_owned());

    assert_eq!(engine.container(&name).await.unwrap(), None);
    engine.create(&spec).await.unwrap();
    assert!(matches!(engine.create(&spec).await, Err(Failure::Conflict { .. })));
    let made = engine.container(&name).await.unwrap().unwrap();
    assert_eq!(made.state, ContainerState::Created { error: String::new() });
    engine.start(&name).await.unwrap();
    assert_eq!(engine.wait(&name).await.unwrap(), 51);
    let ended = engine.containers(&labels(&name)).await.unwrap();
    assert_eq!(ended.len(), 1);
    assert_eq!((ended[0].name.as_str(), &ended[0].state), (name.as_str(), &ContainerState::Exited { code: 51 }));

    let mut lines = log(&engine, &name, LogRange::default()).await;
    assert_eq!(log(&engine, &name, LogRange { follow: true, tail: Some(1) }).await.len(), 1);
    lines.sort();
    assert_eq!(lines, ["mounted", "one", "out", "two"]);
    assert!(engine.copy_out(&name, "/etc/passwd").await.unwrap().unwrap().starts_with(b"root:"));
    assert_eq!(engine.copy_out(&name, "/no/such/file").await.unwrap(), None);
    engine.remove(&name).await.unwrap();
    engine.remove(&name).await.unwrap();
    engine.stop(&name, std::time::Duration::ZERO).await.unwrap();
    assert_eq!(engine.container(&name).await.unwrap(), None);
}

#[tokio::test]
#[ignore = "needs Docker Engine 26"]
async fn a_container_that_cannot_start_keeps_the_engines_reason() {
    let engine = engine().await;
    let name = random_name("ph-nostart");
    let _broom = Broom(name.clone());
    let spec = ContainerSpec { entrypoint: Some(vec!["/no/such/program".to_owned()]), ..shell(&name, "") };
    engine.create(&spec).await.unwrap();
    let refusal = engine.start(&name).await.unwrap_err();
    assert!(packhorse::ports::failure::chain(&refusal).contains("/no/such/program"), "{refusal:?}");
    let facts = engine.container(&name).await.unwrap().unwrap();
    assert!(matches!(facts.state, ContainerState::Created { error } if error.contains("/no/such/program")));

    let spec = ContainerSpec { image: "127.0.0.1:1/no/such:image".to_owned(), ..shell(&random_name("ph"), "") };
    assert!(matches!(engine.create(&spec).await, Err(Failure::NotFound { what }) if what.contains("no/such:image")));
    assert!(engine.ensure_image("127.0.0.1:1/no/such:image").await.is_err());
}

#[tokio::test]
#[ignore = "needs Docker Engine 26"]
async fn containers_of_one_network_find_each_other_and_only_this_machine_finds_their_port() {
    let engine = engine().await;
    let name = random_name("ph-net");
    let _broom = Broom(name.clone());
    for _ in 0..2 {
        engine.create_network(&name, &labels(&name)).await.unwrap();
    }
    assert_eq!(engine.networks(&labels(&name)).await.unwrap(), [name.as_str()]);
    let cache = ContainerSpec {
        name: format!("{name}-cache"),
        image: "redis:7".to_owned(),
        networks: BTreeMap::from([(name.clone(), vec!["cache".to_owned()])]),
        publish: Some(6379),
        ..ContainerSpec::default()
    };
    engine.create(&cache).await.unwrap();
    engine.start(&cache.name).await.unwrap();
    engine.start(&cache.name).await.unwrap();
    while engine.exec(&cache.name, &["redis-cli", "ping"]).await.unwrap() != 0 {}
    assert_eq!(engine.exec(&cache.name, &["sh", "-c", "exit 7"]).await.unwrap(), 7);
    let published = engine.container(&cache.name).await.unwrap().unwrap().published[&6379];
    assert!(published.ip().is_loopback());
    tokio::net::TcpStream::connect(published).await.unwrap();

    let peer = ContainerSpec {
        name: format!("{name}-peer"),
        image: "redis:7".to_owned(),
        entrypoint: Some(vec!["redis-cli".to_owned()]),
        command: Some(["-h", "cache", "ping"].map(str::to_owned).to_vec()),
        networks: BTreeMap::from([(name.clone(), Vec::new())]),
        ..ContainerSpec::default()
    };
    engine.create(&peer).await.unwrap();
    engine.start(&peer.name).await.unwrap();
    assert_eq!(engine.wait(&peer.name).await.unwrap(), 0);
    // A network goes even while somebody is in it.
    engine.remove_network(&name).await.unwrap();
    engine.remove_network(&name).await.unwrap();
    assert!(engine.networks(&labels(&name)).await.unwrap().is_empty());
}

#[tokio::test]
#[ignore = "needs Docker Engine 26"]
async fn images_of_the_daemon_are_named_and_read() {
    let engine = engine().await;
    let name = random_name("ph-image");
    let _broom = Broom(name.clone());
    docker(&["tag", SHELL_IMAGE, &format!("{name}:one")]);
    let source = format!("{name}:one").parse().unwrap();
    let [two, three]: [Tag; 2] = ["two", "three"].map(|tag| tag.parse().unwrap());
    let tagged = ImageStore::tag(&engine, &source, &[two.clone(), three]).await.unwrap();
    assert_eq!(tagged, [TagOutcome::Created, TagOutcome::Created]);
    assert_eq!(
        ImageStore::tag(&engine, &source, std::slice::from_ref(&two)).await.unwrap(),
        [TagOutcome::AlreadyThere]
    );
    let digest = engine.resolve(&source).await.unwrap();
    assert_eq!(docker(&["image", "inspect", "-f", "{{.Id}}", SHELL_IMAGE]).trim(), digest.as_str());
    let by_digest = source.repository().at(digest);
    assert!(engine.config(&by_digest).await.unwrap().env("PATH").is_some());
    assert_eq!(engine.build_metadata(&source).await.unwrap(), None);
    assert!(engine.remove_tag(&by_digest).await.is_err());
    assert_eq!(engine.remove_tag(&source.with_tag(two.clone())).await.unwrap(), RemoveOutcome::Removed);
    assert_eq!(engine.remove_tag(&source.with_tag(two)).await.unwrap(), RemoveOutcome::NotThere);
    let missing = format!("{name}:missing").parse().unwrap();
    assert!(matches!(engine.resolve(&missing).await, Err(Failure::NotFound { .. })));
}

#[tokio::test]
#[ignore = "needs Docker Engine 26 and Engine 20.10"]
async fn each_engine_tells_its_version() {
    assert_eq!(engine().await.api_version(), ApiVersion { major: 1, minor: 45 });
    assert_eq!(old_engine().await.api_version(), ApiVersion { major: 1, minor: 41 });
}
