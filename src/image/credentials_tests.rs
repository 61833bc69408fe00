use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn registry(text: &str) -> Registry {
    text.parse().unwrap()
}

fn config(text: &str) -> (tempfile::TempDir, DockerConfig) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), text).unwrap();
    let config = DockerConfig::load(folder.path()).unwrap().with_helpers_in(folder.path());
    (folder, config)
}

fn helper(folder: &Path, name: &str, script: &str) {
    let path = folder.join(format!("docker-credential-{name}"));
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

async fn login(config: &DockerConfig, name: &str) -> Option<String> {
    match config.credential(&registry(name)).await.unwrap()? {
        Credential::Password { username, password } => Some(format!("{username}:{}", password.expose_secret())),
        Credential::IdentityToken(token) => Some(format!("token {}", token.expose_secret())),
    }
}

#[tokio::test]
async fn stored_logins_are_found_by_host_and_port() {
    // "dXNlcjpwOjE=" is `user:p:1`.
    let (_folder, config) = config(
        r#"{"auths":{"localhost:5000":{"auth":"dXNlcjpwOjE="},
            "https://index.docker.io/v1/":{"username":"hub","password":"word"},
            "r.example":{"auth":"dXNlcjpwOjE=","identitytoken":"refresh"}, "empty.example":{}}}"#,
    );
    assert_eq!(login(&config, "localhost:5000").await.as_deref(), Some("user:p:1"));
    assert_eq!(login(&config, "localhost:5001").await, None);
    assert_eq!(login(&config, "docker.io").await.as_deref(), Some("hub:word"));
    assert_eq!(login(&config, "r.example").await.as_deref(), Some("token refresh"));
    assert_eq!(login(&config, "empty.example").await, None);
}

#[tokio::test]
async fn helper_gets_the_server_on_stdin_and_wins_over_the_store() {
    let (folder, config) = config(r#"{"credHelpers":{"a.example":"one"},"credsStore":"two","auths":{"b.example":{}}}"#);
    helper(
        folder.path(),
        "one",
        r#"read server; echo "{\"ServerURL\":\"x\",\"Username\":\"$1-$server\",\"Secret\":\"s1\"}""#,
    );
    helper(folder.path(), "two", r#"echo '{"Username":"<token>","Secret":"s2"}'"#);
    assert_eq!(login(&config, "a.example").await.as_deref(), Some("get-a.example:s1"));
    assert_eq!(login(&config, "b.example").await.as_deref(), Some("token s2"));
}

#[tokio::test]
async fn helper_without_the_login_leaves_the_stored_one() {
    let (folder, config) = config(r#"{"credsStore":"none","auths":{"a.example":{"username":"u","password":"p"}}}"#);
    helper(folder.path(), "none", "echo 'credentials not found in native keychain'; exit 1");
    assert_eq!(login(&config, "a.example").await.as_deref(), Some("u:p"));
}

#[tokio::test]
async fn helper_that_is_missing_fails_or_lies_is_named() {
    for (name, script, said) in [
        ("gone", None, "did not run"),
        ("fails", Some("echo secret; exit 3"), "failed (exit status: 3)"),
        ("lies", Some("echo secret"), "not a login"),
    ] {
        let (folder, config) = config(&format!(r#"{{"credsStore":"{name}"}}"#));
        if let Some(script) = script {
            helper(folder.path(), name, script);
        }
        let error = config.credential(&registry("a.example")).await.unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(said), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn helper_name_cannot_point_elsewhere() {
    let (_folder, config) = config(r#"{"credsStore":"../../bin/sh"}"#);
    let error = config.credential(&registry("a.example")).await.unwrap_err();
    assert!(matches!(error, CredentialError::HelperName(_)));
}

#[test]
fn malformed_file_tells_its_place_and_no_value() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), r#"{"auths":{"a":{"auth":"c2VjcmV0""#).unwrap();
    let error = DockerConfig::load(folder.path()).err().unwrap().to_string();
    assert!(error.contains("config.json:1:"), "{error}");
    assert!(!error.contains("c2VjcmV0"), "{error}");
}

#[test]
fn folder_is_the_variable_else_home() {
    let home = Path::new("/home/u");
    assert_eq!(DockerConfig::folder(Some(Path::new("/d")), Some(home)), Some("/d".into()));
    assert_eq!(DockerConfig::folder(Some(Path::new("")), Some(home)), Some("/home/u/.docker".into()));
    assert_eq!(DockerConfig::folder(None, None), None);
}

#[tokio::test]
async fn no_file_means_no_logins() {
    let folder = tempfile::tempdir().unwrap();
    let config = DockerConfig::load(folder.path()).unwrap();
    assert_eq!(login(&config, "docker.io").await, None);
}
